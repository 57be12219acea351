#!/bin/sh
# Compiles the kernels for arm64, runs them in an emulator, and compares their checksums with this processor's.
#
# Needs clang, and from Debian: qemu-user libc6-dev-arm64-cross libgcc-12-dev-arm64-cross binutils-aarch64-linux-gnu

set -eu
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
kernels=$(find Sources/CKernels -name '*.c')
trap 'rm -rf "$scratch"' EXIT

build() {
    program=$1
    output=$2
    shift 2
    clang -std=gnu11 -O2 -Wall -Wextra -Werror "$@" -ISources/CKernels/include \
        $kernels "Tests/$program.c" -o "$output" -pthread -lm
}

for program in kernels-checksum rans-check; do
    build "$program" "$scratch/native"
    build "$program" "$scratch/arm64" --target=aarch64-linux-gnu -static
    "$scratch/native" >> "$scratch/native.txt"
    qemu-aarch64 "$scratch/arm64" >> "$scratch/arm64.txt"
done
diff "$scratch/native.txt" "$scratch/arm64.txt"
cat "$scratch/arm64.txt"
echo "The kernels give the same bits on arm64."
