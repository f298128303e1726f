"""Whether the gains of a ladder's choices depend on each other. Pure.

Gains are log-additive if each choice has the same speedup whatever the others are: then speedups multiply. A ladder that also leaves one
choice out measures each choice twice, among few of the others and among all of them, and all of them together. So two questions have
answers without further runs: whether a choice gains as much last as it did when it was added, and whether the gains of all choices, each
added last, multiply to that of the whole. The comparisons were measured independently, so intervals combine as those of independent ratios.

Not log-additive does not mean that code interferes. A choice that saves the same seconds saves a larger share of what the others have
left: of choices in different stages, the gains when added last multiply to more than the whole (Amdahl).
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evbench.verdict.claims import claim, joint_threshold
from evbench.verdict.judgement import CLAIMED
from evbench.verdict.ladder import Rung, RungTiming, factors
from evbench.verdict.statistics import Interval, combined


@dataclass(frozen=True)
class Dependence:
    """One choice, added to the rung below and added to all the others."""

    choice: str
    early: RungTiming
    last: RungTiming
    ratio: Interval
    """Of the speedup last to the speedup early. Simultaneous over the choices, as theirs are."""
    differs: bool


@dataclass(frozen=True)
class Together:
    """The gains of choices that are all of the difference, each added last, against the whole."""

    choices: tuple[str, ...]
    expected: Interval
    """Product of their speedups: that of the whole, if gains were log-additive."""
    measured: Interval
    """Of the whole."""
    ratio: Interval
    """Of the measured speedup to the expected one."""
    differs: bool


@dataclass(frozen=True)
class Pair:
    """Two choices, over all combinations with the others that were combined with them."""

    choices: tuple[str, str]
    ratio: Interval
    """Of the speedup of both to the product of their speedups, the geometric mean over the combinations. Simultaneous over the pairs."""
    differs: bool
    saved: float | None
    """Seconds that both save beyond the sum of what each saves, by medians, the mean over the combinations. None if a time is missing."""


def pairs(rungs: Sequence[Rung]) -> tuple[Pair, ...]:
    """Of each two choices that were combined, by the contrast of a two-level factorial design (Box, Hunter and Hunter, Statistics for
    Experimenters, 2005, ch. 5 and 6). Empty if a comparison of it has no interval."""
    ended = _of("subset", rungs)
    parts = factors([rung.step for rung in ended])
    timings = _known([None if rung.outcome is None else rung.outcome.among_choices for rung in ended])
    if not ended or timings is None:
        return ()
    names = {part: rung.step.optimized.choices()[part] for rung in ended for part in rung.step.parts}
    found = []
    for one, other in itertools.combinations(parts, 2):
        # Beside these there is the lowest variant itself, of which the speedup is 1.
        share = 4 / (len(ended) + 1)
        signs = [share * (1 if (one[0] in rung.step.parts) == (other[0] in rung.step.parts) else -1) for rung in ended]
        ratio = combined([(interval, sign) for (_, interval), sign in zip(timings, signs, strict=True)])
        chosen = tuple(" with ".join(f"{part}={names[part]}" for part in factor) for factor in (one, other))
        seconds = _saved([timing for timing, _ in timings], signs, share)
        found.append(Pair((chosen[0], chosen[1]), ratio, _differs(ratio, [timing for timing, _ in timings], share), seconds))
    return tuple(found)


def _saved(timings: Sequence[RungTiming], signs: Sequence[float], share: float) -> float | None:
    """The lowest variant was timed in each comparison: its time is the mean of these."""
    lowest = [timing.baseline_seconds for timing in timings if timing.baseline_seconds is not None]
    times = [timing.optimized_seconds for timing in timings if timing.optimized_seconds is not None]
    if len(lowest) < len(timings) or len(times) < len(timings):
        return None
    return -(share * statistics.fmean(lowest) + math.fsum(sign * time for sign, time in zip(signs, times, strict=True)))


def dependences(rungs: Sequence[Rung]) -> tuple[Dependence, ...]:
    """Of each choice that was measured twice by itself, in two comparisons with an interval."""
    found = []
    for rung, last in itertools.product(_of("rung", rungs), _of("without", rungs)):
        once = rung.step.folder == last.step.folder
        if rung.step.parts != last.step.parts or once or (pair := _known([rung.end_to_end, last.end_to_end])) is None:
            continue
        ratio = combined([(pair[1][1], 1.0), (pair[0][1], -1.0)])
        found.append(Dependence(rung.step.choice(), pair[0][0], pair[1][0], ratio, _differs(ratio, [timing for timing, _ in pair])))
    return tuple(found)


def together(rungs: Sequence[Rung]) -> Together | None:
    """None if not every choice was left out, or one of these comparisons has no interval."""
    (whole,) = _of("whole", rungs)
    left_out = _disjoint(_of("without", rungs))
    covered = {part for rung in left_out for part in rung.step.parts}
    # Each alone: the statement is one, and its interval is 95 % as theirs are.
    known = _known([None if rung.outcome is None else rung.outcome.end_to_end for rung in (*left_out, whole)])
    if len(left_out) < 2 or covered != set(whole.step.parts) or known is None:
        return None
    *gains, measured = [interval for _, interval in known]
    expected = combined([(gain, 1.0) for gain in gains])
    ratio = combined([(measured, 1.0), *((gain, -1.0) for gain in gains)])
    names = tuple(rung.step.choice() for rung in left_out)
    return Together(names, expected, measured, ratio, _differs(ratio, [timing for timing, _ in known]))


def _of(kind: str, rungs: Iterable[Rung]) -> list[Rung]:
    return [rung for rung in rungs if rung.step.kind == kind]


def _disjoint(rungs: Sequence[Rung]) -> list[Rung]:
    """Those with most parts first: a choice that has to be left out with another one is in it already."""
    chosen: list[Rung] = []
    for rung in sorted(rungs, key=lambda rung: -len(rung.step.parts)):
        if not any(set(rung.step.parts) & set(other.step.parts) for other in chosen):
            chosen.append(rung)
    return chosen


def _known(timings: Sequence[RungTiming | None]) -> list[tuple[RungTiming, Interval]] | None:
    """Each with its interval. None if one has none."""
    found = [(timing, timing.interval) for timing in timings if timing is not None and timing.interval is not None]
    return found if len(found) == len(timings) else None


def _differs(ratio: Interval, timings: Iterable[RungTiming], power: float = 1.0) -> bool:
    """`power`: of each speedup in the ratio."""
    return claim(ratio, joint_threshold(*(timing.claim_threshold for timing in timings), power=power)) in CLAIMED
