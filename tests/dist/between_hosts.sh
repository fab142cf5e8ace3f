#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs a program by two MPI processes on two hosts: network namespaces of this machine, each with a name and an
# address of its own, that see each other by a cable alone.
#
#   between_hosts.sh PROGRAM [ARGUMENTS]    ends as mpirun does; with 77 where no namespaces can be made (not root)
set -eu
here=$(cd "$(dirname "$0")" && pwd)

if [ "${1-}" = --on ]; then # as mpirun calls it to reach a host: --on ADDRESS COMMAND...
  shift 2
  exec ip netns exec zoq-b unshare --uts sh -c 'hostname zoq-b && eval "$@"' sh "$*"
fi

ip netns add zoq-a 2>/dev/null || exit 77
trap 'ip netns del zoq-a; ip netns del zoq-b 2>/dev/null || :' EXIT
ip netns add zoq-b
ip link add zoq-a0 netns zoq-a type veth peer name zoq-b0 netns zoq-b || exit 77
for host in a b; do
  ip -n "zoq-$host" address add "10.217.9.$([ "$host" = a ] && echo 1 || echo 2)/24" dev "zoq-${host}0"
  ip -n "zoq-$host" link set lo up
  ip -n "zoq-$host" link set "zoq-${host}0" up
done
ip netns exec zoq-a unshare --uts sh -c 'hostname zoq-a && exec "$@"' sh \
  mpirun --allow-run-as-root --host 10.217.9.1,10.217.9.2 -n 2 --mca plm_rsh_agent "$here/between_hosts.sh --on" \
  --mca btl tcp,self --mca btl_tcp_if_include 10.217.9.0/24 --mca oob_tcp_if_include 10.217.9.0/24 "$@"
