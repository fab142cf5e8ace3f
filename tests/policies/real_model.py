#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every policy that `zoq policies` lists, through `zoq finetune` on the quick start's model.

    real_model.py ZOQ DATA WORK [--only TEXT] [--threads N]

DATA is what scripts/fetch.py made: model.gguf, general.txt, movies/*.jsonl. WORK gets rows, the model in other
formats (some 2 GB) and a folder for each run. --only takes the cases whose names hold TEXT: "optimizer", "mask/neuron".

A case is two steps with two rows, all else as it is by default. Then the run is resumed, which measures it again,
`zoq eval --delta` measures it once more, and `zoq replay` makes its values again from the record: all must agree to
the last digit, and all losses be finite. A format is first written by `zoq quantize` from the model in bf16. What is
refused must be refused with the reason that stands in REFUSED, and there alone. Prints a line for each case, and ends
with 1 if any is not as it should be. Not part of the tests, which have no model: an hour on one core.
"""

import argparse
import json
import math
import re
import subprocess
import sys
import time
from pathlib import Path

ROWS = 4  # of test and valid; 16 times as many of train

# Case, then the reason that the message must name.
REFUSED = {
    "view/dense": "dense: .* need a model in f32",  # this one is packed: see view/dense on bf16
    "direction/lozo": "lozo needs matrices",  # and a mask has none: see direction/lozo with lora
    "direction/subzero": "subzero needs matrices",
    "format/q4_k": "256",  # columns of a block; the model has rows of 576
    "format/q5_k": "256",
    "format/q6_k": "256",
}

# Of scores that take forward passes for every matrix, and of others.
FEW_SAMPLES = ["--mask-samples", "1", "--mask-length", "4", "--score-settings", "probes=2"]
SAMPLES = ["--mask-samples", "2", "--mask-length", "32"]
MASKS = {
    "fisher": ["--mask", "fisher:{text}", *SAMPLES],
    "fisher-task": ["--mask", "fisher-task", "--mask-samples", "2"],
    "loss-sensitivity": ["--mask", "loss-sensitivity:{text}", *SAMPLES],
    "neuron": ["--mask", "neuron:{text}", "--scope", "global", *SAMPLES],
    "hessian-trace": ["--mask", "hessian-trace:{text}", *FEW_SAMPLES],
    "forward-curvature": ["--mask", "forward-curvature:{text}", *FEW_SAMPLES],
}
OBJECTIVES = {  # the rows that each is for
    "option_likelihood": ["choices"],
    "next_token": ["completion", "text"],
    "accuracy": ["choices"],
    "exact_match": ["completion"],
    "f1": ["completion"],
    "dpo": ["preference"],
}


class fault(Exception):
    """What is wrong with a case."""


class refusal(fault):
    """What zoq said when it refused: a line, with code 1 or 2."""


def rows_of_kinds(data, work):
    """Folders of rows of every kind, made from the shortest movie rows."""
    for kind in ("choices", "completion", "preference", "text"):
        folder = work / "rows" / kind
        folder.mkdir(parents=True, exist_ok=True)
        for part, most in (("train", 16 * ROWS), ("valid", ROWS), ("test", ROWS)):
            lines = (data / "movies" / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()
            lines = sorted(lines, key=len)[:most]
            with open(folder / f"{part}.jsonl", "w", encoding="utf-8") as out:
                for row in map(json.loads, lines):
                    right, wrong = row["choices"][row["answer"]], row["choices"][1 - row["answer"]]
                    made = {
                        "choices": row,
                        "completion": {"prompt": row["prompt"], "completion": right},
                        "preference": {"prompt": row["prompt"], "chosen": right, "rejected": wrong},
                        "text": {"text": row["prompt"] + right},
                    }[kind]
                    out.write(json.dumps(made) + "\n")


class programs:
    """Calls of zoq; `more` are options of those that run a model."""

    def __init__(self, zoq, more):
        self.zoq, self.more = zoq, more

    def result(self, command, *args, runs_model=True):
        """The JSON of a call that must succeed."""
        more = self.more if runs_model else []
        done = subprocess.run(
            [self.zoq, command, *map(str, args), *more, "--json"], text=True, capture_output=True
        )
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line.startswith("zoq ")]
            if done.returncode in (1, 2) and said:
                raise refusal(f"{said[-1]} (code {done.returncode})")
            raise fault(f"zoq {command} ended with {done.returncode}: {done.stderr[-300:]!r}")
        return json.loads(done.stdout.splitlines()[-1])


def finite_losses(run):
    """How many losses a run recorded; all must be finite."""
    steps = [json.loads(line)["losses"] for line in (run / "trajectory.jsonl").read_text().splitlines()[1:]]
    if len(steps) != 2:
        raise fault(f"{len(steps)} steps are recorded, wanted 2")
    losses = [loss for step in steps for loss in step]
    if not all(isinstance(loss, (int, float)) and math.isfinite(loss) for loss in losses):
        raise fault(f"losses are {losses}")
    return len(losses)


def tuned(run, zoq, model, rows, options):
    """Two steps, resumed, measured and replayed: what to print of them."""
    data = ["--model", model, "--data", rows]
    tune = ["finetune", *data, "--steps", 2, "--batch-size", 2, "--eval-rows", ROWS, "--out", run, *options]
    first = zoq.result(*tune, "--force")
    again = zoq.result(*tune, "--resume")
    count = finite_losses(run)
    if first["trainable"] <= 0 or not math.isfinite(first["loss_after"]):
        raise fault(f"{first['trainable']} values, loss {first['loss_after']}")
    if again["loss_after"] != first["loss_after"] or again["evaluations"] != 0:
        raise fault(f"resumed: loss {again['loss_after']} after {again['evaluations']} evaluations, "
                    f"the run had {first['loss_after']}")  # fmt: skip
    settings = json.loads((run / "trajectory.jsonl").read_text().splitlines()[0])
    delta = run / "delta.safetensors"
    measured = zoq.result("eval", *data, "--delta", delta, "--compute", settings["compute"],
                          "--objective", settings["objective"])  # fmt: skip
    if measured["loss"] != first["loss_after"]:
        raise fault(f"eval has loss {measured['loss']}, the run {first['loss_after']}")
    replayed = run.parent / (run.name + ".again.safetensors")
    zoq.result("replay", "--run", run, "--out", replayed, "--model", model, runs_model=False)
    same = replayed.read_bytes() == delta.read_bytes()
    replayed.unlink()
    if not same:
        raise fault("replay made other values")
    return f"k {first['trainable']}, {count} losses, {first['loss_before']:.5f} -> {first['loss_after']:.5f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoq")
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--threads", default="0")
    asked = parser.parse_args()
    data, work = asked.data.resolve(), asked.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    zoq = programs(asked.zoq, ["--threads", asked.threads])
    packed, text = data / "model.gguf", data / "general.txt"
    rows_of_kinds(data, work)

    def written(name):
        """The model in another format, from its bf16."""
        source = packed if name == "bf16" else written("bf16")
        out = work / f"{name}.{'safetensors' if name in ('nf4', 'lut4', 'lut3') else 'gguf'}"
        if not out.exists():
            wanted = ["--embedding-format", "bf16"] if name == "bf16" else []
            zoq.result("quantize", "--model", source, "--format", name, *wanted, "--out", out, runs_model=False)
        return out

    places_file = work / "places.safetensors"
    if not places_file.exists():
        zoq.result("mask", "--model", packed, "--score", "random", "--out", places_file)
    places = ["--mask", places_file]
    cases = []  # name, options, rows, and what makes the path of the model

    def add(name, options, rows="choices", model=lambda: packed):
        cases.append((name, options, rows, model))

    listed = zoq.result("policies", runs_model=False)
    for name in (p["name"] for p in listed["estimator"]):
        add(f"estimator/{name}", ["--estimator", name, *places])
    for name in (p["name"] for p in listed["direction"]):
        add(f"direction/{name}", ["--direction", name, *places])
        if f"direction/{name}" in REFUSED:
            add(f"direction/{name} with lora", ["--direction", name, "--view", "lora"])
    for name in (p["name"] for p in listed["view"]):
        add(f"view/{name}", ["--view", name, *(places if name in ("sparse", "hybrid") else [])])
        if f"view/{name}" in REFUSED:
            add(f"view/{name} on bf16", ["--view", name], model=lambda: written("bf16"))
    for name in (p["name"] for p in listed["mask"]):
        add(f"mask/{name}", [option.format(text=text) for option in MASKS.get(name, ["--mask", name])])
    for slot in ("optimizer", "schedule"):
        for name in (p["name"] for p in listed[slot]):
            add(f"{slot}/{name}", [f"--{slot}", name, *places])
    for name in (p["name"] for p in listed["objective"]):
        for rows in OBJECTIVES.get(name, ["choices"]):
            add(f"objective/{name} of {rows}", ["--objective", name, *places], rows)
    for name in (p["name"] for p in listed["format"]):
        add(f"format/{name}", ["--mask", "random"], model=lambda name=name: written(name))

    wrong = 0
    for name, options, rows, model in cases:
        if asked.only not in name:
            continue
        start = time.monotonic()
        reason = REFUSED.get(name)
        try:
            run = work / "runs" / re.sub(r"[/ ]", "-", name)
            run.parent.mkdir(exist_ok=True)
            try:
                said = tuned(run, zoq, model(), work / "rows" / rows, options)
            except refusal as e:
                if reason is None or not re.search(reason, str(e)):
                    raise
                said = f"refused: {e}"
            else:
                if reason is not None:
                    raise fault(f"it runs, and should be refused for: {reason}")
        except fault as e:
            said, wrong = f"WRONG: {e}", wrong + 1
        print(f"{name:34} {time.monotonic() - start:6.0f} s  {said}", flush=True)
    print(f"{wrong} of the cases are wrong" if wrong else "all as they should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
