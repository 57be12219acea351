# What the scripts of the ways of use share: a folder of their own, and checks that name what they found. Source it.
set -euo pipefail

INGOT=${INGOT:?the command to use}
PYTHON=${PYTHON:?a Python with numpy and safetensors}
model=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../SampleWeights" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# status N COMMAND...: runs a command that must end with exit status N; its output is in out.txt and err.txt.
status() {
    local expected=$1 found=0
    shift
    "$@" >out.txt 2>err.txt || found=$?
    [ "$found" = "$expected" ] || fail "exit status $found instead of $expected: $* $(cat out.txt err.txt)"
}

# contains FILE TEXT: FILE must contain TEXT.
contains() {
    grep -qF -- "$2" "$1" || fail "$1 does not contain '$2': $(head -c 2000 "$1")"
}

# last FILE TEXT: the last line of FILE must begin with TEXT.
last() {
    [[ $(tail -n 1 "$1") == "$2"* ]] || fail "the last line of $1 does not begin with '$2': $(tail -n 1 "$1")"
}

# holds EXPRESSION FILE...: a Python expression over the JSON documents a, b, c in the files must be true.
holds() {
    "$PYTHON" - "$@" <<'EOF'
import json, sys
names = dict(zip("abc", (json.load(open(path)) for path in sys.argv[2:])))
if not eval(sys.argv[1], names):
    sys.exit(f"FAILED: {sys.argv[1]} is false for {', '.join(sys.argv[2:])}")
EOF
}

# bytes DIRECTORY: the bytes of all files in it.
bytes() {
    find "$1" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum + 0 }'
}
