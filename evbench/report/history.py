"""Series of results over time -> words and tables. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evbench.report import junit
from evbench.report.render import Table, file_of, printable, tables_and_notes
from evbench.report.units import NOT_MEASURED, format_ratio, format_ratios, format_seconds
from evbench.verdict.clusters import unit
from evbench.verdict.demands import DemandOutcome
from evbench.verdict.history import Entry, Series, Step, steps

MARK, PAGE_MARK = "<!-- evbench history --markdown -->", "<!-- evbench history --html -->"
"""First lines of the files: by them evbench finds what it may replace."""
FEWEST = 3
"""Results of a series in which a step can be."""
COMMIT = 10
"""Characters of a commit that are shown."""


@dataclass(frozen=True)
class Account:
    """What is told of a folder."""

    series: tuple[Series, ...]
    left_out: tuple[tuple[str, str], ...]
    outcomes: Mapping[str, Sequence[DemandOutcome | None]]
    """Text of a demand -> its outcome for each series; None of one that has no result before the newest."""


def name(series: Series) -> str:
    """Variant, work and machine."""
    workload = series.workload
    model = f"{workload.model} {workload.preset or workload.weights}, {workload.dtype} on {workload.device}"
    images = f"{workload.frames} {'frames' if workload.kind == 'video' else 'event images'}"
    count = len(workload.samples)
    several = unit(workload.samples) if count > 1 else f"batch of {workload.batch} samples"
    samples = f"{count} {several} of " if count > 1 or workload.batch > 1 else ""
    return printable(f"{series.variant}: {model}, {samples}{images}, {workload.new_tokens} new tokens; {series.machine}")


def headline(account: Account) -> str:
    entries = sum(len(series.entries) for series in account.series)
    count = sum(len(steps(series, timing)) for series in account.series for timing in series.timings())
    left_out = f"; {len(account.left_out)} left out (--details says why)" if account.left_out else ""
    return f"{_number(len(account.series), 'series')} with {_number(entries, 'times')} of a variant, {_number(count, 'steps')}{left_out}"


def _number(count: int, things: str) -> str:
    return f"{count} {things if count != 1 or things == 'series' else things.removesuffix('s')}"


def sentences(account: Account) -> tuple[str, ...]:
    """Of each series what changed at each step; then those in which none was found."""
    changed, same = [], []
    for series in account.series:
        found: dict[int, list[tuple[str, Step]]] = {}
        for timing in series.timings():
            for step in steps(series, timing):
                found.setdefault(series.entries.index(step.after), []).append((timing, step))
        for place in sorted(found):
            told = "; ".join(f"{timing} {step_in_words(step)}" for timing, step in found[place])
            changed.append(f"{name(series)}: from {_moment(series.entries[place])} on: {told}")
        if not found and len(series.entries) >= FEWEST:
            same.append(f"{name(series)}: no step in {len(series.entries)} results")
    few = sum(len(series.entries) < FEWEST for series in account.series)
    short = [f"{few} series have fewer than {FEWEST} results, which are too few for a step"] if few else []
    return tuple(map(printable, (*changed, *same, *short)))


def step_in_words(step: Step) -> str:
    interval = step.interval
    if interval.ratio >= 1:
        return f"{format_ratio(interval.ratio)} faster ({format_ratios(interval.low, interval.high)})"
    return f"{format_ratio(1 / interval.ratio)} slower ({format_ratios(1 / interval.high, 1 / interval.low)})"


def _moment(entry: Entry) -> str:
    commit = f", commit {entry.source[:COMMIT]}" if entry.source else ""
    return f"{entry.started[:16]}Z in {entry.place}{commit}"


def exit_reason(account: Account, code: int) -> str:
    """With the demands that are not met, or not decided."""
    if not account.outcomes:
        return f"exit {code}: nothing was demanded"
    told = []
    for text, every in account.outcomes.items():
        found = [outcome for outcome in every if outcome is not None]
        missed, unclear = (sum(outcome.met is met for outcome in found) for met in (False, None))
        if missed:
            told.append(f"{text} in {missed} of {len(found)} series")
        elif unclear or not found:
            count = len(account.left_out)
            left_out = f", and {_number(count, 'results')} {'was' if count == 1 else 'were'} left out (--details says why)" if count else ""
            why = f"undecided in {unclear} of {len(found)} series" if found else f"there is no result before{left_out}"
            told.append(f"{text}: {why}")
    return printable(f"exit {code}: {'; '.join(told) or 'not slower: ' + ', '.join(account.outcomes)}")


def to_junit(account: Account) -> str:
    """A suite for each demand, with a test for each series. A test fails where the exit code is not 0, and else none does."""
    return junit.document([junit.Suite(text, _cases(account.series, every)) for text, every in account.outcomes.items()])


def _cases(series: Sequence[Series], every: Sequence[DemandOutcome | None]) -> list[junit.Case]:
    """A series without a result before is no test, unless all are so."""
    pairs = zip(series, every, strict=True)
    cases = [dataclasses.replace(junit.case_of(outcome), name=name(one)) for one, outcome in pairs if outcome is not None]
    return cases or [junit.Case("results", "undecided: there is no result before", "UNCLEAR")]


def tables(account: Account) -> tuple[Table, ...]:
    """The steps; then for each series its results."""
    rows = [
        (
            name(series), timing, _moment(step.before), _moment(step.after), format_ratio(step.interval.ratio),
            format_ratios(step.interval.low, step.interval.high),
        )
        for series in account.series
        for timing in series.timings()
        for step in steps(series, timing)
    ]  # fmt: skip
    columns = ("detail", "timing", "before", "behind", "speedup", "95% CI")
    found = [Table("Steps", columns, tuple(rows))] if rows else []
    return (*found, *map(_results, account.series))


def _results(series: Series) -> Table:
    names = list(dict.fromkeys(timing for entry in series.entries for timing in entry.timings))
    begins = {timing: {step.after.place for step in steps(series, timing)} for timing in series.timings()}
    rows = []
    for entry in series.entries:
        cells = (_cell(entry, timing, entry.place in begins.get(timing, ())) for timing in names)
        rows.append((f"{entry.started[:16]}Z", entry.place, entry.source[:COMMIT] or "-", *cells))
    return Table(name(series), ("", "detail", "commit", *names), tuple(rows))


def _cell(entry: Entry, timing: str, begins: bool) -> str:
    found = entry.timings.get(timing)
    return NOT_MEASURED if found is None else f"{format_seconds(found.seconds)}{' (step)' if begins else ''}"


NOTES = (
    "A series has the results of one variant by its name, of equal work, on equal hardware (CPU, cores, GPU). Versions of software may "
    "differ, and a step may come from them.",
    "A step is between two results where the times before and behind it differ by more than 1 % beyond the interval of their ratio. That "
    "interval is no narrower than by how much results of the series differ from each other, and no narrower than their own intervals. Of "
    "100 series without any change, at most 5 have a step, over all their timings.",
    "Results were not run in turn: a step says that something changed, and not that the code did.",
)


def notes(account: Account) -> tuple[str, ...]:
    return (*NOTES, *(printable(f"Left out: {place}: {reason}") for place, reason in account.left_out))


def to_markdown(account: Account, folder: str) -> str:
    """As a file."""
    lines = [MARK, "# History", "", f"**{folder}: {headline(account)}**", "", *(f"- {one}" for one in sentences(account)), ""]
    return file_of([*lines, *tables_and_notes(tables(account), notes(account))])
