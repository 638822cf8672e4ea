#!/usr/bin/env bash
# Builds bitloop for GPUs on a machine that needs neither a GPU nor a CUDA toolkit: the compiler and the libraries come
# from the Python package index. Our own kernels are compiled as the program does at run time.
# Proves that everything compiles and links, and nothing about what a device computes.
#
# Usage: deploy/build_cuda.sh [WORK_DIR]
#   WORK_DIR    where the toolkit (2 GB) and the build (4 GB) go; default ~/.cache/bitloop/cuda
#   CUDA_COMPUTE_CAP    the oldest GPU that candle's kernels are for; default 80
#   PYTHON      a Python with venv; default python3
set -euo pipefail
cd "$(dirname "$0")/.."

work=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/bitloop/cuda}
mkdir -p "$work"
work=$(cd "$work" && pwd)
cuda=$work/cuda

# One release of everything, so that headers, compiler and libraries belong together.
if [ ! -x "$work/venv/bin/python" ]; then
  "${PYTHON:-python3}" -m venv "$work/venv"
fi
"$work/venv/bin/pip" install --quiet --no-cache-dir \
  'cuda-toolkit[nvcc,nvvm,crt,cudart,cccl,cublas,curand,nvrtc]==13.2.*'
wheels=$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/nvidia/cu13

# The folders of an installed toolkit; wheels have no plain `libX.so` to link with.
rm -rf "$cuda"
mkdir -p "$cuda/lib64/stubs"
for folder in bin include nvvm; do ln -s "$wheels/$folder" "$cuda/$folder"; done
for library in "$wheels"/lib/*; do
  name=$(basename "$library")
  ln -s "$library" "$cuda/lib64/$name"
  case $name in *.so.*) ln -sf "$library" "$cuda/lib64/${name%%.so.*}.so" ;; esac
done
ln -s lib64 "$cuda/lib"

# The driver's library comes with a GPU's driver. Linking takes a stand-in that has all its functions, each of which says
# "this is only a stub" (34), so that the program starts here too and can be asked what it says without a GPU.
grep -oE '\bcu[A-Z][A-Za-z0-9_]*\b' "$cuda/include/cuda.h" | sort -u \
  | sed 's/.*/int &(void) { return 34; }/' \
  | cc -shared -Wl,-soname,libcuda.so.1 -x c - -o "$cuda/lib64/stubs/libcuda.so.1"
ln -s libcuda.so.1 "$cuda/lib64/stubs/libcuda.so"

export CUDA_HOME=$cuda CUDA_ROOT=$cuda CUDA_PATH=$cuda CUDA_TOOLKIT_ROOT_DIR=$cuda
export NVCC=$cuda/bin/nvcc PATH=$cuda/bin:$PATH
export CUDARC_CUDA_VERSION=13020 CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-80}
export CARGO_TARGET_DIR=$work/target
export LIBRARY_PATH=$cuda/lib64:$cuda/lib64/stubs

# Our own kernels: the program hands them to nvrtc when it first uses them. The assembler then says what it says of code
# for real GPUs.
sources=(quant/src/kernels/cuda/*.cu)
LD_LIBRARY_PATH=$cuda/lib64 "$work/venv/bin/python" deploy/compile_kernels.py "$cuda/lib64/libnvrtc.so" "${sources[@]}"
for source in "${sources[@]}"; do
  for capability in 80 90; do
    nvcc -arch="sm_$capability" -Werror all-warnings --cubin -o "$work/$(basename "$source").$capability.cubin" "$source"
    echo "$(basename "$source") for sm_$capability: assembled"
  done
done

cargo build --release --locked -p bitloop --features cuda
echo "built $CARGO_TARGET_DIR/release/bitloop"
