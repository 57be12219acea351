#!/bin/bash
# Whole-model reductions on the shapes of the six models of the study behind Ingot (`ingot plan` on sparse files of full length), and how
# true plan is: its prediction for a dense checkpoint of 1.1 B parameters against the conversion. Prints Markdown.
set -euo pipefail
cd "$(dirname "$0")/../.."
ingot=$PWD/.build/release/ingot
work=$(mktemp -d "${BENCH_DIR:-/tmp}/ingot-shapes.XXXXXX")
trap 'rm -rf "$work"' EXIT
member() { sed -n "s/^  \"$1\": \(-\{0,1\}[0-9.e-]*\),*$/\1/p"; }

echo "| shapes | fp16 | 8 bits | 4 bits | 3 bits | 2 bits |"
echo "|---|---|---|---|---|---|"
for model in $(.venv/bin/python Tests/Benchmarks/make_llama.py --models); do
    .venv/bin/python Tests/Benchmarks/make_llama.py "$work/sparse.safetensors" "$model"
    line="| $model | $(stat -c %s "$work/sparse.safetensors" | awk '{ printf "%.1f GB", $1 / 1e9 }') |"
    for bits in 8 4 3 2; do
        line+=$("$ingot" plan "$work/sparse.safetensors" --bits $bits --format json | member reduction |
            awk '{ printf " %.1f %% |", 100 * $1 }')
    done
    echo "$line"
    rm "$work/sparse.safetensors"
done

.venv/bin/python Tests/Benchmarks/make_llama.py "$work/dense.safetensors" TinyLlama-1.1B --dense
echo
echo "| dense, 1.1 B parameters, fp16 | predicted MB | converted MB | off by |"
echo "|---|---|---|---|"
compare() {
    local predicted converted
    predicted=$("$ingot" plan "$work/dense.safetensors" "$@" --format json | member output_bytes)
    converted=$("$ingot" convert -q "$work/dense.safetensors" "$work/out" "${@//--sample/--jobs=$(nproc)}" --format json | member output_bytes)
    awk -v p="$predicted" -v c="$converted" -v n="$*" \
        'BEGIN { printf "| %s | %.1f | %.1f | %.2f %% |\n", n, p / 1e6, c / 1e6, 100 * (p - c) / c }'
    rm -rf "$work/out"
}
for bits in 8 4 3 2; do compare --bits $bits; done
compare --bits 4 --sample
compare --relative-mse 5e-3
compare --bpw 3.77
compare --target-size 500MB
compare --scheme uniform --bits 4
compare --scheme lossless
