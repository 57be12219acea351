#!/bin/bash
# Prints what failed of a log of `swift test`, in which it lies among what hundreds of tests said: `Tests/failures.sh LOG`.
# Last in a run, so that a log of which only the end is kept says it too.
set -euo pipefail
# Which share of the loops ran, and how to run the same one again.
grep -a '^share: ' "$1" | sort -u || true
grep -aE 'WARNING: ThreadSanitizer|ERROR: AddressSanitizer|SUMMARY: ' "$1" | sort | uniq -c | cut -c1-400 || true
# An issue has its comments in the lines that follow; a crash and a failed build have lines of "error:".
awk '/^✘|^error:|[^ ]: error:|Fatal error/ { told = 1; print; next } /^↳/ { if (told) print; next } { told = 0 }' "$1" |
    cut -c1-400 | head -n 100
