#!/bin/bash
# Converts a dense checkpoint of 34 billion weights (68 GB, CodeLlama's shapes) at 4 bits, shard by shard, and one of 7 billion
# (13.5 GB); verifies both against their sources. Prints Markdown.
#
# The 68 GB take 5 on the disk: they lie in an image of an xfs file system, in which the layers share the blocks of the first
# LAYERS (3). Whoever reads them gets 68 GB of weights; what the disk delivers is less, and may come from the image's page
# cache. So this shows time of the processor, memory and sizes, not the disk's speed: the 7 B run does, whose bytes are all there.
#
# Where `ingot convert` has --consume-source, both are converted once more with it:
# - The 34 B source as a clone, which costs nothing: the sum of the lengths of source and output is watched. How much space becomes
#   free cannot be seen there, since shared blocks are freed with their last owner.
# - The 7 B source in a file system in which source and output do not fit side by side, and nothing is shared:
#   convert must fail there without the option, with no output to be seen, and succeed with it.
#
# Needs root (loop mounts), mkfs.xfs, and 24 GB in BENCH_DIR (or /tmp). ONLY=7b or ONLY=34b does one of the two.
set -euo pipefail
cd "$(dirname "$0")/../.."
ingot=${INGOT:-$PWD/.build/release/ingot}
python=$PWD/.venv/bin/python
only=${ONLY:-all}
if [[ $(id -u) -ne 0 ]]; then
    echo "large.sh: needs root, to mount file systems in image files: run it with sudo" >&2
    exit 1
fi
if ! command -v mkfs.xfs >/dev/null; then
    echo "large.sh: needs mkfs.xfs: Tests/setup.sh large" >&2
    exit 1
fi
gigabytes=$(df --output=avail -B 1000000000 "${BENCH_DIR:-/tmp}" | tail -n 1)
if ((gigabytes < 24)); then
    echo "large.sh: ${BENCH_DIR:-/tmp} has ${gigabytes// /} GB free, and 24 are needed: set BENCH_DIR" >&2
    exit 1
