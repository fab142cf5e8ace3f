# SPDX-License-Identifier: Apache-2.0
"""The C++ of docs/extending.md is that of the programs which are built and run.

    check_snippets.py ROOT         ends with 1, saying why, unless all is as it must be
    check_snippets.py --self-test  tries the check on pages that are wrong

Every ```cpp block stands after a line `<!-- examples/extending/NAME.cpp -->` and occurs in that file,
line for line; and every file of examples/extending is shown.
"""

import re
import sys
from pathlib import Path

FOLDER = "examples/extending"
BLOCK = re.compile(r"(?:^<!-- (?P<file>\S+) -->\n+)?^```cpp\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def faults_of(page, files):
    """page: text. files: text by path. What is wrong, as sentences."""
    faults, shown = [], set()
    for block in BLOCK.finditer(page):
        line = page[: block.start("code")].count("\n")
        path, code = block["file"], block["code"].strip("\n")
        if path is None:
            faults.append(f"line {line}: a block without <!-- {FOLDER}/NAME.cpp --> before it")
        elif path not in files:
            faults.append(f"line {line}: there is no file {path}")
        else:
            shown.add(path)
            if f"\n{code}\n" not in f"\n{files[path]}\n":
                wanted = set(files[path].splitlines())
                other = next((one for one in code.splitlines() if one not in wanted), "the order of lines")
                faults.append(f"line {line}: not as in {path}: {other}")
    return faults + [f"{path} is not on the page" for path in sorted(set(files) - shown)]


def self_test():
    files = {"a.cpp": "int a;\nint b;\nint c;\n"}
    page = "<!-- a.cpp -->\n```cpp\n\n{}\n```\n"
    assert not faults_of(page.format("int b;\nint c;"), files)
    assert faults_of(page.format("int b; "), files)
    assert faults_of(page.format("int a;\nint c;"), files)
    assert faults_of("```cpp\nint a;\n```\n", files)
    assert faults_of(page.format("int a;").replace("a.cpp", "b.cpp"), files)
    assert faults_of("no code", files)


def main():
    if sys.argv[1] == "--self-test":
        self_test()
        return 0
    root = Path(sys.argv[1])
    files = {f"{FOLDER}/{f.name}": f.read_text(encoding="utf-8") for f in (root / FOLDER).glob("*.cpp")}
    faults = faults_of((root / "docs" / "extending.md").read_text(encoding="utf-8"), files)
    print("\n".join(faults) or f"{len(files)} programs, each as it is on the page")
    return 1 if faults or not files else 0


if __name__ == "__main__":
    sys.exit(main())
