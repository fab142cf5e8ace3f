"""Writes formats.json: blocks of quantised formats and what their reference packages make of them.

    python3 formats.py > formats.json      # needs numpy, gguf, torch and bitsandbytes (a CPU will do)

"decode": blocks of random bytes with scales as weights have them, and the floats that they decode to.
"encode": floats and their blocks, for the formats whose package has an encoder. NF4 is bitsandbytes'
with blocks of 64 and float scales; its blocks here are a scale and the codes, as quant/nf4.hpp has them.
All bytes are little-endian, in hexadecimal.

SPDX-License-Identifier: Apache-2.0
"""
import json

import bitsandbytes
import bitsandbytes.functional as bnb
import gguf
import numpy as np
import torch
from gguf.quants import dequantize, quantize

# Where a block has its f16 numbers, and their size in weights of about 0.02.
HALVES = {"Q5_0": {0: 0.002}, "Q5_1": {0: 0.002, 2: -0.03}, "Q4_K": {0: 5e-5, 2: 4e-4},
          "Q5_K": {0: 3e-5, 2: 4e-4}, "Q6_K": {208: 1e-5}}
BLOCKS = {"Q5_0": 8, "Q5_1": 8, "Q4_K": 2, "Q5_K": 2, "Q6_K": 2}


def random_blocks(name, rng):
    size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]][1]
    blocks = rng.integers(0, 256, size=(BLOCKS[name], size), dtype=np.uint8)
    for at, typical in HALVES[name].items():
        scale = (typical * rng.uniform(0.5, 2, size=BLOCKS[name])).astype("<f2")
        blocks[:, at:at + 2] = scale.view(np.uint8).reshape(-1, 2)
    return blocks


def golden(blocks, values):
    return {"blocks": blocks.tobytes().hex(), "values": values.astype("<f4").tobytes().hex()}


def main():
    rng = np.random.default_rng(6)
    out = {"packages": f"gguf (its quants.py), bitsandbytes {bitsandbytes.__version__}",
           "decode": {}, "encode": {}}
    for name in HALVES:
        kind = gguf.GGMLQuantizationType[name]
        blocks = random_blocks(name, rng)
        out["decode"][name.lower()] = golden(blocks, dequantize(blocks, kind))
    for name in ("Q5_0", "Q5_1"):
        x = rng.normal(0, 0.02, size=(8, 32)).astype(np.float32)
        out["encode"][name.lower()] = golden(quantize(x, gguf.GGMLQuantizationType[name]), x)

    x = rng.normal(0, 0.02, size=(4, 64)).astype(np.float32)
    codes, state = bnb.quantize_4bit(torch.from_numpy(x), blocksize=64, quant_type="nf4")
    blocks = np.concatenate([state.absmax.numpy().astype("<f4").view(np.uint8).reshape(4, 4),
                             codes.numpy().reshape(4, 32)], axis=1)
    out["encode"]["nf4"] = golden(blocks, x)
    out["decode"]["nf4"] = golden(blocks, bnb.dequantize_4bit(codes, state).numpy())
    print(json.dumps(out, indent=1))


main()
