#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A build by hand with what pkg-config says of an installed zoq.
#
#     PKG_CONFIG_PATH=PREFIX/lib/pkgconfig build_and_run.sh COMPILER VERSION FOLDER
set -eu

here=$(dirname "$0")
found=$(pkg-config --modversion zoq)
[ "$found" = "$2" ] || { echo "pkg-config finds zoq $found, wanted $2" >&2; exit 1; }

mkdir -p "$3"
# shellcheck disable=SC2046  # several words each
"$1" -std=c++20 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Werror \
  $(pkg-config --cflags zoq-kernels zoq-io) "$here/main.cpp" -o "$3/program" \
  $(pkg-config --libs zoq-kernels zoq-io)
"$3/program"
