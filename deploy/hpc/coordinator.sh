#!/bin/bash
# What deploy/slurm/coordinator.sbatch and deploy/pbs/coordinator.pbs have in common; they say what the variables mean.
# Checked: as deploy/slurm/coordinator.sbatch says.
set -euo pipefail

folder=${BITLOOP_DIR:-$HOME/bitloop}
mkdir -p "$folder"
hostname >"$folder/host.new"
mv "$folder/host.new" "$folder/host"
exec "${BITLOOP:-bitloop}" coordinator --listen "127.0.0.1:${BITLOOP_PORT:-7717}" --data-dir "${BITLOOP_DATA:-$folder/data}"
