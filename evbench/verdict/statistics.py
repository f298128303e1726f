"""Raw times -> ratio, interval, minimum detectable effect. Pure.

A difference is a log-ratio: log(baseline) - log(optimized) of one block, so that 0 means no change and exp(difference) is the speedup of
the optimized side. Intervals are 95% CIs; those of a family, such as the four stages, are simultaneous: all of them contain the truth in
95 of 100 sessions.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from evbench.verdict.student import student_quantile

Values = npt.NDArray[np.float64]

LEVEL = 0.05
POWER = 0.8
POWER_OF_TWO = 0.87
"""Of each of two intervals that both have to see an effect, for POWER together (simulated)."""
FARTHEST = 700.0
"""Logarithm beyond which a ratio is no float any more."""
MAX_SCORE = 3.0
"""Reach of the bootstrap's interval in that of Student's."""
DRAWS = 10_000
FEWEST_BLOCKS = 6
"""With five, even blocks that all agree happen by chance once in 16 times."""
FEWEST_SAMPLES = 6
"""With fewer, resampling means nothing; Student's interval, wide as it is for so few, is used alone."""
MOST_EXACT = 200
"""Blocks of which every sum of ranks is counted. Of more, the sums are as good as normal, and counting takes minutes."""
_WILCOXON_EFFICIENCY = 3 / math.pi
"""Of the signed-rank interval against Student's, for normal noise (Lehmann, Nonparametrics, 1975)."""


@dataclass(frozen=True)
class Interval:
    """A ratio of the baseline to the optimized side, with its confidence interval: of times, the speedup."""

    ratio: float
    low: float
    high: float
    confidence: float
    """Of this interval by itself: 0.95, or so much more that those of its family are simultaneous 95% CIs."""

    @property
    def half_width(self) -> float:
        """Relative to the ratio."""
        return (self.high - self.low) / 2 / self.ratio

    @property
    def excludes_1(self) -> bool:
        """Whether it shows a difference."""
        return not self.low <= 1 <= self.high


def combined(terms: Sequence[tuple[Interval, float]]) -> Interval:
    """Product of powers of ratios that were measured independently of each other, with its interval.

    The distances from estimate to bound add up as squares (MOVER: Zou and Donner, Construction of confidence limits about effect measures,
    Statistics in Medicine 27, 2008), so that intervals that are not symmetric, and those over invocations, stay what they are.

    Args:
        terms: (ratio with its interval, power), one at least. All of one confidence, which the result has too.
    """
    location = math.fsum(power * _log(one.ratio) for one, power in terms)
    below, above = [], []
    for one, power in terms:
        arms = _log(one.ratio) - _log(one.low), _log(one.high) - _log(one.ratio)
        down, up = arms if power > 0 else arms[::-1]
        below.append(abs(power) * down)
        above.append(abs(power) * up)
    bounds = location, location - math.hypot(*below), location + math.hypot(*above)
    ratio, low, high = (math.exp(min(max(bound, -FARTHEST), FARTHEST)) for bound in bounds)
    return Interval(ratio, low, high, min(one.confidence for one, _ in terms))


def _log(ratio: float) -> float:
    """Of what may be too small for a float."""
    return math.log(ratio) if ratio > 0 else -FARTHEST


def level_of_each(family: int) -> float:
    """How often each of so many intervals may miss the truth, for all of them to contain it in 95 of 100 cases (Bonferroni).

    Corrections in steps, such as Holm's, claim a little more, but have no interval that says the same as the claim.
    """
    return LEVEL / family


def estimate(differences: Mapping[int, Sequence[float]], level: float = LEVEL) -> Interval | None:
    """From the blocks of each sample, or of each cluster of samples. None if there are too few for any interval.

    One sample: each block counts. Several: each sample does, because blocks of one sample resemble each other, and an interval from
    all blocks together would cover the truth in some 70 of 100 cases instead of 95. Of samples that are not independent each cluster
    counts in the same way, whatever the number of its samples.

    Args:
        level: how often the interval may miss the truth.
    """
    if len(differences) == 1:
        (blocks,) = (np.sort(np.array(blocks, np.float64)) for blocks in differences.values())
        if len(blocks) < FEWEST_BLOCKS:
            return None
        return _signed_rank(blocks, level) if has_signed_rank(len(blocks), level) else _student(blocks, level)
    means = np.sort(np.array([np.mean(blocks) for blocks in differences.values()], np.float64))  # in whatever order they were given
    if len(means) < 2:
        return None
    student = _student(means, level)
    return student if len(means) < FEWEST_SAMPLES else _wider(student, _resampled(means, level))


def over_invocations(interval: Interval, invocations: Mapping[int, Sequence[float]], level: float = LEVEL) -> Interval:
    """The interval, no narrower than that of the means of each invocation (process restart of the workers) at the same level.

    Two processes of one variant differ for as long as they live: in where their memory lies, and in what the allocator and the
    scheduler have settled on. Blocks on one pair of processes all show the same such difference, and none of them its chance
    (Kalibera and Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013; psf/pyperf starts 20 processes for this reason).
    """
    means = np.sort(np.array([np.mean(blocks) for blocks in invocations.values()], np.float64))
    return interval if len(means) < 2 else _wider(interval, _student(means, level))


