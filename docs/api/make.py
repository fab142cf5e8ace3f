#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The pages and the API reference as a site: OUT/html/index.html.

    make.py DOXYGEN ROOT OUT        ends with 1, saying which, when a public name has no comment
"""

import os
import pathlib
import subprocess
import sys


def main():
    doxygen, root, out = sys.argv[1:]
    path = pathlib.Path(out).absolute()
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run([doxygen, "docs/api/Doxyfile"], cwd=root, check=True, stdout=subprocess.DEVNULL,
                   env=os.environ | {"ZOQ_DOCS_OUT": str(path), "ZOQ_ROOT": root})  # fmt: skip
    warnings = (path / "warnings").read_text().splitlines()
    print("\n".join(warnings) if warnings else f"{path / 'html' / 'index.html'}: every public name has its comment")
    return int(any("is not documented" in one for one in warnings))


if __name__ == "__main__":
    sys.exit(main())
