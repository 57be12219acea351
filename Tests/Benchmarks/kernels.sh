#!/bin/bash
# Compiles and runs kernels.c, the trellis kernels alone, on one core, against a memcpy; and feedback.c, those of error feedback.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for program in kernels feedback; do
    clang -std=gnu11 -O2 -ISources/CKernels/include $(find Sources/CKernels -name '*.c') \
        Tests/Benchmarks/$program.c -o "$work/$program" -pthread -lzstd -lm
    "$work/$program"
    echo
done
