#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Tests and benchmarks of a device in one go: builds, runs the device's tests, writes models of the
# shapes of Llama 2 7B and 13B once, and prints a table for each: device_bench.cu, torch_rows.py.
#
#     bench/cuda/run.sh [MODEL.gguf ...] > table.md      # other models beside them
#
# Progress goes to standard error. Exit code 0: all measured and all tests passed; 77: built, but there
# is no device; 1: something failed or was left out, and a line says what. Variables:
#
#     SHAPES="7b 13b"       of model/synthetic_model.cpp; empty: only the models that are named
#     ROWS=16 TOKENS=128    of a step
#     MODELS=FOLDER         where the models are kept (3.8 and 7.3 GB); by default the build folder
#     PYTHON=python3        one that has torch and transformers; without them a row says so
#     ARCHITECTURES=90      to compile for; by default the device's own
#     BUILD=build/device    the build folder
set -eu
here=$(cd "$(dirname "$0")" && pwd)
started=$(date +%s)
for model in "$@"; do
  [ -r "$model" ] || { echo "run.sh: cannot read $model" >&2; exit 1; }
done
root=$here/../..
build=${BUILD:-$root/build/device}
models=${MODELS:-$build}
python=${PYTHON:-python3}
failed=0
say() { echo "run.sh: $*" >&2; }
row() { printf '| %-46s | %-20s | %-14s |\n' "$1" "" "$2"; }

# nvcc is often installed beside the path.
if ! command -v nvcc >/dev/null && [ -z "${CUDACXX:-}" ]; then
  CUDACXX=${CUDA_HOME:-/usr/local/cuda}/bin/nvcc
  [ -x "$CUDACXX" ] || { say "no nvcc: not in PATH, and no $CUDACXX; CUDACXX names one"; exit 1; }
  export CUDACXX
fi
architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null |
  sed -n '1s/\.//p') || true
case $architecture in
  '' | *[!0-9]*) architecture=90 ;;
esac

say "building in $build"
(
  cd "$root" && # where the presets are
    cmake --preset cuda -B "$build" -DZOQ_TESTS=ON -DZOQ_BENCH=ON -DZOQ_EXAMPLES=OFF \
      -DCMAKE_CUDA_ARCHITECTURES="${ARCHITECTURES:-$architecture}" >&2 &&
    cmake --build "$build" --target test_on_cuda device_bench synthetic_model >&2
) || { say "the build failed"; exit 1; }

code=0
"$build/bin/test_on_cuda" >&2 || code=$?
case $code in
  0) say "the device's tests passed" ;;
  77)
    say "no CUDA device: all is built, nothing was tested or measured"
    exit 77
    ;;
  *)
    say "the device's tests FAILED (exit code $code); the figures below are of what may be wrong"
    failed=1
    ;;
esac

# measure MODEL: its table.
measure() {
  figures=$build/figures.json
  rm -f "$figures"
  if ! "$build/bin/device_bench" "$1" "${ROWS:-16}" "${TOKENS:-128}" "$figures"; then
    row "$1" "not measured to the end: see standard error"
    failed=1
  elif ! command -v "$python" >/dev/null; then
    row "PyTorch MeZO" "not measured: no $python"
  elif ! "$python" "$here/torch_rows.py" "$figures"; then
    say "PyTorch was not measured to the end"
    failed=1
  fi
  echo
}

mkdir -p "$models"
for shape in ${SHAPES-7b 13b}; do
  model=$models/$shape-q4_0.gguf
  if [ -f "$model" ] ||
    "$build/bin/synthetic_model" --shape "$shape" --format q4_0 --out "$model" >&2; then
    measure "$model"
  else
    rm -f "$model".*.part # what a killed one leaves
    say "no model of the shape $shape: MODELS names a folder with room for one"
    row "$model" "not measured: it could not be written"
    echo
    failed=1
  fi
done
for model in "$@"; do
  measure "$model"
done
say "$(($(date +%s) - started)) s in all"
exit $failed
