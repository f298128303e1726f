"""Result -> what may be claimed of it. Pure: a result is always judged the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evbench.machine.machine import machine_differences
from evbench.results import ALLOW_LOSSY, STAGES, Block, Outputs, Result, Side, SideResult
from evbench.verdict import caches, context, demands, difference, drafting, floors, loss, metrics, tokens
from evbench.verdict.blocks import (
    END_TO_END,
    TIMED,
    TOKEN_TIMINGS,
    counted_blocks,
    end_to_end_seconds,
    interval_of_mean,
    interval_of_median,
    timed_runs,
)
from evbench.verdict.checks import stage_grades, summarize
from evbench.verdict.claims import throughput, timing_of_runs
from evbench.verdict.demands import Demand, DemandOutcome
from evbench.verdict.findings import worst
from evbench.verdict.flags import flags_of
from evbench.verdict.judgement import EXIT_CODES, UNCLEAR, UNMET, Judgement, Preserved, Timing, Verdict
from evbench.verdict.metrics import STAGE_SYNC_OVERHEAD, STARTUP, Metric
from evbench.verdict.refusal import not_active, refusal, unequal_work
from evbench.verdict.statistics import BreakEven

OVERLAP = 0.03
"""Share of the end-to-end time by which the sum of the stages may exceed it before stages count as overlapping."""
TOO_FEW_BLOCKS = "too few blocks for an interval: it takes six of one sample, or two samples, at least"
Counted = Mapping[Side, Mapping[int, Block]]


def judge(result: Result, comparisons: int = 1) -> Judgement:
    """What may be claimed of a result.

    Args:
        comparisons: number of comparisons that are looked at together, such as the choices of a ladder. Their end-to-end intervals are
            simultaneous then.

    Raises:
        UserError: a demand cannot be read.
    """
    sides = result.variants()
    sessions = {side: result.session(measured) for side, measured in sides.items()}
    apart = len({session.started for session in sessions.values()}) > 1
    counted = {side: counted_blocks(session) for side, session in sessions.items()}
    refused, verdict = refusal(result, apart)
    comparable = len(sides) == 2 and verdict not in (Verdict.INVALID, Verdict.OUTPUT_DIFFERS) and not apart
    # Also without a reference, or with stages that cannot be seen or were not compared: the two times stand side by side.
    comparable = comparable and not refused

    timing = timing_of_runs(sides, counted, result.rules.noise_floors, comparable=comparable, comparisons=comparisons)
    end_to_end = timing(END_TO_END)
    stages = tuple(timing(stage) for stage in STAGES)
    token_timings = tuple(timing(name) for name in TOKEN_TIMINGS)
    reasons, lost = list(refused), loss.summarize(result)
    if comparable and verdict is None:
        claimed = end_to_end.claim or Verdict.INCONCLUSIVE
        verdict = Verdict.LOSSY if lost is not None and end_to_end.claim is not None else claimed
        if end_to_end.interval is None:
            reasons = [TOO_FEW_BLOCKS]
    different_work = unequal_work(sides) if len(sides) == 2 else []
    measured_metrics = metrics.evaluate(sides, counted)
    ratio_of_medians = _ratio_of_medians(end_to_end) if comparable else None
    outcomes = _demands(result, counted, measured_metrics, {timing.name: timing for timing in (end_to_end, *stages, *token_timings)})
    inactive = not_active(sides)
    checks = () if result.outputs is None else result.outputs.checks
    decomposable = comparable or (len(sides) == 2 and not apart and _differs_in_length_only(different_work))
    return Judgement(
        verdict=verdict,
        reasons=tuple(reasons),
        preserved=_preserved(result.outputs, lossy=lost is not None),
        loss=lost,
        flags=flags_of(result, end_to_end, ratio_of_medians, comparable=comparable),
        exit_code=_exit_code(verdict, end_to_end.claim, result, outcomes),
        end_to_end=end_to_end,
        stages=stages,
        tokens=token_timings,
        throughput=throughput(sides, counted, result.rules.noise_floors, claimable=len(sides) == 2 and not refused),
        ratio_of_medians=ratio_of_medians,
        ratio_of_sums=difference.ratio_of_sums(sides, counted["baseline"]) if comparable else None,
        difference=difference.decompose(sides, counted["baseline"]) if decomposable else None,
        break_even=_break_even(sides, counted["baseline"], measured_metrics.get(STARTUP), faster=end_to_end.claim is Verdict.FASTER)
        if comparable and end_to_end.interval is not None
        else None,
        metrics=measured_metrics,
        energy={side: context.energy(measured.energy) for side, measured in sides.items() if measured.energy is not None},
        demands=outcomes,
        unequal_work=tuple(different_work),
        inactive=tuple(f"{found.part}={found.choice} of the {side} side" for side, found in inactive),
        activations_known=all(measured.activations for measured in sides.values()),
        machine_differences=machine_differences(*(session.machine for session in sessions.values())) if apart else {},
        checks=summarize(checks),
        grades=stage_grades(checks),
        token_comparison=tokens.compare(sides) if len(sides) == 2 else None,
        distinct_outputs={side: tokens.distinct_outputs(measured) for side, measured in sides.items()},
        blocks=context.block_counts(sessions["baseline"]),
        overlapping=_overlapping(measured_metrics.get(STAGE_SYNC_OVERHEAD)),
        clocks=context.clocks(result.sessions),
        seen_unseen=caches.examined(sides),
        floors=floors.of_result(result),
        side_floors=floors.of_sides(result),
        observations=context.observations(result),
        drafting=drafting.of_sides(sides, counted),
    )


def _preserved(outputs: Outputs | None, *, lossy: bool) -> Preserved | None:
    """Without a reference that loses the same, nothing tells whether a lossy side does more than lose."""
    if outputs is None or (lossy and not loss.is_measured(outputs)):
        return None
    found = worst(outputs.checks)
    return "lossy" if lossy and found != "fail" else found


def _differs_in_length_only(different_work: Sequence[str]) -> bool:
    """Then no times are compared, but the difference can be decomposed, with the number of tokens as one part."""
    return bool(different_work) and all(field.startswith(("new_tokens ", "stop ")) for field in different_work)


def _ratio_of_medians(timing: Timing) -> float | None:
    ours, theirs = timing.sides["baseline"], timing.sides["optimized"]
    return None if ours is None or theirs is None else ours.median / theirs.median


def _break_even(
    sides: Mapping[Side, SideResult], counted: Mapping[int, Block], startup: Metric | None, *, faster: bool
) -> BreakEven | None:
    ours, theirs = (None, None) if startup is None else (startup.sides["baseline"], startup.sides["optimized"])
    if not isinstance(ours, float) or not isinstance(theirs, float):
        return None
    return difference.paid_back(sides, counted, theirs - ours, faster=faster)


def _overlapping(overhead: Metric | None) -> tuple[Side, ...]:
    sides = {} if overhead is None else overhead.sides
    return tuple(side for side, value in sides.items() if isinstance(value, float) and value > OVERLAP)


# Demands.


def _demands(
    result: Result, counted: Counted, measured_metrics: Mapping[str, Metric], timings: Mapping[str, Timing]
) -> tuple[DemandOutcome, ...]:
    rules = result.rules
    side: Side = "optimized" if result.optimized is not None else "baseline"
    measured: SideResult = result.variants()[side]

    def metric(name: str) -> float | None:
        value = measured_metrics[name].sides[side] if name in measured_metrics else None
        return value if isinstance(value, float) else None

    def decide(demand: Demand) -> DemandOutcome:
        if demand.timing == demands.FAILED_SAMPLES:
            return demands.decide_most(demand, float(len(measured.failed) * measured.workload.batch))
        if demand.timing == demands.MEMORY:
            kind = "device" if measured.workload.device == "cuda" else "process"
            peaks = [peak for stage in STAGES if (peak := metric(f"{kind}-memory-{stage}")) is not None]
            return demands.decide_most(demand, max(peaks, default=None))
        if demand.samples is not None:
            whole = timed_runs(measured, counted[side], end_to_end_seconds)
            timed = [(run, seconds / measured.workload.batch) for run, seconds in whole]
            mean = interval_of_mean(timed, counted[side], measured.workload.samples)
            return demands.decide_several(demand, metric(STARTUP), [seconds for _, seconds in timed], mean)
        if demand.seconds is None:
            return demands.decide_slower(demand, timings[demand.timing].interval, timings[demand.timing].claim_threshold)
        timed = timed_runs(measured, counted[side], TIMED[demand.timing])
        around = interval_of_median(timed, counted[side], measured.workload.samples)
        return demands.decide_target(demand, [seconds for _, seconds in timed], around)

    return tuple(decide(demand) for demand in demands.read(rules.targets, rules.fail_if, result.baseline.workload.model))


def _exit_code(verdict: Verdict | None, claim: Verdict | None, result: Result, outcomes: Sequence[DemandOutcome]) -> int:
    """Args: claim: what the times show end-to-end, which decides of a lossy comparison where that is allowed."""
    if verdict in (Verdict.OUTPUT_DIFFERS, Verdict.INVALID):
        return EXIT_CODES[verdict]
    if any(outcome.met is False for outcome in outcomes):
        return UNMET
    if any(outcome.met is None for outcome in outcomes):
        return UNCLEAR
    if verdict is None:
        return 0
    if verdict is Verdict.LOSSY:
        if ALLOW_LOSSY not in result.rules.allowed:
            return EXIT_CODES[verdict]
        verdict = claim or Verdict.INCONCLUSIVE
    if result.rules.require_speedup and verdict is Verdict.SAME:
        return UNMET
    # With --fail-if the user decides which slowdown is a failure: a smaller one is none.
    return 0 if result.rules.fail_if and not result.rules.require_speedup else EXIT_CODES[verdict]
