"""Raw times -> ratio, interval, minimum detectable effect. Pure.

A difference is a log-ratio: log(baseline) - log(optimized) of one block, so that 0 means no change and exp(difference) is the speedup of
the optimized side. Intervals are 95% CIs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

LEVEL = 0.05
POWER = 0.8
POWER_OF_TWO = 0.87
"""Of each of two intervals that both have to see an effect, for POWER together (simulated)."""
MAX_SCORE = 3.0
"""Reach of the bootstrap's interval in that of Student's."""
DRAWS = 10_000
FEWEST_BLOCKS = 6
"""With five, even blocks that all agree happen by chance once in 16 times."""
FEWEST_SAMPLES = 6
"""With fewer, resampling means nothing; Student's interval, wide as it is for so few, is used alone."""
_WILCOXON_EFFICIENCY = 3 / math.pi
"""Of the signed-rank interval against Student's, for normal noise (Lehmann, Nonparametrics, 1975)."""


@dataclass(frozen=True)
class Interval:
    """A ratio of the baseline to the optimized side, with its 95% CI: of times, the speedup."""

    ratio: float
    low: float
    high: float
    p: float
    """Probability of a difference this large if there is none."""

    @property
    def half_width(self) -> float:
        """Relative to the ratio."""
        return (self.high - self.low) / 2 / self.ratio


def estimate(differences: Mapping[int, Sequence[float]]) -> Interval | None:
    """From the blocks of each sample. None if there are too few for any interval.

    One sample: each block counts. Several: each sample does, because blocks of one sample resemble each other, and an interval from
    all blocks together would cover the truth in some 70 of 100 cases instead of 95.
    """
    if len(differences) == 1:
        (blocks,) = differences.values()
        return _signed_rank(np.array(blocks, np.float64)) if len(blocks) >= FEWEST_BLOCKS else None
    means = np.sort(np.array([np.mean(blocks) for blocks in differences.values()], np.float64))  # in whatever order they were given
    if len(means) < 2:
        return None
    return _student(means) if len(means) < FEWEST_SAMPLES else _wider(_student(means), _resampled(means))


def over_invocations(interval: Interval, invocations: Mapping[int, Sequence[float]]) -> Interval:
    """The interval, no narrower than that of the means of each invocation (process restart of the workers).

    Two processes of one variant differ for as long as they live: in where their memory lies, and in what the allocator and the
    scheduler have settled on. Blocks on one pair of processes all show the same such difference, and none of them its chance
    (Kalibera and Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013; psf/pyperf starts 20 processes for this reason).
    """
    means = np.sort(np.array([np.mean(blocks) for blocks in invocations.values()], np.float64))
    return interval if len(means) < 2 else _wider(interval, _student(means))


def _signed_rank(differences: Values) -> Interval:
    """Hodges-Lehmann location with the interval that inverts Wilcoxon's signed-rank test (Lehmann, Nonparametrics, 1975, ch. 4)."""
    count = len(differences)
    first, second = np.triu_indices(count)
    walsh = np.sort((differences[first] + differences[second]) / 2)
    cumulated = np.cumsum(_rank_sums(count))
    # The largest rank sum that is as rare as the level allows: the interval leaves out so many Walsh averages at either end.
    rare = int(np.searchsorted(cumulated, LEVEL / 2, side="right")) - 1
    low, high = walsh[max(rare, 0)], walsh[-1 - max(rare, 0)]
    # What is neither above nor below speaks for there being no difference.
    smaller = len(walsh) - max(int(np.sum(walsh > 0)), int(np.sum(walsh < 0)))
    p = min(1.0, 2 * float(cumulated[smaller]))
    return _interval(float(np.median(walsh)), float(low), float(high), p)


@cache
def _rank_sums(count: int) -> Values:
    """Probability of each sum of the positive ranks, 0 to count (count + 1) / 2, if signs are tossed."""
    chances = np.ones(1)
    for rank in range(1, count + 1):
        grown = np.zeros(len(chances) + rank)
        grown[: len(chances)] += chances / 2
        grown[rank:] += chances / 2
        chances = grown
    return chances


