#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What it costs to compile a program that uses zoq: seconds of one core and memory, against budgets.

    compile_time.py [--compiler c++] [--repeat N] [PROGRAM...]

Five programs are compiled with -O2, each from headers alone and for zoq::kernels. The figures are user and
system time, the least of the repeats, and peak memory. Ends with 1 when one is over its budget.
"""

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

# Seconds from headers alone, seconds for zoq::kernels: by program.
BUDGETS = {
    "compile_time/tune.cpp": (30, 10),
    "compile_time/evaluate.cpp": (25, 8),
    "compile_time/product.cpp": (20, 5),
    "compile_time/headers.cpp": (8, 8),
    "../examples/minimize.cpp": (5, 5),
}
MEGABYTES = 1000


def compiled(command):
    """(seconds, megabytes) that a command took. Raises when it fails."""
    process = subprocess.Popen(command)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"compile_time: ended with {process.returncode}: {shlex.join(command)}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6


def flags_of(package):
    """What pkg-config says of a package, its headers as those of a system."""
    text = subprocess.run(["pkg-config", "--cflags", package], check=True, capture_output=True, text=True)
    return [flag for word in text.stdout.split() for flag in (["-isystem", word[2:]] if word[:2] == "-I" else [word])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compiler", default=os.environ.get("CXX", "c++"))
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help="a part of its name; none: all")
    options = parser.parse_args()

    base = [*shlex.split(options.compiler), "-std=c++20", "-O2", "-I", str(ROOT / "include"), *flags_of("eigen3")]
    over = False
    print(f"{'program':<14} {'headers alone':>22} {'with zoq::kernels':>22}   (seconds, MB; budget)")
    for path, budgets in BUDGETS.items():
        name = Path(path).stem
        if options.programs and not any(one in name for one in options.programs):
            continue
        cells = []
        for budget, more in zip(budgets, ([], ["-DZOQ_COMPILED_KERNELS"])):
            command = [*base, *more, "-c", str(HERE / path), "-o", os.devnull]
            runs = [compiled(command) for _ in range(options.repeat)]
            seconds, megabytes = min(run[0] for run in runs), max(run[1] for run in runs)
            late = seconds > budget or megabytes > MEGABYTES
            over |= late
            cells.append(f"{seconds:6.1f} {megabytes:5.0f} ({budget:2d}){' !' if late else '  '}")
        print(f"{name:<14} {cells[0]:>22} {cells[1]:>22}", flush=True)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
