#!/usr/bin/env python3
"""Breaks one line of the kernels at a time, and looks whether the tests notice.

    mutations.py SOURCE BUILD [--count 10] [--seed 1] [--programs test_exec,test_ops] [FILE...]

SOURCE is a clone of its own, where nobody else works: its lines are changed and put back. BUILD is configured of it
without optimisation that takes long (-DCMAKE_BUILD_TYPE= -DCMAKE_CXX_FLAGS=-O1). Files are those that this machine's
instructions run, unless some are named. A mutant that does not compile is drawn again. The exit code is 1 when one
survived: then a test is missing, or the line makes no difference, which a person must see.

SPDX-License-Identifier: Apache-2.0
"""
import argparse
import pathlib
import random
import re
import subprocess
import sys

FILES = ["kernels.inl", "added.inl", "attention.inl", "i8_avx2.inl", "panel.hpp", "multiply_block.hpp",
         "attention_block.hpp", "products.hpp", "block.hpp"]
SECONDS = 600  # for the tests of one mutant: one that never ends is caught

# What is looked for, and what takes its place.
CHANGES = [(r" \+ ", " - "), (r" - ", " + "), (r" \* ", " + "), (r" / ", " * "), (r" % ", " / "), (r" < ", " <= "),
           (r" > ", " >= "), (r" <= ", " < "), (r" >= ", " > "), (r" == ", " != "), (r" != ", " == "),
           (r" && ", " || "), (r" \|\| ", " && "), (r" \+= ", " -= "), (r"\+\+m\b", "m += 2"), (r"\bmin\(", "max("),
           (r"\bmax\(", "min("), (r"_add_", "_sub_"), (r"_sub_", "_add_"), (r"_unpacklo_", "_unpackhi_"),
           (r"_unpackhi_", "_unpacklo_"), (r"\btrue\b", "false"), (r"\bfalse\b", "true"), (r"\b0\b", "1"),
           (r"\b1\b", "2"), (r"\b2\b", "3"), (r"\b4\b", "3"), (r"\b8\b", "7"), (r"\b16\b", "15"), (r"\b1\.0f", "1.5f")]


def mutants_of(path):
    """(line number, line, line instead) of every change to a line of code."""
    out = []
    for number, line in enumerate(path.read_text().split("\n")):
        code = line.split("//")[0]
        if not code.strip() or code.lstrip().startswith(("#", "template", "static_assert", "require", "using", "*")):
            continue
        for pattern, instead in CHANGES:
            for hit in re.finditer(pattern, code):
                out.append((number, line, line[:hit.start()] + instead + line[hit.end():]))
    return out


def caught(options, programs):
    """True or false; none when it does not compile."""
    built = subprocess.run(["cmake", "--build", options.build, "--target", *programs], stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, check=False)
    if built.returncode != 0:
        return None
    for program in programs:
        try:
            if subprocess.run([options.build / "bin" / program], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, timeout=SECONDS, check=False).returncode != 0:
                return True
        except subprocess.TimeoutExpired:
            return True
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--programs", default="test_exec,test_ops")
    parser.add_argument("files", nargs="*", metavar="FILE", help="in include/zoq/exec")
    options = parser.parse_intermixed_args()
    programs = options.programs.split(",")
    folder = options.source / "include/zoq/exec"
    by_line = {}
    for name in options.files or FILES:
        for number, line, instead in mutants_of(folder / name):
            by_line.setdefault((name, number), []).append((line, instead))
    lines = sorted(by_line)
    chance = random.Random(options.seed)
    if caught(options, programs) is not False:
        raise SystemExit("mutations: the tests must build and pass before anything is changed")

    survived = done = 0
    while done < options.count:
        name, number = chance.choice(lines)
        line, instead = chance.choice(by_line[name, number])
        path = folder / name
        whole = path.read_text()
        text = whole.split("\n")
        text[number] = instead
        try:
            path.write_text("\n".join(text))
            noticed = caught(options, programs)
        finally:
            path.write_text(whole)
        if noticed is None:
            continue
        done += 1
        survived += not noticed
        print(f"{'caught' if noticed else 'SURVIVED'}: {name}:{number + 1}: {line.strip()}  ->  {instead.strip()}",
              flush=True)
    print(f"{done - survived} of {done} caught", flush=True)
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
