#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""MeZO in PyTorch beside zoq on the same device: rows for the table of device_bench.

usage: torch_rows.py FIGURES.json [--device cuda]

FIGURES is what device_bench wrote: the model's sizes, the rows of a step, and zoq's own time and
memory. The model has these sizes, bfloat16 and random weights: what a step costs does not depend on
them. A step, what it moves and what it computes are those of ../peers/torch_peer.py:

    equal    all weights moved; as many tokens as zoq takes, the head at the answers alone
    mezo     the published protocol: each option a padded sequence of its own, logits of all tokens
    sparse   the published forward, 0.1 % of every matrix moved
    tuned    the forward of `equal`, 0.1 % of every matrix moved

Medians of five after a first step. A ratio says how many times as fast, or as small, zoq is. What can't
be measured has a row that says why; the exit code is 1 then, but 0 where PyTorch or its device is missing.
"""

import argparse
import json
import pathlib
import random
import statistics
import sys

ROUNDS = 5
METHODS = {
    "equal": "PyTorch MeZO, bf16, equal tokens",
    "mezo": "PyTorch MeZO, bf16, published protocol",
    "sparse": "PyTorch sparse 0.1 %, published forward",
    "tuned": "PyTorch sparse 0.1 %, equal tokens",
}


def line(what, figure="", note=""):
    print(f"| {what:<46} | {figure:<20} | {note:<14} |", flush=True)


def two_option_rows(count, tokens, vocabulary):
    """Rows as torch_peer.py takes them, of the sizes that device_bench has."""
    draw = random.Random(1)
    return [
        {
            "prompt": [draw.randrange(vocabulary) for _ in range(tokens)],
            "choices": [[1], [2]],
            "answer": row % 2,
        }
        for row in range(count)
    ]


def random_model(torch, transformers, sizes, device):
    """Made on the device in bfloat16, so that the host needs no memory for it."""
    settings = transformers.LlamaConfig(
        vocab_size=sizes["vocabulary"],
        hidden_size=sizes["hidden"],
        intermediate_size=sizes["feed_forward"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        num_key_value_heads=sizes["kv_heads"],
        max_position_embeddings=sizes["context"],
        tie_word_embeddings=False,
        attn_implementation="sdpa",
        use_cache=False,
    )
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            return transformers.LlamaForCausalLM(settings).eval()
    finally:
        torch.set_default_dtype(usual)


def measure(peer, figures, method):
    """A method's row; False when it could not be measured."""
    import torch

    try:
        answers = [peer.step(0, method) for _ in range(1 + ROUNDS)][1:]
    except torch.OutOfMemoryError:
        line(METHODS[method], note="not measured: the device has too little memory")
        return False
    finally:
        peer.views.clear()
    losses = [answer["loss"] for answer in answers]
    if not all(0.01 < loss < 20 for loss in losses):  # two options, a model that knows nothing
        line(METHODS[method], note=f"not measured: its losses are {losses}")
        return False
    seconds = statistics.median(answer["seconds"] for answer in answers)
    peak = max(answer["peak_bytes"] for answer in answers)
    ratio = seconds / figures["step_seconds"]
    line(METHODS[method], f"{1e3 * seconds:11.2f} ms", f"zoq {ratio:.2f} x")
    line("  its memory", f"{peak / 2**20:11.2f} MiB", f"zoq {peak / figures['memory_bytes']:.2f} x")
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    figures = json.loads(pathlib.Path(options.figures).read_text())
    try:
        import torch
        import transformers
    except ImportError as problem:
        line("PyTorch MeZO", note=f"not measured: {sys.executable} has no {problem.name}")
        return 0
    if torch.device(options.device).type == "cuda" and not torch.cuda.is_available():
        line("PyTorch MeZO", note=f"not measured: torch {torch.__version__} finds no CUDA device")
        return 0

    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "peers"))
    import torch_peer

    line(f"PyTorch {torch.__version__}, transformers {transformers.__version__}")
    rows = two_option_rows(figures["rows"], figures["tokens"], figures["vocabulary"])
    try:
        model = random_model(torch, transformers, figures, options.device)
    except torch.OutOfMemoryError:
        line("PyTorch MeZO", note="not measured: the device cannot hold the weights in bf16")
        return 1
    peer = torch_peer.Peer(model, {"step": [rows]})
    return 0 if all([measure(peer, figures, method) for method in METHODS]) else 1


if __name__ == "__main__":
    sys.exit(main())
