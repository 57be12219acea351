#!/bin/bash
# Peak resident memory of convert against --max-memory, over models of 0.1 to 7 billion weights: it follows the budget, not
# the model. Prints Markdown; ends with 1 if a peak is above its bound: the budget, 48 MiB for the program itself, and 8
# bytes for each byte of the source's headers, which are held decoded.
#
# Needs 18 GB in BENCH_DIR (or /tmp). DENSE_BYTES=2GB: weights above so many are zeros that take no disk.
set -euo pipefail
cd "$(dirname "$0")/../.."
ingot=${INGOT:-$PWD/.build/release/ingot}
python=$PWD/.venv/bin/python
work=$(mktemp -d "${BENCH_DIR:-/tmp}/ingot-memory.XXXXXX")
trap 'rm -rf "$work"' EXIT
budgets=(64 128 256)
above=0

# Progress is of no use here.
quiet=()
if "$ingot" help convert | grep -q -- '--progress '; then quiet=(--progress none); fi

member() { sed -n "s/^  \"$1\": \([0-9]*\),*$/\1/p"; }

# The lengths of all headers of the source, in bytes.
header_bytes() {
    local total=0 shard
    for shard in "$work/source"/*.safetensors; do
        total=$((total + $(od -An -t u8 -N 8 "$shard")))
    done
    echo "$total"
}

# One row of the table: a model, a name, and options of convert.
row() {
    local model=$1 options=("${@:3}") headers line budget peak bound
    headers=$(header_bytes)
    line="| $model | $2 | ${options[*]} |"
    for budget in "${budgets[@]}"; do
        rm -rf "$work/sealed"
        peak=$("$ingot" convert "$work/source" "$work/sealed" "${options[@]}" "${quiet[@]}" \
            --max-memory "${budget}MiB" --format json |
            member peak_resident_bytes)
        bound=$(((budget + 48) * 1048576 + 8 * headers))
        if ((peak > bound)); then
            line+=" **$((peak >> 20))** |"
            above=1
        else
            line+=" $((peak >> 20)) |"
        fi
    done
    echo "$line $((headers / 1000)) kB |"
    rm -rf "$work/sealed"
}

echo "$(date +%F), $("$ingot" --version), $(nproc) jobs. Peak resident memory of convert in MiB, mapped pages counted:"
echo
echo "| shapes | weights | options |$(printf ' --max-memory %sMiB |' "${budgets[@]}") headers |"
echo "|---|---|---|$(printf -- '---|%.0s' "${budgets[@]}")---|"
for model in Llama-shape-0.1B TinyLlama-1.1B Llama-shape-3B CodeLlama-7B; do
    rm -rf "$work/source"
    "$python" Tests/Benchmarks/make_llama.py "$work/source" "$model" --dense-bytes "${DENSE_BYTES:-100GB}"
    length=$(stat -c %s "$work/source"/*.safetensors | awk '{ total += $1 } END { printf "%.0f\n", total }')
    blocks=$(du -s --block-size=1 "$work/source" | cut -f 1)
    # Metadata takes some blocks, too.
    if ((blocks >= length)); then what="dense"; else what="$((blocks / 1000000)) of $((length / 1000000)) MB dense, the rest zeros"; fi
    row "$model" "$what" --bits 4
    row "$model" "$what" --scheme uniform --bits 4
    # Its outputs are large; what it needs does not depend on the model.
    [[ $model == CodeLlama-7B ]] || row "$model" "$what" --scheme lossless
done
echo
if ((above)); then
    echo "**A peak is above its bound**: the budget, 48 MiB, and 8 bytes for each byte of headers."
    exit 1
fi
echo "No peak is above its bound: the budget, 48 MiB, and 8 bytes for each byte of headers."
