"""A ladder and its outcomes -> words and tables. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from evbench.report.render import Table, file_of, printable, tables_and_notes
from evbench.report.timings import CLAIMS
from evbench.report.units import NOT_MEASURED, format_claimed, format_ratio, format_ratios, format_seconds, format_signed
from evbench.results import Plan, Workload
from evbench.verdict.interactions import dependences, pairs, together
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


def together_sentence(rungs: Sequence[Rung]) -> str:
    """Whether the gains of all choices multiply to that of the whole. Empty if that was not measured."""
    found = together(rungs)
    if found is None:
        return ""
    verdict = "gains do not multiply" if found.differs else "no difference from gains that multiply is found"
    expected, measured = found.expected, found.measured
    return (
        f"Together: {verdict}: those of {len(found.choices)} choices, each added last, have the product {format_ratio(expected.ratio)}, "
        f"95% CI {format_ratios(expected.low, expected.high)}; the whole is {format_ratio(measured.ratio)}, which is "
        f"{format_ratios(found.ratio.low, found.ratio.high)} of it. Seconds saved are in ladder.md."
    )


def pair_sentences(rungs: Sequence[Rung]) -> tuple[str, ...]:
    """Those pairs of choices whose gains depend on each other; or that none was found. Empty if none were combined."""
    found = pairs(rungs)
    if not found:
        return ()
    told = [
        f"{pair.choices[0]} and {pair.choices[1]}: both together have {format_ratio(pair.ratio.ratio)} the product of their speedups, "
        f"95% CI {format_ratios(pair.ratio.low, pair.ratio.high)}."
        for pair in found
        if pair.differs
    ]
    return tuple(map(printable, told or ["Of the choices that were combined, no two are found whose gains depend on each other."]))


def interactions(rungs: Sequence[Rung]) -> Table:
    """For each choice, its gain when it was added and when it came last. Without rows if no choice was measured twice."""
    rows = []
    for found in dependences(rungs):
        gains = (cell for timing in (found.early, found.last) for cell in (_interval(timing), _saved(timing)))
        verdict = "another gain last" if found.differs else "no difference found"
        rows.append((found.choice, *gains, format_ratios(found.ratio.low, found.ratio.high), verdict))
    columns = ("choice", "added early", "saved", "added last", "saved", "last / early", "verdict")
    return Table("Interactions: speedup of each choice when it was added, and when it came last; 95% CIs", columns, tuple(rows))


def combinations(rungs: Sequence[Rung]) -> tuple[Table, ...]:
    """Of choices that were combined: each combination against none, and what follows for each pair."""
    ended = [rung for rung in rungs if rung.step.kind == "subset"]
    if not ended:
        return ()
    rows = []
    for rung in ended:
        preserved = NOT_MEASURED if rung.outcome is None or rung.outcome.preserved is None else rung.outcome.preserved
        told = "not run yet" if rung.outcome is None else str(rung.claim or "COULD NOT BE RUN")
        names = ", ".join(f"{part}={rung.step.optimized.choices()[part]}" for part in rung.step.parts)
        rows.append((names, *_cells(rung.end_to_end, rung.claim), preserved, told))
    columns = ("choices", *COLUMNS[2:])
    found = [Table(f"Combinations: {ended[0].step.baseline.name} against itself with some of the choices", columns, tuple(rows))]
    of_pairs = tuple(
        (
            " and ".join(pair.choices),
            format_ratio(pair.ratio.ratio),
            format_ratios(pair.ratio.low, pair.ratio.high),
            NOT_MEASURED if pair.saved is None else format_signed(pair.saved),
            "gains depend" if pair.differs else "no dependence found",
        )
        for pair in pairs(rungs)
    )
    title = "Interactions of two choices: speedup of both over the product of their speedups; seconds that both save beyond the sum"
    return (*found, *([Table(title, ("pair", "ratio", "95% CI", "saved beyond", "verdict"), of_pairs)] if of_pairs else []))


def _interval(timing: RungTiming) -> str:
    return "-" if timing.interval is None else format_ratios(timing.interval.low, timing.interval.high)


def _saved(timing: RungTiming) -> str:
    """Difference of the medians."""
    if timing.baseline_seconds is None or timing.optimized_seconds is None:
        return NOT_MEASURED
    return format_signed(timing.baseline_seconds - timing.optimized_seconds)


def tables(rungs: Sequence[Rung]) -> tuple[Table, ...]:
    """Going up; leaving one out if that was requested; and what follows from both."""
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
        found += [table for table in [interactions(rungs)] if table.rows]
    return (*found, *combinations(rungs))


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
    if dependences(rungs) or together(rungs) is not None or pairs(rungs):
        found.append(
            "Interactions: gains that do not multiply need not be of code that interferes. A choice that saves the same seconds saves a "
            "larger share of what the others have left, so gains of choices in different stages, each added last, multiply to more than "
            "the whole, and those of two together are more than the product. Seconds are differences of medians, without an interval."
        )
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
    told = [*sentences(rungs), *filter(None, [together_sentence(rungs)]), *pair_sentences(rungs)]
    lines += [f"**{whole_sentence(rungs)}**", "", *(f"- {sentence}" for sentence in told), ""]
    return file_of([*lines, *tables_and_notes(tables(rungs), notes(rungs))])
