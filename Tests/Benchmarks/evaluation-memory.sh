#!/bin/bash
# Peak memory of `ingot evaluate` in a control group of the kernel that has --max-memory and 48 MiB for the program itself, and no swap.
# What is read from files counts in the group, too, until the kernel drops it; so the group's peak may be its limit, and what a run
# needs is the anonymous part. A run that needs more is killed. Prints Markdown; ends with 1 if a run does not end with 0, or
# has more anonymous memory than that.
#
# - A model of 1.1 billion weights (2.2 GB of fp16) evaluated --against its 4-bit form, with --max-memory 256MiB, 1GiB and 2GiB.
# - A model of 34 billion weights (67.5 GB of fp16, CodeLlama's shapes), with 2GiB. Three of its 48 layers are distinct and the others
#   share their blocks, in an image of an xfs file system, as in large.sh.
#
# Weights and ids are random. Needs root (control groups, loop mounts), mkfs.xfs, 10 GB in BENCH_DIR (or /tmp). ONLY=1b or
# ONLY=34b does one of the two. TOKENS (8192) and TOKENS_34B (512): how many.
set -euo pipefail
cd "$(dirname "$0")/../.."
ingot=${INGOT:-$PWD/.build/release/ingot}
python=${PYTHON:-$PWD/.venv/bin/python}
only=${ONLY:-all}
program=48
if [[ $(id -u) -ne 0 ]]; then
    echo "evaluation-memory.sh: needs root, for control groups and file systems in image files: run it with sudo" >&2
    exit 1
fi
work=$(mktemp -d "${BENCH_DIR:-/tmp}/ingot-evaluation.XXXXXX")
mounted=$work/mounted
group=""
clean() {
    if mountpoint -q "$mounted"; then umount "$mounted" || umount -l "$mounted"; fi
    [[ -z $group ]] || rmdir "$group" 2>/dev/null || true
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
failed=0

# A new group at $group with a limit of so many MiB. Both versions of control groups are known.
limit_memory() {
    local root bytes=$(($1 << 20))
    for root in /sys/fs/cgroup/memory /sys/fs/cgroup; do
        group=$root/ingot-evaluation-$$
        mkdir "$group" 2>/dev/null || continue
        if [[ -e $group/memory.limit_in_bytes ]]; then
            echo $bytes >"$group/memory.limit_in_bytes"
            # Not there if the kernel does not count swap.
            [[ ! -e $group/memory.memsw.limit_in_bytes ]] || echo $bytes >"$group/memory.memsw.limit_in_bytes"
            peak_file=$group/memory.max_usage_in_bytes
            return
        elif [[ -e $group/memory.max ]]; then
            echo $bytes >"$group/memory.max"
            echo 0 >"$group/memory.swap.max"
            peak_file=$group/memory.peak
            return
        fi
        rmdir "$group"
    done
    group=""
    echo "evaluation-memory.sh: no control group of memory can be made here" >&2
    exit 1
}

# Billions of operations: 2 x weights of linear layers x tokens, of the head x scored tokens. Arguments: hidden, layers, feed forward,
# rows of keys, vocabulary, tokens, models.
operations() {
    awk -v h="$1" -v l="$2" -v f="$3" -v k="$4" -v v="$5" -v t="$6" -v m="$7" \
        'BEGIN { printf "%.1f", 2e-9 * m * (t * l * (2 * h * h + 2 * k * h + 3 * f * h) + t / 512 * 255 * v * h) }'
}

# Writes what is new in a folder to the disk, and drops its files from the page cache: who reads them next is charged for them.
forget() {
    "$python" -c 'import os, pathlib, sys
for path in pathlib.Path(sys.argv[1]).iterdir():
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)' "$1"
}

