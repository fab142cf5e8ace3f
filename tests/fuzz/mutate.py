#!/usr/bin/env python3
"""Bad files through the mini-trainer: each must end in a clear error with its exit code, or in a correct run.

    mutate.py --zoq build/test/bin/zoq --seeds build/test/bin/fuzz_replay --files 1000 --seed 7

Tiny good files are made, and one of them at a time is broken: bytes are changed, cut, repeated, moved, numbers
overwritten by absurd ones, metadata set to absurd values by their keys. Then the commands that read it run.
A finding is a signal, a run of more than 10 seconds of processor time, an exit code other than 0, 1 and 3, an error
that is not one printable line, JSON that is none, or more memory than the file's size and 100 MB. Findings are
kept in --keep. Prints a line of figures at the end; the exit code is 1 when there are findings.

SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile

SECONDS = 10  # of processor time, a run

NUMBERS = [0, 1, 2, 3, 7, 31, 255, 256, 65535, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1,
           1 << 32, 1 << 48, 1 << 60, (1 << 62) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
FLOATS = [0.0, -1.0, 1e-45, 1e38, float("inf"), float("-inf"), float("nan")]
TEXTS = [b"0", b"-1", b"1e999", b"18446744073709551616", b"null", b"true", b'""', b"[]", b"{}",
         b"[" * 2000, b'"\\ud800"', b"9007199254740993", b"0.5", b"2147483648", b"1099511627776"]


# --- breaking one file

def change_bytes(data, rng):
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        data[rng.randrange(len(data))] = rng.choice([rng.randrange(256), 0, 255, 127, 128])


def flip_bit(data, rng):
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def cut(data, rng):
    del data[rng.randrange(len(data)):]


def remove_some(data, rng):
    at = rng.randrange(len(data))
    del data[at:at + rng.choice([1, 2, 4, 8, 100])]


def repeat_some(data, rng):
    at = rng.randrange(len(data))
    data[at:at] = data[at:at + rng.choice([1, 4, 8, 64, 500])]


def move_some(data, rng):
    n = min(len(data), rng.choice([4, 8, 32, 200]))
    a, b = rng.randrange(len(data) - n + 1), rng.randrange(len(data) - n + 1)
    data[b:b + n] = data[a:a + n]


def overwrite_number(data, rng):
    size, code = rng.choice([(1, "B"), (2, "H"), (4, "I"), (8, "Q")])
    if len(data) >= size:
        at = rng.randrange(len(data) - size + 1)
        data[at:at + size] = struct.pack("<" + code, rng.choice(NUMBERS) % (1 << 8 * size))


def overwrite_float(data, rng):
    if len(data) >= 4:
        at = rng.randrange(len(data) // 4) * 4
        data[at:at + 4] = struct.pack("<f", rng.choice(FLOATS))


def change_text_number(data, rng):
    """A run of digits, as in JSON, becomes something else."""
    starts = [i for i in range(len(data)) if 48 <= data[i] <= 57 and (i == 0 or not 48 <= data[i - 1] <= 57)]
    if starts:
        at = rng.choice(starts)
        end = at
        while end < len(data) and 48 <= data[end] <= 57:
            end += 1
        data[at:end] = rng.choice(TEXTS)


def empty(data, rng):
    data.clear()


def set_metadata(data, rng):
    """The value of one key of a GGUF file: key, kind of 4 bytes, value."""
    keys = [k for k in (b"llama.block_count", b"llama.embedding_length", b"llama.context_length",
                        b"llama.attention.head_count", b"llama.attention.head_count_kv",
                        b"llama.feed_forward_length", b"llama.rope.dimension_count",
                        b"llama.rope.freq_base", b"llama.attention.layer_norm_rms_epsilon",
                        b"tokenizer.ggml.tokens", b"tokenizer.ggml.token_type",
                        b"tokenizer.ggml.merges", b"general.architecture") if k in data]
    if not keys:
        return overwrite_number(data, rng)
    key = rng.choice(keys)
    at = data.find(key) + len(key)
    kind = struct.unpack_from("<I", data, at)[0]
    if rng.random() < 0.15:
        data[at:at + 4] = struct.pack("<I", rng.choice([0, 4, 6, 8, 9, 10, 12, 13, 1 << 31]))
    elif kind == 6:
        data[at + 4:at + 8] = struct.pack("<f", rng.choice(FLOATS))
    elif kind == 4:
        data[at + 4:at + 8] = struct.pack("<I", rng.choice(NUMBERS) % (1 << 32))
    else:  # the length of a string, or of an array behind its kind
        skip = 8 if kind == 9 else 4
        data[at + skip:at + skip + 8] = struct.pack("<Q", rng.choice(NUMBERS))


BINARY = [change_bytes, flip_bit, cut, remove_some, repeat_some, move_some, overwrite_number,
          overwrite_number, overwrite_float, set_metadata, set_metadata, set_metadata]
TEXT = [change_bytes, flip_bit, cut, remove_some, repeat_some, move_some, change_text_number,
        change_text_number, change_text_number]


def broken(good, rng, text):
    data = bytearray(good)
    if rng.random() < 0.01:
        empty(data, rng)
        return bytes(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if data:
            # Most of a binary file is weights; what is worth breaking stands first.
            rng.choice(TEXT if text else BINARY)(data, rng)
    if not text and rng.random() < 0.5:
        head = bytearray(good[:2000])
        rng.choice(BINARY)(head, rng)
        return bytes(head) + good[2000:]
    return bytes(data)


# --- the commands that read a file

def commands(folder, out):
    def model(path):
        return [["inspect", "--model", path, "--text", "It was 10.", "--json"],
                ["eval", "--model", path, "--data", f"{folder}/rows", "--json"],
                ["finetune", "--model", path, *tuning]]

    tuning = ["--data", f"{folder}/rows", "--mask", f"{folder}/mask.safetensors", "--steps", "2", "--epsilon",
              "0.01", "--eval-rows", "2", "--eval-every", "0", "--batch-size", "4", "--out", out, "--json"]
    good = f"{folder}/model.gguf"
    any_mask = ["--view", "lora:rank=1"]
    lora = [t for i, t in enumerate(tuning) if t != "--mask" and tuning[i - 1] != "--mask"] + any_mask
    hf = [["inspect", "--model", f"{folder}/hf", "--text", "It was 10.", "--json"],
          ["eval", "--model", f"{folder}/hf", "--data", f"{folder}/rows", "--json"],
          ["finetune", "--model", f"{folder}/hf", *lora]]
    rows = [["eval", "--model", good, "--data", f"{folder}/rows", "--json"],
            ["finetune", "--model", good, *tuning]]
    resume = [["finetune", "--model", good, *tuning[:-3], "--out", f"{folder}/run", "--resume", "--json"],
              ["replay", "--run", f"{folder}/run", "--out", f"{out}.safetensors", "--json"]]
    return {
        "model.gguf": model(good),
        "lut4.safetensors": [[*c[:3], *c[3:]] for c in [
            ["inspect", "--model", f"{folder}/lut4.safetensors", "--text", "It was 10.", "--json"],
            ["eval", "--model", f"{folder}/lut4.safetensors", "--data", f"{folder}/rows", "--json"],
            ["finetune", "--model", f"{folder}/lut4.safetensors", *lora]]],
        "hf/config.json": hf,
        "hf/tokenizer.json": hf,
        "hf/model.safetensors.index.json": hf,
        "hf/model-00001-of-00002.safetensors": hf,
        "rows/train.jsonl": rows[1:],
        "rows/test.jsonl": rows,
        "mask.safetensors": [["finetune", "--model", good, *tuning]],
        "delta.safetensors": [["eval", "--model", good, "--data", f"{folder}/rows", "--delta",
                               f"{folder}/delta.safetensors", "--json"]],
        "run/trajectory.jsonl": resume,
        "run/checkpoint.safetensors": resume,
        "run/mask.safetensors": resume,
        "run/metrics.jsonl": resume[:1],
        "run/delta.safetensors": resume,
    }


def limits():
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run(zoq, arguments):
    """Exit code (negative: a signal), standard output, standard error, peak memory in bytes."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen([zoq, *arguments], stdout=out, stderr=err, preexec_fn=limits)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return process.returncode, out.read(), err.read(), used.ru_maxrss * 1024


