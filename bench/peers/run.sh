#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the peers, builds zoq's side, runs all in turn and prints one table of ratios.
# usage: run.sh [OPTIONS]; see README.md or run.sh --help
exec python3 "$(dirname "$0")/run.py" "$@"