def _signed_rank(differences: Values, level: float) -> Interval:
    """Hodges-Lehmann location with the interval that inverts Wilcoxon's signed-rank test (Lehmann, Nonparametrics, 1975, ch. 4).

    Of few blocks no rank sum is rare enough for a small level. Their Student's interval missed the truth no more often than promised
    (simulated: drift, outliers, a slow first slot); that of a trimmed mean did for one of the stages in up to 22 of 100 sessions.
    """
    first, second = np.triu_indices(len(differences))
    walsh = np.sort((differences[first] + differences[second]) / 2)
    left_out = _left_out(len(differences), level)
    return _interval(float(np.median(walsh)), float(walsh[left_out]), float(walsh[-1 - left_out]), level)


@cache
def _left_out(count: int, level: float) -> int:
    """How many Walsh averages of so many blocks the interval leaves out at either end. Negative if even all of them miss too often."""
    if count > MOST_EXACT:
        middle, spread = _normal_rank_sum(count)
        return math.floor(middle + statistics.NormalDist().inv_cdf(level / 2) * spread - 0.5)
    return int(np.searchsorted(np.cumsum(_rank_sums(count)), level / 2, side="right")) - 1


def _reached(count: int, level: float) -> float:
    """How often the interval that leaves out so many misses the truth: rarely as often as it may, since rank sums come in steps."""
    left_out = _left_out(count, level)
    if count > MOST_EXACT:
        middle, spread = _normal_rank_sum(count)
        return 2 * statistics.NormalDist().cdf((left_out + 0.5 - middle) / spread)
    return 2 * float(np.cumsum(_rank_sums(count))[left_out])


def _normal_rank_sum(count: int) -> tuple[float, float]:
    """Mean and standard deviation of the sum of the positive ranks, if signs are tossed (Lehmann, section 3.1)."""
    return count * (count + 1) / 4, math.sqrt(count * (count + 1) * (2 * count + 1) / 24)


def has_signed_rank(blocks: int, level: float) -> bool:
    """Whether so many blocks of one sample have a signed-rank interval that misses the truth as rarely as that: six for 5 %, eight for the
    quarter of it that each of four stages has. Others have Student's."""
    return _left_out(blocks, level) >= 0


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


def _student(means: Values, level: float) -> Interval:
    location, reach = mean_and_reach(means, level)
    return _interval(location, location - reach, location + reach, level)


def mean_and_reach(values: Sequence[float] | Values, level: float = LEVEL) -> tuple[float, float]:
    """Mean, and how far its interval by Student's distribution reaches to either side. Of two values at least."""
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return float(np.mean(values)), student_quantile(1 - level / 2, len(values) - 1) * error


def _wider(one: Interval, other: Interval) -> Interval:
    """Both together, around the first's ratio.

    Of the two for samples, Student's is too narrow for skewed gains (contains the truth in 90 % at 10 samples), the bootstrap's for
    outliers (92 % at 25), each where the other is right. Together they did in 93 to 97 %, at 1.01 to 1.4 times the width (simulated:
    normal, exponential and Student's t with 3 degrees, 6 to 50 samples).
    """
    return Interval(one.ratio, min(one.low, other.low), max(one.high, other.high), one.confidence)


def _resampled(means: Values, level: float) -> Interval:
    """Bootstrap-t over samples (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 12.5)."""
    location, error = float(means.mean()), float(means.std(ddof=1)) / math.sqrt(len(means))
    if error == 0:
        return _interval(location, location, location, level)
    drawn = means[draws(len(means))]
    # A draw of nearly the same values has no error of its own to speak of, and a score without bounds.
    errors = np.maximum(drawn.std(axis=1, ddof=1) / math.sqrt(len(means)), error / 1e3)
    max_score = MAX_SCORE * student_quantile(1 - level / 2, len(means) - 1)
    scores = np.clip((drawn.mean(axis=1) - location) / errors, -max_score, max_score)
    lower, upper = np.quantile(scores, [level / 2, 1 - level / 2])
    return _interval(location, location - float(upper) * error, location - float(lower) * error, level)


def _interval(location: float, low: float, high: float, level: float) -> Interval:
    return Interval(math.exp(location), math.exp(low), math.exp(high), 1 - level)


@cache
def draws(count: int) -> npt.NDArray[np.int64]:
    """[DRAWS, count]: indices drawn with replacement, with a fixed seed, so that a report can be written again."""
    return np.random.default_rng(0).integers(0, count, (DRAWS, count))


def minimum_detectable_effect(variation: float, blocks: int, samples: int = 1, invocations: int = 1, family: int = 1) -> float | None:
    """The relative difference that is detected in 80 of 100 comparisons (MDE), if samples and invocations differ by noise only. None if
    there are too few blocks to detect any.

    Args:
        variation: coefficient of variation of single runs. The difference of a block, of two runs against two, varies as much.
        samples, invocations: over which the blocks are spread, of samples the clusters. The interval is never narrower than over either.
        family: number of simultaneous intervals of which this is one.
    """
    if samples == 1 and blocks < FEWEST_BLOCKS:
        return None
    level, error = level_of_each(family), variation / math.sqrt(blocks)
    units = [(blocks if samples == 1 else samples, level, error)]
    if samples == 1 and has_signed_rank(blocks, level):
        units = [(blocks, _reached(blocks, level), error / math.sqrt(_WILCOXON_EFFICIENCY))]
    units += [(invocations, level, error)] if invocations > 1 else []
    power = POWER if len(units) == 1 else POWER_OF_TWO
    reaches = [(student_quantile(1 - missed / 2, n - 1) + student_quantile(power, n - 1)) * error for n, missed, error in units]
    return math.expm1(max(reaches))


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

    The interval of the gain is a percentile bootstrap over blocks, or over samples or their clusters if there are several.
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
