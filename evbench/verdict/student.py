"""Student's distribution. Pure."""

from __future__ import annotations

import math
from functools import cache


def student_cdf(value: float, freedom: int) -> float:
    """Of Student's distribution, by its finite sums (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan(abs(value) / math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    term, total = (cosine if freedom % 2 else 1.0), 0.0
    for index in range(freedom // 2):
        total += term
        step = 2 * index + (2 if freedom % 2 else 1)
        term *= cosine**2 * step / (step + 1)
    inside = 2 / math.pi * (angle + sine * total) if freedom % 2 else sine * total
    return 0.5 + math.copysign(inside / 2, value)


@cache
def student_quantile(chance: float, freedom: int) -> float:
    """By bisection. `chance` above a half."""
    low, high = 0.0, 1e6
    while high - low > 1e-9 * max(high, 1.0):
        middle = (low + high) / 2
        low, high = (middle, high) if student_cdf(middle, freedom) < chance else (low, middle)
    return (low + high) / 2
