"""A ladder and what came of it -> words and tables. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from evbench.report.comparison import CLAIMS
from evbench.report.render import Table, markdown_table, printable
from evbench.report.units import NOT_MEASURED, format_ratio, format_ratios, format_seconds
from evbench.results import Plan, Workload
from evbench.verdict.judgement import SMALLEST, Verdict
from evbench.verdict.ladder import CLAIMED, CORRECTED, Figure, Kind, Rung, RungOutcome, Step, count, too_few

PLACES: dict[Kind, str] = {"rung": "on the way up", "without": "with all the others in place"}
COLUMNS = ("choice", "", "without", "with", "times as fast", "95 % interval", "outputs", "verdict")
"""Times are medians."""


def sentences(rungs: Sequence[Rung]) -> tuple[str, ...]:
    """Of each choice, whether it pays: first on the way up, then with all the others in place."""
    asked = count([rung.step for rung in rungs])
    return tuple(printable(_pays(rung, asked[kind])) for kind in CORRECTED for rung in rungs if rung.step.kind == kind)


def whole_sentence(rungs: Sequence[Rung]) -> str:
    """The verdict on the top against the lowest."""
    (rung,) = (rung for rung in rungs if rung.step.kind == "whole")
    told = "not run yet" if rung.outcome is None else verdict_sentence(rung.outcome)
    return printable(f"{rung.step.optimized.name} against {rung.step.baseline.name}: {told}")


def verdict_sentence(outcome: RungOutcome) -> str:
    """What a comparison says by itself."""
    if outcome.verdict is None:
        return f"could not be run: {outcome.reasons[0]}"
    return f"{outcome.verdict}: {'; '.join(outcome.reasons) or _around(outcome, outcome.verdict)}"


def _pays(rung: Rung, asked: int) -> str:
    """`asked`: of how many choices the same is asked."""
    choice, place, outcome = rung.step.choice(), PLACES[rung.step.kind], rung.outcome
    if outcome is None:
        return f"Whether {choice} pays {place} was not measured yet."
    reasons = "; ".join(outcome.reasons)
    if outcome.verdict is None:
        return f"Whether {choice} pays {place} could not be measured: {reasons}."
    if outcome.verdict in (Verdict.OUTPUT_DIFFERS, Verdict.INVALID):
        return f"Whether {choice} pays {place} is not told: {outcome.verdict}, {reasons}."
    around = _around(outcome, rung.claim)
    if rung.claim is Verdict.INCONCLUSIVE:
        chance = f"; {outcome.verdict} by itself, but among {asked} one may well be so by chance" if outcome.verdict in CLAIMED else ""
        return f"Whether {choice} pays {place} cannot be told: {reasons or around}{chance}."
    if rung.claim is Verdict.SAME:
        return f"{choice} does not pay {place}: {around}, which is within {SMALLEST:.1%} of no change."
    if rung.claim is Verdict.SLOWER:
        return f"{choice} does not pay {place}, it costs: {around}."
    return f"{choice} pays {place}: {around}."


def _around(outcome: RungOutcome, claim: Verdict | None) -> str:
    """The ratio only where a difference is claimed."""
    if outcome.total is None or outcome.total.interval is None:
        return "no interval"
    interval = outcome.total.interval
    around = f"95 % interval {format_ratios(interval.low, interval.high)}"
    return f"{format_ratio(interval.ratio)} times as fast, {around}" if claim in CLAIMED else f"{around} times as fast"


def tables(rungs: Sequence[Rung]) -> tuple[Table, ...]:
    """Going up, and leaving one out if that was asked for."""
    up = [rung for rung in rungs if rung.step.kind == "rung"]
    without = [rung for rung in rungs if rung.step.kind == "without"]
    found = [
        Table(
            f"Going up from {up[0].step.baseline.name}: each rung against the one below",
            ("rung", *COLUMNS),
            tuple((str(number) if first else "", *row) for number, rung in enumerate(up, 1) for first, row in _rows(rung)),
        )
    ]
    if without:
        title = f"Leaving one out: {without[0].step.optimized.name} against itself with one choice taken back"
        found.append(Table(title, COLUMNS, tuple(row for rung in without for _, row in _rows(rung))))
    return tuple(found)


def _rows(rung: Rung) -> Sequence[tuple[bool, tuple[str, ...]]]:
    """Its total, and below that each stage that it concerns; and whether it is the first of these."""
    outcome = rung.outcome
    preserved = NOT_MEASURED if outcome is None or outcome.preserved is None else outcome.preserved
    verdict = "not run yet" if outcome is None else str(rung.claim or "COULD NOT BE RUN")
    total = outcome.total if outcome is not None else None
    rows = [(True, (rung.step.choice(), "end to end", *_figures(total, rung.claim), preserved, verdict))]
    for stage, figure in outcome.stages.items() if outcome is not None else ():
        claim = "" if figure.claim is None else CLAIMS[figure.claim]
        rows.append((False, ("", stage, *_figures(figure, figure.claim), "", claim)))
    return rows


def _figures(figure: Figure | None, claim: Verdict | None) -> tuple[str, str, str, str]:
    """Medians, ratio and interval. A ratio that is not claimed is not printed: it would be read as one that is."""
    if figure is None:
        return NOT_MEASURED, NOT_MEASURED, "-", "-"
    medians = _median(figure.baseline_seconds), _median(figure.optimized_seconds)
    if figure.interval is None:
        return *medians, "-", "-"
    ratio = format_ratio(figure.interval.ratio) if claim in CLAIMED else "-"
    return *medians, ratio, format_ratios(figure.interval.low, figure.interval.high)


def _median(seconds: float | None) -> str:
    return NOT_MEASURED if seconds is None else format_seconds(seconds)


def notes(rungs: Sequence[Rung], workload: Workload, plan: Plan) -> tuple[str, ...]:
    """What a reader has to know before believing the tables."""
    steps = [rung.step for rung in rungs]
    told = [
        "Each choice is a comparison of its own, in blocks of runs without and with it, and its folder has the report. Times are medians; "
        "those of different comparisons were measured one after the other.",
        "Verdicts of choices are corrected for their number, going up and leaving one out each by itself (Holm). Intervals are not, each "
        "is of 95 % by itself; what is said of a stage is corrected for the stages of its comparison only.",
    ]
    told += [f"{few}." for few in [too_few(steps, workload, plan)] if few]
    told += [f"{step.name}: {step.remark}." for step in steps if step.remark]
    told += [f"{step.name} is the same comparison as {step.folder}, and was not run again." for step in steps if step.folder != step.name]
    invalid = dict.fromkeys(rung.step.folder for rung in rungs if rung.claim is Verdict.INVALID)
    told += [f"To measure {' or '.join(invalid)} again, remove its folder and go on with --resume."] if invalid else []
    told += [f"{flag}: see the report of {', '.join(names)}." for flag, names in _flagged(rungs).items()]
    return tuple(map(printable, told))


def _flagged(rungs: Sequence[Rung]) -> dict[str, list[str]]:
    """What is said in front of a report -> the comparisons of which it is said."""
    found: dict[str, list[str]] = {}
    for rung in rungs:
        for flag in rung.outcome.flags if rung.outcome is not None and rung.step.folder == rung.step.name else ():
            found.setdefault(flag, []).append(rung.step.name)
    return found


def progress(step: Step, outcome: RungOutcome, done: int, of: int) -> str:
    """In one line, as soon as it ended."""
    return printable(f"{done} of {of} comparisons: {step.folder}: {verdict_sentence(outcome)}")


def to_markdown(rungs: Sequence[Rung], workload: Workload, plan: Plan, created: str, command: str) -> str:
    """The ladder as a file."""
    model = f"{workload.model}, {workload.preset or workload.weights}, {workload.dtype} on {workload.device}"
    invocations = (
        f" over {plan.invocations} starts of the workers" if plan.order == "interleaved" and 1 < plan.invocations <= plan.blocks else ""
    )
    each = f"planned for each comparison: at least {plan.blocks} blocks{invocations}"
    lines = ["# Ladder", "", f"{created}, `{printable(command)}`: {printable(model)}; {each}", ""]
    lines += [f"**{whole_sentence(rungs)}**", "", *(f"- {told}" for told in sentences(rungs)), ""]
    for table in tables(rungs):
        lines += [f"## {table.title}", "", *markdown_table(table), ""]
    lines += ["## Notes", "", *(f"- {note}" for note in notes(rungs, workload, plan)), ""]
    return "\n".join(lines)
