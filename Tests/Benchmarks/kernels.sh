#!/bin/bash
# Compiles and runs kernels.c: the trellis kernels alone, on one core, against a memcpy.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
clang -std=gnu11 -O2 -ISources/CKernels/include $(find Sources/CKernels -name '*.c') \
    Tests/Benchmarks/kernels.c -o "$work/kernels" -pthread -lzstd -lm
"$work/kernels"
