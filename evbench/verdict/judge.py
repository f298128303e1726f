"""Result -> what may be claimed of it. Pure: the same result is always judged the same."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from evbench.results import STAGES, Block, Result, Run, Session, Side, SideResult
from evbench.verdict import demands
from evbench.verdict.blocks import (
    INSIDE,
    Timed,
    _differences,
    _further_token,
    _interval_of,
    _log,
    _log_ratio,
    _median_interval,
    _paired,
    _throughput_by_block,
    _values,
    counted_blocks,
    grouped,
    interval_between,
    runs_in,
    stage_seconds,
    whole_seconds,
)
from evbench.verdict.demands import Demand, DemandOutcome
from evbench.verdict.equivalence import worst
from evbench.verdict.judgement import EXIT_CODES, SMALLEST, THROUGHPUT, TOTAL, UNCLEAR, UNMET, Judgement, Line, Part, Spread, Verdict
from evbench.verdict.refusal import _refusal, in_words, not_active, unequal_work
from evbench.verdict.statistics import (
    LEVEL,
    BreakEven,
    Interval,
    break_even,
    holm,
    outliers,
    student_quantile,
    tail,
)

OVERLAP = 0.03
"""Share of the total by which the stages' sum may exceed it."""
MOST_ENERGY_ERROR = 0.15
"""Between the GPU's energy counter and its power readings (as ml-energy/zeus checks)."""


def judge(result: Result) -> Judgement:
    """Raises UserError if a demand cannot be read."""
    sides, rules = result.variants(), result.rules
    sessions = {side: result.session(measured) for side, measured in sides.items()}
    apart = len({session.started for session in sessions.values()}) > 1
    counted = {side: counted_blocks(session) for side, session in sessions.items()}
    runs = {side: runs_in(measured, counted[side]) for side, measured in sides.items()}
    samples = counted["baseline"]
    reasons, verdict = _refusal(result, apart)
    claimable = len(sides) == 2 and verdict is None
    comparable = len(sides) == 2 and verdict not in (Verdict.INVALID, Verdict.OUTPUT_DIFFERS) and not apart

    def line(name: str, value: Timed) -> Line:
        spreads = {side: _spread(_values(timed, value)) for side, timed in runs.items()}
        interval = interval_between(sides, samples, value) if comparable else None
        return Line(name, spreads, interval, max(SMALLEST, rules.noise_floors.get(name, 0.0)), None)

    total = line(TOTAL, whole_seconds)
    total = _claimed(total, total.interval.p if total.interval else 1.0)
    stages = _corrected([line(stage, stage_seconds(stage)) for stage in STAGES])
    inside = _corrected([line(name, value) for name, value in INSIDE.items()])
    preserved = None if result.outputs is None else worst(result.outputs.checks)
    if comparable and verdict is None:
        verdict = total.claim or Verdict.INCONCLUSIVE
        if total.interval is None:
            reasons = ["too few blocks for an interval: six of one sample, or two samples, at least"]
    medians = _ratio_of_medians(total) if comparable else None
    demanded = _demands(result, {line.name: line for line in (total, *stages, *inside)})
    return Judgement(
        verdict=verdict if len(sides) == 2 else None,
        reasons=tuple(reasons),
        preserved=preserved,
        flags=_flags(sides, sessions, total, medians, comparable) | _flags_of_outputs(result),
        total=total,
        stages=stages,
        inside=inside,
        throughput=_throughput(sides, sessions, rules.noise_floors, claimable),
        steps={side: _spread(_steps(timed)) for side, timed in runs.items()},
        ratio_of_medians=medians,
        ratio_of_totals=_ratio_of_totals(sides, samples) if comparable else None,
        gain=_gain(sides, samples) if comparable or _differs_in_length_only(sides, apart) else (),
        stage_sync={side: _barriers(timed) for side, timed in runs.items()},
        break_even=_break_even(sides, samples, verdict) if comparable and total.interval else None,
        preparation={side: _preparation(measured, counted[side]) for side, measured in sides.items()},
        disturbed=sum(bool(block.disturbances) for block in sessions["baseline"].blocks),
        demands=demanded,
        exit_code=_exit_code(verdict if len(sides) == 2 else None, result, demanded),
    )


def _throughput(
    sides: Mapping[Side, SideResult], sessions: Mapping[Side, Session], smallest: Mapping[str, float], claimable: bool
) -> Line | None:
    """Of both sides' streams, block by block."""
    if not any(measured.timed_throughput_runs() for measured in sides.values()):
        return None
    found = {side: _throughput_by_block(measured, sessions[side]) for side, measured in sides.items()}
    spreads = {side: _spread([seconds for block in blocks.values() for seconds in block]) for side, blocks in found.items()}
    interval = None
    if claimable:
        blocks = counted_blocks(sessions["baseline"])
        # Each stream is of the same samples, whichever its block is of: one kind of thing, repeated.
        interval = _interval_of(_differences(found["baseline"], found["optimized"], blocks, _log_ratio), blocks, lambda number: 0)
    least = max(SMALLEST, smallest.get(TOTAL, 0.0), smallest.get(THROUGHPUT, 0.0))
    return _claimed(Line(THROUGHPUT, spreads, interval, least, None), interval.p if interval else 1.0)


