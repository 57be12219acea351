#!/bin/bash
# Fuzzes every parser for FUZZ_SECONDS each, FUZZ_JOBS (2) at a time: `Tests/Fuzz/run.sh [TARGET...]`.
# Prints executions, coverage and findings; what crashes is kept in .build-fuzz/findings/TARGET/, and fails the run.
#   FUZZ_KEEP=1   adds to Tests/Fuzz/Corpus a small set of inputs that reach what was reached
set -uo pipefail
cd "$(dirname "$0")/../.."
seconds=${FUZZ_SECONDS:-60}
jobs=${FUZZ_JOBS:-2}
fuzzer=Tests/Fuzz/.build/release/IngotFuzz
work=$PWD/.build-fuzz
Tests/Fuzz/build.sh || exit 1
# Swift's own backtraces would start a program in every crash.
export SWIFT_BACKTRACE=enable=no
# Parsers of files are given files: in memory, where there is such a place.
[[ -w /dev/shm ]] && export TMPDIR=/dev/shm

mkdir -p "$work"
seeds=$work/seeds
rm -rf "$seeds"
INGOT_FUZZ_SEEDS=$seeds $fuzzer > "$work/targets" || exit 1
targets=("$@")
[[ $# -gt 0 ]] || mapfile -t targets < "$work/targets"

fuzz() {
    local target=$1
    local corpus=$work/corpus/$target findings=$work/findings/$target log=$work/$target.log dictionary=Tests/Fuzz/Dictionaries
    mkdir -p "$corpus" "$findings"
    local options=(-max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -print_final_stats=1
        -artifact_prefix="$findings/")
    case $target in
    safetensors-header | json | shard-index | journal | manifest | claims | moments | tokenizer | hyperparameters | quantized) options+=(-dict=$dictionary/json.dict) ;;
    zip-archive) options+=(-dict=$dictionary/zip.dict) ;;
    pickle | pytorch-checkpoint) options+=(-dict=$dictionary/pickle.dict) ;;
    gguf | numpy) options+=(-dict=$dictionary/$target.dict) ;;
    imatrix | tokenizer-gguf) options+=(-dict=$dictionary/gguf.dict) ;;
    token-ids) options+=(-dict=$dictionary/numpy.dict) ;;
    esac
    case $target in sealed-shard | chunk-*) options+=(-max_len=32768) ;; *) options+=(-max_len=8192) ;; esac
    local kept=Tests/Fuzz/Corpus/$target
    mkdir -p "$kept"
    local status executions coverage processor TIMEFORMAT='%U %S'
    {
        time INGOT_FUZZ_TARGET=$target $fuzzer "${options[@]}" "$corpus" "$kept" "$seeds/$target" > "$log" 2>&1
        status=$?
    } 2> "$log.time"
    processor=$(awk '{ printf "%.0f", $1 + $2 }' "$log.time")
    executions=$(awk '/stat::number_of_executed_units/ { print $2 }' "$log")
    coverage=$(grep -oE 'cov: [0-9]+ ft: [0-9]+' "$log" | tail -n 1)
    printf '%-20s %12s executions in %s s (%s of a processor), %s, %d findings\n' "$target" "${executions:-?}" "$seconds" \
        "$processor" "${coverage:-no coverage}" "$(find "$findings" -type f | wc -l)"
    [[ $status -eq 0 ]] || echo "$target: see $log" >&2
    return $status
}

status=0
running=()
for target in "${targets[@]}"; do
    if [[ ${#running[@]} -ge $jobs ]]; then
        wait "${running[0]}" || status=1
        running=("${running[@]:1}")
    fi
    fuzz "$target" &
    running+=($!)
done
for process in "${running[@]}"; do wait "$process" || status=1; done

# Of what the fuzzer reached: a small set of inputs that reach the same, 64 of all lengths, and 32 KiB, a target at most.
keep() {
    local target=$1 merged=$work/merged/$1 total=0 size file step
    rm -rf "$merged"
    mkdir -p "$merged"
    INGOT_FUZZ_TARGET=$target $fuzzer -set_cover_merge=1 "$merged" "$work/corpus/$target" \
        > "$work/$target.merge.log" 2>&1 || return 1
    step=$((($(find "$merged" -type f | wc -l) + 63) / 64))
    while read -r size file; do
        ((total += size))
        [[ $total -le 32768 ]] || break
        cp "$merged/$file" "Tests/Fuzz/Corpus/$target/"
    done < <(find "$merged" -type f -printf '%s %f\n' | sort -n | awk -v step="$step" 'step < 2 || NR % step == 1')
}
if [[ ${FUZZ_KEEP:-} == 1 && $status -eq 0 ]]; then
    for target in "${targets[@]}"; do keep "$target" || status=1; done
fi
exit $status
