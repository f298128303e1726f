"""The figures of a row, or of all rows of a side, as quantities: times in seconds, and between what rounding lets them lie. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from evbench.external_table import DECODE, GENERATE, NO_STAGES, PREFILL, ExternalTable, Row, time_name
from evbench.report.expressions import Quantity, rounded
from evbench.report.units import format_range, format_seconds
from evbench.verdict.judgement import MIN_CLAIM

TOLERANCE = Quantity(1, 1 - MIN_CLAIM, 1 + MIN_CLAIM)
"""What two times of one thing may differ by: no smaller difference is claimed of our own results either."""


@dataclass(frozen=True)
class Figures:
    """Of one row, or the means over the rows of a side."""

    name: str
    """Of the side."""
    where: str
    """For a line that is about these figures alone."""
    rows: tuple[Row, ...]
    times: Mapping[str, Quantity]
    """Name -> seconds. Those that every row has."""
    texts: Mapping[str, str]
    """Name -> as it is written."""
    new_tokens: Quantity | None

    @property
    def row(self) -> Row:
        """The first."""
        return self.rows[0]

    @property
    def stages(self) -> dict[str, Quantity]:
        """Prefill and decode are parts of generate, where there is one."""
        parts = (PREFILL, DECODE) if GENERATE in self.times else ()
        return {name: seconds for name, seconds in self.times.items() if name not in (*NO_STAGES, *parts)}

    @property
    def adds_up(self) -> bool:
        """Means and single runs do, medians of several runs do not."""
        return self.row.statistic != "median"

    def text(self, name: str) -> str:
        return f"{name} {self.texts[name]}"

    def runs(self, name: str) -> list[Quantity]:
        """Seconds of each row."""
        return [_seconds(row)[name][0] for row in self.rows]


def of_rows(table: ExternalTable, places: Sequence[str]) -> list[Figures]:
    """Each row by itself."""
    repeated = len(table.rows) > len({row.name for row in table.rows})
    named = [f"{row.name}, {place}" if repeated else row.name for row, place in zip(table.rows, places, strict=True)]
    return [_figures(where, (row,)) for where, row in zip(named, table.rows, strict=True)]


def of_sides(table: ExternalTable) -> dict[str, Figures]:
    """Name -> its figures, in order."""
    rows: dict[str, list[Row]] = {}
    for row in table.rows:
        rows.setdefault(row.name, []).append(row)
    return {name: _figures(name, tuple(found)) for name, found in rows.items()}


def _figures(where: str, rows: tuple[Row, ...]) -> Figures:
    timed = [_seconds(row) for row in rows]
    times = {name: mean([one[name][0] for one in timed]) for name in timed[0] if all(name in one for one in timed)}
    texts = {name: timed[0][name][1] if len(rows) == 1 else f"{format_seconds(times[name].value)} on average" for name in times}
    tokens = [rounded(row.new_tokens) for row in rows if row.new_tokens is not None]
    return Figures(rows[0].name, where, rows, times, texts, mean(tokens) if len(tokens) == len(rows) else None)


def _seconds(row: Row) -> dict[str, tuple[Quantity, str]]:
    """Name -> seconds, and how they are written."""
    found = {}
    for column, number in row.times.items():
        timed = time_name(column)
        assert timed is not None, "reading leaves out what is no time"
        found[timed[0]] = (rounded(number) * Quantity(timed[1]), f"{number} {column.rpartition('_')[2]}")
    return found


def mean(quantities: Sequence[Quantity]) -> Quantity:
    return added(quantities) * Quantity(1 / len(quantities))


def added(quantities: Sequence[Quantity]) -> Quantity:
    values, lows, highs = zip(*((one.value, one.low, one.high) for one in quantities), strict=True)
    return Quantity(math.fsum(values), math.fsum(lows), math.fsum(highs))


def minus(one: Quantity, number: Decimal | int) -> Quantity:
    return one - Quantity(float(number))


def time(quantity: Quantity) -> str:
    """What was computed.

    >>> time(Quantity(2.767, 2.67, 2.87)), time(Quantity(0.5))
    ('2.77 s (2.67 - 2.87 s by rounding)', '500 ms')
    """
    text = format_seconds(quantity.value)
    low, high = max(0.0, quantity.low), quantity.high
    return text if format_seconds(low) == format_seconds(high) else f"{text} ({format_range(low, high)} by rounding)"


def sides_compared(sides: Mapping[str, Figures]) -> list[tuple[Figures, Figures]]:
    """(baseline, side): each side with its baseline, the first of the table where none is named."""
    first = next(iter(sides.values()))
    pairs = [(sides.get(side.row.baseline or first.name, first), side) for side in sides.values()]
    return [(baseline, side) for baseline, side in pairs if baseline is not side]
