#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The formats of 4 bits beside one another, with and without values that are kept: a table in Markdown.

    dense_and_sparse.py --model float.gguf --text general.txt --rows test.jsonl --work DIR \\
        --zoq build/release/bin/zoq --model-error build/bench/bin/model_error

The model is one of floats that has a reverse pass (a Llama) and GGUF's order of rows; where only one in 4
bits is at hand, dither.py makes a stand-in. Made once: the Fisher scores of all weights on the text, and the
mask of the thousandth of highest score of each matrix. Then, for each format: bits a weight of the matrices
of linear layers, with 8 bytes for each kept value; the error of their weights, plain and each square times
its score; the error and divergence of the logits (bench/quant/model_error.cpp says of what) on the prompts
of the first rows and on lines of the text; loss and accuracy on rows. `both` keeps the 0.05 % of highest
score and the 0.4 % of largest weights, as SqueezeLLM does (arXiv 2306.07629).

    dense_and_sparse.py --model FOLDER --scores S --mask M --tokens T --work DIR --zoq Z --model-error E

takes the scores, a mask of them, and lines of token numbers as they are, for a model of another family or
without a tokenizer: microbial_gpt2.py makes one. Loss and accuracy are left out then.
"""
import argparse
import json
import pathlib
import subprocess
import sys

# format, mask ("", "fisher" or "both"), whether errors are weighted by the scores
CASES = [
    ("q4_0", "", False),
    ("q4_1", "", False),
    ("nf4", "", False),
    ("lut4", "", False),
    ("q4_1", "fisher", False),
    ("nf4", "fisher", False),
    ("lut4", "fisher", False),
    ("lut4", "fisher", True),
    ("lut4", "both", True),
    ("lut3", "fisher", True),
    ("q5_0", "", False),
]


def run(*command):
    """The last line of what it prints, which is JSON."""
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(done.stderr.decode())
    return json.loads(done.stdout.decode().splitlines()[-1])


def join_masks(first, second, out):
    """The places of both masks, of the same matrices."""
    import numpy
    from safetensors import safe_open
    from safetensors.numpy import save_file

    with safe_open(first, "np") as a, safe_open(second, "np") as b:
        tensors = {
            name: numpy.union1d(a.get_tensor(name), b.get_tensor(name)).astype(numpy.int32)
            for name in a.keys()
        }
        save_file(tensors, out, a.metadata())


def make_masks(given):
    """Scores and the two masks of a Llama, and the texts that are measured: (option, file) pairs."""
    work = given.work
    score = [given.zoq, "mask", "--model", given.model, "--json"]
    fisher = [*score, "--text", given.text, "--samples", given.samples]
    scores, best = work / "scores.safetensors", work / "fisher.safetensors"
    run(*fisher, "--density", 0.001, "--out", best, "--save-scores", scores)
    few, large, both = (work / f"{name}.safetensors" for name in ("few", "large", "both"))
    run(*fisher, "--density", 0.0005, "--out", few)
    run(*score, "--score", "magnitude", "--density", 0.004, "--out", large)
    join_masks(few, large, both)

    rows = given.rows.read_text().splitlines()[: given.eval_rows]
    (work / "rows.jsonl").write_text("\n".join(rows) + "\n")
    prompts = [json.loads(r)["prompt"] for r in rows[: given.lines]]
    (work / "prompts.txt").write_text("\n".join(p.replace("\n", " ") for p in prompts) + "\n")
    lines = [t for t in given.text.read_text().splitlines() if len(t) > 200][-given.lines :]
    (work / "lines.txt").write_text("\n".join(lines) + "\n")
    texts = {"prompts": ("--text", work / "prompts.txt"), "text": ("--text", work / "lines.txt")}
    return scores, {"fisher": best, "both": both}, texts


def print_row(cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--model", "--work", "--zoq", "--model-error"):
        parser.add_argument(name, required=True, type=pathlib.Path)
    for name in ("--text", "--rows", "--scores", "--mask", "--tokens"):
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--samples", default=32, type=int, help="windows of text for the scores")
    parser.add_argument("--lines", default=20, type=int, help="prompts and lines for the logits")
    parser.add_argument("--eval-rows", default=200, type=int, help="rows for loss and accuracy")
    parser.add_argument("--cases", help="only these: q4_1,lut4+fisher,lut4+fisher+weighted")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    if given.tokens:
        scores, masks = given.scores, {"fisher": given.mask}
        texts = {"tokens": ("--tokens", given.tokens)}
    else:
        scores, masks, texts = make_masks(given)

    def task(model, kept):
        """Cells of loss and accuracy."""
        if not given.rows:
            return []
        command = [given.zoq, "eval", "--model", model, "--data", given.work / "rows.jsonl", "--json"]
        done = run(*command, *(["--delta", kept] if kept else []))
        return [f"{done['loss']:.3f}", f"{100 * done['accuracy']:.1f} %"]

    head = ["format", "kept", "fit", "bits", "weights", "weighted"]
    for name in texts:
        head += [f"logits, {name}", "divergence"]
    head += ["loss", "accuracy"] if given.rows else []
    print_row(head)
    print_row(["---"] * len(head))
    if given.rows:
        print_row(["the floats"] + [""] * (len(head) - 3) + task(given.model, None))
    for format_name, mask, weighted in CASES:
        label = "+".join([format_name] + [mask] * bool(mask) + ["weighted"] * weighted)
        if (given.cases and label not in given.cases.split(",")) or (mask and mask not in masks):
            continue
        out = given.work / "new.safetensors"
        kept = pathlib.Path(f"{out}.kept.safetensors") if mask else None
        command = [given.zoq, "quantize", "--model", given.model, "--format", format_name]
        command += ["--out", out, "--force", "--json"]
        command += ["--keep", masks[mask]] if mask else []
        made = run(*command, *(["--importance", scores] if weighted else []))
        kinds = [k for k in made["kinds"].values() if k["to"] == format_name]
        size = sum(k["bytes_after"] + 8 * k["kept"] for k in kinds)
        cells = [format_name, mask, "weighted" if weighted else ""]
        cells.append(f"{8 * size / sum(k['weights'] for k in kinds):.2f}")
        compare = [given.model_error, "--model", given.model, "--new", out, "--importance", scores]
        compare += ["--lines", given.lines] + (["--kept", kept] if mask else [])
        for number, text in enumerate(texts.values()):
            found = run(*compare, *text)
            if number == 0:
                cells += [f"{100 * found[e]:.2f} %" for e in ("weight_error", "weighted_error")]
            cells += [f"{100 * found['logit_error']:.1f} %", f"{found['divergence']:.3f}"]
        print_row(cells + task(out, kept))
        out.unlink()
        if kept:
            kept.unlink()


if __name__ == "__main__":
    main()
