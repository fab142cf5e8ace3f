#!/usr/bin/env python3
"""A model that another program makes shorter while a run reads it: an error that names it, and exit code 1.

    shrink.py --zoq build/test/bin/zoq --seeds build/test/bin/fuzz_replay

A long run is started; once it has taken a step, its model is cut to its first page. The run must then end by
itself, and what it has saved must be whole: with the model as it was, the run goes on.

SPDX-License-Identifier: Apache-2.0
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--zoq", required=True)
    p.add_argument("--seeds", required=True, help="the program fuzz_replay, which makes the files")
    o = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="zoq_shrink_") as base:
        subprocess.run([o.seeds, "--write-models", base], check=True)
        model = pathlib.Path(base, "model.gguf")
        whole = model.read_bytes()
        command = [o.zoq, "finetune", "--model", str(model), "--data", f"{base}/rows", "--mask",
                   f"{base}/mask.safetensors", "--epsilon", "0.01", "--eval-every", "0", "--eval-rows", "0",
                   "--checkpoint-every", "5", "--steps", "100000000", "--out", f"{base}/run"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        trajectory = pathlib.Path(base, "run/trajectory.jsonl")
        while process.poll() is None and not (trajectory.exists() and
                                              trajectory.read_bytes().count(b"\n") > 3):
            time.sleep(0.01)
        os.truncate(model, 4096)
        _, said = process.communicate(timeout=300)
        last = said.decode(errors="replace").strip().split("\n")[-1]
        if process.returncode != 1 or str(model) not in last or "shorter" not in last:
            print(f"exit code {process.returncode}, said: {last}", file=sys.stderr)
            return 1
        model.write_bytes(whole)
        process = subprocess.Popen([*command, "--resume"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        taken = trajectory.read_bytes().count(b"\n")
        while process.poll() is None and trajectory.read_bytes().count(b"\n") <= taken + 3:
            time.sleep(0.01)
        process.terminate()
        _, said = process.communicate(timeout=300)
        if process.returncode != 128 + 15:
            print(f"resumed: exit code {process.returncode}, {said.decode(errors='replace')}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
