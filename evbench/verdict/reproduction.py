"""A recorded comparison and the same one measured again -> whether it was reproduced. Pure.

Two speedups are compared by the difference of their logarithms, whose interval follows from theirs. As in a report, end-to-end has an
interval of its own, and those of the stages are simultaneous.

Reproduced is more than "no difference was found", which any noisy machine would say. The same has to be claimed again, and of a gain more
than half has to be there with confidence.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

from evbench.machine.machine import HARDWARE, machine_differences
from evbench.results import Result, Side
from evbench.verdict.claims import claim, joint_threshold
from evbench.verdict.judgement import CLAIMED, EXIT_CODES, UNCLEAR, UNMET, Judgement, Timing, Verdict
from evbench.verdict.statistics import FARTHEST, POWER, Interval, combined

KEPT = 0.5
"""Share of the recorded gain, as a logarithm, that has to be there again."""


class Outcome(StrEnum):
    """Of the same comparison, measured again."""

    REPRODUCED = "REPRODUCED"
    NOT_REPRODUCED = "NOT_REPRODUCED"
    OTHER_HARDWARE = "OTHER_HARDWARE"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"


@dataclass(frozen=True)
class Change:
    """One timing, recorded and measured again."""

    name: str
    """`end-to-end`, or a stage."""
    recorded: Interval
    """The speedup that was recorded."""
    again: Interval
    """The speedup now."""
    ratio: Interval
    """Of the speedup now to the recorded one: below 1 the gain is smaller now. Its confidence is that of the two."""
    threshold: float
    """No smaller relative difference of the two speedups is taken for one: both noise floors together."""
    detectable: float
    """The relative difference that is found in 80 of 100 such verifications."""
    differs: bool
    """Whether the interval of the ratio is beyond 1 by more than the threshold."""


@dataclass(frozen=True)
class Tokens:
    """Of one side: whether it generates what it generated."""

    identical: int
    """Samples with the recorded tokens in every run."""
    samples: int


@dataclass(frozen=True)
class Reproduction:
    """What may be said of a recorded comparison, after it was measured again. It is written to `reproduction.json`."""

    recorded_session: str
    """Its name: when it started, UTC."""
    again_session: str
    outcome: Outcome
    reasons: tuple[str, ...]
    """Of an outcome other than REPRODUCED."""
    exit_code: int
    recorded_claim: Verdict
    again_claim: Verdict | None
    """Verdict of the comparison now."""
    changes: tuple[Change, ...]
    """End-to-end first. Without timings that have no interval on either occasion."""
    tokens: dict[Side, Tokens]
    hardware: dict[str, str]
    """Property of the machine -> both values, where it is another one."""
    versions: dict[str, str]
    """The same of what is installed."""
    recorded_shares: dict[str, dict[Side, float]]
    """Timing -> side -> its physical floor over its median, on the machine of the recorded comparison. Empty if that had no floors."""
    again_shares: dict[str, dict[Side, float]]
    """The same on this machine."""


def is_reproducible(judged: Judgement) -> bool:
    """Whether a comparison claims something that could be reproduced."""
    return judged.claim in (*CLAIMED, Verdict.SAME) and judged.end_to_end.interval is not None


def reproduce(recorded: tuple[Result, Judgement], again: tuple[Result, Judgement], alike: Collection[str] = ()) -> Reproduction:
    """Hold a comparison against the recorded one.

    Args:
        recorded: what was measured and what is claimed of it. It is reproducible (see above).
        again: the same comparison, measured again.
        alike: properties of HARDWARE that may differ.
    """
    differing = machine_differences(*(result.session(result.baseline).machine for result, _ in (recorded, again)))
    hardware = {name: values for name, values in differing.items() if name in HARDWARE}
    then, now = recorded[1], again[1]
    assert then.verdict is not None
    changes = tuple(
        change
        for one, other in zip((then.end_to_end, *then.stages), (now.end_to_end, *now.stages), strict=True)
        if (change := _change(one, other)) is not None
    )
    outcome, reasons = _outcome(then, now, changes, sorted(hardware.keys() - set(alike)))
    return Reproduction(
        recorded_session=recorded[0].baseline.session,
        again_session=again[0].baseline.session,
        outcome=outcome,
        reasons=tuple(reasons),
        exit_code=_exit_code(outcome, now),
        recorded_claim=then.verdict,
        again_claim=now.verdict,
        changes=changes,
        tokens=_tokens(recorded[0], again[0]),
        hardware=hardware,
        versions={name: values for name, values in differing.items() if name not in HARDWARE},
        recorded_shares=then.floor_shares(),
        again_shares=now.floor_shares(),
    )


def keeps_the_gain(recorded: Interval, again: Interval) -> bool:
    """Whether more than KEPT of a recorded gain, or loss, is there again, with the confidence of the two intervals."""
    if recorded.ratio < 1:
        return keeps_the_gain(_turned(recorded), _turned(again))
    return combined([(again, 1.0), (recorded, -KEPT)]).low > 1


def _turned(interval: Interval) -> Interval:
    return Interval(1 / interval.ratio, 1 / interval.high, 1 / interval.low, interval.confidence)


def _change(recorded: Timing, again: Timing) -> Change | None:
    if recorded.interval is None or again.interval is None:
        return None
    ratio = combined([(again.interval, 1.0), (recorded.interval, -1.0)])
    threshold = joint_threshold(recorded.claim_threshold, again.claim_threshold)
    return Change(
        name=recorded.name,
        recorded=recorded.interval,
        again=again.interval,
        ratio=ratio,
        threshold=threshold,
        detectable=_detectable(ratio, threshold),
        differs=claim(ratio, threshold) in CLAIMED,
    )


def _detectable(ratio: Interval, threshold: float) -> float:
    """From the longer arm of the interval. By the normal distribution: that of few invocations needs less on top of its longer arm."""
    arm = max(math.log(ratio.high / ratio.ratio), math.log(ratio.ratio / ratio.low))
    normal = NormalDist()
    on_top = normal.inv_cdf(POWER) / normal.inv_cdf((1 + ratio.confidence) / 2)
    return math.expm1(min(math.log1p(threshold) + arm * (1 + on_top), FARTHEST))


def _outcome(then: Judgement, now: Judgement, changes: tuple[Change, ...], hardware: list[str]) -> tuple[Outcome, list[str]]:
    if now.verdict is Verdict.INVALID:
        return Outcome.INVALID, [f"the comparison is invalid here, and says nothing of the recorded one: {'; '.join(now.reasons)}"]
    refused = [f"the comparison is {now.verdict} now: {reason}" for reason in now.reasons]
    if now.verdict is Verdict.OUTPUT_DIFFERS:
        return Outcome.NOT_REPRODUCED, refused
    if hardware:
        return Outcome.OTHER_HARDWARE, [f"{', '.join(hardware)} differ{'s' if len(hardware) == 1 else ''}"]
    if refused or now.end_to_end.interval is None or then.end_to_end.interval is None:
        return Outcome.INCONCLUSIVE, refused
    if different := [change.name for change in changes if change.differs]:
        return Outcome.NOT_REPRODUCED, [f"another speedup of {', '.join(different)}"]
    if now.claim is Verdict.INCONCLUSIVE:
        return Outcome.INCONCLUSIVE, ["end-to-end, the interval shows neither a difference nor that there is none"]
    if (now.verdict, now.claim) != (then.verdict, then.claim):
        return Outcome.NOT_REPRODUCED, [f"{_named(then)} was recorded, and it is {_named(now)} now"]
    if then.claim in CLAIMED and not keeps_the_gain(then.end_to_end.interval, now.end_to_end.interval):
        return Outcome.INCONCLUSIVE, [f"{_named(now)} again, but more than {1 - KEPT:.0%} of the recorded difference may be gone"]
    return Outcome.REPRODUCED, []


def _named(judged: Judgement) -> str:
    return f"LOSSY and {judged.claim}" if judged.verdict is Verdict.LOSSY else str(judged.verdict)


def _exit_code(outcome: Outcome, now: Judgement) -> int:
    if now.verdict in (Verdict.INVALID, Verdict.OUTPUT_DIFFERS):
        return EXIT_CODES[now.verdict]
    return {Outcome.REPRODUCED: 0, Outcome.NOT_REPRODUCED: UNMET}.get(outcome, UNCLEAR)


def _tokens(recorded: Result, again: Result) -> dict[Side, Tokens]:
    found: dict[Side, Tokens] = {}
    for side, measured in again.variants().items():
        before, after = (one.tokens_by_sample() for one in (recorded.variants()[side], measured))
        identical = sum(len({*before[sample], *after[sample]}) == 1 for sample in after)
        found[side] = Tokens(identical, len(after))
    return found
