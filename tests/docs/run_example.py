#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs an example and holds it to what its source says it prints.

    run_example.py SOURCE PROGRAM

The source has a line "// Its last line: PATTERN"; the program must end with code 0, and the last line of its
output must match the whole pattern. It runs in a new folder, where it may write.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path


def main():
    source, program = sys.argv[1:]
    pattern = re.search(r"^// Its last line: (.+)$", Path(source).read_text(), re.MULTILINE)
    if pattern is None:
        sys.exit(f"{source}: does not say what its last line is")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([Path(program).absolute()], cwd=folder, capture_output=True, text=True, check=False)
    print(done.stdout + done.stderr)
    if done.returncode != 0:
        sys.exit(f"{program}: ended with {done.returncode}")
    last = (done.stdout.splitlines() or [""])[-1]
    if re.fullmatch(pattern[1], last) is None:
        sys.exit(f"{program}: its last line is not as {source} says")


if __name__ == "__main__":
    main()
