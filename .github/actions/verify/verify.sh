#!/bin/bash
# What the composite action runs: verifies a checkpoint, and tells of it in annotations, a summary, and a JUnit report.
# The inputs of the action come as variables (INGOT_CHECKPOINT and so on); outputs go to the file that GITHUB_OUTPUT names.
set -uo pipefail

finish() {
    echo "status=$1" >>"$GITHUB_OUTPUT"
    exit "$1"
}

# A line end in a path would add outputs, and paths to what uploads the report.
for name in INGOT_CHECKPOINT INGOT_CLAIMS INGOT_SOURCE INGOT_CONVERSION_REPORT INGOT_REPORT INGOT_COMMAND; do
    if [[ ${!name} == *[$'\n\r']* ]]; then
        echo "ingot: a line end in the input that is $name" >&2
        finish 64
    fi
done

# Values are tied to their options by `=`, paths stand behind `--`: one that begins with a dash is no option.
options=(--claims="$INGOT_CLAIMS")
[[ -z $INGOT_SOURCE ]] || options+=(--against="$INGOT_SOURCE")
[[ -z $INGOT_CONVERSION_REPORT ]] || options+=(--conversion-report="$INGOT_CONVERSION_REPORT")

is_report() { [[ -f $1 ]] && grep -q '^<testsuites>$' -- "$1"; }

# What an earlier run reported is not taken for what this one finds; anything else under that name is left to ingot.
if [[ -n $INGOT_REPORT ]] && is_report "$INGOT_REPORT"; then
    rm -f -- "$(readlink -f -- "$INGOT_REPORT")"
fi

# One run: annotations, the step's summary, and the same results as a file for other readers.
[[ -z $INGOT_REPORT ]] || options+=(--junit="$INGOT_REPORT")
status=0
"$INGOT_COMMAND" verify "${options[@]}" --format github -- "$INGOT_CHECKPOINT" || status=$?
if [[ -n $INGOT_REPORT ]] && is_report "$INGOT_REPORT"; then
    echo "report=$INGOT_REPORT" >>"$GITHUB_OUTPUT"
fi
finish "$status"
