#!/bin/bash
# The tests under AddressSanitizer and ThreadSanitizer: `Tests/sanitize.sh [address|thread]`. Findings fail the run.
#   SANITIZE_QUICK=1   the parsers, kernels and the fuzzer's corpus under the former, what runs on several threads under the latter;
#                      the test targets that hold those are built, and no others, with the share of the loops that `make test` runs; all of them without it
#
# Left out: CommandTests, which start the command as it ships, as a process of its own: there is nothing of ours to watch in the test's.
set -uo pipefail
cd "$(dirname "$0")/.."
kinds=("$@")
[[ $# -gt 0 ]] || kinds=(address thread)
# Swift's own backtraces would start a program in every crash. The mapped files of the tests are cut short on purpose: SIGBUS is ours.
export SWIFT_BACKTRACE=enable=no
export ASAN_OPTIONS=handle_sigbus=0:detect_leaks=0:allocator_may_return_null=1
export TSAN_OPTIONS=handle_sigbus=0:halt_on_error=0:exitcode=66
status=0
declare -A targets=(
    [address]='Checkpoints FileAccess Publishing TensorModel Quantization Fuzz'
    [thread]='Work Stability Measurement FileAccess'
)
declare -A quick=(
    [address]='CheckpointsTests|FileAccessTests|PublishingTests|TensorModelTests|QuantizationTests|FuzzTests'
    [thread]='PipelineTests|DeterminismTests|ComparisonTests|DiffTests|MappedFileTests|GuardedCopyTests'
)
all='Architectures Calibration Checkpoints Conversion FileAccess Fuzz Inspection Measurement Moments Publishing Quantization Stability Tampering TensorModel Work'
for kind in "${kinds[@]}"; do
    if [[ ${SANITIZE_QUICK:-} == 1 ]]; then
        filter=${quick[$kind]} INGOT_TESTS=${targets[$kind]}
    else
        filter=. INGOT_TESTS=$all INGOT_SHARE=${INGOT_SHARE:-1}
        export INGOT_SHARE
    fi
    export INGOT_TESTS
    began=$SECONDS
    swift build -c release --scratch-path ".build-$kind" --sanitize "$kind" --product ingotPackageTests || exit 1
    built=$SECONDS
    environment=()
    if [[ $kind == thread && $(uname -s) == Linux ]]; then
        clang -O2 -Wall -Wextra -Werror -shared -fPIC Tests/thread-sanitizer-mutex.c -o ".build-$kind/mutex.so" || exit 1
        environment=(LD_PRELOAD="$PWD/.build-$kind/mutex.so")
    fi
    env "${environment[@]}" swift test -c release --scratch-path ".build-$kind" --sanitize "$kind" --skip-build \
        --filter "$filter" > ".build-$kind/log" 2>&1 || {
        status=1
        Tests/failures.sh ".build-$kind/log"
    }
    tail -n 3 ".build-$kind/log"
    echo "sanitize: $kind: built in $((built - began)) s, ran in $((SECONDS - built)) s"
done
exit $status
