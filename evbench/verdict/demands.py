"""Demands of a user on a result: `--target` and `--fail-if`. Pure."""

from __future__ import annotations

import difflib
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from evbench.errors import UserError
from evbench.results_upgrade import DEMANDED
from evbench.verdict.blocks import END_TO_END, TIMED
from evbench.verdict.statistics import Interval

NAMES = (*TIMED,)
"""Names of timings: `end-to-end`, the stages, `ttft`, `prefill`, `tpot`."""
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6}


@dataclass(frozen=True)
class Demand:
    """One target or one reason to fail."""

    text: str
    timing: str
    """Its name."""
    seconds: float | None
    """Of a target: the limit."""
    slower: float | None
    """Of a --fail-if: the share from which on a slowdown is a failure."""


@dataclass(frozen=True)
class DemandOutcome:
    """Whether it is met."""

    text: str
    measured: float | None
    """Median in seconds of a target; of a --fail-if, the speedup."""
    low: float | None
    high: float | None
    is_time: bool
    met: bool | None
    """None if the interval does not decide."""


def read(targets: Sequence[str], fail_if: Sequence[str], model: str) -> list[Demand]:
    """Parse them. Raises UserError for one that cannot be read, or is of another model."""
    return [_target(text, model) for text in targets] + [_slower(text) for text in fail_if]


def _target(text: str, model: str) -> Demand:
    found = re.fullmatch(r"\s*([\w-]+)\.([\w-]+)\s*<\s*(\d+(?:\.\d+)?)\s*(s|ms|us|\u00b5s|\u03bcs)\s*", text)
    if found is None or found[2] not in NAMES or float(found[3]) == 0:
        raise UserError(
            f"--target {text!r} cannot be read; write MODEL.TIMING<TIME, such as 'video-llava.ttft<0.5s'. {_names(found and found[2])}"
        )
    if found[1] != model:
        raise UserError(f"--target {text!r} is of {found[1]}, and {model} is measured; leave it out, or choose that --model")
    return Demand(text.strip(), found[2], float(found[3]) * UNITS[found[4]], None)


def _slower(text: str) -> Demand:
    found = re.fullmatch(r"\s*(?:([\w-]+)\.)?slower:(\d+(?:\.\d+)?)%\s*", text)
    timing = END_TO_END if found is None else found[1] or END_TO_END
    if found is None or timing not in NAMES:
        raise UserError(f"--fail-if {text!r} cannot be read; write slower:2%, or of one timing tpot.slower:2%. {_names(timing)}")
    return Demand(text.strip(), timing, None, float(found[2]) / 100)


def _names(given: str | None) -> str:
    """Which there are, and which one was probably meant."""
    close = [DEMANDED[given]] if given in DEMANDED else difflib.get_close_matches(given or "", NAMES, 1)
    meant = f" Did you mean {close[0]}?" if close and close[0] != given else ""
    return f"Timings are {', '.join(NAMES)}.{meant}"


def decide_target(demand: Demand, values: Sequence[float], around: tuple[float, float] | None) -> DemandOutcome:
    """Met if `around`, the whole interval of the median, is below the limit."""
    assert demand.seconds is not None
    measured = statistics.median(values) if values else None
    if around is None:
        return DemandOutcome(demand.text, measured, None, None, True, None)
    low, high = around
    return DemandOutcome(
        demand.text, measured, low, high, True, True if high < demand.seconds else False if low >= demand.seconds else None
    )


def decide_slower(demand: Demand, interval: Interval | None, claim_threshold: float) -> DemandOutcome:
    """Failed if the whole interval is below the limit, and by more than may be claimed; met if none of it is."""
    assert demand.slower is not None
    if interval is None:
        return DemandOutcome(demand.text, None, None, None, False, None)
    limit = 1 / (1 + demand.slower)
    met = False if interval.high < min(limit, 1 - claim_threshold) else True if interval.low >= limit else None
    return DemandOutcome(demand.text, interval.ratio, interval.low, interval.high, False, met)