fi
work=$(mktemp -d "${BENCH_DIR:-/tmp}/ingot-large.XXXXXX")
image=$work/image
mounted=$work/mounted
clean() {
    if mountpoint -q "$mounted"; then umount "$mounted" || umount -l "$mounted"; fi
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# An empty file system of so many bytes at $mounted. The file is sparse: it takes what is written.
mount_image() {
    mkdir -p "$mounted"
    truncate -s "$1" "$image"
    mkfs.xfs -q -m reflink=1 "$image"
    if ! mount -o loop "$image" "$mounted"; then
        echo "large.sh: cannot mount $image: loop devices and xfs are needed, containers often have neither" >&2
        exit 1
    fi
}
unmount_image() {
    umount "$mounted"
    rm "$image"
}

generate() { "$python" Tests/Benchmarks/make_llama.py "$@"; }
# A member of what measure.py printed, or with a second name of the report that the command printed.
figure() {
    "$python" -c '
import json, sys
value = json.load(open(sys.argv[1]))
for name in sys.argv[2:]:
    value = json.loads(value[name]) if name == "output" else value[name]
print(value)' "$@"
}
has_consume() { "$ingot" help convert | grep -q -- --consume-source; }
total_bytes() { stat -c %s "$1"/*.safetensors | awk '{ total += $1 } END { printf "%.0f\n", total }'; }

# Runs a command under measure.py, which gets the arguments, and leaves its figures in $work/NAME.json.
measured() { # measured NAME [--watch FOLDER]... -- COMMAND...
    "$python" Tests/Benchmarks/measure.py --log "$work/log" "${@:2}" >"$work/$1.json"
    if [[ $(figure "$work/$1.json" status) -ne 0 ]]; then
        echo "large.sh: ${*:2}: status $(figure "$work/$1.json" status)" >&2
        cat "$work/log" >&2
        exit 1
    fi
}

# One row of the table, from $work/NAME.json; output bytes of a conversion are its report's.
row() { # row NAME WHAT SOURCE_BYTES
    local output="" file=$work/$1.json
    [[ $1 == verify ]] || output="$(figure "$file" output output_bytes)"
    awk -v n="$2" -v w="$(figure "$file" wall)" -v u="$(figure "$file" user)" -v s="$(figure "$file" system)" \
        -v b="$3" -v o="$output" -v p="$(figure "$file" output peak_resident_bytes)" 'BEGIN {
            size = o == "" ? "" : sprintf("%.2f GB, %.1f %% less", o / 1e9, 100 * (1 - o / b))
            printf "| %s | %.1f GB | %.0f | %.0f + %.0f | %.0f | %.0f | %.0f | %s |\n",
                n, b / 1e9, w, u, s, b / 1e6 / w, b / 2e6 / (u + s), p / 1048576, size }'
}
heading() {
    echo "| what | source | seconds | CPU seconds, user + system | MB of source/s | M weights per CPU-second | peak MiB | output |"
    echo "|---|---|---|---|---|---|---|---|"
}

# Conversion and verification of one source, the output in a folder of its own.
convert_and_verify() { # convert_and_verify NAME SOURCE
    local bytes
    bytes=$(total_bytes "$2")
    mkdir "$work/out"
    measured convert -- "$ingot" convert "$2" "$work/out/sealed" --bits 4 --format json
    row convert "$1: convert --bits 4" "$bytes"
    measured verify -- "$ingot" verify "$work/out/sealed" --against "$2" --format json
    row verify "$1: verify --against" "$bytes"
    cp "$work/out/sealed/ingot-manifest.json" "$work/manifest.json"
    rm -rf "$work/out"
}

# What --consume-source left: no shard of the source, and the bytes of the conversion without it.
check_consumed() { # check_consumed SOURCE SEALED
    if compgen -G "$1/*.safetensors" >/dev/null; then
        echo "**--consume-source left shards of the source behind.**"
        exit 1
    fi
    if ! cmp -s "$2/ingot-manifest.json" "$work/manifest.json"; then
        echo "**--consume-source wrote other bytes than the conversion without it.**"
        exit 1
    fi
}

run_34b() {
    mount_image 40G
    generate "$mounted/source" CodeLlama-34B --reflink "${LAYERS:-3}"
    echo
    echo "34 B: $(total_bytes "$mounted/source" | awk '{ printf "%.1f", $1 / 1e9 }') GB in $(ls "$mounted/source"/*.safetensors | wc -l) shards," \
        "$(df --output=used -B 1 "$mounted" | awk 'NR == 2 { printf "%.1f", $1 / 1e9 }') GB of them on the disk," \
        "${LAYERS:-3} of 48 layers distinct, the others clones."
    echo
    heading
    convert_and_verify "34 B" "$mounted/source"
    if has_consume; then
        local bytes
        bytes=$(total_bytes "$mounted/source")
        mkdir "$mounted/consumed" "$work/out"
        cp -r --reflink=always "$mounted/source" "$mounted/consumed/source"
        measured consume --watch "$mounted/consumed" --watch "$work/out" -- \
            "$ingot" convert "$mounted/consumed/source" "$work/out/sealed" --bits 4 --consume-source --format json
        row consume "34 B: convert --bits 4 --consume-source" "$bytes"
        check_consumed "$mounted/consumed/source" "$work/out/sealed"
        echo
        awk -v w="$(figure "$work/consume.json" watched)" -v b="$bytes" \
            -v o="$(figure "$work/consume.json" output output_bytes)" 'BEGIN {
            printf "With --consume-source, source and output had %.1f GB together at most; %.1f GB without it.\n", w / 1e9, (b + o) / 1e9 }'
        rm -rf "$work/out"
    fi
    unmount_image
}

# Small enough that one shard and its output fit into the file system of consume_7b.
shard_7b=3GB
run_7b() {
    echo
    echo "7 B: every byte on the disk, source and output on the same one."
    echo
    heading
    generate "$work/source" CodeLlama-7B --dense --shard-size "$shard_7b"
    convert_and_verify "7 B" "$work/source"
    rm -rf "$work/source"
    if has_consume; then consume_7b; fi
}

# 13.5 GB of source in a file system with room for less than 2 GB more: the output has 3.4.
consume_7b() {
    local bytes status=0
    mount_image 14800M
    generate "$mounted/source" CodeLlama-7B --dense --shard-size "$shard_7b"
    bytes=$(total_bytes "$mounted/source")
    local free
    free=$(df --output=avail -B 1 "$mounted" | tail -n 1)
    "$ingot" convert "$mounted/source" "$mounted/sealed" --bits 4 >/dev/null 2>"$work/log" || status=$?
    if [[ $status -eq 0 || -e $mounted/sealed ]]; then
        echo "**Source and output fit side by side: this shows nothing.**"
        exit 1
    fi
    local refusal
    refusal=$(grep -m 1 '^error' "$work/log")
    # What that run finished would be taken up by the next one, which is to do all of it.
    rm -rf "$mounted"/.sealed.*
    measured consume --watch "$mounted" -- "$ingot" convert "$mounted/source" "$mounted/sealed" --bits 4 --consume-source --format json
    row consume "7 B: convert --bits 4 --consume-source" "$bytes"
    check_consumed "$mounted/source" "$mounted/sealed"
    echo
    awk -v f="$free" -v s="$status" -v w="$(figure "$work/consume.json" on_disk)" \
        -v o="$(figure "$work/consume.json" output output_bytes)" 'BEGIN {
        printf "In a file system with %.1f GB left beside the source, convert ends with %d without --consume-source; ", f / 1e9, s
        printf "with it, it writes the %.1f GB, and source and output took %.1f GB at most.\n", o / 1e9, w / 1e9 }'
    echo "Without it: $refusal"
    unmount_image
}

echo "$(date +%F), $(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(uname -sr)," \
    "$("$ingot" --version); load $(cut -d ' ' -f 1-3 /proc/loadavg)."
[[ $only == 7b ]] || run_34b
[[ $only == 34b ]] || run_7b
