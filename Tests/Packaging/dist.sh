#!/bin/bash
# Makes a tarball and a Debian package of a command that is linked statically but for the C and C++ libraries: dist.sh OUT
#
# The command is the same on every Linux with that version of glibc or a newer one: Swift's runtime, zstd, lz4, xxHash and libcrypto are in it.
# The tarball also has a library of the two functions of OpenBLAS that the command calls, linked from OpenBLAS' archive. The command loads it
# for products of matrices only. The Debian package depends on Debian's OpenBLAS.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The linker takes the first library of a name that it finds. pkg-config leads it to this folder, which has archives only.
archives=$work/archives
mkdir "$archives"
multiarch=$(gcc -print-multiarch 2>/dev/null || clang -print-multiarch)
for name in zstd lz4 xxhash crypto; do
    archive=/usr/lib/$multiarch/lib$name.a
    [[ -e $archive ]] || { echo "dist.sh: $archive is missing" >&2; exit 1; }
    ln -s "$archive" "$archives/"
    printf 'Name: %s\nDescription: %s\nVersion: 1\nLibs: -L%s -l%s\n' "$name" "$name" "$archives" "$name" >"$archives/lib$name.pc"
done
PKG_CONFIG_PATH=$archives swift build -c release --static-swift-stdlib --scratch-path .build-dist --product ingot
ingot=$work/ingot
cp .build-dist/release/ingot "$ingot"
strip "$ingot"
if ldd "$ingot" | grep -E 'swift|zstd|lz4|xxhash|crypto' >&2; then
    echo "dist.sh: these libraries are not in the command" >&2
    exit 1
fi

version=$("$ingot" --version | cut -d ' ' -f 2)
machine=$(uname -m)
date=@$(git log -1 --format=%ct)
mkdir -p "$out"

tree=ingot-$version-linux-$machine
Tests/Packaging/tree.sh "$ingot" "$work/$tree"
cp README.md LICENSE CHANGELOG.md "$work/$tree/"
blas=/usr/lib/$multiarch/openblas-pthread/libopenblas.a
[[ -e $blas ]] || { echo "dist.sh: $blas is missing" >&2; exit 1; }
mkdir -p "$work/$tree/lib/ingot"
printf '{ global: cblas_sgemm; cblas_ssyrk; local: *; };' >"$work/symbols"
gcc -shared -s -o "$work/$tree/lib/ingot/libopenblas.so.0" -Wl,-soname,libopenblas.so.0 -Wl,--version-script="$work/symbols" \
    -Wl,--gc-sections -Wl,-z,noexecstack -Wl,-u,cblas_sgemm -Wl,-u,cblas_ssyrk "$blas" -lpthread -lm
install -m 644 /usr/share/doc/libopenblas-pthread-dev/copyright "$work/$tree/share/doc/ingot/OpenBLAS-copyright"
tar -C "$work" --sort=name --mtime="$date" --owner=0 --group=0 --numeric-owner -c "$tree" | gzip -9n >"$out/$tree.tar.gz"

deb=$work/deb
Tests/Packaging/tree.sh "$ingot" "$deb/usr"
glibc=$(objdump -T "$ingot" | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -n 1)
mkdir "$deb/DEBIAN"
cat >"$deb/DEBIAN/control" <<CONTROL
Package: ingot
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: The Ingot authors <authors@ingot.invalid>
Depends: libc6 (>= ${glibc#GLIBC_}), libstdc++6, libgcc-s1, libopenblas0
Installed-Size: $(du -sk "$deb/usr" | cut -f 1)
Section: utils
Priority: optional
Description: quantize, inspect, verify and export checkpoints of language models
 Ingot converts safetensors, PyTorch, GGUF and NumPy checkpoints to fewer bits
 in bounded memory, and verifies the error against the original.
CONTROL
find "$deb" -newermt "$date" -print0 | xargs -0r touch --no-dereference --date="$date"
SOURCE_DATE_EPOCH=${date#@} dpkg-deb --root-owner-group -Zxz --build "$deb" "$out/ingot_${version}_$(dpkg --print-architecture).deb" >/dev/null
(cd "$out" && sha256sum "$tree.tar.gz" "ingot_${version}"_*.deb | tee SHA256SUMS)
