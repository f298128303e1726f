"""A side that another script has measured, beside one of evbench or of another table: times and tokens, and no claim."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evbench.errors import UserError, nearest
from evbench.external_table import TOTAL, Statistic
from evbench.lint.examine import content_of, is_result, of_table
from evbench.lint.figures import Figures, of_sides
from evbench.lint.read import read_table
from evbench.report.render import Table, file_of, markdown_table, printable
from evbench.report.units import format_seconds
from evbench.results import STAGES, Result, Side, SideResult
from evbench.verdict.blocks import END_TO_END, PREFILL, TIMED, TPOT, TTFT, counted_blocks
from evbench.verdict.tokens import first_difference

ENDINGS = (".json", ".csv")
ROW = "#"
"""Between a table and the name of a side in it."""
NAMES = {TOTAL: END_TO_END}
"""Name of a time in a table -> what evbench calls it, if otherwise."""
ORDER = (*STAGES, PREFILL, TTFT, TPOT, END_TO_END)
NO_CLAIM = "the sides were measured by different scripts, and not in turn: nothing is claimed"


@dataclass(frozen=True)
class Column:
    """One side."""

    title: str
    of: str
    """What its times are: `median of 200`."""
    texts: Mapping[str, str]
    """Name of a time -> it, with its unit."""
    statistic: Statistic
    """That the times are of."""
    new_tokens: str
    """Empty if it is not told."""
    tokens: tuple[tuple[int, ...], ...]
    """Of each sample. Empty if they are not told, or not the same in all rows of a side."""
    notes: tuple[str, ...]


def is_table(given: str) -> bool:
    """Whether what is given for a side is a table from elsewhere, with or without the name of a side in it."""
    path = _split(given)[0]
    return path.suffix.lower() in ENDINGS and path.is_file() and not is_result(path)


def _split(given: str) -> tuple[Path, str]:
    """File, and name of a side in it. The name of a file may have the character between them, too."""
    if Path(given).is_file():
        return Path(given), ""
    place, _, name = given.partition(ROW)
    return Path(place), name


def of_table_side(given: str, side: Side) -> Column:
    """A side of a table: the one that is named behind #, or the only one.

    Raises:
        UserError: the table cannot be read, or has no such side.
    """
    path, asked = _split(given)
    content = content_of(path)
    read = read_table(path, content)
    sides = of_sides(read.table)
    if not asked and len(sides) > 1:
        raise UserError(f"--{side} {path} has {len(sides)} sides; name one of them, such as {path}{ROW}{next(iter(sides))}")
    if asked and asked not in sides:
        raise UserError(f"--{side} {given}: {path} has no side {asked!r}; {nearest(asked, list(sides))}")
    found = sides[asked] if asked else next(iter(sides.values()))
    mistakes = sum(finding.kind == "mistake" for finding in of_table(read))
    notes = [f"{path.name}: SHA-256 {hashlib.sha256(content).hexdigest()}, {read.table.source or 'its source is not told'}"]
    if mistakes:
        notes.append(f"evbench lint finds {mistakes} mistake{'' if mistakes == 1 else 's'} in {path.name}: look at them first")
    if len({row.tokens for row in found.rows}) > 1:
        why = "of several samples, of runs that differ, or not told"
        notes.append(f"the rows of {found.name} in {path.name} do not all have the same tokens: {why}")
    return _of_figures(found, path, tuple(notes))


def _of_figures(found: Figures, path: Path, notes: tuple[str, ...]) -> Column:
    row = found.row
    statistic = row.statistic or "mean"
    told = "" if row.statistic is not None or len(found.rows) > 1 else ", taken for the mean"
    runs = len(found.rows) if len(found.rows) > 1 else row.runs
    texts = {NAMES.get(name, name): found.texts[name] for name in found.times}
    return Column(
        title=f"{found.name} of {path.name}",
        of=f"{statistic}{f' of {runs:,}' if runs else ''}{told}",
        texts=texts,
        statistic=statistic,
        new_tokens="" if found.new_tokens is None else f"{found.new_tokens.value:,.15g}",
        tokens=row.tokens if len({one.tokens for one in found.rows}) == 1 else (),
        notes=notes,
    )


def of_result_side(result: Result, measured: SideResult, statistic: Statistic) -> Column:
    """A side that evbench has measured, by the statistic of the table that it stands beside."""
    value_of = statistics.median if statistic == "median" else statistics.fmean
    counted = counted_blocks(result.session(measured))
    runs = [run for run in measured.timed() if run.block in counted]
    found = {name: [seconds for run in runs if (seconds := value(run)) is not None] for name, value in TIMED.items()}
    texts = {name: format_seconds(value_of(seconds)) for name, seconds in found.items() if seconds}
    by_sample = measured.tokens_by_sample()
    lengths = {len(tokens) for answers in by_sample.values() for tokens in answers}
    return Column(
        title=f"{measured.variant} of evbench",
        of=f"{statistic} of {len(runs) // 2}",
        texts=texts,
        statistic=statistic,
        new_tokens=" to ".join(f"{length:,}" for length in sorted({min(lengths), max(lengths)})),
        tokens=tuple(by_sample[sample][-1] for sample in sorted(by_sample)),
        notes=() if runs else ("no block of the side of evbench counts: each was disturbed, or none has ended",),
    )


def table(ours: Column, theirs: Column) -> Table:
    """Times and tokens of both."""
    names = [*(name for name in ORDER if name in {**ours.texts, **theirs.texts})]
    names += [name for name in {**ours.texts, **theirs.texts} if name not in names]
    rows = [(printable(name), *(printable(column.texts.get(name, "-")) for column in (ours, theirs))) for name in names]
    rows += [("times", ours.of, theirs.of), ("new tokens", ours.new_tokens or "-", theirs.new_tokens or "-")]
    return Table("Side by side", ("", printable(ours.title), printable(theirs.title)), tuple(rows))


def tokens_compared(ours: Column, theirs: Column) -> str:
    """Whether both generated the same tokens, in words."""
    if not ours.tokens or not theirs.tokens:
        return "tokens: not told by both"
    if len(ours.tokens) != len(theirs.tokens):
        return f"tokens: of {len(ours.tokens)} and {len(theirs.tokens)} samples, not compared"
    for sample, pair in enumerate(zip(ours.tokens, theirs.tokens, strict=True)):
        if (first := first_difference(*pair)) is not None:
            return f"tokens: DIFFERENT from token {first + 1} of sample {sample + 1} on"
    return f"tokens: identical, all {sum(map(len, ours.tokens)):,}"


def to_markdown(shown: Table, lines: Sequence[str], created: str, command: str) -> str:
    """As a file."""
    return file_of(["# Side by side", "", f"{created}, `{command}`", "", *markdown_table(shown), "", *(f"- {line}" for line in lines), ""])
