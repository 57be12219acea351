#!/bin/bash
# Speed of the command as ratios within one run: each verb against `cp` of the same file, on a checkpoint of real weights
# repeated to 1 GB. Prints Markdown; RESULTS.md keeps what was seen, with the machine.
set -euo pipefail
cd "$(dirname "$0")/../.."
ingot=$PWD/.build/release/ingot
runs=${RUNS:-5}
work=$(mktemp -d "${BENCH_DIR:-/tmp}/ingot-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
.venv/bin/python Tests/Benchmarks/make_checkpoint.py "$work/source.safetensors" "${GIGABYTES:-1}"
bytes=$(stat -c %s "$work/source.safetensors")

# The best of so many runs, in seconds: what else runs on the machine can only slow it down.
best() {
    for ((i = 0; i < runs; i++)); do
        rm -rf "$work/out"
        local begin end
        begin=$(date +%s.%N)
        "$@" >/dev/null
        end=$(date +%s.%N)
        awk -v b="$begin" -v e="$end" 'BEGIN { printf "%.6f\n", e - b }'
    done | sort -g | head -n 1
}
# The least processor time of converting, user and system, with an instruction set and options.
processor() {
    local kernels=$1
    shift
    for ((i = 0; i < runs; i++)); do
        rm -rf "$work/out"
        TIMEFORMAT="%U %S"
        { time INGOT_KERNELS=$kernels "$ingot" convert -q "$work/source.safetensors" "$work/out" "$@" >/dev/null; } 2>&1
    done | awk '{ t = $1 + $2; if (!best || t < best) best = t } END { print best }'
}
# One line of the table: a name and a command.
row() {
    local name=$1 seconds copy
    shift
    copy=$(best cp "$work/source.safetensors" "$work/out")
    seconds=$(best "$@")
    awk -v n="$name" -v s="$seconds" -v c="$copy" -v b="$bytes" \
        'BEGIN { printf "| %s | %.2f | %.0f | %.2f |\n", n, s, b / 1e6 / s, s / c }'
}

echo "$(date +%F), $(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(uname -sr), best of $runs:"
echo
echo "| command | seconds | MB of source/s | times cp |"
echo "|---|---|---|---|"
for bits in 2 3 4 6 8; do
    row "convert --bits $bits" "$ingot" convert -q "$work/source.safetensors" "$work/out" --bits $bits
done
row "convert --bits 4 --jobs 1" "$ingot" convert -q "$work/source.safetensors" "$work/out" --jobs 1
row "convert --bits 4 --states 16" "$ingot" convert -q "$work/source.safetensors" "$work/out" --states 16
row "convert --bits 4 --states 32" "$ingot" convert -q "$work/source.safetensors" "$work/out" --states 32
row "convert --relative-mse 5e-3" "$ingot" convert -q "$work/source.safetensors" "$work/out" --relative-mse 5e-3
row "convert --bits 4 --codec lz4" "$ingot" convert -q "$work/source.safetensors" "$work/out" --codec lz4
row "convert --bits 4 --codec none" "$ingot" convert -q "$work/source.safetensors" "$work/out" --codec none
for bits in 2 4 8; do
    row "convert --scheme uniform --bits $bits" \
        "$ingot" convert -q "$work/source.safetensors" "$work/out" --scheme uniform --bits $bits
done
row "convert --scheme uniform --symmetric" \
    "$ingot" convert -q "$work/source.safetensors" "$work/out" --scheme uniform --symmetric
for codec in zstd lz4 none; do
    row "convert --scheme uniform --scales minmax --codec $codec" \
        "$ingot" convert -q "$work/source.safetensors" "$work/out" --scheme uniform --scales minmax --codec $codec
done
row "convert --scheme lossless" "$ingot" convert -q "$work/source.safetensors" "$work/out" --scheme lossless
"$ingot" convert -q "$work/source.safetensors" "$work/sealed" >/dev/null
row "verify" "$ingot" verify "$work/sealed"
row "verify --against" "$ingot" verify "$work/sealed" --against "$work/source.safetensors"
row "verify --against --jobs 1" "$ingot" verify "$work/sealed" --against "$work/source.safetensors" --jobs 1
row "export --to safetensors" "$ingot" export "$work/sealed" "$work/out"

echo
echo "Processor time of convert --bits 4 on fp16 weights, both cores', user and system, the best of $runs:"
echo
echo "| kernels | M weights per CPU-second |"
echo "|---|---|"
for kernels in avx512vbmi2 avx512 avx2 sse2; do
    awk -v k=$kernels -v s="$(processor $kernels --bits 4)" -v b="$bytes" \
        'BEGIN { printf "| %s | %.0f |\n", k, b / 2e6 / s }'
done

echo
echo "The same of convert --scheme uniform --bits 4, in MB of source per CPU-second (bars: searched 200, minmax 690):"
echo
echo "| kernels | searched | minmax | minmax, lz4 | minmax, none |"
echo "|---|---|---|---|---|"
for kernels in avx512vbmi2 avx512 avx2 sse2; do
    printf "| %s |" $kernels
    for options in "" "--scales minmax" "--scales minmax --codec lz4" "--scales minmax --codec none"; do
        # shellcheck disable=SC2086 # words, not one argument
        seconds=$(processor $kernels --scheme uniform --bits 4 $options)
        awk -v s="$seconds" -v b="$bytes" 'BEGIN { printf " %.0f |", b / 1e6 / s }'
    done
    echo
done

echo
echo "Peak resident memory of convert, mapped pages counted:"
echo
echo "| --max-memory | MiB |"
echo "|---|---|"
for memory in 256MiB 64MiB; do
    rm -rf "$work/out"
    peak=$("$ingot" convert -q "$work/source.safetensors" "$work/out" --max-memory $memory --format json |
        sed -n 's/.*"peak_resident_bytes": \([0-9]*\).*/\1/p')
    echo "| $memory | $((peak >> 20)) |"
done

echo
echo "Statistics, against reading the same file with dd (bar: 1000 MB of fp16 per second and core, --jobs 1):"
echo
echo "| command | seconds | MB/s | times dd | peak MiB |"
echo "|---|---|---|---|---|"
reading=$(best dd status=none if="$work/source.safetensors" of=/dev/null bs=1M)
for options in "--jobs 1" "--jobs 2" "--jobs 1 --headers-only"; do
    # shellcheck disable=SC2086 # words, not one argument
    seconds=$(best "$ingot" inspect -q "$work/source.safetensors" $options)
    # shellcheck disable=SC2086
    peak=$("$ingot" inspect --verbose "$work/source.safetensors" $options 2>&1 >/dev/null |
        sed -n 's/.*peak memory \([0-9]*\) bytes/\1/p')
    awk -v o="$options" -v s="$seconds" -v r="$reading" -v b="$bytes" -v p="${peak:-0}" \
        'BEGIN { printf "| inspect %s | %.3f | %.0f | %.1f | %s |\n", o, s, b / 1e6 / s, s / r, p ? int(p / 1048576) : "" }'
done
for scheme in trellis uniform lossless; do
    "$ingot" convert -q --force "$work/source.safetensors" "$work/sealed" --scheme $scheme >/dev/null
    seconds=$(best "$ingot" inspect -q "$work/sealed" --jobs 1)
    awk -v o="of $scheme" -v s="$seconds" -v r="$reading" -v b="$bytes" \
        'BEGIN { printf "| inspect --jobs 1 %s (MB of source) | %.3f | %.0f | %.1f | |\n", o, s, b / 1e6 / s, s / r }'
done

echo
echo "Comparing checkpoints (verify --against has a bar of 300 MB of source per second):"
echo
echo "| command | jobs | seconds | MB of source/s |"
echo "|---|---|---|---|"
"$ingot" convert -q --force "$work/source.safetensors" "$work/sealed" >/dev/null
"$ingot" convert -q --force "$work/source.safetensors" "$work/other" --scheme uniform >/dev/null
compare() {
    local label=$1
    shift
    for jobs in 1 2; do
        seconds=$(best "$@" --jobs $jobs)
        awk -v l="$label" -v j=$jobs -v s="$seconds" -v b="$bytes" \
            'BEGIN { printf "| %s | %d | %.2f | %.0f |\n", l, j, s, b / 1e6 / s }'
    done
}
compare "verify 4-bit trellis --against fp16" "$ingot" verify "$work/sealed" --against "$work/source.safetensors"
differ() { "$ingot" diff "$@" --format csv || [[ $? == 1 ]]; }
compare "diff fp16, its 4-bit trellis" differ "$work/source.safetensors" "$work/sealed"
compare "diff its 4-bit uniform, its 4-bit trellis" differ "$work/other" "$work/sealed"
rm -rf "$work/other"

echo
echo "Headers (bars: 50 ms for 435 tensors, 500 ms for 100,000), whole command, start of the process included:"
echo
echo "| inspect --headers-only | ms |"
echo "|---|---|"
for count in 435 100000; do
    .venv/bin/python Tests/Benchmarks/make_header.py "$work/header.safetensors" $count
    awk -v s="$(best "$ingot" inspect --headers-only "$work/header.safetensors")" -v n=$count \
        'BEGIN { printf "| %d tensors | %.0f |\n", n, s * 1000 }'
done
awk -v s="$(best "$ingot" inspect --headers-only --top 10 "$work/header.safetensors")" \
    'BEGIN { printf "| 100000 tensors, `--top 10` | %.0f |\n", s * 1000 }'

echo
Tests/Benchmarks/kernels.sh
