"""The one measure of error in this benchmark."""

import math

import numpy as np


def relative_mse(weights: np.ndarray, decoded: np.ndarray) -> float:
    """sum((w - w')^2) / sum(w^2), in binary64."""
    exact = weights.astype(np.float64)
    return float(np.square(exact - decoded).sum() / np.square(exact).sum())


def bound_bits(relative: float) -> float:
    """Bits per weight that independent Gaussian weights need at least for this relative MSE: D = 2^(-2R)."""
    return 0.5 * math.log2(1 / relative)
