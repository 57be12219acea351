#!/bin/bash
# Checks what dist.sh made: check.sh OUT. The tarball and the Debian package hold the same command, and it works from where it is unpacked.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$(cd "$1" && pwd)
model=$PWD/SampleWeights
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "check.sh: $*" >&2
    exit 1
}

(cd "$out" && sha256sum --check --quiet SHA256SUMS)
tarballs=("$out"/ingot-*.tar.gz)
packages=("$out"/ingot_*.deb)
tar -C "$work" -xzf "${tarballs[-1]}"
tree=$(echo "$work"/ingot-*)
dpkg-deb -x "${packages[-1]}" "$work/deb"
cmp "$tree/bin/ingot" "$work/deb/usr/bin/ingot"
for file in share/man/man1/ingot.1.gz share/bash-completion/completions/ingot share/zsh/site-functions/_ingot \
    share/fish/vendor_completions.d/ingot.fish; do
    [[ -s $tree/$file ]] || fail "the tarball lacks $file"
    [[ -s $work/deb/usr/$file ]] || fail "the package lacks $file"
done
# Without an environment and without the libraries of Swift.
env -i "$tree/bin/ingot" convert "$model" "$work/four" --bits 4 --quiet >"$work/out.txt"
env -i "$tree/bin/ingot" verify "$work/four" --against "$model" | tail -n 1 | grep -q '^PASS' || fail 'its output does not verify'
# Products by the library in the tarball, not by the system's.
env -i LD_DEBUG=files "$tree/bin/ingot" evaluate "$work/four" --text "$model/heldout-code.txt" --tokens 1024 --progress none \
    >"$work/out.txt" 2>"$work/loaded.txt"
grep -q "$tree/lib/ingot/libopenblas.so.0" "$work/loaded.txt" || fail 'evaluate does not load the library of the tarball'
grep -q 'perplexity' "$work/out.txt" || fail 'evaluate prints no perplexity'
if grep -qE 'gfortran|/usr/lib.*openblas' "$work/loaded.txt"; then fail 'evaluate loads libraries of the system'; fi
[[ -s $tree/share/doc/ingot/OpenBLAS-copyright ]] || fail 'the tarball lacks the notice of OpenBLAS'
[[ $(dpkg-deb -f "${packages[-1]}" Depends) == *libopenblas0* ]] || fail 'the package does not depend on OpenBLAS'
[[ $(dpkg-deb -f "${packages[-1]}" Version) == $(env -i "$tree/bin/ingot" --version | cut -d ' ' -f 2) ]] || fail 'versions differ'
echo "dist: tarball and package hold the same command, and it works"
