# SPDX-License-Identifier: Apache-2.0
"""What the tests of this folder share: runs of the mini-trainer on a tiny task, and what must hold of a
run's folder at every moment.

    bench = Bench(zoq, workshop, folder)
    whole = bench.reference("plain")
    process = bench.start("plain", "out")
    bench.check_folder("out")
"""
import json
import os
import pathlib
import struct
import subprocess

STEPS = 40
# Each has its own kind of state to bring back: none; an optimizer's and an estimator's, and an epsilon
# that is measured; values of other views, many and few.
VARIANTS = {
    "plain": ["--mask", "fisher:text.txt", "--mask-samples", "4", "--mask-length", "16",
              "--density", "0.001", "--layers", "1", "--epsilon", "1e-2",
              "--learning-rate", "1e-2"],
    "state": ["--mask", "random", "--density", "0.01", "--epsilon", "auto", "--estimator", "svrg",
              "--optimizer", "adam", "--learning-rate", "1e-3"],
    "lora": ["--view", "lora:rank=2", "--epsilon", "1e-2", "--learning-rate", "1e-2"],
    "prompt": ["--view", "prompt:rows=1", "--epsilon", "1e-2", "--learning-rate", "1e-2"],
}
FINAL = ["delta.safetensors", "best.safetensors", "checkpoint.safetensors", "trajectory.jsonl"]


class Failed(Exception):
    pass


def need(condition, *what):
    if not condition:
        raise Failed(" ".join(str(w) for w in what))


class Bench:
    def __init__(self, zoq, workshop, folder):
        self.zoq = os.path.abspath(zoq)
        self.folder = pathlib.Path(folder)
        subprocess.run([workshop, str(self.folder)], check=True)

    def command(self, variant, out, more=()):
        return [self.zoq, "finetune", "--model", "model.gguf", "--data", "rows", *VARIANTS[variant],
                "--batch-size", "4", "--steps", str(STEPS), "--eval-every", "10",
                "--checkpoint-every", "4", "--threads", "1", "--out", str(out), *more]

    def start(self, variant, out, more=(), **how):
        how.setdefault("stdout", subprocess.DEVNULL)
        how.setdefault("stderr", subprocess.PIPE)
        return subprocess.Popen(self.command(variant, out, more), cwd=self.folder, text=True, **how)

    def finish(self, variant, out, more=(), code=0, **how):
        """Runs to the end; what it said on standard error."""
        process = self.start(variant, out, more, **how)
        said = process.communicate()[1] or ""
        need(process.returncode == code, "exit code", process.returncode, "wanted", code, said)
        return said

    def reference(self, variant):
        """A run that nothing disturbs: the bytes that every other one must end with."""
        self.finish(variant, "whole-" + variant)
        return self.final("whole-" + variant)

    def final(self, out):
        return {name: (self.folder / out / name).read_bytes() for name in FINAL}

    def contents(self, out):
        return {p.name: p.read_bytes() for p in sorted((self.folder / out).iterdir())}

    def check_folder(self, out):
        """Files are whole at every moment; of those that grow by lines, all lines but a last one that was
        cut. Returns the whole lines of the trajectory."""
        lines = []
        folder = self.folder / out
        if not folder.exists():
            return lines
        for path in folder.iterdir():
            if path.name.endswith(".safetensors"):
                check_safetensors(path)
            elif path.name.endswith(".jsonl"):
                whole = path.read_bytes().split(b"\n")[:-1]
                for line in whole:
                    json.loads(line)
                if path.name == "trajectory.jsonl":
                    lines = whole
        return lines

    def check_metrics(self, out):
        """One line for each step, in order, whatever became of the processes that wrote them."""
        lines = [json.loads(l) for l in (self.folder / out / "metrics.jsonl").open()]
        steps = [l["step"] for l in lines if "loss" in l]
        need(steps == list(range(1, STEPS + 1)), out, "metrics of the steps", steps)
        valid = [l["step"] for l in lines if "valid_loss" in l]
        need(valid == list(range(10, STEPS + 1, 10)), out, "valid measurements at", valid)


def check_safetensors(path):
    data = path.read_bytes()
    need(len(data) >= 8, path, "is cut")
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + size])
    end = max([t["data_offsets"][1] for k, t in header.items() if k != "__metadata__"], default=0)
    need(len(data) == 8 + size + end, path, "has", len(data), "bytes, its header says",
         8 + size + end)
