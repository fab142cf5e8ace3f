# SPDX-License-Identifier: Apache-2.0
"""What the disk refuses, what a crash leaves in a file, and who else is in the folder: earlier files stay as
they are, the message names path and reason, and the run goes on to the bytes of an undisturbed one.

    disk.py ZOQ WORKSHOP CASE

Exit code 77: this machine cannot make the case (mounts need a user namespace); the reason is printed.
"""
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time

from bench import STEPS, Bench, Failed, need

SKIPPED = 77


def refused(bench, variant, out, more, said, code=1, **how):
    """A command that fails, in one line, and leaves all files as they are."""
    before = bench.contents(out)
    message = bench.finish(variant, out, more, code=code, **how)
    line = message.strip().splitlines()[-1]
    for part in said:
        need(part in line, "wanted", repr(part), "in", repr(line))
    after = bench.contents(out)
    need(before == after, "files changed:", [n for n in after if after[n] != before.get(n)])


def same_in_the_end(bench, variant, out, wanted):
    bench.finish(variant, out, ["--resume"])
    got = bench.final(out)
    for name in wanted:
        need(got[name] == wanted[name], out, name, "differs")
    bench.check_metrics(out)


def stop_after(bench, variant, out, lines, number=signal.SIGKILL):
    """A run that is ended by a signal once it has recorded so many lines; its exit code."""
    process = bench.start(variant, out)
    record = bench.folder / out / "trajectory.jsonl"
    while process.poll() is None:
        if record.exists() and record.read_bytes().count(b"\n") >= lines:
            break
        time.sleep(0.0002)
    process.send_signal(number)
    process.communicate()
    return process.returncode


