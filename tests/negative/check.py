# SPDX-License-Identifier: Apache-2.0
"""Programs that must not compile: policies that lack a part. The compiler's message must name the concept.

usage: check.py COMPILER FLAG... -- FILE...

A file says in its line "// wanted: CONCEPT" which one.
"""

import os
import pathlib
import re
import subprocess
import sys


def complaint(command, path):
    """What is wrong with how this file is refused; empty when all is well."""
    wanted = re.search(r"^// wanted: (\w+)$", pathlib.Path(path).read_text(encoding="utf-8"), re.MULTILINE)
    if wanted is None:
        return 'has no line "// wanted: CONCEPT"'
    done = subprocess.run([*command, path], capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"})
    if done.returncode == 0:
        return "compiles"
    # g++: satisfaction of 'zoq::estimator<...>', of 'template<class Z> concept zoq::direction'; clang: does not
    # satisfy 'objective', because 'estimator<silent, ...>' evaluated to false
    before = "satisfaction of '|does not satisfy '|because '|concept "
    if not re.search(rf"({before})(zoq::)?{wanted[1]}\b", done.stderr):
        return f"the message does not name {wanted[1]}:\n{done.stderr[:2000]}"
    return ""


def main():
    cut = sys.argv.index("--")
    command = [*sys.argv[1:cut], "-fsyntax-only"]
    bad = 0
    for path in sys.argv[cut + 1 :]:
        why = complaint(command, path)
        print(f"{pathlib.Path(path).name}: {why or 'refused, and the message names the concept'}")
        bad += bool(why)
    return 1 if bad or cut + 1 == len(sys.argv) else 0


if __name__ == "__main__":
    sys.exit(main())