def _student(means: Values) -> Interval:
    location, reach = mean_and_reach(means)
    freedom = len(means) - 1
    error = reach / student_quantile(1 - LEVEL / 2, freedom)
    p = 2 * (1 - student_cdf(abs(location) / error, freedom)) if error else float(location == 0)
    return _interval(location, location - reach, location + reach, p)


def mean_and_reach(values: Sequence[float] | Values) -> tuple[float, float]:
    """Mean, and how far its interval by Student's distribution reaches to either side. Of two values at least."""
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return float(np.mean(values)), student_quantile(1 - LEVEL / 2, len(values) - 1) * error


def _wider(one: Interval, other: Interval) -> Interval:
    """Both together, around the first's ratio.

    Of the two for samples, Student's is too narrow for skewed gains (contains the truth in 90 % at 10 samples), the bootstrap's for
    outliers (92 % at 25), each where the other is right. Together they did in 93 to 97 %, at 1.01 to 1.4 times the width (simulated:
    normal, exponential and Student's t with 3 degrees, 6 to 50 samples).
    """
    return Interval(one.ratio, min(one.low, other.low), max(one.high, other.high), max(one.p, other.p))


def _resampled(means: Values) -> Interval:
    """Bootstrap-t over samples (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 12.5)."""
    location, error = float(means.mean()), float(means.std(ddof=1)) / math.sqrt(len(means))
    if error == 0:
        return _interval(location, location, location, float(location == 0))
    drawn = means[draws(len(means))]
    # A draw of nearly the same values has no error of its own to speak of, and a score without bounds.
    errors = np.maximum(drawn.std(axis=1, ddof=1) / math.sqrt(len(means)), error / 1e3)
    max_score = MAX_SCORE * student_quantile(1 - LEVEL / 2, len(means) - 1)
    scores = np.clip((drawn.mean(axis=1) - location) / errors, -max_score, max_score)
    lower, upper = np.quantile(scores, [LEVEL / 2, 1 - LEVEL / 2])
    p = float(np.mean(np.abs(scores) >= abs(location) / error))
    return _interval(location, location - float(upper) * error, location - float(lower) * error, max(p, 1 / DRAWS))


def _interval(location: float, low: float, high: float, p: float) -> Interval:
    return Interval(math.exp(location), math.exp(low), math.exp(high), p)


@cache
def draws(count: int) -> npt.NDArray[np.int64]:
    """[DRAWS, count]: indices drawn with replacement, with a fixed seed, so that a report can be written again."""
    return np.random.default_rng(0).integers(0, count, (DRAWS, count))


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