# Claims.


def _claimed(line: Line, p: float) -> Line:
    """With what may be claimed. `p` is corrected for the number of lines that are looked at."""
    if line.interval is None:
        return line
    low, high, small = line.interval.low, line.interval.high, line.smallest
    if low > 1 + small and p < LEVEL:
        claim = Verdict.FASTER
    elif high < 1 - small and p < LEVEL:
        claim = Verdict.SLOWER
    elif low >= 1 - SMALLEST and high <= 1 + SMALLEST:
        # A noise floor keeps from claiming a difference; it does not make things the same.
        claim = Verdict.SAME
    else:
        claim = Verdict.INCONCLUSIVE
    return Line(line.name, line.sides, line.interval, line.smallest, claim)


def _corrected(lines: Sequence[Line]) -> tuple[Line, ...]:
    chances = holm({line.name: line.interval.p for line in lines if line.interval is not None})
    return tuple(_claimed(line, chances.get(line.name, 1.0)) for line in lines)


def _flags_of_outputs(result: Result) -> dict[str, str]:
    flags = {}
    if inactive := not_active(result.variants()):
        flags["NOT_ACTIVE"] = "; ".join(f"{side}: {proof.part}={proof.choice}, {proof.evidence}" for side, proof in inactive)
    if result.outputs is None:
        return flags
    if result.outputs.reference is None:
        flags["REFERENCE_MISSING"] = (
            "no reference of higher precision fits into this machine: features and logits are compared by their cosine only, "
            "and tokens have to be identical"
        )
    spread = [check for check in result.outputs.checks if check.mode == "baseline-repeat" and check.grade == "warn"]
    if spread:
        stages = ", ".join(dict.fromkeys(check.stage for check in spread))
        flags["NOT_REPEATABLE"] = f"the baseline does not repeat itself to the last bit ({stages}); its own spread is in the lines"
    if warned := [check for check in result.outputs.checks if check.mode != "baseline-repeat" and check.grade == "warn"]:
        flags["OUTPUT_NEARLY"] = "; ".join(map(in_words, warned))
    return flags


def _differs_in_length_only(sides: Mapping[Side, SideResult], apart: bool) -> bool:
    """Then no time is compared, but the part of the difference that the number of tokens made can be told."""
    different = unequal_work(sides) if len(sides) == 2 and not apart else []
    return bool(different) and all(field.startswith(("new_tokens ", "stop ")) for field in different)


def _flags(
    sides: Mapping[Side, SideResult], sessions: Mapping[Side, Session], total: Line, medians: float | None, comparable: bool
) -> dict[str, str]:
    flags = {}
    if unsteady := [f"{side}: {reason}" for side, measured in sides.items() for reason in dict.fromkeys(measured.unsteady)]:
        flags["NOT_STEADY"] = f"the warm-up was given up: {'; '.join(unsteady)}"
    if any(session.plan.order == "reload" for session in sessions.values()) and len(sides) == 2:
        flags["ORDER=RELOAD"] = "only one worker fits at a time: each block starts both anew, one after the other"
    if comparable and len({block.invocation for block in sessions["baseline"].blocks}) == 1:
        flags["ONE_START"] = (
            "each worker was started once: the interval is of these two processes, and others may differ; give --invocations"
        )
    if len({session.started for session in sessions.values()}) > 1:
        flags["MEASURED_APART"] = (
            f"the baseline from {sessions['baseline'].started}, the optimized side from {sessions['optimized'].started}"
        )
    if not comparable or total.interval is None:
        return flags
    if (width := sessions["baseline"].plan.precision) is not None and total.interval.half_width > width:
        flags["NOT_PRECISE"] = f"{width:.1%} was asked for and not reached within --max-time"
    one_sample = len(sides["baseline"].workload.samples) == 1
    if one_sample and medians is not None and abs(medians / total.interval.ratio - 1) > total.interval.half_width:
        flags["MULTIMODAL"] = f"the ratio of the medians is {medians:.3f}: times fall into groups, and one number does not tell them"
    if one_sample and (told := _order_sensitive(sides, total.interval)):
        flags["ORDER_SENSITIVE"] = told
    return flags


def _order_sensitive(sides: Mapping[Side, SideResult], interval: Interval) -> str | None:
    """Whether runs of one side after the other tell something else than the blocks."""
    ours, theirs = ([_log(run.seconds) for run in measured.runs if run.kind == "blocked"] for measured in sides.values())
    if len(ours) < 2 or len(theirs) < 2:
        return None
    difference = statistics.fmean(ours) - statistics.fmean(theirs)
    error = math.sqrt(statistics.variance(ours) / len(ours) + statistics.variance(theirs) / len(theirs))
    reach = student_quantile(1 - LEVEL / 2, len(ours) + len(theirs) - 2) * error
    if math.log(interval.low) - reach <= difference <= math.log(interval.high) + reach:
        return None
    return (
        f"all runs of one side after all of the other's gave {math.exp(difference):.3f} times; caches, clocks or power depend on the order"
    )


