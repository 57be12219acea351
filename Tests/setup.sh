#!/bin/bash
# Installs what the build needs and this machine lacks. With `python`,
# `browser`, `arm64`, `bench`, `large` or `dist`: what those tests need, too.
set -euo pipefail

# One at a time, for `make -j` starts several: package managers do not run side by side.
if command -v flock >/dev/null; then
    exec 9> "${TMPDIR:-/tmp}/ingot-setup-$(id -u).lock"
    flock 9
fi

packages=()
need() { # need PACKAGE COMMAND...: the package is missing if the command fails
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || packages+=("$package")
}

case "$(uname -s)" in
Linux)
    if ! command -v swift >/dev/null; then
        echo "Swift is not installed; version 6.3 or newer is needed: https://www.swift.org/install/linux/" >&2
        exit 1
    fi
    need pkg-config command -v pkg-config
    need libzstd-dev test -e /usr/include/zstd.h
    need liblz4-dev test -e /usr/include/lz4.h
    need libxxhash-dev test -e /usr/include/xxhash.h
    need libssl-dev test -e /usr/include/openssl/evp.h
    need libopenblas0 sh -c 'ls /usr/lib/*/libopenblas.so.0'
    if [[ ${1:-} == python || ${1:-} == bench || ${1:-} == large || ${1:-} == browser ]]; then
        need python3 command -v python3
        need python3-venv python3 -c 'import ensurepip, venv'
    fi
    if [[ ${1:-} == bench ]]; then # llama-cpp-python comes as source
        need g++ command -v g++
        need cmake command -v cmake
        need ninja-build command -v ninja
    fi
    if [[ ${1:-} == dist ]]; then
        need gcc command -v gcc
        need libopenblas-pthread-dev sh -c 'ls /usr/lib/*/openblas-pthread/libopenblas.a'
    fi
    if [[ ${1:-} == large ]]; then # file systems in image files
        need xfsprogs command -v mkfs.xfs
        need mount command -v mount
    fi
    if [[ ${1:-} == browser ]]; then
        need chromium command -v chromium
        need fonts-dejavu-core test -d /usr/share/fonts/truetype/dejavu
    fi
    if [[ ${1:-} == arm64 ]]; then
        need qemu-user command -v qemu-aarch64
        need libc6-dev-arm64-cross test -d /usr/aarch64-linux-gnu/include
        need libgcc-12-dev-arm64-cross test -d /usr/lib/gcc-cross/aarch64-linux-gnu/12
        need binutils-aarch64-linux-gnu command -v aarch64-linux-gnu-ld
    fi
    [[ ${#packages[@]} -eq 0 ]] && exit 0
    if ! command -v apt-get >/dev/null; then
        echo "please install: ${packages[*]}" >&2
        exit 1
    fi
    echo "installing: ${packages[*]}" >&2
    as_root=()
    [[ $(id -u) -eq 0 ]] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null
    ;;
Darwin)
    for formula in zstd lz4 xxhash openssl@3 pkgconf; do
        brew list --formula "$formula" >/dev/null 2>&1 || brew install "$formula"
    done
    ;;
*)
    echo "unknown system: install zstd, lz4, xxhash and OpenSSL with their headers" >&2
    ;;
esac
