#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs a program by two MPI processes on two hosts: network namespaces of this machine, each with a name and an
# address of its own, that see each other by a cable alone.
#
#   between_hosts.sh PROGRAM [ARGUMENTS]    ends as mpirun does; with 77 where no namespaces can be made (not root)
set -eu
here=$(cd "$(dirname "$0")" && pwd)

if [ "${1-}" = --on ]; then # as mpirun calls it to reach a host: --on NAME ADDRESS COMMAND...
  name=$2
  shift 3
  exec ip netns exec "$name" unshare --uts sh -c 'hostname "$1" && eval "$2"' sh "$name" "$*"
fi

a=zoq-a-$$ b=zoq-b-$$
ip netns add "$a" 2>/dev/null || exit 77
trap 'ip netns del "$a"; ip netns del "$b" 2>/dev/null || :' EXIT
trap 'exit 143' TERM INT
ip netns add "$b"
ip link add cable netns "$a" type veth peer name cable netns "$b" || exit 77
ip -n "$a" address add 10.217.9.1/24 dev cable
ip -n "$b" address add 10.217.9.2/24 dev cable
for host in "$a" "$b"; do
  ip -n "$host" link set lo up
  ip -n "$host" link set cable up
done
ip netns exec "$a" unshare --uts sh -c 'hostname "$1" && shift && exec "$@"' sh "$a" \
  mpirun --allow-run-as-root --host 10.217.9.1,10.217.9.2 -n 2 --mca plm_rsh_agent "$here/between_hosts.sh --on $b" \
  --mca btl tcp,self --mca btl_tcp_if_include 10.217.9.0/24 --mca oob_tcp_if_include 10.217.9.0/24 "$@"
