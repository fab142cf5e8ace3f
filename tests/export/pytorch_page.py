# SPDX-License-Identifier: Apache-2.0
"""Runs the Python of docs/how-to/pytorch.md and export.md on a tiny model, against zoq's own logits.

usage: pytorch_page.py ZOQ ROOT [MODEL RUN]

ZOQ is the program. Without MODEL and RUN, a Llama of two layers is made, quantised and tuned for a few
steps; with them, the blocks run on that model and on the delta, mask and trajectory in the folder RUN. Every
block after a line <!-- run ... --> runs in a folder that has what the page speaks of, and the logits of the
variable `model` must be zoq's within 1e-3. Ends with 77 where torch, transformers or safetensors is missing;
blocks that need PEFT are left out, with a line that says so, where it is missing.
"""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

BLOCK = re.compile(r"^<!-- run ?([^\n]*?) -->\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEXT = "It was a fine film, and"
WITHIN = 1e-3


def zoq(*arguments):
    done = subprocess.run([ZOQ, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"zoq {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def byte_letters():
    """The letters of byte-level vocabularies: printable bytes stand for themselves."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return [chr(b) if b in plain else chr(256 + others.index(b)) for b in range(256)]


def make_tiny(folder):
    """A Llama of two layers with a tokenizer of single bytes, quantised, and a short run."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 256,
             "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
             "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 0}  # fmt: skip
    LlamaForCausalLM(LlamaConfig(**sizes, initializer_range=0.2)).save_pretrained(folder / "hf")
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    vocabulary = {letter: n for n, letter in enumerate(byte_letters())}
    words = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": level,
             "post_processor": None, "decoder": level,
             "model": {"type": "BPE", "vocab": vocabulary, "merges": []}}  # fmt: skip
    (folder / "hf" / "tokenizer.json").write_text(json.dumps(words))
    zoq("quantize", "--model", folder / "hf", "--format", "q4_1", "--out", folder / "model.gguf")
    rows = [{"text": f"row {n} of some text that is not long"} for n in range(16)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (folder / "data").mkdir()
    for part in ("train", "valid", "test"):
        (folder / "data" / f"{part}.jsonl").write_text((folder / "rows.jsonl").read_text())
    zoq("finetune", "--model", folder / "model.gguf", "--data", folder / "data", "--mask", "magnitude",
        "--density", "0.02", "--steps", "3", "--learning-rate", "0.05", "--out", folder / "run")


def logits_of_zoq(model, delta):
    arguments = ["--model", model, "--text", TEXT, "--json", "--top", 1 << 20]
    line = json.loads(zoq("inspect", *arguments, *(["--delta", delta] if delta else [])))
    out = [0.0] * len(line["top"])
    for entry in line["top"]:
        out[entry["id"]] = entry["logit"]
    return line["tokens"], out


def main():
    missing = [m for m in ("torch", "transformers", "safetensors") if not importlib.util.find_spec(m)]
    if missing:
        print("skipped: there is no", ", ".join(missing))
        return 77
    import torch

    root = pathlib.Path(sys.argv[2]).resolve()
    pages = [(page, kind, code) for page in ("pytorch.md", "export.md")
             for kind, code in BLOCK.findall((root / "docs/how-to" / page).read_text(encoding="utf-8"))]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if len(sys.argv) > 4:
            (folder / "model.gguf").symlink_to(pathlib.Path(sys.argv[3]).resolve())
            (folder / "run").symlink_to(pathlib.Path(sys.argv[4]).resolve())
        else:
            make_tiny(folder)
        model, delta = folder / "model.gguf", folder / "run" / "delta.safetensors"
        zoq("export", "--model", model, "--to", "safetensors", "--out", folder / "base")
        zoq("export", "--model", model, "--delta", delta, "--to", "safetensors", "--out", folder / "tuned")
        zoq("export", "--model", model, "--delta", delta, "--to", "peft", "--out", folder / "adapter")
        tokens, wanted = logits_of_zoq(model, delta)
        _, base = logits_of_zoq(model, None)
        moved = max(abs(a - b) for a, b in zip(wanted, base))
        print(f"the delta moves logits by up to {moved:.3g}")
        os.chdir(folder)
        worst = 0.0
        for page, kind, code in pages:
            if "peft" in code and not importlib.util.find_spec("peft"):
                print(f"{page}: the block \"{kind}\" is left out: there is no peft")
                continue
            names = {}
            exec(compile(code, page, "exec"), names)  # noqa: S102: the page's own code
            if "model" in names:
                with torch.no_grad():
                    found = names["model"](torch.tensor([tokens])).logits[0, -1].tolist()
                error = max(abs(a - b) for a, b in zip(found, wanted))
                worst = max(worst, error)
                print(f"{page}: \"{kind or 'delta'}\": the largest difference of {len(wanted)} logits is {error:.3g}")
            if "tokenizer" in names:
                ids = names["tokenizer"](TEXT)["input_ids"]
                if ids != tokens:
                    sys.exit(f"{page}: the tokenizer makes {ids} of the text, zoq {tokens}")
            if "steps" in names and not (names["places"] and names["slopes"]):
                sys.exit(f"{page}: no places or no slopes")
        os.chdir(root)
        if not worst < min(WITHIN, moved / 10):
            sys.exit(f"the logits differ by {worst}, wanted less than {WITHIN} and a tenth of {moved}")
    return 0


if __name__ == "__main__":
    ZOQ = str(pathlib.Path(sys.argv[1]).resolve())
    sys.exit(main())
