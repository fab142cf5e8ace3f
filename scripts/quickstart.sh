#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Tunes a real 4-bit language model on movie reviews: fetches model and data once, chooses the weights
# to tune from newspaper text, tunes them by forward passes alone, and measures before and after.
# usage: quickstart.sh ZOQ OUT
set -eu

zoq=$1
out=$2
cache=${ZOQ_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/zoq}
here=$(dirname "$0")

python3 "$here/fetch.py" "$cache" "$out/data"

# --resume: a run that was stopped goes on, one that is done is only measured again. The recipe: docs/results.md.
"$zoq" finetune --resume \
  --model "$out/data/model.gguf" --data "$out/data/movies" \
  --mask "fisher:$out/data/general.txt" --out "$out/run" --layers 15- \
  --estimator leave-one-out:probes=8 --epsilon 3e-3 --learning-rate 5e-3 --batch-size 8 --steps 300

echo
echo "Try it:  $zoq generate --model $out/data/model.gguf --delta $out/run/delta.safetensors --prompt 'A film to remember. It was' --tokens 8"
