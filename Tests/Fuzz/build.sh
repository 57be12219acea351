#!/bin/bash
# Builds the fuzzer and the writer of its seeds. SwiftPM's --sanitize links libFuzzer and AddressSanitizer, and instruments
# Swift for the latter alone: coverage of Swift and of C has flags of its own.
set -euo pipefail
cd "$(dirname "$0")"
swift build -c release --sanitize address --sanitize fuzzer \
    -Xswiftc -sanitize=fuzzer -Xcc -fsanitize=fuzzer-no-link
