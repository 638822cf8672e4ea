#!/bin/bash
# bitloop on a machine of a cluster that reaches the coordinator by ssh alone: opens a tunnel to the host named in
# BITLOOP_DIR/host, becomes bitloop, and gives it the tunnel's end instead of the coordinator that the arguments name.
# Usage: through_ssh.sh worker --coordinator URL ...
#   BITLOOP        the program; default bitloop
#   BITLOOP_DIR    the folder of the coordinator's script; default ~/bitloop
#   BITLOOP_PORT   the coordinator's port on its host; default 7717
# An autoscale file names it as its `program`. The tunnel ends with the batch job; on the worker's host, users of that host
# can reach its end. ssh must get in without a question.
# Checked: as deploy/slurm/coordinator.sbatch says.
set -euo pipefail

folder=${BITLOOP_DIR:-$HOME/bitloop}
host=$(cat "$folder/host")
port=${BITLOOP_PORT:-7717}
url=http://127.0.0.1:$port
if [ "$host" != "$(hostname)" ]; then
  # Several workers share a host: each tries ports of its own, from one that its number gives.
  id=${SLURM_JOB_ID:-${PBS_JOBID:-$$}}
  near=$((20000 + (${id%%[!0-9]*} * 8) % 12000))
  last=$((near + 8))
  while ! ssh -f -N -o BatchMode=yes -o ExitOnForwardFailure=yes -o ServerAliveInterval=15 \
    -L "127.0.0.1:$near:127.0.0.1:$port" "$host" </dev/null; do
    near=$((near + 1))
    if [ "$near" -ge "$last" ]; then
      echo "no tunnel to $host; try: ssh $host true" >&2
      exit 1
    fi
    sleep 2
  done
  url=http://127.0.0.1:$near
fi

before=
for argument; do
  shift
  if [ "$before" = --coordinator ]; then
    before=
    argument=$url
  else
    before=$argument
  fi
  set -- "$@" "$argument"
done
exec "${BITLOOP:-bitloop}" "$@"
