#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""zoq-mpi by several processes: the files of a run by one, to the bit; killed and stopped runs go on.

    runs.py ZOQ ZOQ_MPI WORKSHOP MPIRUN        WORKSHOP writes a tiny model, rows and a text into a folder

A run's trajectory, delta, best values and checkpoint are compared with those of `zoq finetune`. One of three processes
is killed in the middle of a run, which ends with an error, and two go on; four are stopped by SIGINT, and `zoq`
alone goes on.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

FILES = ("trajectory.jsonl", "delta.safetensors", "best.safetensors", "checkpoint.safetensors", "mask.safetensors")
ENVIRONMENT = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                            "OMPI_MCA_rmaps_base_oversubscribe": "1"}  # fmt: skip


class workshop:
    def __init__(self, folder, zoq, zoq_mpi, make, mpirun):
        self.at, self.zoq, self.zoq_mpi, self.mpirun = pathlib.Path(folder), zoq, zoq_mpi, mpirun
        self.environment = ENVIRONMENT | {"TMPDIR": folder}  # what killed processes leave goes with it
        subprocess.run([make, folder], check=True)

    def options(self, out, more):
        given = {"--model": self.at / "model.gguf", "--data": self.at / "rows", "--mask": f"fisher:{self.at / 'text.txt'}",
                 "--density": 0.01, "--mask-samples": 4, "--mask-length": 16, "--epsilon": 0.01, "--learning-rate": 0.01,
                 "--batch-size": 6, "--steps": 60, "--eval-every": 20, "--checkpoint-every": 15, "--threads": 1,
                 "--out": self.at / out} | more  # fmt: skip
        return ["finetune", "--json", *(part for option in given.items() for part in option if part is not None)]

    def command(self, processes, out, more):
        program = [self.zoq] if processes == 0 else [self.mpirun, "-n", str(processes), self.zoq_mpi]
        return list(map(str, program + self.options(out, more)))

    def run(self, processes, out, more={}):
        """By so many processes, 0: without MPI."""
        return subprocess.run(self.command(processes, out, more), env=self.environment, capture_output=True, text=True,
                              check=False, timeout=240)  # fmt: skip

    def start(self, processes, out, more):
        return subprocess.Popen(self.command(processes, out, more), env=self.environment, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)  # fmt: skip

    def wait_for_steps(self, out, steps):
        for _ in range(6000):
            path = self.at / out / "metrics.jsonl"
            if path.exists() and path.read_text().count("\n") >= steps:
                return
            time.sleep(0.01)
        raise AssertionError(f"{out}: no {steps} steps after a minute")

    def require_same(self, out, as_out):
        for name in FILES:
            assert (self.at / out / name).read_bytes() == (self.at / as_out / name).read_bytes(), (out, name)


def process_of(rank, out):
    """The process of a rank that writes into this folder."""
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if (f"OMPI_COMM_WORLD_RANK={rank}\0".encode() in (entry / "environ").read_bytes()
                    and os.fsencode(out) in (entry / "cmdline").read_bytes()):  # fmt: skip
                return int(entry.name)
        except OSError:
            pass
    raise AssertionError(f"no process of rank {rank}")


def main():
    version = subprocess.run([sys.argv[4], "--version"], capture_output=True, text=True, check=False).stdout
    if not any(name in version for name in ("Open MPI", "OpenRTE")):
        return 77  # it finds a process by what Open MPI tells it
    with tempfile.TemporaryDirectory() as folder:
        w = workshop(folder, *sys.argv[1:])
        long = {"--steps": 300, "--eval-every": 150}
        resumed = long | {"--resume": None}
        for out, more in (("one", {}), ("long", long)):
            alone = w.run(0, out, more)
            assert alone.returncode == 0, alone.stderr
            told = json.loads(alone.stdout.splitlines()[-1]) if out == "one" else told
        for processes in (1, 2, 4):
            done = w.run(processes, f"of-{processes}")
            assert done.returncode == 0, done.stderr
            w.require_same(f"of-{processes}", "one")
            now = json.loads(done.stdout)  # one line, by one process
            for key in ("accuracy_before", "accuracy_after", "loss_before", "loss_after", "best_valid_step"):
                assert now[key] == told[key], key
            assert now["evaluations"] == told["evaluations"]
            print(f"{processes} processes: the same files")
        again = w.run(2, "of-2")
        assert again.returncode != 0 and "already holds a run" in again.stderr, again.stderr

        run = w.start(3, "killed", long)
        w.wait_for_steps("killed", 40)
        os.kill(process_of(2, w.at / "killed"), signal.SIGKILL)
        said, _ = run.communicate(timeout=120)
        assert run.returncode != 0 and "signal 9" in said, (run.returncode, said)
        done = w.run(2, "killed", resumed)
        assert done.returncode == 0, done.stderr
        w.require_same("killed", "long")
        print("one of 3 killed, 2 went on: the same files")

        run = w.start(4, "stopped", long)
        w.wait_for_steps("stopped", 40)
        run.send_signal(signal.SIGINT)
        said, _ = run.communicate(timeout=120)
        assert run.returncode != 0, said
        done = w.run(0, "stopped", resumed)
        assert done.returncode == 0, done.stderr
        w.require_same("stopped", "long")
        print("4 stopped, zoq alone went on: the same files")

        # One process with a rate of its own: it says so, and all end.
        alike = w.command(1, "odd", {})[3:]
        other = w.command(1, "odd", {"--learning-rate": 0.5})[3:]
        odd = subprocess.run([w.mpirun, "-n", "1", *alike, ":", "-n", "1", *other], env=w.environment, capture_output=True,
                             text=True, check=False, timeout=240)  # fmt: skip
        assert odd.returncode != 0 and "process 1: the first process: " in odd.stderr and "0.5" in odd.stderr, odd.stderr
        print("other settings are refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
