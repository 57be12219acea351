#!/bin/sh
# Compiles the kernels for arm64, runs them in an emulator, and compares their checksums with this processor's.
#
# Needs clang, and from Debian: qemu-user libc6-dev-arm64-cross libgcc-12-dev-arm64-cross binutils-aarch64-linux-gnu

set -eu
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

build() {
    output=$1
    shift
    clang -std=gnu11 -O2 -Wall -Wextra -Werror "$@" -ISources/CKernels/include \
        Sources/CKernels/dispatch.c Sources/CKernels/guarded_copy.c Sources/CKernels/interrupt.c \
        Sources/CKernels/levels/*.c Tests/kernels-checksum.c -o "$output" -pthread
}

build "$scratch/native"
build "$scratch/arm64" --target=aarch64-linux-gnu -static
"$scratch/native" > "$scratch/native.txt"
qemu-aarch64 "$scratch/arm64" > "$scratch/arm64.txt"
diff "$scratch/native.txt" "$scratch/arm64.txt"
cat "$scratch/arm64.txt"
echo "The kernels give the same bits on arm64."
