"""Reports -> console and markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from evbench.report.units import NOT_MEASURED

EMPTY, TOO_FEW = ("", "-", NOT_MEASURED), "n too small"
"""Cells that say nothing; the second is the beginning of one."""
TEXT_COLUMNS = ("meaning", "mode", "grade", "rule", "worst at", "detail", "evidence", "side")
"""Columns of text, also in tables of numbers: they are aligned to the left, and may be wrapped."""


@dataclass(frozen=True)
class Table:
    """Rows of text under a title. The first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    name: str = ""
    """By which a page finds its place among the figures. Empty: it stands with all others."""


@dataclass(frozen=True)
class Report:
    """The parts of a report, in order."""

    title: str
    facts: dict[str, str]
    headline: str
    second_headline: str
    """Empty if there is none, as the first."""
    tables: tuple[Table, ...]
    outputs: dict[str, str]
    notes: tuple[str, ...]
    appendix: tuple[Table, ...]
    """For the file only: too much for a terminal."""


def to_markdown(report: Report, created: str, command: str) -> str:
    """The report as a file that reads well unrendered too."""
    lines = [f"# {report.title}", "", f"{created}, `{command}`", ""]
    lines += [f"- **{name}**: {text}" for name, text in report.facts.items()] + [""]
    for headline in filter(None, (report.headline, report.second_headline)):
        lines += [f"**{headline}**", ""]
    for table in report.tables:
        lines += [f"## {table.title}", "", *markdown_table(table), ""]
    lines += ["## Outputs", ""] + [f"- **{name}**: {text}" for name, text in report.outputs.items()] + [""]
    lines += ["## Notes", "", *(f"- {note}" for note in report.notes), ""]
    for table in report.appendix:
        lines += [f"## {table.title}", "", *markdown_table(table), ""]
    return file_of(lines)


def tables_and_notes(tables: Iterable[Table], notes: Iterable[str]) -> list[str]:
    """The lines of a file after its headline."""
    lines = [line for table in tables for line in (f"## {table.title}", "", *markdown_table(table), "")]
    return [*lines, "## Notes", "", *(f"- {note}" for note in notes), ""]


def file_of(lines: Sequence[str]) -> str:
    """Lines of a file that a person may print on a terminal: nothing in them acts on it."""
    return "\n".join(map(printable, lines))


def markdown_table(table: Table) -> list[str]:
    """Its lines."""
    ruler = ["---:" if index and column not in TEXT_COLUMNS else "---" for index, column in enumerate(table.columns)]
    return [f"| {' | '.join(cells)} |" for cells in (table.columns, ruler, *table.rows)]


def to_console(report: Report) -> RenderableType:
    """The report for a terminal."""
    parts: list[RenderableType] = [plain(report.title, "bold"), pairs(report.facts), ""]
    for headline in filter(None, (report.headline, report.second_headline)):
        parts += [plain(headline, "bold"), ""]
    parts += [to_rich(table, numbers=True) for table in report.tables]
    return Group(*parts, pairs(report.outputs), "", *(plain(note, "dim") for note in report.notes))


@dataclass(frozen=True)
class Summary:
    """What is told at the end of a session, in order."""

    headlines: tuple[str, ...]
    """The verdict in one sentence, and that of the throughput if it was measured."""
    subject: str
    """What was measured."""
    table: Table
    texts: dict[str, str]
    """Name -> outputs, flags, cost. The first are the most important."""
    said: dict[str, str]
    """Name -> generated text. For a terminal that has room for it."""
    steps: tuple[str, ...]
    """What to do next."""
    exit: str
    """The exit code, and its reason."""


def to_summary(summary: Summary) -> RenderableType:
    """The end of a session for a terminal, but for what is done next and the exit code."""
    headlines = [plain(headline, "bold") for headline in summary.headlines]
    times = [to_rich(summary.table, numbers=True)] if says_something(summary.table) else []
    return Group(*headlines, plain(summary.subject, "dim"), *times, pairs(summary.texts | summary.said))


def to_rich(table: Table, *, numbers: bool) -> RenderableType:
    """A table for a terminal, without columns that say nothing; columns of numbers are aligned to the right."""
    return _Fitted(without_empty_columns(table), numbers)


@dataclass(frozen=True)
class _Fitted:
    """A table where it fits into the terminal, and elsewhere each row as a sentence: a name or a number is never cut."""

    table: Table
    numbers: bool

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        columns = self._in_columns()
        fits = columns.__rich_measure__(console, options).minimum <= options.max_width
        yield columns if fits else Group(plain(self.table.title, "bold"), pairs_of(self._sentences()), "")

    def _in_columns(self) -> RichTable:
        rich = RichTable(title=plain(self.table.title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        for index, column in enumerate(self.table.columns):
            is_number = self.numbers and index > 0 and column and column not in TEXT_COLUMNS
            # Where there is too little room, words of a header stand below each other.
            whole = max((len(row[index]) for row in self.table.rows), default=0) if is_number or index == 0 else None
            no_wrap = whole is not None and whole >= len(column)
            rich.add_column(plain(column), justify="right" if is_number else "left", no_wrap=no_wrap, min_width=whole, overflow="fold")
        for row in self.table.rows:
            rich.add_row(*map(plain, row))
        return rich

    def _sentences(self) -> Iterator[tuple[str, str]]:
        _, *columns = self.table.columns
        for name, *cells in self.table.rows:
            yield name, "; ".join(f"{column} {cell}".strip() for column, cell in zip(columns, cells, strict=True) if cell)


def says_something(table: Table) -> bool:
    """Whether more than the names of its rows is known."""
    return len(without_empty_columns(table).columns) > 1


def without_empty_columns(table: Table) -> Table:
    """Without columns in which every row has nothing to say: a dash, a blank, `n/a`, or `n too small`."""
    kept = [
        place
        for place, _ in enumerate(table.columns)
        if place == 0 or not table.rows or not all(row[place] in EMPTY or row[place].startswith(TOO_FEW) for row in table.rows)
    ]
    rows = tuple(tuple(row[place] for place in kept) for row in table.rows)
    return Table(table.title, tuple(table.columns[place] for place in kept), rows, table.name)


def pairs(texts: dict[str, str]) -> RichTable:
    """Names, and a text beside each, for a terminal. The lines of a long text begin at the same column."""
    return pairs_of(texts.items())


def pairs_of(texts: Iterable[tuple[str, str]]) -> RichTable:
    """As `pairs`, of names that may stand there twice."""
    grid = RichTable.grid(padding=(0, 2))
    for _ in range(2):
        grid.add_column(overflow="fold")  # a name that is cut could not be copied
    for name, text in texts:
        grid.add_row(plain(name, "bold"), plain(text))
    return grid


def plain(text: str, style: str = "") -> Text:
    """Text as Rich shows it letter for letter. In a str, `[id]` would be markup and `:key:` a picture, and a control character would act.

    All that reaches a terminal goes through this. Lines stay lines.
    """
    return Text("\n".join(map(printable, text.split("\n"))), style)


def printable(text: str) -> str:
    """Foreign text in one line, for a terminal or a file: control characters would act on it, half a surrogate pair is no text."""
    return "".join(character if character.isprintable() else "·" for character in text)