def file_size(bench):
    """A limit on the size of files. The limits are such that each kind of file is the first to meet one."""
    hit = set()
    runs = [("plain", limit) for limit in (0, 100, 1000, 3000, 5000, 7000)]
    runs += [("prompt", limit) for limit in (400, 900, 1200)]
    wanted = {variant: bench.reference(variant) for variant in ("plain", "prompt")}
    for variant, limit in runs:
        out = f"{variant}-{limit}"
        message = bench.finish(
            variant, out, code=1,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        line = message.strip().splitlines()[-1]
        need("File too large" in line and out + "/" in line, "limit", limit, "said", repr(line))
        hit.add(line.split(out + "/")[1].split(":")[0])
        bench.check_folder(out)
        same_in_the_end(bench, variant, out, wanted[variant])
    need({"mask.safetensors", "start.safetensors", "metrics.jsonl", "trajectory.jsonl"} <= hit,
         "only these files met a limit:", hit)
    print(len(runs), "limits, met by", sorted(hit))


def full_disk(bench):
    """A disk that is full at some moment of the run, then has room again."""
    wanted = bench.reference("plain")
    mount(bench, "disk", "tmpfs", "size=512k")
    for room in (0, 8, 16, 24, 32):  # kB
        out, ballast = "disk/run", bench.folder / "disk" / "ballast"
        free = os.statvfs(bench.folder / "disk").f_bavail * os.statvfs(bench.folder / "disk").f_frsize
        ballast.write_bytes(b"\0" * (free - room * 1024))
        message = bench.finish("plain", out, code=1)
        line = message.strip().splitlines()[-1]
        need("No space left on device" in line and "disk/run" in line, "room", room, "said", repr(line))
        bench.check_folder(out)
        ballast.unlink()
        same_in_the_end(bench, "plain", out, wanted)
        subprocess.run(["rm", "-r", str(bench.folder / out)], check=True)


def read_only(bench):
    """A folder on a disk that may be read alone: refused at once, before any work."""
    wanted = bench.reference("plain")
    mount(bench, "disk", "tmpfs", "size=2m")
    need(stop_after(bench, "plain", "disk/run", 6) == -signal.SIGKILL, "the run had ended")
    remount(bench, "disk", "ro")
    refused(bench, "plain", "disk/run", ["--resume"], ["disk/run", "Read-only file system"])
    refused(bench, "plain", "disk/run", ["--force"], ["disk/run", "Read-only file system"])
    message = bench.finish("plain", "disk/new", code=1)
    need("disk/new" in message and "Read-only file system" in message, message)
    remount(bench, "disk", "rw")
    same_in_the_end(bench, "plain", "disk/run", wanted)


def full_output(bench):
    """Standard output that takes nothing is an error; the run itself is whole."""
    wanted = bench.reference("plain")
    for more in ([], ["--json"]):
        out = "out" + "".join(more)
        with open("/dev/full", "w") as full:
            message = bench.finish("plain", out, more, code=1, stdout=full)
        need("standard output cannot be written" in message, message)
        need(bench.final(out) == wanted, "the run differs")
    for command in (["inspect", "--model", "model.gguf"], ["policies"], ["finetune", "--help"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run([bench.zoq, *command], cwd=bench.folder, stdout=full,
                                  stderr=subprocess.PIPE, text=True)
        need(done.returncode == 1 and "standard output" in done.stderr, command, done)


def two_runs(bench):
    """The second run on a folder is refused and touches nothing; a killed one leaves no lock."""
    wanted = bench.reference("plain")
    first = bench.start("plain", "run")
    record = bench.folder / "run" / "trajectory.jsonl"
    while not record.exists():
        need(first.poll() is None, "the run had ended")
        time.sleep(0.0002)
    first.send_signal(signal.SIGSTOP)
    for more in ([], ["--resume"], ["--force"]):
        refused(bench, "plain", "run", more, ["run: another run is using this folder"])
    first.send_signal(signal.SIGKILL)
    first.communicate()
    same_in_the_end(bench, "plain", "run", wanted)


def torn_lines(bench):
    """A last line that was cut is dropped; one in the middle is an error that names file and line."""
    wanted = bench.reference("plain")
    for name in ("trajectory.jsonl", "metrics.jsonl"):
        need(stop_after(bench, "plain", name, 8) == -signal.SIGKILL, "the run had ended")
        path = bench.folder / name / name
        with path.open("ab") as out:
            out.write(b'{"step":7,"lo')
        same_in_the_end(bench, "plain", name, wanted)

        middle = name + "-middle"
        need(stop_after(bench, "plain", middle, 8) == -signal.SIGKILL, "the run had ended")
        path = bench.folder / middle / name
        lines = path.read_bytes().split(b"\n")
        lines[2] = lines[2][:9]
        path.write_bytes(b"\n".join(lines))
        refused(bench, "plain", middle, ["--resume"], [f"{middle}/{name}:3: "])
    for name in ("trajectory.jsonl", "mask.safetensors"):
        out = "without-" + name
        need(stop_after(bench, "plain", out, 8) == -signal.SIGKILL, "the run had ended")
        (bench.folder / out / name).unlink()
        refused(bench, "plain", out, ["--resume"], [f"{out}/{name}: "])


def signals(bench):
    """Ctrl-C and SIGTERM save and end with codes of their own; the run goes on from there."""
    wanted = bench.reference("plain")
    for number in (signal.SIGINT, signal.SIGTERM):
        out = f"stopped-{int(number)}"
        need(stop_after(bench, "plain", out, 6, number) == 128 + number, "wrong exit code")
        steps = len(bench.check_folder(out)) - 1
        checkpoint = (bench.folder / out / "checkpoint.safetensors").read_bytes()
        need(f'"steps":"{steps}"'.encode() in checkpoint.replace(b" ", b""), "not saved at", steps)
        same_in_the_end(bench, "plain", out, wanted)


def no_repeat(bench):
    """A resume evaluates the steps that are left, and no other."""
    need(stop_after(bench, "plain", "run", 12) == -signal.SIGKILL, "the run had ended")
    left = STEPS - (len(bench.check_folder("run")) - 1)
    process = bench.start("plain", "run", ["--resume", "--json"], stdout=subprocess.PIPE)
    line = json.loads(process.communicate()[0])
    need(line["evaluations"] == 6 * left, line["evaluations"], "losses for", left, "steps of 6")
    need(line["noise_evaluations"] == 0, "the noise was measured again")


MOUNTED = []


def mount(bench, name, kind, options):
    (bench.folder / name).mkdir()
    done = subprocess.run(["mount", "-t", kind, "-o", options, "none", str(bench.folder / name)],
                          stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        print("cannot mount:", done.stderr.strip())
        sys.exit(SKIPPED)
    MOUNTED.append(bench.folder / name)


def remount(bench, name, how):
    subprocess.run(["mount", "-o", f"remount,{how}", str(bench.folder / name)], check=True)


CASES = {f.__name__: f for f in (file_size, full_disk, read_only, full_output, two_runs, torn_lines,
                                 signals, no_repeat)}
MOUNTS = ("full_disk", "read_only")


def main():
    zoq, workshop, case = sys.argv[1:4]
    if case in MOUNTS and "--inside" not in sys.argv:
        # A namespace of its own: what is mounted there is seen by nobody else, and goes with it.
        inside = ["unshare", "--user", "--map-root-user", "--mount"]
        can = subprocess.run([*inside, "true"], stderr=subprocess.PIPE, text=True)
        if can.returncode != 0:
            print("no user namespace:", can.stderr.strip())
            return SKIPPED
        return subprocess.run([*inside, sys.executable, *sys.argv, "--inside"]).returncode
    with tempfile.TemporaryDirectory() as folder:
        try:
            CASES[case](Bench(zoq, workshop, folder))
        finally:
            for path in MOUNTED:
                subprocess.run(["umount", str(path)], check=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as e:
        sys.exit(f"disk: {e}")