def wrong_with(result, room):
    """What is not as promised; None when all is."""
    code, out, err, memory = result
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    if code not in (0, 1, 3):  # 3: the loss ran away
        return f"exit code {code}"
    if room is not None and memory > room:
        return f"{memory >> 20} MB of memory"
    if code == 0:
        try:
            json.loads(out.decode().strip().split("\n")[-1])
        except (ValueError, UnicodeDecodeError):
            return "standard output does not end in a line of JSON"
        return None
    last = err.rstrip(b"\n").split(b"\n")[-1].split(b"\r")[-1]
    if not last.startswith(b"zoq ") or len(last) < 12 or len(last) > 4000:
        return "no clear error"
    if any(c < 32 or c == 127 for c in last.replace(b"\x1b[K", b"")):
        return "an error that is not printable"
    for leaked in (b"json.exception", b"std::", b"basic_string", b"vector::", b"stoi", b"filesystem error"):
        if leaked in last:
            return "an error of another library's words"
    return None


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--zoq", required=True)
    p.add_argument("--seeds", required=True, help="the program fuzz_replay, which makes the good files")
    p.add_argument("--files", type=int, default=60)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--room", type=int, default=100, help="MB of memory beside the file's size; 0: any")
    p.add_argument("--keep", default="", help="a folder for what was found")
    p.add_argument("--only", default="", help="break this file alone: model.gguf, hf/config.json, ...")
    o = p.parse_args()
    rng = random.Random(o.seed)
    figures = {"files": 0, "runs": 0, "errors": 0, "correct": 0, "findings": 0, "most_memory_mb": 0}
    with tempfile.TemporaryDirectory(prefix="zoq_mutate_") as base:
        folder = base + "/files"
        subprocess.run([o.seeds, "--write-models", folder], check=True)
        all_commands = commands(folder, base + "/out")
        first = ["finetune", "--model", f"{folder}/model.gguf", *all_commands["mask.safetensors"][0][3:]]
        first[first.index("--out") + 1] = f"{folder}/run"
        good = [first] + [c for name, list_ in all_commands.items() for c in list_ if "--resume" not in c]
        for arguments in good:  # what is not broken works
            shutil.rmtree(base + "/out", ignore_errors=True)
            code, _, err, _ = run(o.zoq, arguments)
            if code != 0:
                print("good files:", " ".join(arguments), err.decode(errors="replace"), file=sys.stderr)
                return 2
        names = [n for n in all_commands if o.only in ("", n)]
        originals = {n: pathlib.Path(folder, n).read_bytes() for n in names}
        run_folder = {f.name: f.read_bytes() for f in pathlib.Path(folder, "run").iterdir()}
        weights = [6 if n == "model.gguf" else 3 if n.startswith(("lut4", "hf/")) else 1 for n in names]
        for number in range(o.files):
            name = rng.choices(names, weights)[0]
            path = pathlib.Path(folder, name)
            data = broken(originals[name], rng, path.suffix in (".json", ".jsonl"))
            figures["files"] += 1
            for arguments in all_commands[name]:
                for old, contents in run_folder.items():
                    pathlib.Path(folder, "run", old).write_bytes(contents)
                path.write_bytes(data)
                shutil.rmtree(base + "/out", ignore_errors=True)
                result = run(o.zoq, arguments)
                figures["runs"] += 1
                figures["errors" if result[0] else "correct"] += 1
                figures["most_memory_mb"] = max(figures["most_memory_mb"], result[3] >> 20)
                wrong = wrong_with(result, len(data) + (o.room << 20) if o.room else None)
                if wrong:
                    figures["findings"] += 1
                    print(f"found: file {number}, {name}, {arguments[0]}: {wrong}\n"
                          f"  {result[2][-300:].decode(errors='replace')}", file=sys.stderr, flush=True)
                    if o.keep:
                        kept = pathlib.Path(o.keep, f"{o.seed}-{number}-{name.replace('/', '_')}")
                        kept.parent.mkdir(parents=True, exist_ok=True)
                        kept.write_bytes(data)
            path.write_bytes(originals[name])
    print(json.dumps(figures))
    return 1 if figures["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
