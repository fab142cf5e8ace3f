# SPDX-License-Identifier: Apache-2.0
"""Golden values of a tiny GPT-2 model, for the C++ tests.

How to run: as tiny_llama.py beside it, whose helpers and formula of the weights it shares; --check compares with
tiny_gpt2.json, --gguf writes the model as an F32 GGUF file too.

The model: architecture "gpt2", vocabulary 96, hidden 32, layers 2, heads 4, feed-forward 64, context 64, layer norm
epsilon 1e-5, head tied to the embedding, no tokenizer. Tensors are numbered in this order:

    t = 0           token_embd.weight     [96, 32]
    t = 1           position_embd.weight  [64, 32]
    t = 2 + 12 i + j of layer i, where j counts through (named blk.i.NAME)
                    attn_norm.weight [32]  attn_norm.bias [32]  attn_qkv.weight [96, 32]  attn_qkv.bias [96]
                    attn_output.weight [32, 32]  attn_output.bias [32]  ffn_norm.weight [32]  ffn_norm.bias [32]
                    ffn_up.weight [64, 32]  ffn_up.bias [64]  ffn_down.weight [32, 64]  ffn_down.bias [32]
    t = 26          output_norm.weight [32]
    t = 27          output_norm.bias [32]

Element e of tensor t follows from u as tiny_llama.py says: matrices and norms by the formulas there, and

    bias element = (float)((u - 0.5) * 0.2)

The golden values come from a float64 forward pass written below, checked against transformers' GPT2LMHeadModel before
anything is written. Its Conv1D matrices are the transposes of GGUF's.
"""

import math

import numpy as np
import torch

from tiny_llama import GOLDEN_RATIO, digits9, mix64, next_token_loss, run_script

VOCABULARY, HIDDEN, LAYERS, HEADS, FEED_FORWARD, CONTEXT = 96, 32, 2, 4, 64, 64
HEAD_SIZE = HIDDEN // HEADS
EPSILON = 1e-5

LAYER_TENSORS = [
    ("attn_norm.weight", (HIDDEN,)), ("attn_norm.bias", (HIDDEN,)),
    ("attn_qkv.weight", (3 * HIDDEN, HIDDEN)), ("attn_qkv.bias", (3 * HIDDEN,)),
    ("attn_output.weight", (HIDDEN, HIDDEN)), ("attn_output.bias", (HIDDEN,)),
    ("ffn_norm.weight", (HIDDEN,)), ("ffn_norm.bias", (HIDDEN,)),
    ("ffn_up.weight", (FEED_FORWARD, HIDDEN)), ("ffn_up.bias", (FEED_FORWARD,)),
    ("ffn_down.weight", (HIDDEN, FEED_FORWARD)), ("ffn_down.bias", (HIDDEN,)),
]
TENSORS = (
    [("token_embd.weight", (VOCABULARY, HIDDEN)), ("position_embd.weight", (CONTEXT, HIDDEN))]
    + [(f"blk.{i}.{name}", shape) for i in range(LAYERS) for name, shape in LAYER_TENSORS]
    + [("output_norm.weight", (HIDDEN,)), ("output_norm.bias", (HIDDEN,))]
)


def make_tensor(number, name, shape):
    u = np.array([(mix64(number * GOLDEN_RATIO + e) >> 40) * 2.0**-24 for e in range(math.prod(shape))],
                 dtype=np.float64)
    values = (u - 0.5) * 0.2 if name.endswith(".bias") else 1.0 + (u - 0.5) * 0.2 if len(shape) == 1 else (u - 0.5) * 2 * 0.3
    return values.astype(np.float32).reshape(shape)


def layer_norm(x, gain, bias):
    centred = x - x.mean(-1, keepdim=True)
    return centred * torch.rsqrt((centred * centred).mean(-1, keepdim=True) + EPSILON) * gain + bias


def gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def forward(w, ids):
    """The logits of every position, and the stream after the embedding and after each layer."""
    length = len(ids)
    x = w["token_embd.weight"][torch.tensor(ids)] + w["position_embd.weight"][:length]
    residual = [x]
    hidden_future = torch.full((length, length), -math.inf, dtype=torch.float64).triu(1)
    for i in range(LAYERS):
        part = lambda name: w[f"blk.{i}.{name}"]
        affine = lambda name, x: x @ part(name + ".weight").T + part(name + ".bias")
        h = layer_norm(x, part("attn_norm.weight"), part("attn_norm.bias"))
        q, k, v = (t.view(length, HEADS, HEAD_SIZE) for t in affine("attn_qkv", h).split(HIDDEN, dim=-1))
        scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(HEAD_SIZE) + hidden_future
        mixed = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).reshape(length, HIDDEN)
        x = x + affine("attn_output", mixed)
        h = layer_norm(x, part("ffn_norm.weight"), part("ffn_norm.bias"))
        x = x + affine("ffn_down", gelu(affine("ffn_up", h)))
        residual.append(x)
    return layer_norm(x, w["output_norm.weight"], w["output_norm.bias"]) @ w["token_embd.weight"].T, residual


NAMES = {"attn_norm": "ln_1", "attn_qkv": "attn.c_attn", "attn_output": "attn.c_proj", "ffn_norm": "ln_2",
         "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}


def check_against_transformers(weights, ids, logits):
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=CONTEXT, n_embd=HIDDEN, n_layer=LAYERS, n_head=HEADS, n_inner=FEED_FORWARD,
        activation_function="gelu_new", layer_norm_epsilon=EPSILON, attn_implementation="eager", resid_pdrop=0,
        embd_pdrop=0, attn_pdrop=0, bos_token_id=None, eos_token_id=None)
    model = GPT2LMHeadModel(config).double().eval()
    state = {}
    for name, values in weights.items():
        parts = name.split(".")
        if parts[0] == "blk":
            theirs = f"transformer.h.{parts[1]}.{NAMES[parts[2]]}.{parts[3]}"
        else:
            theirs = {"token_embd": "transformer.wte", "position_embd": "transformer.wpe",
                      "output_norm": "transformer.ln_f"}[parts[0]] + "." + parts[1]
        matrix = values.ndim == 2 and parts[0] == "blk"
        state[theirs] = torch.from_numpy((values.T if matrix else values).astype(np.float64).copy())
    state["lm_head.weight"] = state["transformer.wte.weight"]
    model.load_state_dict(state, strict=True)
    with torch.no_grad():
        theirs = model(torch.tensor([ids]), use_cache=False).logits[0]
    assert torch.allclose(theirs, logits, rtol=0, atol=1e-6), "logits differ from transformers'"


def write_gguf(path, weights):
    import gguf

    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(EPSILON)
    for name, values in weights.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_golden():
    weights = {name: make_tensor(number, name, shape) for number, (name, shape) in enumerate(TENSORS)}
    w = {name: torch.from_numpy(values.astype(np.float64)) for name, values in weights.items()}
    ids = [mix64(1000 + p) % VOCABULARY for p in range(24)]
    logits, residual = forward(w, ids)
    check_against_transformers(weights, ids, logits)
    return digits9({
        "config": {"vocabulary": VOCABULARY, "hidden": HIDDEN, "layers": LAYERS, "heads": HEADS,
                   "feed_forward": FEED_FORWARD, "context": CONTEXT, "epsilon": EPSILON, "tied": True},
        "next_token": {"ids": ids, "logits_last": logits[-1], "logits_5": logits[5],
                       "loss": next_token_loss(logits, ids).item(), "residual_5": [r[5] for r in residual]},
        "tensors": [{"number": number, "name": name, "shape": list(shape),
                     "sum": math.fsum(weights[name].astype(np.float64).ravel()),
                     "first": weights[name].astype(np.float64).ravel()[:4].tolist()}
                    for number, (name, shape) in enumerate(TENSORS)],
    }), weights


if __name__ == "__main__":
    run_script(__file__, "GPT-2", make_golden, write_gguf)
