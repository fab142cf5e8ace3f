# SPDX-License-Identifier: Apache-2.0
"""Every policy that `zoq policies` lists has its page in the one form, its test, and its benchmark.

    check_policies.py ZOQ ROOT [BENCHMARK ...]

Prints what is missing and ends with 1 if anything is.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

SECTIONS = ["What it does", "Settings", "Cost", "Source", "Example", "Tests", "See also"]


def page_faults(page, name, root):
    """What is wrong with one page, as sentences."""
    if not page.is_file():
        return ["there is no page"]
    text = page.read_text(encoding="utf-8")
    faults = []
    if not text.startswith(f"# {name}\n"):
        faults.append(f"the page does not begin with '# {name}'")
    found = re.findall(r"^## (.+)$", text, re.MULTILINE)
    if found != SECTIONS:
        faults.append(f"the sections are {found}, wanted {SECTIONS}")
        return faults
    parts = dict(zip(SECTIONS, re.split(r"^## .+$", text, flags=re.MULTILINE)[1:]))
    for section, body in parts.items():
        if not body.strip():
            faults.append(f"'{section}' is empty")
    if "```sh" not in parts["Example"] or "zoq " not in parts["Example"]:
        faults.append("'Example' has no command")
    tests = re.findall(r"tests/[\w/.\-]+", parts["Tests"])
    if not tests:
        faults.append("'Tests' names no file")
    faults += [f"'Tests' names {t}, which is not there" for t in tests if not (root / t).is_file()]
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in link and not (page.parent / link).exists():
            faults.append(f"the link {link} leads nowhere")
    return faults


def main():
    zoq, root = sys.argv[1], Path(sys.argv[2])
    listed = json.loads(subprocess.run([zoq, "policies", "--json"], check=True, text=True, capture_output=True).stdout)
    timed = "".join(
        subprocess.run([bench, "--benchmark_list_tests"], check=True, text=True, capture_output=True).stdout
        for bench in sys.argv[3:]
    )
    faults, count = [], 0
    for slot, policies in listed.items():
        names = [p["name"] for p in policies]
        count += len(names)
        for name in names:
            page = root / "docs" / "policies" / slot / f"{name}.md"
            faults += [f"{slot} {name}: {fault}" for fault in page_faults(page, name, root)]
            begin = {"mask": "score/", "format": ""}.get(slot, slot + "/")  # as the benchmarks name them
            if timed and not re.search(rf"^{begin}{re.escape(name)}(/|$)", timed, re.MULTILINE):
                faults.append(f"{slot} {name}: no benchmark times it")
        for page in (root / "docs" / "policies" / slot).glob("*.md"):
            if page.stem not in names:
                faults.append(f"{slot}: the page {page.name} is of no listed policy")
    print("\n".join(faults) or f"{count} policies, each with page, test and benchmark")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
