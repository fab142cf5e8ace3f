#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A small GPT-2 whose weights are floats from training, for dense_and_sparse.py.

    pip download --no-deps microformer-mgm==0.5.8 && unzip microformer_mgm-*.whl
    microbial_gpt2.py mgm/resources/general_model WORK       # needs torch, transformers, safetensors
    dense_and_sparse.py --model WORK/model --scores WORK/scores.safetensors \\
        --mask WORK/mask.safetensors --tokens WORK/tokens.txt --work WORK --zoq ... --model-error ...

It predicts the next microbe of a sample in order of abundance: 8 layers of 256, 6.3 million weights in linear
layers. It has no tokenizer that zoq reads, and no data come with it: the sequences are drawn from the model
itself. The first 64 make the Fisher scores, zoq having no reverse pass of this family; the next 20 are for
logits.
"""
import pathlib
import sys

import numpy
import torch
from safetensors.numpy import save_file
from transformers import GPT2LMHeadModel

MATRICES = {
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
PAD, BEGIN, END = 0, 2, 3


def draw(model, count):
    start = torch.full((count, 1), BEGIN)
    with torch.no_grad():
        drawn = model.generate(
            start,
            attention_mask=torch.ones_like(start),
            do_sample=True,
            top_k=0,
            max_new_tokens=100,
            min_new_tokens=20,
            pad_token_id=PAD,
            eos_token_id=END,
        )
    return [[t for t in row if t != PAD] for row in drawn.tolist()]


def fisher(model, rows):
    """Mean squared gradients by zoq's names, [rows, columns] as zoq has them."""
    out = {}
    for row in rows:
        model.zero_grad()
        tokens = torch.tensor([row])
        model(tokens, labels=tokens).loss.backward()
        for n, layer in enumerate(model.transformer.h):
            for theirs, ours in MATRICES.items():
                gradient = layer.get_submodule(theirs).weight.grad.T.numpy()
                name = f"blk.{n}.{ours}.weight"
                out[name] = out.get(name, 0) + gradient**2 / numpy.float32(len(rows))
    return {name: numpy.ascontiguousarray(s, numpy.float32) for name, s in out.items()}


def main(source, work):
    model = GPT2LMHeadModel.from_pretrained(source).eval()
    model.save_pretrained(work / "model")
    torch.manual_seed(1)
    rows = draw(model, 84)
    scores = fisher(model, rows[:64])
    save_file(scores, work / "scores.safetensors", {"score": "fisher"})
    places, about = {}, {"format": "zoq.mask.1", "score": "fisher"}
    for name, s in scores.items():
        best = numpy.argsort(-s.ravel(), kind="stable")[: s.size // 1000]
        places[name] = numpy.sort(best).astype(numpy.int32)
        about[f"shape {name}"] = f"{s.shape[0]} {s.shape[1]}"
    save_file(places, work / "mask.safetensors", about)
    lines = [" ".join(str(t) for t in row) for row in rows[64:]]
    (work / "tokens.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
