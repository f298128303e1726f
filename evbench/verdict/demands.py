"""Demands of a user on a result: `--target` and `--fail-if`. Pure."""

from __future__ import annotations

import difflib
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from evbench.errors import UserError
from evbench.results_upgrade import DEMANDED
from evbench.verdict.blocks import END_TO_END, TIMED
from evbench.verdict.statistics import Interval

NAMES = (*TIMED,)
"""Names of timings: `end-to-end`, the stages, `ttft`, `prefill`, `tpot`."""
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "min": 60.0}
"""Of time, in seconds."""
SIZES = {"GiB": 2.0**30, "MiB": 2.0**20, "GB": 1e9, "MB": 1e6}
"""Units of memory, in bytes."""
MEMORY, FAILED_SAMPLES = "memory", "failed-samples"
"""Names of targets that are of no time."""
MOST_SAMPLES = 10**9
Unit = Literal["seconds", "ratio", "bytes", "count"]


@dataclass(frozen=True)
class Demand:
    """One target or one reason to fail."""

    text: str
    timing: str
    """Its name; of a target that is of no timing, the name of what it is of."""
    seconds: float | None
    """Of a target of time: the limit."""
    slower: float | None
    """Of a --fail-if: the share from which on a slowdown is a failure."""
    samples: int | None = None
    """Of a target for several samples, one after the other with the start before them: how many."""
    most: float | None = None
    """Of a target of memory, in bytes, or of a number: the limit."""


@dataclass(frozen=True)
class DemandOutcome:
    """Whether it is met."""

    text: str
    measured: float | None
    """Of a target of a timing the median, of one for several samples what they take together; of a --fail-if, the speedup."""
    low: float | None
    """Of the 95% CI. What has no chance in it, such as a number, is its own."""
    high: float | None
    unit: Unit
    met: bool | None
    """None if the interval does not decide."""


def read(targets: Sequence[str], fail_if: Sequence[str], model: str) -> list[Demand]:
    """Parse them. Raises UserError for one that cannot be read, or is of another model."""
    return [_target(text, model) for text in targets] + [_slower(text) for text in fail_if]


def _target(text: str, model: str) -> Demand:
    found = re.fullmatch(r"\s*([\w-]+)\.([\w-]+)\s*<\s*(\d{1,15}(?:\.\d{1,15})?)\s*([A-Za-z\u00b5\u03bc]*)\s*", text)
    demand = None if found is None else _of_quantity(text.strip(), found[2], float(found[3]), found[4])
    if found is None or demand is None:
        raise UserError(
            f"--target {text!r} cannot be read; write MODEL.TIMING<TIME, such as 'video-llava.ttft<0.5s', or MODEL.200-samples<15min, "
            f"MODEL.{MEMORY}<24GiB, MODEL.{FAILED_SAMPLES}<1. {_names(found and found[2])}"
        )
    if found[1] != model:
        raise UserError(f"--target {text!r} is of {found[1]}, and {model} is measured; leave it out, or choose that --model")
    return demand


def _of_quantity(text: str, name: str, limit: float, unit: str) -> Demand | None:
    """None if there is no such quantity in this unit, or nothing could be below the limit."""
    if limit == 0:
        return None
    if name == FAILED_SAMPLES:
        return Demand(text, name, None, None, most=limit) if not unit else None
    if name == MEMORY:
        return Demand(text, name, None, None, most=limit * SIZES[unit]) if unit in SIZES else None
    if unit not in UNITS:
        return None
    if (several := re.fullmatch(r"(\d{1,10})-samples", name)) and 0 < int(several[1]) <= MOST_SAMPLES:
        return Demand(text, name, limit * UNITS[unit], None, samples=int(several[1]))
    return Demand(text, name, limit * UNITS[unit], None) if name in NAMES else None


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
    return _by_interval(demand, measured, around)


def decide_several(demand: Demand, startup: float | None, seconds: Sequence[float], around: tuple[float, float] | None) -> DemandOutcome:
    """Met if so many samples, each of which takes the mean of these, and one start take less than the limit together.

    Args:
        startup: seconds. None if they are not known: nothing is decided then.
        around: interval of the mean.
    """
    assert demand.samples is not None and demand.seconds is not None
    if startup is None or not seconds:
        return _by_interval(demand, None, None)
    measured = startup + demand.samples * statistics.fmean(seconds)
    return _by_interval(demand, measured, around and (startup + demand.samples * around[0], startup + demand.samples * around[1]))


def _by_interval(demand: Demand, measured: float | None, around: tuple[float, float] | None) -> DemandOutcome:
    assert demand.seconds is not None
    if around is None:
        return DemandOutcome(demand.text, measured, None, None, "seconds", None)
    low, high = around
    met = True if high < demand.seconds else False if low >= demand.seconds else None
    return DemandOutcome(demand.text, measured, low, high, "seconds", met)


def decide_most(demand: Demand, value: float | None) -> DemandOutcome:
    """Of what was counted, and has no interval. None: it is not known."""
    assert demand.most is not None
    unit: Unit = "bytes" if demand.timing == MEMORY else "count"
    return DemandOutcome(demand.text, value, value, value, unit, None if value is None else value < demand.most)


def decide_slower(demand: Demand, interval: Interval | None, claim_threshold: float) -> DemandOutcome:
    """Failed if the whole interval is below the limit, and by more than may be claimed; met if none of it is."""
    assert demand.slower is not None
    if interval is None:
        return DemandOutcome(demand.text, None, None, None, "ratio", None)
    limit = 1 / (1 + demand.slower)
    met = False if interval.high < min(limit, 1 - claim_threshold) else True if interval.low >= limit else None
    return DemandOutcome(demand.text, interval.ratio, interval.low, interval.high, "ratio", met)
