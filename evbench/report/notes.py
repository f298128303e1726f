"""What a reader has to know before believing the tables -> sentences. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from evbench.pipelines.registry import model_of
from evbench.report.render import printable
from evbench.report.units import format_number, format_ratio, format_samples, format_seconds
from evbench.results import SIDES, STAGES, Result, Sample, Side, Trace, Workload
from evbench.results import Energy as EnergyReading
from evbench.traces.completeness import stamp
from evbench.verdict.context import Clock, Energy
from evbench.verdict.judgement import CLAIMED, MIN_CLAIM, Judgement
from evbench.verdict.metrics import STARTUP
from evbench.verdict.statistics import BreakEven, has_signed_rank, level_of_each


def notes(result: Result, judgement: Judgement) -> tuple[str, ...]:
    variants = result.variants()
    found = [f"{name}: {text}." for name, text in judgement.flags.items()]
    if len(variants) == 2:
        found += _claims(result, judgement)
        found += [_seen_unseen(judgement), *_floors(result, judgement)]
    if judgement.overlapping:
        sides = " and ".join(judgement.overlapping)
        found.append(f"Stages overlap without stage synchronization ({sides}): their single times are upper bounds.")
    if judgement.break_even is not None:
        found.append(break_even(judgement.break_even, judgement))
    found += [_clock(clock) for clock in judgement.clocks]
    if judgement.observations:
        found.append(f"Observed: {'; '.join(judgement.observations)}.")
    found += [_energy(side, reading, judgement.energy[side]) for side, one in variants.items() if (reading := one.energy) is not None]
    if any(session.plan.cold_files for session in result.sessions):
        rows = "; before a throughput run all inputs" if judgement.throughput is not None else ""
        found.append(f"The input was dropped from the page cache before each run{rows}.")
    found += _traces(result)
    found += made_weights(result.baseline.workload)
    return tuple(map(printable, found))


def made_weights(workload: Workload) -> list[str]:
    """What weights that are not stored ones can show. Empty for stored ones."""
    if workload.seed is not None:
        return ["Random weights: the text means nothing. It shows whether both variants compute the same output."]
    if (origin := model_of(workload.model).grown_from(workload.preset)) is None:
        return []
    return [
        f"Grown weights: trained as the preset {origin}, and made larger without changing what they compute. So work, memory, rounding and "
        "wrong outputs are those of this size. What a model that was trained at this size knows, how its activations are distributed, and "
        "how its weights bear quantization are not shown."
    ]


def _seen_unseen(judgement: Judgement) -> str:
    if not judgement.seen_unseen:
        return "Seen against unseen input: not checked. Something that is remembered across runs would have made a side faster."
    texts = []
    for side, found in judgement.seen_unseen.items():
        largest = max(found, key=lambda one: one.ratio)
        remembered = ", ".join(one.timing for one in found if one.cached)
        result = f"remembers {remembered}" if remembered else "no difference found"
        texts.append(f"{side}: {result} (unseen / seen {format_ratio(largest.ratio)} at most, {largest.timing})")
    return f"Seen against unseen input: {'; '.join(texts)}."


def _floors(result: Result, judgement: Judgement) -> list[str]:
    limits = result.session(result.baseline).limits
    if limits is None:
        return ["Physical floors of the times: not checked."]
    least = ", ".join(f"{name} {format_seconds(seconds)}" for name, seconds in judgement.floors.items())
    rates = f"{limits.rates.read / 1e9:.3g} GB/s read, {limits.rates.product / 1e12:.3g} TFLOP/s in products"
    return [f"Physical floors at the measured rates ({rates}): {least}. A median below a tenth of its floor is impossible."]


def _claims(result: Result, judgement: Judgement) -> list[str]:
    floors = result.rules.noise_floors
    name = judgement.end_to_end.name
    floor = f"{floors[name]:.1%} {name} on this machine" if name in floors else "not measured on this machine; run evbench selftest"
    others = [*judgement.stages, *(() if judgement.throughput is None else (judgement.throughput,))]
    higher = [f"{timing.name} {timing.claim_threshold:.1%}" for timing in others if timing.claim_threshold > MIN_CLAIM]
    thresholds = f"{name} {judgement.end_to_end.claim_threshold:.1%}{''.join(f', {one}' for one in higher)}"
    found = [
        f"Noise floor: {floor}. Claim threshold: {thresholds}.",
        "Intervals of the stages are simultaneous: all of them contain the truth in 95 of 100 sessions. So are those of TTFT, prefill and "
        "TPOT. Each claim follows from its interval, and a speedup in brackets is not claimed.",
    ]
    samples = result.baseline.workload.samples
    if len(samples) == 1 and not has_signed_rank(judgement.blocks.counted, level_of_each(len(STAGES))):
        found.append(
            "Stages: geometric mean, 95% CIs by Student's distribution, as so few blocks have no signed-rank interval for all of them."
        )
    if judgement.end_to_end.interval is not None:
        text = f"End-to-end: {_method(judgement, samples)}; half-width {judgement.end_to_end.interval.half_width:.1%}."
        if judgement.claim in CLAIMED and judgement.ratio_of_medians is not None and judgement.ratio_of_sums is not None:
            text += f" Ratio of medians {format_ratio(judgement.ratio_of_medians)}, ratio of sums {format_ratio(judgement.ratio_of_sums)}."
        found.append(text)
    if judgement.throughput is not None and judgement.throughput.interval is not None:
        of = "" if len(samples) == 1 else " Each throughput run has the same samples: the interval does not cover other samples."
        width = f"{judgement.throughput.interval.half_width:.1%}"
        found.append(f"Throughput: {_method(judgement, samples[:1])}; half-width {width}.{of}")
    return found


def _method(judgement: Judgement, samples: Sequence[Sample]) -> str:
    """Estimator and interval."""
    if len(samples) == 1:
        estimator, interval = "Hodges-Lehmann", "Wilcoxon signed-rank 95% CI over blocks"
    else:
        estimator, interval = "geometric mean", f"95% CI over {format_samples(samples)}"
    invocations = judgement.blocks.invocations
    return f"{estimator}, {interval}" + ("" if invocations == 1 else f", or over {invocations} invocations if that is wider")


def break_even(even: BreakEven, judgement: Judgement) -> str:
    """When a longer start-up has paid off, in one sentence."""
    ours, theirs = (judgement.metrics[STARTUP].sides[side] for side in SIDES)
    assert isinstance(ours, float)
    assert isinstance(theirs, float)
    longer = theirs - ours
    if longer <= 0:
        return f"Break-even: startup and compile time is {format_seconds(-longer)} shorter: nothing to pay back."
    text = f"Break-even: startup and compile time is {format_seconds(longer)} longer"
    if even.samples is None or even.low is None or even.high is None:
        return f"{text} and is never paid back: no gain of a sample is certain."
    return f"{text} and is paid back after {even.samples:,} samples (95% CI {even.low:,} - {even.high:,})."


def _clock(clock: Clock) -> str:
    limit = "" if clock.limit is None else f", limit {clock.limit:,} MHz"
    return f"SM clock of the GPU over the blocks: {clock.minimum:,} - {clock.maximum:,} MHz{limit}."


def _energy(side: Side, reading: EnergyReading, energy: Energy) -> str:
    if energy.joules_per_sample is None:
        error = "reads zero" if energy.error is None else f"and its power readings differ by {energy.error:.0%}"
        return f"Energy of the {side} side: the GPU's counter {error}; not credible."
    idle = "idle power unknown" if reading.idle_watts is None else f"idle power of {reading.idle_watts:.0f} W not subtracted"
    return (
        f"Energy of the {side} side: {format_number(energy.joules_per_sample)} J per sample on the GPU, over {reading.samples} samples in "
        f"{format_seconds(reading.seconds)} (power readings within {energy.error or 0.0:.0%}); {idle}."
    )


def trace_length(trace: Trace, workload: Workload) -> str:
    """How many of the new tokens a trace holds."""
    of = f" of {workload.new_tokens}" if trace.new_tokens < workload.new_tokens else ""
    return f"{trace.new_tokens}{of} new tokens"


def _traces(result: Result) -> list[str]:
    traces = [measured.trace for measured in result.variants().values() if measured.trace is not None]
    if not traces:
        return []
    files = ", ".join(
        f"{trace.file} with {trace_length(trace, result.baseline.workload)} ({trace.slowdown:.2f}x the time without the profiler)"
        for trace in traces
    )
    return [
        f"Traces, each of one sample in an untimed run: {files}. Open one with evbench open.",
        *(f"{trace.file} is {stamp(trace.completeness)}." for trace in traces),
    ]
