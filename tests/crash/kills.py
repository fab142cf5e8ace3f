# SPDX-License-Identifier: Apache-2.0
"""Kills tunings at random moments and resumes them: the result is that of a run that nothing disturbed.

    kills.py ZOQ WORKSHOP [--kills 20] [--seed 1]

A moment is a time, a number of recorded steps, or a file that is being written: so start, steps, saving
and resuming are all hit. After each kill all files are whole and no recorded step is lost; at the end the
values, the record and the best values are those of the undisturbed run, byte for byte.
"""
import argparse
import collections
import random
import shutil
import signal
import sys
import tempfile
import time

from bench import STEPS, VARIANTS, Bench, Failed, need


def whole_lines(path):
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


def kill_at(bench, process, out, how, moment):
    """Waits for the moment, then kills; false when the process had ended."""
    folder = bench.folder / out
    began = time.monotonic()
    parts = set()
    while process.poll() is None:
        if how == "time" and time.monotonic() - began >= moment:
            break
        if how == "steps" and whole_lines(folder / "trajectory.jsonl") > moment:
            break
        if how == "saving":
            try:
                parts.update(p.name for p in folder.iterdir() if p.name.endswith(".part"))
            except OSError:
                pass
            if len(parts) >= moment:
                break
        time.sleep(0.0002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("zoq")
    parser.add_argument("workshop")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    hits = collections.Counter()
    runs = 0
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.zoq, options.workshop, folder)
        wanted, seconds = {}, {}
        for variant in VARIANTS:
            began = time.monotonic()
            wanted[variant] = bench.reference(variant)
            seconds[variant] = time.monotonic() - began
        while sum(hits.values()) < options.kills:
            variant = list(VARIANTS)[runs % len(VARIANTS)]
            out = f"run-{runs}"
            runs += 1
            recorded = []
            for _ in range(chance.randint(1, 4)):
                how = chance.choice(["time", "steps", "saving"])
                moment = {"time": chance.uniform(0, seconds[variant]),
                          "steps": len(recorded) + chance.randint(0, STEPS // 2),
                          "saving": chance.randint(1, 12)}[how]
                process = bench.start(variant, out, ["--resume"])
                if not kill_at(bench, process, out, how, moment):
                    need(process.returncode == 0, out, "ended with", process.returncode)
                    break
                hits[how] += 1
                lines = bench.check_folder(out)
                # The first line is written with the checkpoint's folder: before it nothing was done.
                need(lines[:len(recorded)] == recorded, out, "lost recorded steps:", len(recorded),
                     "lines before,", len(lines), "after a kill")
                has_checkpoint = (bench.folder / out / "checkpoint.safetensors").exists()
                recorded = lines if has_checkpoint else []
            bench.finish(variant, out, ["--resume"])
            got = bench.final(out)
            for name in wanted[variant]:
                need(got[name] == wanted[variant][name], out, variant, name, "differs")
            bench.check_metrics(out)
            left = [p.name for p in (bench.folder / out).iterdir() if p.name.endswith(".part")]
            need(not left, out, "left behind:", left)
            shutil.rmtree(bench.folder / out)
    print(f"{sum(hits.values())} kills in {runs} runs ({dict(hits)}): "
          f"{runs} times the same bytes")


if __name__ == "__main__":
    try:
        main()
    except Failed as e:
        sys.exit(f"kills: {e}")
