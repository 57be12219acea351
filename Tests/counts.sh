#!/bin/bash
# Runs the property loops and prints how many cases each of them tried.
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
filter='FaultTests|KillTests|InterruptionTests|DamageTests|ForgeryTests|ChunkForgeryTests|CorpusTests|PyTorchRejectionTests|GGUFHeaderTests|ReportFileTests|ReportPlaceTests|LogCommandTests|JournalEditTests|PromiseTests|PayloadTableTests'
swift test -c release --scratch-path .build-test --filter "$filter" > "$log" 2>&1 || { Tests/failures.sh "$log"; exit 1; }
.venv/bin/python -m pytest -q -s -p no:cacheprovider Tests/PythonDecoder/test_hostile.py Tests/PythonDecoder/test_forgeries.py >> "$log" 2>&1 ||
    { tail -n 50 "$log"; exit 1; }
grep -oE '^count: .*' "$log" | cut -d' ' -f2- | sort -k2
