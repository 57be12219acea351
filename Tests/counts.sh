#!/bin/bash
# Runs all cases of the property loops, and prints how many cases each of them tried. `make test` runs a share of them (TestSupport/Share.swift).
set -euo pipefail
cd "$(dirname "$0")/.."
export INGOT_SHARE=1
log=.build-test/log-counts
filter='FaultTests|KillTests|InterruptionTests|DamageTests|ForgeryTests|ChunkForgeryTests|TrellisForgeryTests|CorpusTests|PyTorchRejectionTests|GGUFHeaderTests|ReportFileTests|ReportPlaceTests|LogCommandTests|JournalEditTests|PromiseTests|PayloadTableTests|ResumeTests|ConsumeTests|FollowStepTests|ThresholdTests'
Tests/run.sh .build-test counts --filter "$filter"
.venv/bin/python -m pytest -q -s -p no:cacheprovider Tests/PythonDecoder/test_hostile.py Tests/PythonDecoder/test_forgeries.py >> "$log" 2>&1 ||
    { tail -n 50 "$log"; exit 1; }
grep -aoE '^count: .*' "$log" | cut -d' ' -f2- | sort -k2
