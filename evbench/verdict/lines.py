"""Times over an amount of work -> the straight line through them: cost for each unit, and cost of none. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evbench.verdict.statistics import LEVEL
from evbench.verdict.student import student_quantile


@dataclass(frozen=True)
class Bounded:
    """A number with its 95% CI by itself. The bounds are None where too few points are there for any."""

    value: float
    low: float | None = None
    high: float | None = None

    def times(self, factor: float) -> Bounded:
        """`factor`: above 0."""
        low, high = (None if bound is None else bound * factor for bound in (self.low, self.high))
        return Bounded(self.value * factor, low, high)

    def minus(self, other: Bounded) -> Bounded:
        """Its bounds are those of the farthest ends: wider than 95 % asks for."""
        value = self.value - other.value
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return Bounded(value)
        return Bounded(value, self.low - other.high, self.high - other.low)

    def over(self, below: Bounded) -> Bounded:
        """As `minus`, of numbers above 0. Without bounds where that below may not be."""
        ratio = self.value / below.value
        if self.low is None or self.high is None or below.low is None or below.high is None or below.low <= 0:
            return Bounded(ratio)
        return Bounded(ratio, self.low / below.high, self.high / below.low)


@dataclass(frozen=True)
class Line:
    """seconds = intercept + slope * amount."""

    slope: Bounded
    """Seconds for each unit."""
    intercept: Bounded
    """Seconds."""
    farthest: float
    """Largest distance of a point from the line, as a share of its time. Of two points 0."""
    points: int

    def at(self, amount: float) -> float:
        """Seconds by the line."""
        return self.intercept.value + self.slope.value * amount


def fit(points: Sequence[tuple[float, float]], level: float = LEVEL) -> Line | None:
    """The line with the least sum of squared relative distances. None of fewer than two amounts, and where a time is not above 0.

    Noise of times is relative: what takes ten times as long varies ten times as much, so each point counts by its distance as a share of
    its time. Intervals are by Student's distribution over the points, each of which was measured on processes of its own; whatever does not
    lie on a line, such as a step, widens them like noise.

    Args:
        points: (amount, seconds), each measured once.
        level: how often each interval may miss the truth.
    """
    if len({amount for amount, _ in points}) < 2 or any(seconds <= 0 for _, seconds in points):
        return None
    amounts, seconds = np.array(points, np.float64).T
    # Around the weighted mean slope and height do not depend on each other, and large amounts lose no digits.
    weights = 1 / seconds**2
    middle = float(np.sum(weights * amounts) / np.sum(weights))
    height = float(np.sum(weights * seconds) / np.sum(weights))
    spread = float(np.sum(weights * (amounts - middle) ** 2))
    slope = float(np.sum(weights * (amounts - middle) * (seconds - height)) / spread)
    intercept = height - slope * middle
    distances = (seconds - intercept - slope * amounts) / seconds
    reaches = None
    if (freedom := len(points) - 2) > 0:
        variance = float(np.sum(distances**2)) / freedom
        quantile = student_quantile(1 - level / 2, freedom)
        of_slope = math.sqrt(variance / spread)
        of_intercept = math.sqrt(variance * (1 / float(np.sum(weights)) + middle**2 / spread))
        reaches = quantile * of_slope, quantile * of_intercept
    farthest = float(np.max(np.abs(distances))) if freedom > 0 else 0.0
    return Line(_bounded(slope, reaches and reaches[0]), _bounded(intercept, reaches and reaches[1]), farthest, len(points))


def _bounded(value: float, reach: float | None) -> Bounded:
    return Bounded(value) if reach is None else Bounded(value, value - reach, value + reach)
