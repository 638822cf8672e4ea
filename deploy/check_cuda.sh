#!/usr/bin/env bash
# Type-checks the feature `cuda` on a machine without CUDA: a stand-in `nvcc` creates the files that the build expects.
# Proves that the Rust code compiles against candle's CUDA backend, and nothing about kernels or devices.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
cat >"$tools/nvcc" <<'NVCC'
#!/usr/bin/env bash
# Creates every output it is asked for, empty.
case "$*" in *--version*) echo "nvcc: NVIDIA (R) Cuda compiler driver"; echo "Cuda compilation tools, release 13.2, V13.2.0"; exit 0 ;; esac
out= ; outdir=. ; inputs=()
while [ $# -gt 0 ]; do
  case "$1" in
    -o | --output-file) out=$2; shift ;;
    --output-directory | -odir) outdir=$2; shift ;;
    *.cu) inputs+=("$1") ;;
  esac
  shift
done
if [ -n "$out" ]; then : >"$out"; fi
for input in "${inputs[@]}"; do : >"$outdir/$(basename "${input%.cu}").ptx"; done
NVCC
chmod +x "$tools/nvcc"

export PATH="$tools:$PATH" NVCC="$tools/nvcc"
export CUDARC_CUDA_VERSION=13020 CUDA_COMPUTE_CAP=90
cargo check --locked -p bitloop --features cuda
echo "the feature cuda type-checks"
