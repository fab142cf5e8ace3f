# SPDX-License-Identifier: Apache-2.0
"""Writes one model in other formats, by llama.cpp's own quantiser, so that each is what it likes best.

usage: make_formats.py MODEL FOLDER FORMAT...      for example Q4_0 Q8_0 BF16 F16 F32

Prints one line of JSON, format -> path; the format of MODEL itself comes first and is MODEL. Files
lie in FOLDER under the model's hash and are kept. The others are made from F32 where that is asked for.
"""

import collections
import ctypes
import hashlib
import json
import os
import pathlib
import sys

import gguf
import llama_cpp as api


def hash_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def main_format(path):
    """The format of most weights."""
    weights = collections.Counter()
    for tensor in gguf.GGUFReader(path).tensors:
        weights[tensor.tensor_type.name] += int(tensor.n_elements)
    return weights.most_common(1)[0][0]


def quantize(source, target, name):
    settings = api.llama_model_quantize_default_params()
    settings.ftype = api.LLAMA_FTYPE_ALL_F32
    if name != "F32":
        settings.ftype = getattr(api, f"LLAMA_FTYPE_MOSTLY_{name}")
    settings.allow_requantize = True
    part = target.with_suffix(".part")
    print(f"writing {target}", file=sys.stderr, flush=True)
    failed = api.llama_model_quantize(
        str(source).encode(), str(part).encode(), ctypes.byref(settings)
    )
    if failed:
        sys.exit(f"make_formats: {target}: llama_model_quantize failed with {failed}")
    os.replace(part, target)


@api.llama_log_callback
def silent(level, text, data):
    pass


def main(model, folder, *names):
    api.llama_log_set(silent, ctypes.c_void_p(0))
    shipped = main_format(model)
    folder = pathlib.Path(folder) / hash_of(model)
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name}.gguf" for name in names if name != shipped}
    f32 = files.get("F32", model)
    for name in sorted(files, key=lambda name: name != "F32"):  # F32 first
        if not files[name].exists():
            quantize(model if name == "F32" else f32, files[name], name)
    print(json.dumps({shipped: model, **{name: str(path) for name, path in files.items()}}))


if __name__ == "__main__":
    main(*sys.argv[1:])
