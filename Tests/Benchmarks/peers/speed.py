"""Encoding speed of llama.cpp's types on one core, beside a copy of the same weights in fp16. Prints Markdown.

    speed.py [RUNS]

The weights are the benchmark's Gaussian; ggml gets them in fp32, as llama.cpp's quantizer does. Their 8 MB may stay in
the processor's cache from run to run, in the copy as in the quantizers. Compare figures of one run only.
"""

import ctypes
import sys
import time
from collections.abc import Callable

import numpy as np

from formats.ggml import Type
from weights import WEIGHT_SETS

TYPES = ("Q4_K", "Q4_0", "Q3_K", "Q2_K")


def best(work: Callable[[], object], runs: int) -> float:
    """Seconds of the fastest run, after one that is not counted: it touches the pages of the destination."""
    work()
    seconds = []
    for _ in range(runs):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    weights = next(next(s for s in WEIGHT_SETS if s.key == "gaussian").tensors()).values
    half = weights.astype(np.float16)
    copied = np.empty_like(half)
    memcpy = best(lambda: ctypes.memmove(copied.ctypes.data, half.ctypes.data, half.nbytes), runs)
    print(f"{weights.size:,} weights, one core, best of {runs}:\n")
    print("| what | M weights/s | times memcpy |")
    print("|---|---|---|")
    print(f"| memcpy, fp16 | {weights.size / memcpy / 1e6:.0f} | 1 |")
    for kind in map(Type, TYPES):
        blocks = kind.empty(weights.size)
        seconds = best(lambda: kind.quantize(weights, blocks), runs)
        print(f"| llama.cpp {kind.name} | {weights.size / seconds / 1e6:.1f} | {seconds / memcpy:.0f} |")


if __name__ == "__main__":
    main()