def holm(chances: Mapping[str, float]) -> dict[str, float]:
    """p-values corrected for their number (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    corrected, minimum = {}, 0.0
    for done, name in enumerate(sorted(chances, key=lambda name: chances[name])):
        minimum = max(minimum, min(1.0, (len(chances) - done) * chances[name]))
        corrected[name] = minimum
    return corrected


def minimum_detectable_effect(variation: float, blocks: int, samples: int = 1, invocations: int = 1) -> float | None:
    """The relative difference that is detected in 80 of 100 comparisons (MDE), if samples and invocations differ by noise only. None if
    there are too few blocks to detect any.

    Args:
        variation: coefficient of variation of single runs. The difference of a block, of two runs against two, varies as much.
        samples, invocations: over which the blocks are spread. The interval is never narrower than over either.
    """
    if samples == 1 and blocks < FEWEST_BLOCKS:
        return None
    error = variation / math.sqrt(blocks)
    units = [(blocks, error / math.sqrt(_WILCOXON_EFFICIENCY))] if samples == 1 else [(samples, error)]
    units += [(invocations, error)] if invocations > 1 else []
    power = POWER if len(units) == 1 else POWER_OF_TWO
    return math.expm1(max((student_quantile(1 - LEVEL / 2, n - 1) + student_quantile(power, n - 1)) * error for n, error in units))


def deviation(values: Sequence[float]) -> float:
    """Median absolute deviation."""
    middle = statistics.median(values)
    return statistics.median([abs(value - middle) for value in values])


def outliers(values: Sequence[float]) -> int:
    """How many have a modified z-score above 3.5 (Iglewicz and Hoaglin, 1993). They are counted, never left out."""
    spread = deviation(values)
    middle = statistics.median(values)
    return sum(0.6745 * abs(value - middle) > 3.5 * spread for value in values) if spread else 0


def tail(values: Sequence[float], chance: float) -> float | None:
    """The value that a share `chance` of runs does not exceed. None if too few were seen to bound it.

    So many are needed that a bound from the largest is wrong once in 20 times at most: 29 for 90 %, 299 for 99 %
    (mlcommons/inference:loadgen/early_stopping.cc reasons the same way).
    """
    if chance ** len(values) > LEVEL:
        return None
    return float(np.quantile(np.array(values), chance))


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Free of any distribution, from the order of the values. None if they are fewer than six."""
    ordered, count = sorted(values), len(values)
    outside, chance = -1, 0.0
    while (chance := chance + math.comb(count, outside + 1) / 2**count) <= LEVEL / 2:
        outside += 1
    return (ordered[outside], ordered[-1 - outside]) if outside >= 0 else None


def unsteady_times(values: Sequence[float]) -> list[str]:
    """Why these runs, the last of a warm-up, are not steady. Empty if they are.

    psf/pyperf:pyperf/_worker.py looks at the same properties when it calibrates a warm-up.
    """
    first, rest = values[0], np.array(values[1:])
    lower, upper = np.quantile(rest, [0.25, 0.75])
    half = len(values) // 2
    before, after = statistics.fmean(values[:half]), statistics.fmean(values[-half:])
    found = []
    if first > upper + 1.5 * (upper - lower) and first > 1.05 * upper:
        found.append(f"the first of them took {first / statistics.median(values):.2f}x the median")
    if abs(after - before) > 0.05 * statistics.fmean(values):
        found.append(f"times moved by {(after - before) / before:+.0%}")
    if deviation(values) > 0.1 * statistics.median(values):
        found.append(f"they vary by {deviation(values) / statistics.median(values):.0%}")
    return found


@dataclass(frozen=True)
class Distribution:
    """Values of single runs of one side."""

    median: float
    minimum: float
    maximum: float
    p90: float | None
    """None if too few runs could bound it."""
    runs: int
    outliers: int
    """They are counted, and kept."""


def distribution(values: Sequence[float]) -> Distribution | None:
    """None of no values."""
    if not values:
        return None
    return Distribution(statistics.median(values), min(values), max(values), tail(values, 0.9), len(values), outliers(values))


@dataclass(frozen=True)
class BreakEven:
    """Number of samples after which a longer startup and compile time is paid back, with its 95% CI. None: never."""

    samples: int | None
    low: int | None
    high: int | None


def break_even(extra: float, gains: Mapping[int, Sequence[float]]) -> BreakEven:
    """`extra` seconds of startup and compile time against the seconds saved by each sample, in blocks of each sample.

    The interval of the gain is a percentile bootstrap over blocks, or over samples if there are several.
    """
    if extra <= 0:
        return BreakEven(0, 0, 0)
    units = np.sort(np.array(next(iter(gains.values())) if len(gains) == 1 else [np.mean(blocks) for blocks in gains.values()], np.float64))
    mean = float(units.mean())
    lower, upper = np.quantile(units[draws(len(units))].mean(axis=1), [LEVEL / 2, 1 - LEVEL / 2])
    if lower <= 0:
        return BreakEven(None, None, None)
    samples, low, high = (math.ceil(extra / gain) for gain in (mean, upper, lower))
    return BreakEven(samples, low, high)
