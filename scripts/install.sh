#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what zoq needs on Debian 12 (or a system with the same package names), and nothing that is
# there already. As root, or as a user who may sudo.
set -eu

packages="g++ cmake ninja-build pkgconf python3 python3-pip
  libeigen3-dev librandom123-dev libtbb-dev
  nlohmann-json3-dev libpcre2-dev libcli11-dev
  doctest-dev libbenchmark-dev libthrust-dev"

missing=""
for package in $packages; do
  status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
  [ "$status" = "install ok installed" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null 2>&1; then
    echo "install: run as root, or install sudo; what is missing:$missing" >&2
    exit 1
  fi
  as_root="sudo"
fi
echo "installing:$missing" >&2
$as_root apt-get update -q
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
