"""What a reader has to know before believing a number. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping

from evbench.results import Result, Session, Side, SideResult
from evbench.verdict import caches, floors, ignored_input
from evbench.verdict.blocks import log_seconds
from evbench.verdict.judgement import Timing
from evbench.verdict.loss import choices_of
from evbench.verdict.refusal import failed, in_words, not_active
from evbench.verdict.statistics import LEVEL, Interval
from evbench.verdict.student import student_quantile


def flags_of(result: Result, end_to_end: Timing, ratio_of_medians: float | None, *, comparable: bool) -> dict[str, str]:
    """Name -> a sentence."""
    sides = result.variants()
    sessions = {side: result.session(measured) for side, measured in sides.items()}
    flags = _of_session(sides, sessions, comparable=comparable)
    if comparable and end_to_end.interval is not None:
        flags |= _of_interval(sides, sessions["baseline"], end_to_end.interval, ratio_of_medians)
    if impossible := floors.impossible(result):
        flags["IMPOSSIBLE"] = "; ".join(impossible)
    if cached := caches.cached(sides):
        flags["CACHED"] = "; ".join(cached)
    if ignored := ignored_input.ignored(sides):
        flags["INPUT_IGNORED"] = "; ".join(ignored)
    return flags | _of_outputs(result)


def _of_session(sides: Mapping[Side, SideResult], sessions: Mapping[Side, Session], *, comparable: bool) -> dict[str, str]:
    flags = {}
    if left_out := failed(sides):
        flags["FAILED_SAMPLES"] = left_out
    if unsteady := [f"{side}: {reason}" for side, measured in sides.items() for reason in dict.fromkeys(measured.unsteady)]:
        flags["NOT_STEADY"] = f"the warm-up reached its limit before it was steady: {'; '.join(unsteady)}"
    if any(session.plan.order == "reload" for session in sessions.values()) and len(sides) == 2:
        flags["ORDER=RELOAD"] = "only one worker fits in memory at a time: each block restarts both, one after the other"
    if comparable and len({block.invocation for block in sessions["baseline"].blocks}) == 1:
        flags["ONE_INVOCATION"] = (
            "each worker process was started once: the interval covers these two processes, and others may differ; give --invocations"
        )
    if as_one := [side for side, measured in sides.items() if any(run.work.encoded_in for run in measured.runs)]:
        flags["STAGES_AS_ONE"] = (
            f"with visual features computed apart this model answers otherwise, so on the {' and the '.join(as_one)} side generate encodes "
            "the pictures: it, prefill and TTFT hold the time of vision, which is not measured by itself"
        )
    if len({session.started for session in sessions.values()}) > 1:
        flags["MEASURED_APART"] = (
            f"the baseline from {sessions['baseline'].started}, the optimized side from {sessions['optimized'].started}"
        )
    if unverified := [f"{side}: {measured.unverified}" for side, measured in sides.items() if measured.unverified]:
        flags["NOT_VERIFIED"] = f"nothing shows that the earlier result holds what was measured ({'; '.join(unverified)})"
    return flags


def _of_interval(sides: Mapping[Side, SideResult], session: Session, interval: Interval, ratio_of_medians: float | None) -> dict[str, str]:
    flags = {}
    if (width := session.plan.precision) is not None and interval.half_width > width:
        flags["NOT_PRECISE"] = f"the requested half-width of {width:.1%} was not reached within --max-time"
    if len(sides["baseline"].workload.samples) > 1:
        return flags
    if ratio_of_medians is not None and abs(ratio_of_medians / interval.ratio - 1) > interval.half_width:
        flags["MULTIMODAL"] = f"the ratio of the medians is {ratio_of_medians:.3f}: times fall into groups that one number cannot describe"
    if (blocked := _blocked_ratio(sides, interval)) is not None:
        flags["ORDER_SENSITIVE"] = (
            f"the blocked-order confirmation (all runs of one side, then all of the other) found a ratio of {blocked:.3f}; caches, clocks "
            "or power depend on the order"
        )
    return flags


def _blocked_ratio(sides: Mapping[Side, SideResult], interval: Interval) -> float | None:
    """Of the blocked-order confirmation. None if there is none, or if it agrees with the interval."""
    ours, theirs = ([log_seconds(run.seconds) for run in measured.runs if run.kind == "blocked"] for measured in sides.values())
    if len(ours) < 2 or len(theirs) < 2:
        return None
    difference = statistics.fmean(ours) - statistics.fmean(theirs)
    error = math.sqrt(statistics.variance(ours) / len(ours) + statistics.variance(theirs) / len(theirs))
    reach = student_quantile(1 - LEVEL / 2, len(ours) + len(theirs) - 2) * error
    agrees = math.log(interval.low) - reach <= difference <= math.log(interval.high) + reach
    return None if agrees else math.exp(difference)


def _of_outputs(result: Result) -> dict[str, str]:
    flags = {}
    if losing := {side: found for side, measured in result.variants().items() if (found := choices_of(measured))}:
        told = " and ".join(f"the {side} side has {', '.join(found)}" for side, found in losing.items())
        flags["LOSSY_BY_DESIGN"] = f"{told}, which changes outputs by design: judged apart from what is computed wrongly, and measured"
    if inactive := not_active(result.variants()):
        flags["NOT_ACTIVE"] = "; ".join(f"{side}: {found.part}={found.choice}, {found.evidence}" for side, found in inactive)
    if result.outputs is None:
        return flags
    if result.outputs.reference is None:
        flags["REFERENCE_MISSING"] = (
            "no reference of higher precision fits into this machine: features and logits are compared by their cosine distance only, "
            "and tokens have to be identical"
        )
    unrepeatable = [check for check in result.outputs.checks if check.mode == "baseline-repeat" and check.grade == "warn"]
    if unrepeatable:
        stages = ", ".join(dict.fromkeys(check.stage for check in unrepeatable))
        flags["NOT_REPEATABLE"] = f"the baseline is not bitwise repeatable ({stages}); its own spread is part of the thresholds"
    if warned := [check for check in result.outputs.checks if check.mode != "baseline-repeat" and check.grade == "warn"]:
        flags["OUTPUT_NEARLY"] = "; ".join(map(in_words, warned))
    return flags
