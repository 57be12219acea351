"""What the comparison knows of a peer's format."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Format:
    """A type of a peer. `round_trip` takes an fp32 matrix, and returns the bytes that the peer stores for it (codes and
    all side information, no container header) and the fp32 weights that it reads back from them.
    """

    family: str
    name: str
    round_trip: Callable[[np.ndarray], tuple[int, np.ndarray]]
