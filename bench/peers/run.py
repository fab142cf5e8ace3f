#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs zoq and other engines in turn on the same model, tokens and threads, and prints their ratios.

Progress goes to standard error, the table to standard output. README.md says what is measured.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import prepare
import table
from prepare import HERE, say

FORMATS = ["Q4_0", "Q8_0", "BF16", "F16", "F32"]
METHODS = {"mezo": "MeZO, all weights", "sparse": "sparse 0.1 %", "tuned": "sparse, tuned loop"}
DTYPES = {"float32": "f32", "bfloat16": "bf16"}
# How far a log-likelihood may lie from zoq's own in f32, at most over all rows. llama.cpp keeps keys
# and values in 16 bits and rounds inputs to 8 bits in its quantised formats; Q4_0 has other weights.
BOUNDS = {
    **{"zoq f32": 1e-3, "zoq bf16": 0.2, "zoq i8": 1.0},
    **{"PyTorch f32": 1e-3, "PyTorch bf16": 0.5},
    **{"llama.cpp F32": 0.02, "llama.cpp F16": 0.05, "llama.cpp BF16": 0.3},
    **{"llama.cpp Q8_0": 0.5, "llama.cpp Q4_1": 1.0, "llama.cpp Q4_0": 4.0},
}


class Peer:
    """A process that answers commands, one line of JSON each."""

    def __init__(self, name, words, threads):
        self.name = name
        self.process = subprocess.Popen(
            [str(word) for word in words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )

    def ask(self, **command):
        try:
            print(json.dumps(command), file=self.process.stdin, flush=True)
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            sys.exit(f"run.py: {self.name} ended without an answer to {command}")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


@dataclasses.dataclass
class Measurement:
    """One engine at one task, over all rounds."""

    what: str  # the task, as in the table
    who: str  # the engine
    peer: Peer
    command: dict
    note: str = ""
    seconds: list = dataclasses.field(default_factory=list)  # one a round
    peak_bytes: int = 0
    first: dict = None  # the answer to the first time, which is not counted

    def take(self, counted, **more):
        answer = self.peer.ask(**self.command, **more)
        if not (counted and self.note):  # llama.cpp's later peaks are those of two contexts
            self.peak_bytes = max(self.peak_bytes, answer["peak_bytes"])
        if counted:
            self.seconds.append(answer["seconds"])
        else:
            self.first = answer
        what = f"{self.who}, {self.note}" if self.note else self.who
        say(f"  {self.what}: {what}: {answer['seconds']:.3f} s")


def in_turn(measurements, rounds, **by_round):
    """Once uncounted, then `rounds` times: all engines of a task one after another, every other
    time in reverse. by_round: members of the command that are lists, one value a round."""
    say("first time, not counted")
    for m in sorted(measurements, key=lambda m: m.note == "joint"):
        m.take(False, **{key: values[0] for key, values in by_round.items()})
    tasks = {}
    for m in measurements:
        tasks.setdefault(m.what, []).append(m)
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for task in tasks.values():
            for m in reversed(task) if number % 2 else task:
                m.take(True, **{key: values[number] for key, values in by_round.items()})


class Comparison:
    def __init__(self, options, python, avx2_python, zoq, files, rows):
        self.options, self.python, self.avx2_python = options, python, avx2_python
        self.zoq, self.files, self.rows = zoq, files, rows
        self.computes = json.loads(subprocess.check_output([zoq, "--list"]))
        self.measurements = []
        self.scores = {}  # engine -> {set of rows: log p of every row}
        self.losses = {}  # engine -> loss of every row of the first batch

    def start(self, engine, *words):
        return Peer(engine, words, self.options.threads)

    def zoq_peer(self, compute, kernels=()):
        how = ("--rows", self.rows, "--threads", self.options.threads, "--compute", compute)
        return self.start(f"zoq {compute}", self.zoq, "--model", self.options.model, *how, *kernels)

    def llama_peer(self, python, name):
        script = HERE / "llama_peer.py"
        words = (script, self.files[name], self.rows, self.options.threads)
        return self.start(f"llama.cpp {name}", python, *words)

    def torch_peer(self, dtype):
        words = (self.options.model, self.rows, self.options.threads, dtype)
        return self.start(f"PyTorch {DTYPES[dtype]}", self.python, HERE / "torch_peer.py", *words)

    def prompts(self, what, engines):
        """Tokens a second of prompts. engines: [(name, peer)], zoq's among them."""
        found = []
        for length in self.options.lengths:
            for name, peer in engines:
                modes = [{}]
                if name.startswith("llama"):  # it may take rows one by one or several in a batch
                    room = min(512, self.options.tokens)
                    modes = [{"mode": "single"}] + [{"mode": "joint"}] * (2 * length <= room)
                for mode in modes:
                    command = {"do": "prompt", "set": str(length), **mode}
                    task = f"{what}, rows of {length} tokens"
                    found.append(Measurement(task, name, peer, command, mode.get("mode", "")))
        in_turn(found, self.options.rounds)
        for m in found:
            self.scores.setdefault(m.who, {})[m.command["set"]] = m.first["scores"]
        self.measurements += found
        for _, peer in engines:
            peer.close()

    def prompt_phase(self):
        engines = [(f"zoq {c}", self.zoq_peer(c)) for c in self.computes]
        engines += [(f"llama.cpp {n}", self.llama_peer(self.python, n)) for n in self.files]
        self.prompts("prompt", engines)

    def avx2_phase(self):
        kernels = ("--kernels", "avx2")
        engines = [(f"zoq {c} avx2", self.zoq_peer(c, kernels)) for c in self.computes]
        shipped = next(iter(self.files))
        engines.append((f"llama.cpp {shipped} avx2", self.llama_peer(self.avx2_python, shipped)))
        self.prompts("prompt with AVX2 only", engines)

    def step_phase(self):
        """Seconds of a step: batch r of the data in round r."""
        task = f"ZO step, {self.options.batch_size} rows"
        found, peers = [], {}
        for compute in self.computes:
            name = f"zoq {compute}"
            peers[name] = self.zoq_peer(compute)
            found.append(Measurement(task, name, peers[name], {"do": "step"}))
        for dtype, compute in DTYPES.items():
            name = f"PyTorch {compute}"
            peers[name] = self.torch_peer(dtype)
            for method, text in METHODS.items():
                command = {"do": "step", "method": method}
                found.append(Measurement(task, f"{name}, {text}", peers[name], command))
        in_turn(found, self.options.rounds, batch=list(range(self.options.rounds)))
        self.measurements += found
        for name, peer in peers.items():
            peer.close()

    def references(self):
        """Log-likelihoods and losses at the unchanged weights of zoq in f32 and of PyTorch, in
        processes of their own, so that they count in no peak."""
        peers = [self.zoq_peer("f32")] + [self.torch_peer(dtype) for dtype in DTYPES]
        for peer in peers:
            sets = [str(length) for length in self.options.lengths]
            self.scores[peer.name] = {s: peer.ask(do="prompt", set=s)["scores"] for s in sets}
            self.losses[peer.name] = peer.ask(do="losses", batch=0)["losses"]
            peer.close()

    def agreement(self):
        """How far every engine's log-likelihoods and losses lie from zoq's in f32."""
        out = []
        for kind, found in (("log p", self.scores), ("loss", self.losses)):
            for who, values in found.items():
                own, reference = flat(values), flat(found["zoq f32"])
                apart = [abs(a - b) for a, b in zip(own, reference, strict=True)]
                largest = max(apart, key=lambda d: (d != d, d))  # NaN is the largest
                bound = BOUNDS.get(who.removesuffix(" avx2"), 4.0)
                if who != "zoq f32":
                    out.append({"who": who, "of": kind, "largest": largest, "bound": bound})
        return out


def flat(values):
    return sum(values.values(), []) if isinstance(values, dict) else values


def arguments():
    parser = argparse.ArgumentParser(prog="run.sh", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", help="a GGUF file of a Llama model (default: the quick start's, fetched)")
    add("--data", help='JSONL rows with "choices" (default: the quick start\'s movie rows)')
    add("--venv", help="a virtual environment that has the peers (default: made under --work)")
    add("--build", help="a build folder that has zoq_peer (default: built by the preset bench)")
    add("--work", default=str(prepare.ROOT / "build" / "peers"), help="what is kept between runs")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add("--rounds", type=int, default=5)
    add("--lengths", default="64,128,512", help="tokens of a row, in the prompt task")
    add("--tokens", type=int, default=1024, help="tokens of all rows of one length")
    add("--batch-size", type=int, default=16, help="rows of a step")
    add("--only", choices=["prompt", "step", "avx2"], help="one part of the comparison")
    add("--avx2", action="store_true", help="also llama.cpp built for AVX2 against zoq's kernels")
    add("--venv-avx2", help="a virtual environment that has such a llama.cpp")
    add("--json", action="store_true", help="one line of JSON; the table goes to standard error")
    options = parser.parse_args()
    options.lengths = [int(length) for length in options.lengths.split(",")]
    options.avx2 = options.avx2 or options.only == "avx2" or options.venv_avx2 is not None
    if (options.model is None) != (options.data is None):
        parser.error("--model and --data go together")
    if min(*options.lengths, options.threads, options.rounds, options.batch_size) < 1:
        parser.error("--threads, --rounds, --lengths and --batch-size must be positive")
    return options


def about(options, python, avx2_python):
    """The machine and the versions."""
    with open("/proc/cpuinfo") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    out = {"cpu": names[0] if names else "unknown", "threads": options.threads}
    out["rounds"] = options.rounds
    for script in ("llama_peer.py", "torch_peer.py"):
        out.update(json.loads(subprocess.check_output([python, HERE / script, "--about"])))
    if avx2_python:
        script = HERE / "llama_peer.py"
        avx2 = json.loads(subprocess.check_output([avx2_python, script, "--about"]))
        if "AVX512" in avx2["flags"]:
            sys.exit(f"run.py: {avx2_python} has a llama.cpp with AVX-512: {avx2['flags']}")
        out["flags_avx2"] = avx2["flags"]
    return out


def main():
    options = arguments()
    work = pathlib.Path(options.work)
    work.mkdir(parents=True, exist_ok=True)
    python = pathlib.Path(options.venv or work / "venv") / "bin" / "python"
    if options.venv is None:
        prepare.environment(work / "venv")
    avx2_python = None
    if options.avx2:
        avx2_python = pathlib.Path(options.venv_avx2 or work / "venv-avx2") / "bin" / "python"
        if options.venv_avx2 is None:
            prepare.environment(work / "venv-avx2", avx2_only=True)
    zoq = prepare.zoq_program(options.build)
    if options.model is None:
        options.model, options.data = prepare.model_and_data(work)
    machine = about(options, python, avx2_python)

    words = [python, HERE / "make_formats.py", options.model, work / "formats", *FORMATS]
    files = json.loads(subprocess.check_output(words))
    rows = work / "rows.json"
    settings = {key: getattr(options, key) for key in ("lengths", "tokens", "batch_size")}
    settings["batches"] = options.rounds
    words = [HERE / "llama_peer.py", "--rows", options.model, options.data, rows]
    prepare.command(python, *words, json.dumps(settings))
    if os.getloadavg()[0] > 0.5:
        say(f"the machine is busy (load {os.getloadavg()[0]:.1f}): figures will be off")

    run = Comparison(options, python, avx2_python, zoq, files, rows)
    run.references()
    if options.only in (None, "prompt"):
        run.prompt_phase()
    if options.only in (None, "step"):
        run.step_phase()
    if options.avx2 and options.only in (None, "avx2"):
        run.avx2_phase()
    agreement = run.agreement()
    result = table.rows_of(run.measurements, options.tokens, next(iter(files)))
    text = table.markdown(machine, result, agreement, run.computes)
    print(text, file=sys.stderr if options.json else sys.stdout)
    if options.json:
        print(json.dumps({"machine": machine, "rows": result, "agreement": agreement}))
    wrong = [f"{a['who']} {a['of']}" for a in agreement if not a["largest"] <= a["bound"]]
    if wrong:
        sys.exit(f"run.py: the engines do not agree: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