# One row of the table.
row() { # row NAME BUDGET_MIB TOKENS GFLOP -- COMMAND...
    local name=$1 budget=$2 tokens=$3 billions=$4
    shift 5
    limit_memory $((budget + program))
    # shellcheck disable=SC2016 # the inner shell expands it
    "$python" Tests/Benchmarks/measure.py --log "$work/log" -- \
        sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@" --max-memory "${budget}MiB" --scratch "$work" --format json --quiet \
        >"$work/figures.json"
    local peak
    peak=$(cat "$peak_file" 2>/dev/null || echo 0)
    rmdir "$group"
    group=""
    if ! "$python" - "$work/figures.json" "$name" "$budget" $program "$tokens" "$billions" "$peak" <<'PYTHON'; then
import json, sys
path, name, budget, program, tokens, billions, peak = sys.argv[1:]
run = json.load(open(path))
processor = run["user"] + run["system"]
anonymous = run["anonymous"] >> 20
bad = run["status"] != 0 or anonymous > int(budget) + int(program)
mark = "**" if bad else ""
print(f"| {name} | {tokens} | {budget} | {mark}{run['status']}{mark} | {mark}{anonymous}{mark} | {run['peak'] >> 20} | {int(peak) >> 20} |"
      f" {run['wall']:.0f} | {processor:.0f} | {processor / run['wall']:.2f} | {float(billions) / run['wall']:.0f} |"
      f" {float(billions) / processor:.0f} |", flush=True)
sys.exit(bad)
PYTHON
        failed=1
        cat "$work/log" >&2
    fi
}
random_ids() { # random_ids VOCABULARY COUNT
    "$python" -c 'import numpy as np, sys
np.save(sys.argv[1], np.random.default_rng(11).integers(0, int(sys.argv[2]), int(sys.argv[3]), np.int32))' "$work/ids.npy" "$@"
}

echo "$(date +%F), $(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(uname -sr)," \
    "$("$ingot" --version); load $(cut -d ' ' -f 1-3 /proc/loadavg)."
echo
echo "| model | tokens | --max-memory MiB | status | anonymous MiB | resident MiB | group's peak MiB | seconds | CPU seconds | cores | GFLOP/s | GFLOP per CPU-second |"
echo "|---|---|---|---|---|---|---|---|---|---|---|---|"
if [[ $only != 34b ]]; then
    "$python" Tests/Benchmarks/make_llama.py "$work/plain" TinyLlama-1.1B --dense
    "$ingot" convert "$work/plain" "$work/sealed" --bits 4 --quiet >/dev/null
    tokens=${TOKENS:-8192}
    random_ids 32000 "$tokens"
    for budget in ${BUDGETS:-256 1024 2048}; do
        forget "$work/plain"
        forget "$work/sealed"
        row "1.1 B, fp16 against 4 bits" "$budget" "$tokens" "$(operations 2048 22 5632 256 32000 "$tokens" 2)" -- \
            "$ingot" evaluate "$work/plain" --against "$work/sealed" --ids "$work/ids.npy"
    done
    rm -rf "$work/plain" "$work/sealed"
fi
if [[ $only != 1b ]]; then
    if ! command -v mkfs.xfs >/dev/null; then
        echo "evaluation-memory.sh: needs mkfs.xfs: Tests/setup.sh large" >&2
        exit 1
    fi
    mkdir "$mounted"
    truncate -s 40G "$work/image"
    mkfs.xfs -q -m reflink=1 "$work/image"
    mount -o loop "$work/image" "$mounted"
    "$python" Tests/Benchmarks/make_llama.py "$mounted/source" CodeLlama-34B --reflink 3
    forget "$mounted/source"
    tokens=${TOKENS_34B:-512}
    random_ids 32000 "$tokens"
    row "34 B, fp16" 2048 "$tokens" "$(operations 8192 48 22016 1024 32000 "$tokens" 1)" -- \
        "$ingot" evaluate "$mounted/source" --ids "$work/ids.npy"
fi
if ((failed)); then
    echo
    echo "**A run failed, or had more anonymous memory than --max-memory and $program MiB.**"
    exit 1
fi
