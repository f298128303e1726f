"""What a user demands of a result: `--target` and `--fail-if`."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from evbench.errors import UserError
from evbench.results import STAGES
from evbench.verdict.statistics import Interval

NAMES = {"total": "total", **{stage: stage for stage in STAGES},
         "first-token": "first token", "prefill": "prefill", "further-token": "further token"}  # fmt: skip
"""As it is written on the command line -> as it is called in a report."""
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6}


@dataclass(frozen=True)
class Demand:
    """One of them."""

    text: str
    what: str
    """`total`, a stage, or a part of generate."""
    seconds: float | None
    """Of a target."""
    slower: float | None
    """Of a --fail-if: the share by which it may not be slower."""


@dataclass(frozen=True)
class DemandOutcome:
    """How it went."""

    text: str
    measured: float | None
    """Median in seconds of a target; of a --fail-if, how many times as fast."""
    low: float | None
    high: float | None
    is_time: bool
    met: bool | None
    """None if the interval does not decide it."""


def read(targets: Sequence[str], fail_if: Sequence[str], model: str) -> list[Demand]:
    """Raises UserError for one that cannot be read, or is of another model."""
    return [_target(text, model) for text in targets] + [_slower(text) for text in fail_if]


def _target(text: str, model: str) -> Demand:
    found = re.fullmatch(r"\s*([\w-]+)\.([\w-]+)\s*<\s*(\d+(?:\.\d+)?)\s*(s|ms|us|\u00b5s|\u03bcs)\s*", text)
    if found is None or found[2] not in NAMES or float(found[3]) == 0:
        raise UserError(
            f"--target {text!r} cannot be read; write MODEL.WHAT<TIME, such as 'video-llava.generate<2.5s'. WHAT is {', '.join(NAMES)}"
        )
    if found[1] != model:
        raise UserError(f"--target {text!r} is of {found[1]}, and {model} is measured; leave it out, or choose that --model")
    return Demand(text.strip(), NAMES[found[2]], float(found[3]) * UNITS[found[4]], None)


def _slower(text: str) -> Demand:
    found = re.fullmatch(r"\s*(?:([\w-]+)\.)?slower:(\d+(?:\.\d+)?)%\s*", text)
    if found is None or (found[1] or "total") not in NAMES:
        raise UserError(f"--fail-if {text!r} cannot be read; write slower:2%, or of a part vision.slower:5%. Parts are {', '.join(NAMES)}")
    return Demand(text.strip(), NAMES[found[1] or "total"], None, float(found[2]) / 100)


def decide_target(demand: Demand, values: Sequence[float], around: tuple[float, float] | None) -> DemandOutcome:
    """Met if `around`, the whole interval of the median, lies below it."""
    assert demand.seconds is not None
    measured = statistics.median(values) if values else None
    if around is None:
        return DemandOutcome(demand.text, measured, None, None, True, None)
    low, high = around
    return DemandOutcome(
        demand.text, measured, low, high, True, True if high < demand.seconds else False if low >= demand.seconds else None
    )


def decide_slower(demand: Demand, interval: Interval | None, smallest: float) -> DemandOutcome:
    """Failed if the whole interval lies below it, and by more than may be claimed; met if none of it does."""
    assert demand.slower is not None
    if interval is None:
        return DemandOutcome(demand.text, None, None, None, False, None)
    least = 1 / (1 + demand.slower)
    met = False if interval.high < min(least, 1 - smallest) else True if interval.low >= least else None
    return DemandOutcome(demand.text, interval.ratio, interval.low, interval.high, False, met)
