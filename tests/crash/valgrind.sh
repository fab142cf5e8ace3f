#!/bin/sh
# Short runs of the mini-trainer under valgrind: reads of what was not written, writes outside, lost memory.
#
#     valgrind.sh build/test/bin/zoq build/test/bin/crash_workshop
#
# Minutes. Ends with 1 where valgrind found something.
# SPDX-License-Identifier: Apache-2.0
set -eu
zoq=$(realpath "$1")
workshop=$(realpath "$2")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$workshop" .
check() {
    echo "zoq $1" >&2
    valgrind -q --error-exitcode=9 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
        "$zoq" "$@" >out 2>err || { cat err >&2; exit 1; }
}
check finetune --model model.gguf --data rows --mask fisher:text.txt --density 0.01 --mask-samples 2 \
    --mask-length 16 --batch-size 4 --steps 6 --eval-every 3 --checkpoint-every 2 --threads 2 --out run
check eval --model model.gguf --data rows --delta run/delta.safetensors
check replay --run run --out replayed.safetensors
cmp run/delta.safetensors replayed.safetensors
check export --model model.gguf --delta run/delta.safetensors --to gguf --out exported.gguf
check generate --model model.gguf --prompt fine --tokens 5
check quantize --model model.gguf --format q8_0 --out q8_0.gguf
check report run
echo "nothing found"
