#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads the #include lines below include/zoq and fails on any arrow that does not point down.

usage: check_layers.py INCLUDE_DIR CMAKELISTS | --self-test

A header may include headers of lower layers and of its own room. Only exec/ may include Eigen,
Thrust, TBB or intrinsics; only the headers of zoq::io may include JSON or regular expressions, or a
header that does. No header is longer than 400 lines. Tuning is forward-only (R1): no header of
train/ reaches, through any number of includes, a header with "reverse" in its name.
"""

import pathlib
import re
import sys
import tempfile

LAYERS = {
    "core": 0,
    "tensor": 1, "random": 1,
    "quant": 2, "sparse": 2, "estimate": 2,
    "optim": 3, "exec": 3, "io": 3,
    "ops": 4,
    "view": 5,
    "model": 6, "data": 6,
    "objective": 7, "score": 7,
    "train": 8,
    "dist": 9,
}  # fmt: skip
EXEC_ONLY = re.compile(r"<(Eigen|thrust|tbb|oneapi|cub|cublas|immintrin|x86intrin|arm_neon)[./_]")
IO_ONLY = re.compile(r"<(nlohmann/|pcre2)")
INCLUDE = re.compile(r'^\s*#\s*include\s+(<[^>]+>|"[^"]+")', re.M)
LONGEST = 400


def complaints(root, io_headers):
    """One line for each rule that a header below `root` breaks."""
    includes = {}
    out = []
    files = sorted(p for p in root.rglob("*") if p.suffix in (".hpp", ".cuh", ".inl"))
    for path in files:
        name = path.relative_to(root).as_posix()
        source = path.read_text(encoding="utf-8")
        includes[name] = [i.strip('<>"') if i[0] == '"' else i for i in INCLUDE.findall(source)]
        if len(source.splitlines()) > LONGEST:
            out.append(f"{name}: longer than {LONGEST} lines")
    for name, targets in includes.items():
        room = name.split("/")[1] if name.count("/") > 1 else None
        if room is not None and room not in LAYERS:
            out.append(f"{name}: the room {room} has no layer")
            continue
        for target in targets:
            if EXEC_ONLY.match(target) and room != "exec":
                out.append(f"{name}: includes {target}, which only exec/ may")
            if target.startswith("zoq/") and room is not None and target.count("/") > 1:
                other = target.split("/")[1]
                if other != room and LAYERS.get(other, 99) >= LAYERS[room]:
                    out.append(f"{name} (L{LAYERS[room]}): includes {target} "
                               f"(L{LAYERS.get(other, '?')})")
            elif target.startswith("zoq/") and room is not None:
                out.append(f"{name}: includes the umbrella {target}")

    def needs_io(name, seen):
        if name in seen:
            return False
        seen.add(name)
        return any(IO_ONLY.match(t) or (t in includes and needs_io(t, seen))
                   for t in includes.get(name, []))

    def way_to_reverse(name, seen):
        """The chain of includes from `name` to a reverse header, or none."""
        if "reverse" in name.rsplit("/", 1)[-1]:
            return [name]
        seen.add(name)
        for target in includes.get(name, []):
            way = way_to_reverse(target, seen) if target not in seen else None
            if way:
                return [name, *way]
        return None

    for name in includes:
        way = way_to_reverse(name, set()) if name.startswith("zoq/train/") else None
        if way:
            out.append("R1: " + " includes ".join(way))
        if needs_io(name, set()) != (name in io_headers):
            out.append(f"{name}: {'is' if name in io_headers else 'is not'} listed in "
                       "zoq_io_headers, "
                       f"and {'does not need' if name in io_headers else 'needs'} it")
    return out


def listed_io_headers(cmakelists):
    block = re.search(r"set\(zoq_io_headers(.*?)\)", cmakelists.read_text(), re.S).group(1)
    return {line.removeprefix("include/") for line in block.split()}


def self_test():
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in {
            "zoq/core/low.hpp": '#include "zoq/train/high.hpp"\n',
            "zoq/train/high.hpp": "#include <Eigen/Core>\n",
            "zoq/optim/a.hpp": '#include "zoq/exec/b.hpp"\n',
            "zoq/exec/b.hpp": "#include <tbb/task_arena.h>\n",
            "zoq/data/json.hpp": "#include <nlohmann/json.hpp>\n",
            "zoq/view/long.hpp": "\n" * 401,
            "zoq/train/trainer.hpp": '#include "zoq/score/s.hpp"\n',
            "zoq/score/s.hpp": '#include "zoq/model/my_reverse.hpp"\n',
            "zoq/model/my_reverse.hpp": '#include <vector>\n',
        }.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        found = complaints(root, set())
    wanted = ["zoq/core/low.hpp (L0)", "zoq/train/high.hpp: includes <Eigen", "zoq/optim/a.hpp (L3)",
              "zoq/data/json.hpp: is not listed", "zoq/view/long.hpp: longer",
              "R1: zoq/train/trainer.hpp includes zoq/score/s.hpp includes zoq/model/my_reverse"]
    missed = [w for w in wanted if not any(c.startswith(w) for c in found)]
    if missed or len(found) != len(wanted):
        sys.exit(f"self-test: missed {missed}, found {found}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        self_test()
    else:
        found = complaints(pathlib.Path(sys.argv[1]), listed_io_headers(pathlib.Path(sys.argv[2])))
        if found:
            sys.exit("\n".join(found))
