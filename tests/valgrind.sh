#!/usr/bin/env bash
# Runs tests of the inference kernels under valgrind, which sees reads of memory that is not theirs or was never written.
# It knows neither AVX-512 nor VNNI: tests ask the CPU that it shows them, so that scalar code and AVX2 run.
# Takes seconds beside the build, but it needs valgrind (Debian: `apt-get install valgrind`), so it is no part of `.ci/run`.
# Arguments are names of tests instead of those below.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v valgrind >/dev/null; then
    echo "valgrind is not installed; on Debian: apt-get install valgrind" >&2
    exit 1
fi
# Small cases of convolutions, functions of pixels and tables; those with hundreds of drawn cases take very long here.
[ $# -gt 0 ] || set -- \
    kernels::nhwc::conv::tests::extents_of_zero \
    kernels::nhwc::conv::tests::nan_stays_nan \
    kernels::nhwc::tests::ties \
    kernels::nhwc::tests::depthwise::huge_and_undefined \
    kernels::nhwc::tests::pointwise::tables_give \
    kernels::nhwc::tests::pointwise::pictures_become

# The build of the whole workspace, which `cargo test --release --workspace` shares.
build=(cargo test --release --locked --workspace --lib --no-run)
"${build[@]}"
program=$("${build[@]}" --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*bitloop_quant[^"]*\)".*/\1/p' | tail -n 1)
echo "$(valgrind --version) on $program: scalar, and avx2 if this CPU has it"
SECONDS=0
valgrind --quiet --error-exitcode=9 "$program" --test-threads 1 "$@"
echo "valgrind found nothing in $SECONDS s"
