#!/bin/bash
# The layers of CONTRIBUTING.md hold: each folder imports only what stands above it, and only three may say `unsafe`.
set -euo pipefail
cd "$(dirname "$0")/.."
failures=0
fail() {
    echo "layers: $*" >&2
    failures=$((failures + 1))
}

base="TensorModel FileAccess Checkpoints Quantization Container SystemPackage"
ground="$base Architectures Work Weights Publishing Moments"
declare -A allowed=(
    [TensorModel]=""
    [Kernels]="CKernels TensorModel"
    [Quantization]="TensorModel Kernels Glibc Musl Darwin"
    [FileAccess]="CSystemCalls CXXHash CCrypto TensorModel SystemPackage Synchronization Glibc Darwin"
    [Checkpoints]="TensorModel FileAccess Kernels SystemPackage"
    [Architectures]="TensorModel"
    [Container]="TensorModel FileAccess Checkpoints Quantization CZstd CLZ4 SystemPackage"
    [Work]="TensorModel FileAccess Synchronization"
    [Weights]="$base Architectures Work Synchronization Glibc Musl Darwin"
    [Publishing]="TensorModel FileAccess Checkpoints Container SystemPackage"
    [Moments]="TensorModel FileAccess Checkpoints Architectures SystemPackage"
    # None of these three imports another.
    [Conversion]="$ground Synchronization"
    [Inspection]="$ground Glibc Musl Darwin"
    [Export]="$ground"
    [Products]="CBLAS TensorModel"
    [Calibration]="$ground Products Synchronization Glibc Musl Darwin"
    [IngotCommand]="$ground Conversion Inspection Export Calibration Synchronization ArgumentParser Glibc Darwin"
)
for folder in Sources/*/; do
    layer=$(basename "$folder")
    case $layer in CSystemCalls | CKernels | CBLAS | CZstd | CLZ4 | CXXHash | CCrypto) continue ;; esac
    if [[ ! -v allowed[$layer] ]]; then
        fail "Sources/$layer is no layer; add it to Tests/check-layers.sh with what it may import"
        continue
    fi
    while read -r module; do
        [[ " ${allowed[$layer]} " == *" $module "* ]] || fail "$layer imports $module"
    done < <(grep -rhoE '^ *(@[a-z_]+ +)*((public|package|internal|private) +)?import +([a-z]+ +)?[A-Za-z0-9_]+' \
        "$folder" --include='*.swift' | awk '{print $NF}' | sort -u)
done

# The C kernels are a tree, too: which folders of CKernels a folder may include.
declare -A included=(
    [common]=""
    [statistics]="common"
    [uniform]="common statistics"
    [codes]="common"
    [trellis]="common statistics"
    [rans]="common statistics trellis"
    [blocks]="common"
    [feedback]="common trellis blocks"
    [levels]="common codes statistics uniform trellis rans blocks feedback"
    [entries]="levels"
)
for folder in Sources/CKernels/*/; do
    subject=$(basename "$folder")
    [[ $subject == include ]] && continue
    if [[ ! -v included[$subject] ]]; then
        fail "Sources/CKernels/$subject is no folder of the kernels; add it to Tests/check-layers.sh with what it may include"
        continue
    fi
    while read -r other; do
        [[ " ${included[$subject]} " == *" $other "* ]] || fail "CKernels/$subject includes $other"
    done < <(grep -rhoE '^ *#include "\.\./[a-z]+' "$folder" | sed 's|.*/||' | sort -u)
done

# Pointers live in the file system's and the kernels' wrappers and in the codecs; the command asks the terminal.
while read -r file; do
    case $file in
    Sources/FileAccess/* | Sources/Kernels/* | Sources/Products/* | Sources/Container/Codecs/* | Sources/IngotCommand/Output/Console.swift) ;;
    *) fail "$file says \`unsafe\`" ;;
    esac
done < <(grep -rlE '(^|[^A-Za-z"`/])unsafe( |\()' Sources --include='*.swift' | sort)

# Only the command prints.
while read -r file; do
    case $file in Sources/IngotCommand/*) ;; *) fail "$file prints" ;; esac
done < <(grep -rlE '(^|[^A-Za-z.])(print|debugPrint|dump)\(' Sources --include='*.swift' | sort)

# Only the command names its flags; below it remedies are values (Sources/TensorModel/Remedy.swift). Comments may name them.
while IFS=: read -r file line text; do
    case $file in Sources/IngotCommand/*) ;; *) fail "$file:$line names a flag: ${text#"${text%%[! ]*}"}" ;; esac
done < <(grep -rnE -e '--[a-z]' Sources --include='*.swift' | grep -vE '^[^:]*:[0-9]+: *//' | sort)

# Foundation's way to start a process copies what another thread may just have closed: tests that use it crash, now and then.
while read -r file; do
    fail "$file starts a process by Foundation; take Subprocess of TestSupport"
done < <(grep -rlE '(^|[^A-Za-z.])Process(\(|\.run)' Tests --include='*.swift' --exclude-dir=.build | sort)

# The root manifest stays usable as a dependency.
grep -q unsafeFlags Package.swift && fail "Package.swift has unsafeFlags"

[[ $failures -eq 0 ]] || exit 1
echo "layers: hold"
