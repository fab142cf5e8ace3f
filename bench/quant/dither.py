#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a model of floats from one in Q4_1: floats that Q4_1 would round to that very model.

    zoq quantize --model q4_1.gguf --format f32 --out float.gguf
    dither.py q4_1.gguf float.gguf          # changes float.gguf in place; needs numpy and gguf

Each weight of a block of step d moves by a number drawn from -d/2 to d/2; those of the lowest and highest
code move inward only, and the first of each not at all, so that the block's range stays. This is synthetic:
where the lost floats lay within their steps nobody knows. It serves to compare formats where a real model
is at hand in 4 bits alone.
"""
import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader


def noise(blocks, draw):
    """Of Q4_1 blocks, u8 [O, n, 20]: f32 [O, n, 32]."""
    step = blocks[..., :2].copy().view(np.float16).astype(np.float32)
    code = np.concatenate([blocks[..., 4:] & 15, blocks[..., 4:] >> 4], axis=-1)
    out = draw.random(code.shape, dtype=np.float32) - np.float32(0.5)
    for end, sign in ((0, 1), (15, -1)):
        at = code == end
        out[at] = sign * np.abs(out[at])
        first = at & (np.cumsum(at, axis=-1) == 1)
        out[first] = 0
    return out * step


def main(quantised, floats):
    source = {t.name: t for t in GGUFReader(quantised).tensors}
    draw = np.random.default_rng(0)
    changed = 0
    for t in GGUFReader(floats, "r+").tensors:
        old = source[t.name]
        if old.tensor_type == GGMLQuantizationType.Q4_1:
            assert t.tensor_type == GGMLQuantizationType.F32, t.name
            rows = old.data.shape[0]
            t.data[:] += noise(old.data.reshape(rows, -1, 20), draw).reshape(rows, -1)
            changed += 1
    print(f"{floats}: {changed} matrices")


if __name__ == "__main__":
    main(*sys.argv[1:])
