"""A ladder and its outcomes -> words and tables. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from evbench.report.render import Table, file_of, markdown_table, printable
from evbench.report.timings import CLAIMS
from evbench.report.units import NOT_MEASURED, format_claimed, format_ratios, format_seconds
from evbench.results import Plan, Workload
from evbench.verdict.judgement import CLAIMED, MIN_CLAIM, Verdict
from evbench.verdict.ladder import CORRECTED, Kind, Rung, RungOutcome, RungTiming, Step, choices

WHERE: dict[Kind, str] = {"rung": "added to the rung below", "without": "added to all the others"}
COLUMNS = ("choice", "", "without", "with", "speedup", "95% CI", "outputs", "verdict")
"""Times are medians."""


def sentences(rungs: Sequence[Rung]) -> tuple[str, ...]:
    """For each choice, whether it is a speedup: first added to the rung below, then added to all the others."""
    among = choices([rung.step for rung in rungs])
    return tuple(printable(_sentence(rung, among)) for kind in CORRECTED for rung in rungs if rung.step.kind == kind)


def whole_sentence(rungs: Sequence[Rung]) -> str:
    """The verdict on the top against the lowest."""
    (rung,) = (rung for rung in rungs if rung.step.kind == "whole")
    text = "not run yet" if rung.outcome is None else verdict_sentence(rung.outcome)
    return printable(f"{rung.step.optimized.name} against {rung.step.baseline.name}: {text}")


def exit_reason(rungs: Sequence[Rung], code: int) -> str:
    """Of a ladder that ended."""
    failed = [rung.step.name for rung in rungs if rung.outcome is not None and rung.outcome.verdict is None]
    if failed:
        return printable(f"exit {code}: {', '.join(failed)} could not be run")
    (whole,) = (rung for rung in rungs if rung.step.kind == "whole")
    verdict = whole.outcome.verdict if whole.outcome is not None else None
    return printable(f"exit {code}: {verdict}, {whole.step.optimized.name} against {whole.step.baseline.name}")


def verdict_sentence(outcome: RungOutcome) -> str:
    """Of a comparison alone."""
    if outcome.verdict is None:
        return f"could not be run: {outcome.reasons[0]}"
    return f"{outcome.verdict}: {'; '.join(outcome.reasons) or _speedup(outcome.end_to_end, outcome.verdict)}"


def _sentence(rung: Rung, among: int) -> str:
    """`among`: number of choices whose intervals are simultaneous."""
    name, outcome = f"{rung.step.choice()}, {WHERE[rung.step.kind]}", rung.outcome
    if outcome is None:
        return f"{name}: not measured yet."
    reasons = "; ".join(outcome.reasons)
    if outcome.verdict is None:
        return f"{name}: could not be measured: {reasons}."
    if outcome.verdict in (Verdict.OUTPUT_DIFFERS, Verdict.INVALID):
        return f"{name}: {outcome.verdict}: {reasons}."
    speedup = _speedup(rung.end_to_end, rung.claim)
    if rung.claim is Verdict.INCONCLUSIVE:
        alone = f"; {outcome.verdict} alone, but not among {among} choices" if outcome.verdict in CLAIMED else ""
        return f"{name}: unclear: {reasons or speedup}{alone}."
    if rung.claim is Verdict.SAME:
        return f"{name}: no speedup: {speedup}, within {MIN_CLAIM:.1%} of none."
    return f"{name}: {'slower' if rung.claim is Verdict.SLOWER else 'faster'}: {speedup}."


def _speedup(timing: RungTiming | None, claim: Verdict | None) -> str:
    if timing is None or timing.interval is None:
        return "no interval"
    interval = timing.interval
    return f"speedup {format_claimed(interval.ratio, claim in CLAIMED)}, 95% CI {format_ratios(interval.low, interval.high)}"


def tables(rungs: Sequence[Rung]) -> tuple[Table, ...]:
    """Going up, and leaving one out if that was requested."""
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
        title = f"Leaving one out: {without[0].step.optimized.name} against itself without one choice"
        found.append(Table(title, COLUMNS, tuple(row for rung in without for _, row in _rows(rung))))
    return tuple(found)


def _rows(rung: Rung) -> Sequence[tuple[bool, tuple[str, ...]]]:
    """End-to-end, and below that each stage that it concerns; and whether it is the first of these."""
    outcome = rung.outcome
    preserved = NOT_MEASURED if outcome is None or outcome.preserved is None else outcome.preserved
    verdict = "not run yet" if outcome is None else str(rung.claim or "COULD NOT BE RUN")
    rows = [(True, (rung.step.choice(), "end-to-end", *_cells(rung.end_to_end, rung.claim), preserved, verdict))]
    for stage, timing in outcome.stages.items() if outcome is not None else ():
        claim = "" if timing.claim is None else CLAIMS[timing.claim]
        rows.append((False, ("", stage, *_cells(timing, timing.claim), "", claim)))
    return rows


def _cells(timing: RungTiming | None, claim: Verdict | None) -> tuple[str, str, str, str]:
    """Medians, speedup and interval."""
    if timing is None:
        return NOT_MEASURED, NOT_MEASURED, "-", "-"
    medians = _median(timing.baseline_seconds), _median(timing.optimized_seconds)
    if timing.interval is None:
        return *medians, "-", "-"
    ratio = format_claimed(timing.interval.ratio, claim in CLAIMED)
    return *medians, ratio, format_ratios(timing.interval.low, timing.interval.high)


def _median(seconds: float | None) -> str:
    return NOT_MEASURED if seconds is None else format_seconds(seconds)


def notes(rungs: Sequence[Rung]) -> tuple[str, ...]:
    """What a reader has to know before believing the tables."""
    steps = [rung.step for rung in rungs]
    found = [
        "Each choice is a comparison of its own, in blocks of runs without and with it; its folder has the report. Times are medians; "
        "those of different comparisons were measured one after the other.",
        "Intervals of the choices are simultaneous, separately for going up and for leaving one out: all of them contain the truth in 95 "
        "of 100 ladders. Those of the stages are simultaneous within their comparison. Each claim follows from its interval, and a "
        "speedup in brackets is not claimed.",
    ]
    found += [f"{step.name}: {step.remark}." for step in steps if step.remark]
    found += [f"{step.name} is identical to {step.folder}, and was not run again." for step in steps if step.folder != step.name]
    invalid = dict.fromkeys(rung.step.folder for rung in rungs if rung.claim is Verdict.INVALID)
    found += [f"To measure {' or '.join(invalid)} again, remove its folder and continue with --resume."] if invalid else []
    found += [f"{flag}: see the report of {', '.join(names)}." for flag, names in _flagged(rungs).items()]
    return tuple(map(printable, found))


def _flagged(rungs: Sequence[Rung]) -> dict[str, list[str]]:
    """Name of a flag -> the comparisons that have it."""
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
    several = plan.order == "interleaved" and 1 < plan.invocations <= plan.blocks
    invocations = f" over {plan.invocations} invocations (process restarts)" if several else ""
    each = f"planned for each comparison: at least {plan.blocks} blocks{invocations}"
    lines = ["# Ladder", "", f"{created}, `{command}`: {model}; {each}", ""]
    lines += [f"**{whole_sentence(rungs)}**", "", *(f"- {sentence}" for sentence in sentences(rungs)), ""]
    for table in tables(rungs):
        lines += [f"## {table.title}", "", *markdown_table(table), ""]
    lines += ["## Notes", "", *(f"- {note}" for note in notes(rungs)), ""]
    return file_of(lines)
