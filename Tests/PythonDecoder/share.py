"""How much of a loop that repeats a property runs: `INGOT_SHARE` (0.2; 1 in `make counts`), from a place that `INGOT_SEED` decides.

The rules are those of Tests/TestSupport/Share.swift. Where a test fails pytest prints both, to run the same cases again.
"""

import math
import os
import random

SHARE = float(os.environ.get("INGOT_SHARE", 0.2))
SEED = int(os.environ.get("INGOT_SEED", random.SystemRandom().randrange(1_000_000)))
assert 0 < SHARE <= 1, "INGOT_SHARE is a fraction above 0 and at most 1"


def count(all):
    """How many of so many cases run."""
    return min(all, max(1, math.ceil(all * SHARE)))


def of(cases):
    """The cases that run, evenly over all of them."""
    number = count(len(cases))
    step = len(cases) / number
    start = SEED * 0.618033988749895 % 1 * step if number < len(cases) else 0
    return [cases[min(len(cases) - 1, int(start + index * step))] for index in range(number)]
