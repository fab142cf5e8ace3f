# SPDX-License-Identifier: Apache-2.0
"""What run.py needs before it can measure: the peers, zoq's program, a model and data.

All of it is kept, and made again only when it is missing. Everything a command prints goes to standard
error.
"""

import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
AVX2_ONLY = "-DGGML_NATIVE=OFF -DGGML_AVX512=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON"


def say(text):
    print(text, file=sys.stderr, flush=True)


def command(*words, **more):
    """Runs a command; ends this program when it fails."""
    words = [str(word) for word in words]
    if subprocess.run(words, stdout=sys.stderr, **more).returncode != 0:
        sys.exit(f"run.py: failed: {' '.join(words)}")


def environment(folder, avx2_only=False):
    """The Python of a virtual environment with the peers; with llama.cpp alone if `avx2_only`."""
    wanted = (HERE / "requirements.txt").read_text()
    if avx2_only:
        lines = wanted.splitlines()
        wanted = "\n".join(line for line in lines if line.startswith(("llama", "numpy"))) + "\n"
    python = folder / "bin" / "python"
    installed = folder / "installed.txt"
    if installed.exists() and installed.read_text() == wanted:
        return python
    say(f"installing the peers in {folder}: llama.cpp is compiled, which takes some minutes")
    command(sys.executable, "-m", "venv", "--clear", folder)
    part = folder / "wanted.txt"
    part.write_text(wanted)
    # A wheel in pip's cache may have been built with other flags, so llama.cpp is always compiled.
    build = {"CMAKE_ARGS": AVX2_ONLY} if avx2_only else {}
    command(
        *(python, "-m", "pip", "install", "--no-cache-dir", "--no-binary=llama-cpp-python"),
        *("-r", part),
        env={**os.environ, **build},
    )
    part.rename(installed)
    return python


def zoq_program(folder):
    """zoq_peer: that of a build folder, or built by the preset `bench`."""
    if folder is None:
        folder = ROOT / "build" / "bench"
        command("cmake", "--preset", "bench", cwd=ROOT)
        command("cmake", "--build", folder, "--target", "zoq_peer", cwd=ROOT)
    program = pathlib.Path(folder) / "bin" / "zoq_peer"
    if not program.exists():
        sys.exit(f"run.py: {program} is missing; build the target zoq_peer in {folder}")
    return program


def model_and_data(folder):
    """Those of the quick start, fetched by scripts/fetch.py."""
    made = folder / "data"
    if not (made / "model.gguf").exists():
        cache = os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")
        cache = os.environ.get("ZOQ_CACHE", pathlib.Path(cache) / "zoq")
        command(sys.executable, ROOT / "scripts" / "fetch.py", cache, made)
    return made / "model.gguf", made / "movies" / "test.jsonl"
