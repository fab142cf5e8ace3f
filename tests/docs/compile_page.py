#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The C++ of a page compiles as it stands.

    compile_page.py PAGE COMPILER [FLAGS...]

Of each ```cpp block the includes go to the top of a file and all else into a main. What the block takes for granted
stands before it: <!-- given: std::vector<zoq::example> rows; -->. Warnings are errors but for names that are not used.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r"(?:^<!-- given: (?P<given>.+?) -->\n+)?^```cpp\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def program(given, code):
    lines = code.splitlines()
    top = [line for line in lines if line.startswith("#include")]
    rest = [line for line in lines if not line.startswith("#include")]
    return "\n".join([*top, "int main([[maybe_unused]] int argc, [[maybe_unused]] char** argv) {", given or "", *rest, "}", ""])


def main():
    page, *compiler = sys.argv[1:]
    blocks = list(BLOCK.finditer(Path(page).read_text()))
    with tempfile.TemporaryDirectory() as folder:
        for number, block in enumerate(blocks):
            source = Path(folder) / f"block_{number}.cpp"
            source.write_text(program(block["given"], block["code"]))
            done = subprocess.run([*compiler, "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-unused", source],
                                  check=False)  # fmt: skip
            if done.returncode != 0:
                sys.exit(f"{page}: block {number + 1} does not compile")
    print(f"{len(blocks)} blocks")
    return int(not blocks)


if __name__ == "__main__":
    sys.exit(main())
