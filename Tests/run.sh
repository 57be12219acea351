#!/bin/bash
# Runs the tests of a bundle that is built: `Tests/run.sh FOLDER NAME [--filter REGEX] [--skip REGEX]`, the log in FOLDER/log-NAME.
# The bundle is started itself, for `swift test` lets one run at a time into a folder.
set -uo pipefail
cd "$(dirname "$0")/.."
folder=$1 log=$1/log-$2
shift 2
began=$SECONDS
case $(uname -s) in
Linux) command=("$(ls -d "$folder"/{release,debug}/ingotPackageTests.xctest 2> /dev/null | head -n 1)" --testing-library swift-testing) ;;
*) command=(swift test -c "$(basename "$(ls -d "$folder"/{release,debug} 2> /dev/null | head -n 1)")" --scratch-path "$folder" --skip-build) ;;
esac
"${command[@]}" "$@" > "$log" 2>&1
status=$?
[[ $status -eq 0 ]] || Tests/failures.sh "$log"
tail -n 1 "$log"
echo "tests: $log, $((SECONDS - began)) s"
exit $status
