#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Writes the model of the study in the formats that it compares, from the values that it has: f32 holds the same
# weights as floats. Beside three of them lie the values of the Fisher mask, kept in float.
# usage: formats.sh ZOQ DATA          DATA is the folder that tasks.py made
set -eu

zoq=$1
data=$2
out=$data/formats
mkdir -p "$out"
[ -e "$out/mask.safetensors" ] ||
  "$zoq" mask --model "$data/model.gguf" --text "$data/general.txt" --out "$out/mask.safetensors"

write() { # format, file, further options
  format=$1
  file=$out/$2
  shift 2
  [ -e "$file" ] || "$zoq" quantize --model "$data/model.gguf" --format "$format" --out "$file" "$@"
}
write f32 f32.gguf --embedding-format f32
write q4_0 q4_0.gguf
write q4_1 q4_1.gguf
write nf4 nf4.safetensors
write lut4 lut4.safetensors
write q4_0 q4_0-kept.gguf --keep "$out/mask.safetensors"
write nf4 nf4-kept.safetensors --keep "$out/mask.safetensors"
write lut4 lut4-kept.safetensors --keep "$out/mask.safetensors"
