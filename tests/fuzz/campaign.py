#!/usr/bin/env python3
"""Every fuzzer in turn, and a table of what they did.

    campaign.py build/fuzz/bin KEEP [--seconds 600] [TARGET...]

Inputs that cover something new are kept in KEEP/TARGET, where the next campaign begins, and what is found in
KEEP/found-TARGET-*. The table goes to standard output, a line a target as soon as it is done. The exit code is 1
when something was found.

SPDX-License-Identifier: Apache-2.0
"""
import argparse
import pathlib
import re
import subprocess
import sys

MEGABYTES = 1024  # the most memory that a target may take, with the sanitizers'
SLOW = 10         # seconds that one input may take


def last(pattern, text):
    found = re.findall(pattern, text)
    return found[-1] if found else "?"


def run(program, keep, seconds):
    """One target's line of the table, and what it found."""
    name = program.name.removeprefix("fuzz_")
    found = f"{keep}/found-{name}-"
    before = set(keep.glob(f"found-{name}-*"))
    ran = subprocess.run(
        [program, f"-max_total_time={seconds}", f"-timeout={SLOW}", f"-rss_limit_mb={MEGABYTES}",
         "-print_final_stats=1", f"-artifact_prefix={found}", keep / name],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
        check=False)
    (keep / f"{name}.log").write_text(ran.stderr)
    executed = int(last(r"stat::number_of_executed_units: (\d+)", ran.stderr).replace("?", "0"))
    edges = last(r"cov: (\d+)", ran.stderr)
    peak = last(r"stat::peak_rss_mb: +(\d+)", ran.stderr)
    findings = sorted(set(keep.glob(f"found-{name}-*")) - before)
    if ran.returncode != 0 and not findings:
        findings = [keep / f"{name}.log"]
    return f"| `{name}` | {executed:,} | {edges} | {peak} | {len(findings)} |", findings


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("keep", type=pathlib.Path)
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="none: all")
    options = parser.parse_intermixed_args()
    programs = sorted(p for p in options.programs.glob("fuzz_*") if p.name != "fuzz_replay")
    if options.targets:
        programs = [options.programs / f"fuzz_{t}" for t in options.targets]
    if not programs:
        parser.error(f"no fuzzers in {options.programs}: build the target `fuzz` with -DZOQ_FUZZ=ON")
    options.keep.mkdir(parents=True, exist_ok=True)
    subprocess.run([options.programs / "fuzz_replay", "--write-seeds", options.keep], check=True)

    print("| target | inputs run | edges covered | peak memory, MB | found |")
    print("|---|---|---|---|---|", flush=True)
    everything = []
    for program in programs:
        line, findings = run(program, options.keep, options.seconds)
        print(line, flush=True)
        everything += findings
    for path in everything:
        print(f"found: {path}", file=sys.stderr)
    return 1 if everything else 0


if __name__ == "__main__":
    sys.exit(main())