# Secondary figures.


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    return Spread(statistics.median(values), min(values), max(values), tail(values, 0.9), len(values), outliers(values))


def _steps(runs: Iterable[Run]) -> list[float]:
    return [seconds for run in runs for seconds in run.decode_step_seconds or ()]


def _ratio_of_medians(total: Line) -> float | None:
    ours, theirs = total.sides["baseline"], total.sides["optimized"]
    return None if ours is None or theirs is None else ours.median / theirs.median


def _ratio_of_totals(sides: Mapping[Side, SideResult], counted: Mapping[int, Block]) -> float:
    ours, theirs = (math.fsum(_values(runs_in(measured, counted), whole_seconds)) for measured in sides.values())
    return ours / theirs


def _mean(runs: Iterable[Run], value: Timed) -> float:
    return float(np.mean(_values(runs, value)))


def _barriers(runs: Sequence[Run]) -> float:
    return _mean(runs, lambda run: run.seconds if run.stages is not None else None) / _mean(runs, whole_seconds) - 1


def _gain(sides: Mapping[Side, SideResult], counted: Mapping[int, Block]) -> tuple[Part, ...]:
    """Difference of the means, taken apart. The stages add up to more than the whole by what barriers cost and overlap saves."""
    ours, theirs = (runs_in(measured, counted) for measured in sides.values())
    parts = {stage: _mean(ours, stage_seconds(stage)) - _mean(theirs, stage_seconds(stage)) for stage in STAGES}
    tokens = _mean(ours, lambda run: len(run.tokens)) - _mean(theirs, lambda run: len(run.tokens))
    if tokens and _values(ours, _further_token):
        # Tokens that only one side generated, at the baseline's price: no gain of the optimization.
        parts["number of tokens"] = tokens * _mean(ours, _further_token)
        parts["generate"] -= parts["number of tokens"]
    whole = _mean(ours, whole_seconds) - _mean(theirs, whole_seconds)
    parts["overlap of stages, barriers"] = whole - math.fsum(parts.values())
    return tuple(Part(name, seconds, seconds / whole if whole else 0.0) for name, seconds in parts.items())


def _preparation(measured: SideResult, counted: Mapping[int, Block]) -> float:
    """Start, first call and warm-up of the first worker, less what its runs would take when steady.

    Later starts find in the compile cache what the first one compiled.
    """
    usual = _mean(runs_in(measured, counted), lambda run: run.seconds if run.stages is not None else None)
    runs = sorted((run for run in measured.runs if run.kind in ("first", "warmup")), key=lambda run: run.turn)
    second = next((place for place, run in enumerate(runs) if run.kind == "first" and place), len(runs))
    return measured.builds[0].seconds + math.fsum(run.seconds - usual for run in runs[:second])


def _break_even(sides: Mapping[Side, SideResult], counted: Mapping[int, Block], verdict: Verdict | None) -> BreakEven:
    """Only what is FASTER pays anything back."""
    gains = _paired(sides, counted, whole_seconds, lambda ours, theirs: statistics.fmean(ours) - statistics.fmean(theirs))
    extra = _preparation(sides["optimized"], counted) - _preparation(sides["baseline"], counted)
    if extra > 0 and verdict is not Verdict.FASTER:
        return BreakEven(None, None, None)
    return break_even(extra, grouped(gains, lambda number: counted[number].sample))


# Demands.


def _demands(result: Result, lines: Mapping[str, Line]) -> tuple[DemandOutcome, ...]:
    rules, sides = result.rules, result.variants()
    model = result.baseline.workload.model
    side: Side = "optimized" if result.optimized is not None else "baseline"
    measured = sides[side]
    counted = counted_blocks(result.session(measured))
    values = {TOTAL: whole_seconds, **{stage: stage_seconds(stage) for stage in STAGES}, **INSIDE}

    def decide(demand: Demand) -> DemandOutcome:
        if demand.seconds is None:
            return demands.decide_slower(demand, lines[demand.what].interval, lines[demand.what].smallest)
        timed = [(run, seconds) for run in runs_in(measured, counted) if (seconds := values[demand.what](run)) is not None]
        return demands.decide_target(demand, [seconds for _, seconds in timed], _median_interval(timed, counted))

    return tuple(decide(demand) for demand in demands.read(rules.targets, rules.fail_if, model))


def _exit_code(verdict: Verdict | None, result: Result, outcomes: Sequence[DemandOutcome]) -> int:
    if verdict in (Verdict.OUTPUT_DIFFERS, Verdict.INVALID):
        return EXIT_CODES[verdict]
    if any(outcome.met is False for outcome in outcomes):
        return UNMET
    if any(outcome.met is None for outcome in outcomes):
        return UNCLEAR
    if verdict is None:
        return 0
    if result.rules.require_speedup and verdict is Verdict.SAME:
        return UNMET
    # Whoever says from where on slower is a failure has said that less is none.
    return 0 if result.rules.fail_if and not result.rules.require_speedup else EXIT_CODES[verdict]
