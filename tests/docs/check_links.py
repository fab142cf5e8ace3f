#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every link of the project's pages leads somewhere.

    check_links.py ROOT         ends with 1, naming page, line and link, unless all do
    check_links.py --self-test  tries the check on pages that are wrong

Checked are links of Markdown to files and folders of the project, and to headings of pages; not those to other hosts.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs" / "api"))
from filter import slug_of  # noqa: E402

LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^()<>\s]+)>?(?: \"[^\"]*\")?\)")
HEADING = re.compile(r"^#{1,6} (.+?)\s*#*$")
FOLDERS = ("bench", "docs", "examples", "python", "scripts", "tests")  # and the root itself
FENCE = re.compile(r"^ {0,3}(```|~~~)")


def prose(page):
    """(number, line) of all lines that are not code; spans of code are taken out of them."""
    fenced = False
    for number, line in enumerate(page.splitlines(), 1):
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced and not line.startswith("    "):
            yield number, line


def anchors_of(page):
    """The names of a page's headings, as they are made of their text."""
    out = set()
    for _, line in prose(page):
        found = HEADING.match(line)
        if found:
            name = slug_of(found[1])
            count = sum(re.fullmatch(re.escape(name) + r"(-\d+)?", one) is not None for one in out)
            out.add(f"{name}-{count}" if count else name)
    return out


def faults_of(pages, exists):
    """pages: text by path. exists(path): whether there is such a file or folder. What is wrong, as sentences."""
    anchors = {path: anchors_of(page) for path, page in pages.items()}
    faults = []
    for path, page in pages.items():
        for number, line in prose(page):
            for link in LINK.findall(re.sub(r"`[^`]*`", "", line)):
                if re.match(r"[a-z]+:", link):
                    continue
                target, _, anchor = link.partition("#")
                file = (path.parent / target) if target else path
                file = Path(*normalised(file.parts))
                if not exists(file):
                    faults.append(f"{path}:{number}: {link}: there is no {file}")
                elif anchor and file in anchors and anchor not in anchors[file]:
                    faults.append(f"{path}:{number}: {link}: {file} has no such heading")
    return faults


def normalised(parts):
    out = []
    for part in parts:
        if part == ".." and out:
            out.pop()
        else:
            out.append(part)
    return out


def self_test():
    pages = {
        Path("docs/a.md"): "# One `two`: three\n## Again\n## Again\n[x](b.md#there) [y](#one-two-three) [z](#again-1)\n",
        Path("docs/b.md"): "## There\n```\n[not](a.link)\n```\n`[nor](this)` [up](../README.md) [out](https://x.org/y)\n",
    }
    known = {*pages, Path("README.md")}
    assert faults_of(pages, known.__contains__) == []
    for wrong in ("[x](c.md)", "[x](b.md#nowhere)", "[x](#nothing)", "[`a`](gone/)", "| [x](../b.md) |"):
        pages[Path("docs/c.md")] = wrong
        assert len(faults_of(pages, {*known, Path("docs/c.md")}.__contains__)) == (wrong != "[x](c.md)"), wrong


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    root = Path(sys.argv[1])
    found = [*root.glob("*.md"), *(page for folder in FOLDERS for page in (root / folder).rglob("*.md"))]
    pages = {path.relative_to(root): path.read_text() for path in sorted(found)}
    faults = faults_of(pages, lambda path: (root / path).exists())
    print(f"{len(pages)} pages" if not faults else "\n".join(faults))
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
