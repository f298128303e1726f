"""A result and its judgement -> the words and tables of a report. Pure: nothing is judged or computed here."""

from __future__ import annotations

from collections.abc import Sequence

from evbench.report import drafting, loss, metrics, outputs, timings
from evbench.report import traces as trace_tables
from evbench.report.facts import facts
from evbench.report.notes import notes
from evbench.report.render import Report, Table, printable
from evbench.report.units import format_claimed, format_ratios
from evbench.results import Result, Section
from evbench.verdict.judgement import CLAIMED, MIN_CLAIM, Judgement, Verdict
from evbench.verdict.statistics import FEWEST_BLOCKS, Interval


def describe(result: Result, judgement: Judgement) -> Report:
    """Everything that a reader needs to judge the numbers, and the numbers."""
    variants = result.variants()
    title = " against ".join(measured.variant for measured in reversed(list(variants.values())))
    traced: dict[str, Sequence[Section]] = {
        side: measured.trace.sections for side, measured in variants.items() if measured.trace is not None
    }
    return Report(
        title=printable(f"{result.baseline.workload.model}: {title}"),
        facts={name: printable(text) for name, text in facts(result, judgement).items()},
        headline=_headline(judgement),
        second_headline=_second_headline(result, judgement),
        tables=_tables(result, judgement, traced),
        outputs=outputs.texts(result, judgement),
        notes=notes(result, judgement),
        appendix=(
            *((trace_tables.families(traced),) if traced else ()),
            *((trace_tables.gone_and_new(traced),) if len(traced) == 2 else ()),
            outputs.activations(variants),
            *((outputs.all_checks(result.outputs),) if result.outputs else ()),
        ),
    )


def _tables(result: Result, judgement: Judgement, traced: dict[str, Sequence[Section]]) -> tuple[Table, ...]:
    tables = [timings.latency(judgement)]
    if judgement.throughput is not None:
        tables.append(timings.throughput(result, judgement, judgement.throughput))
    if judgement.loss is not None:
        tables.append(loss.table(judgement.loss))
    if result.outputs is not None:
        tables.append(outputs.closest_checks(result.outputs, judgement.checks))
    tables += [timings.tokens(judgement), drafting.table(judgement)]
    if judgement.unequal_work:
        title = "By unit of work, because the two sides did different work: medians"
        tables.append(metrics.table(metrics.PER_UNIT_OF_WORK, title, judgement))
    if judgement.difference is not None:
        tables.append(timings.difference(judgement, judgement.difference))
    tables.append(timings.floors(judgement))
    if judgement.demands:
        tables.append(timings.demands(judgement))
    tables += [
        metrics.table(metrics.RATES, "Rates, energy and overhead", judgement),
        metrics.table(metrics.STARTUP, "Startup and compile time, before the timed runs", judgement),
        timings.distributions(judgement),
        metrics.table(metrics.PEAK_MEMORY, "Peak memory of each stage", judgement),
    ]
    if traced:
        tables.append(trace_tables.where_the_time_went(traced))
    return tuple(table for table in tables if table.rows)


def _headline(judgement: Judgement) -> str:
    """The verdict in one sentence."""
    if judgement.verdict is None:
        return ""
    interval = judgement.end_to_end.interval
    if interval is None or judgement.reasons:
        return f"{judgement.verdict}: {'; '.join(judgement.reasons)}"
    if judgement.loss is not None and judgement.claim is not None:
        return f"LOSSY, {loss.claim(judgement.claim, interval, 'end-to-end ')}; {loss.in_short(judgement.loss)}"
    return f"{judgement.verdict}: {claim(judgement.verdict, interval, judgement.end_to_end.claim_threshold, 'end-to-end ')}"


def claim(verdict: Verdict, interval: Interval, threshold: float, of: str) -> str:
    """The speedup, in brackets if no difference is claimed."""
    speedup = f"{of}speedup {format_claimed(interval.ratio, verdict in CLAIMED)}, 95% CI {format_ratios(interval.low, interval.high)}"
    if verdict in CLAIMED:
        return speedup
    if verdict is Verdict.SAME:
        return f"{speedup}, within {MIN_CLAIM:.1%} of none"
    return f"{speedup}, which shows neither a difference above {threshold:.1%} nor that there is none"


def _second_headline(result: Result, judgement: Judgement) -> str:
    """Of the throughput, if it was measured on two sides."""
    timing = judgement.throughput
    if judgement.verdict is None or timing is None:
        return ""
    lengths = dict.fromkeys(str(run.samples) for measured in result.variants().values() for run in measured.timed_throughput_runs())
    title = f"Throughput, {' and '.join(lengths)} samples back to back"
    if timing.interval is not None and timing.claim is not None:
        if judgement.loss is not None:
            return f"{title}: LOSSY, {loss.claim(timing.claim, timing.interval, '')}"
        return f"{title}: {timing.claim}: {claim(timing.claim, timing.interval, timing.claim_threshold, '')}"
    if judgement.reasons:
        return f"{title}: nothing is claimed either"
    missing = any(found is None for found in timing.sides.values())
    return f"{title}: {'measured on one side only' if missing else f'too few blocks for an interval, at least {FEWEST_BLOCKS}'}"


def of_stages(judgement: Judgement) -> dict[str, dict[str, str]]:
    """Stage -> the cells of its row, and the grade of its outputs: for the stages of a merged trace."""
    found = {}
    for timing in judgement.stages:
        _, baseline, optimized, *compared = timings.row(timing, judgement)
        found[timing.name] = {
            "baseline, median": baseline,
            "optimized, median": optimized,
            **dict(zip(timings.COMPARED, compared, strict=True)),
            "outputs": judgement.grades.get(timing.name, "not compared"),
        }
    return found
