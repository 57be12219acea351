"""Intervals and tests: Student's t over sequences, Wilson's interval of a share."""

import math
from dataclasses import dataclass


def _beta(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function, by Lentz's continued fraction."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(b, a, 1 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    tiny, result, c, d = 1e-300, 1.0, 1.0, 0.0
    for i in range(400):
        m = i // 2
        if i == 0:
            numerator = 1.0
        elif i % 2 == 0:
            numerator = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            numerator = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / ((1 + numerator * d) or tiny)
        c = (1 + numerator / c) or tiny
        result *= c * d
        if abs(1 - c * d) < 1e-14:
            break
    return front * (result - 1)


def t_tail(t: float, freedom: int) -> float:
    """The probability that |T| is at least |t|."""
    return _beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def t_quantile(freedom: int, two_sided: float = 0.05) -> float:
    low, high = 0.0, 1000.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, freedom) > two_sided else (low, middle)
    return high


@dataclass(frozen=True)
class Mean:
    """A mean over sequences, its standard error, and the ends of its 95 % interval."""

    value: float
    error: float
    low: float
    high: float
    p: float  # of a mean of zero, two-sided


def mean(values: list[float]) -> Mean:
    count = len(values)
    middle = sum(values) / count
    error = math.sqrt(sum((value - middle) ** 2 for value in values) / (count - 1) / count)
    reach = t_quantile(count - 1) * error
    p = t_tail(middle / error, count - 1) if error else float(middle == 0)
    return Mean(middle, error, middle - reach, middle + reach, p)


def difference(first: list[float], second: list[float]) -> Mean:
    """The paired difference of figures of the same sequences."""
    return mean([a - b for a, b in zip(first, second, strict=True)])


def wilson(hits: int, of: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a share."""
    share, scale = hits / of, 1 + z * z / of
    middle, reach = (share + z * z / (2 * of)) / scale, z / scale * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, middle - reach), min(1.0, middle + reach)
