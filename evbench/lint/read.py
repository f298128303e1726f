"""A file of somebody else's -> an external table. The file may be hostile: it is small, and each value is one that can be."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, get_args

from evbench.encoding import field_types, from_json
from evbench.errors import UserError
from evbench.external_table import TOTAL, Claim, ExternalTable, Row, time_name
from evbench.results import LONGEST

MOST_BYTES, MOST_ROWS = 2**20, 10_000
"""Of a table."""
LONGEST_NAME = 100
"""Characters of a side, a stage or a column."""
MOST_DRAFTS = 1000
LARGEST_EXPONENT = 9
"""Of the last digit of a number: one that is written as 1e30 says nothing of what it was rounded from."""
TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
"""In a cell of CSV."""
SPEEDUP, FORMULA, SHARE, SAVED = "speedup", "speedup_formula", "share_", "saved_share_"
"""Columns of CSV: `speedup` is of the total, `speedup_load` of a stage; `share_load`, `saved_share_load`."""
Json = dict[str, Any]


@dataclass(frozen=True)
class ReadTable:
    """A table, and what was found in its file besides."""

    table: ExternalTable
    places: tuple[str, ...]
    """Of each row in the file."""
    unread: tuple[str, ...]
    """Columns and fields that are not of the format, with their place."""


def read_table(file: Path, content: bytes) -> ReadTable:
    """A table in JSON or, where the file is called so, CSV.

    Args:
        content: of the file, at most MOST_BYTES.

    Raises:
        UserError: it is no such table, or a value cannot be: its place is named.
    """
    try:
        text = content.decode("utf-8-sig")
        found = _of_csv(text) if file.suffix.lower() == ".csv" else _of_json(parse_json(text))
        _require_sides(found)
    except (ValueError, RecursionError, csv.Error) as error:
        raise UserError(f"{file} is no table of stage times: {error}; see docs/external-table.md, or evbench schema external") from None
    return found


def parse_json(text: str) -> Any:
    """With numbers as they are written. Raises ValueError, also for an object with a name twice; RecursionError."""
    return json.loads(text, parse_float=_decimal, parse_constant=Decimal, object_pairs_hook=_without_twins)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text[:20]} is no number that can be read") from None


def _without_twins(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"{_first_twin(name for name, _ in pairs)} stands twice in one object")
    return found


def _first_twin(names: Iterable[str]) -> str:
    return next(repr(name[:LONGEST_NAME]) for name, count in Counter(names).items() if count > 1)


# JSON.


def _of_json(content: Any) -> ReadTable:
    unread: list[str] = []
    plain = _known(ExternalTable, content, "the table", unread)
    rows = plain.get("rows") if isinstance(plain, dict) else None
    if isinstance(rows, list):
        plain = plain | {"rows": [_row(row, f"rows[{number}]", unread) for number, row in enumerate(rows)]}
    table = from_json(ExternalTable, plain, "the table")
    places = tuple(f"rows[{number}]" for number in range(len(table.rows)))
    return ReadTable(table, places, tuple(unread))


def _row(row: Any, place: str, unread: list[str]) -> Any:
    """Without what is not of the format."""
    plain = _known(Row, row, place, unread)
    if isinstance(plain, dict) and isinstance(times := plain.get("times"), dict):
        unread += [f"{place}.times[{name[:LONGEST_NAME]!r}], which has no unit" for name in times if time_name(name) is None]
        plain = plain | {"times": {name: value for name, value in times.items() if time_name(name) is not None}}
    if isinstance(plain, dict) and isinstance(claims := plain.get("speedups"), list):
        plain = plain | {"speedups": [_known(Claim, claim, f"{place}.speedups[{n}]", unread) for n, claim in enumerate(claims)]}
    return plain


def _known(kind: Any, value: Any, place: str, unread: list[str]) -> Any:
    if not isinstance(value, dict):
        return value
    known = field_types(kind)
    unread += [f"{place}: the field {name[:LONGEST_NAME]!r}" for name in value if name not in known]
    return {name: inner for name, inner in value.items() if name in known}


# CSV.


def _of_csv(text: str) -> ReadTable:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns = [column.strip() for column in next(rows, [])]
    if "name" not in columns:
        raise ValueError("its first line has no column 'name'")
    if len(set(columns)) < len(columns):
        raise ValueError(f"its first line has the column {_first_twin(columns)} twice")
    placed = {column: place for column in columns if (place := _place_in_row(column)) is not None}
    found, places = [], []
    for cells in rows:
        where = f"line {rows.line_num}"
        if not any(map(str.strip, cells)):
            continue
        if len(cells) != len(columns):
            raise ValueError(f"{where} has {len(cells)} cells, and the first line {len(columns)}")
        told = {column: cell.strip() for column, cell in zip(columns, cells, strict=True) if cell.strip()}
        found.append(from_json(Row, _nested(told, placed), where))
        places.append(where)
    unread = tuple(f"the column {column[:LONGEST_NAME]!r}" for column in columns if column not in placed)
    return ReadTable(ExternalTable(tuple(found)), tuple(places), unread)


def _place_in_row(column: str) -> tuple[str, str] | None:
    """Field of a row, and the name in it if the field has names. None for a column that is not of the format."""
    plain = {name for name, kind in field_types(Row).items() if _cell_reader(kind) is not None}
    if column in plain or column == FORMULA:
        return column, ""
    if column == SPEEDUP:
        return "speedups", TOTAL
    for prefix, field in ((SHARE, "shares"), (SAVED, "saved_shares"), (f"{SPEEDUP}_", "speedups")):
        if column.startswith(prefix) and column != prefix:
            return field, column.removeprefix(prefix)
    return None if time_name(column) is None else ("times", column)


def _cell_reader(kind: Any) -> Callable[[str], Any] | None:
    """Text of a cell -> a value as JSON would have it; text that is no such value stays, and is refused with its place."""
    inner = [argument for argument in get_args(kind) if argument is not type(None)] if type(None) in get_args(kind) else [kind]
    match inner:
        case [type() as plain] if plain in CELLS:
            return CELLS[plain]
        case [other] if get_args(other) and all(isinstance(word, str) for word in get_args(other)):
            return str
    return None


def _number(cell: str) -> Decimal | str:
    try:
        return Decimal(cell)
    except InvalidOperation:
        return cell


def _whole(cell: str) -> int | str:
    return int(cell) if cell.isascii() and cell.isdigit() and len(cell) < 20 else cell


CELLS: dict[type[Any], Callable[[str], Any]] = {
    str: str,
    Decimal: _number,
    int: _whole,
    bool: lambda cell: TRUTH.get(cell.lower(), cell),
}


def _nested(told: Mapping[str, str], placed: Mapping[str, tuple[str, str]]) -> Json:
    """The cells of a line that are told, as the JSON of a row."""
    row: Json = {"times": {}, "shares": {}, "saved_shares": {}, "speedups": []}
    kinds = field_types(Row)
    for column, cell in told.items():
        field, inner = placed.get(column, ("", ""))
        if field == "speedups":
            row[field].append({"of": inner, "value": _number(cell)} | ({"formula": told[FORMULA]} if FORMULA in told else {}))
        elif inner:
            row[field][inner] = _number(cell)
        elif field and field != FORMULA:
            reader = _cell_reader(kinds[field])
            assert reader is not None
            row[field] = reader(cell)
    if FORMULA in told and not row["speedups"]:
        row["speedups"].append({"of": TOTAL, "formula": told[FORMULA]})
    return row


# Values.


def _require_sides(found: ReadTable) -> None:
    """Raises ValueError for the first value that cannot be, with its place."""
    rows = found.table.rows
    if not 0 < len(rows) <= MOST_ROWS:
        raise ValueError(f"it has {len(rows):,} rows; give 1 to {MOST_ROWS:,}")
    names = {row.name for row in rows}
    for row, place in zip(rows, found.places, strict=True):
        for text in (row.name, *row.times, *row.shares, *row.saved_shares, *(claim.of for claim in row.speedups)):
            if not 0 < len(text) <= LONGEST_NAME:
                raise ValueError(f"{place} has a name of {len(text)} characters; give 1 to {LONGEST_NAME}")
        for column, number, most in _numbers(row):
            if not 0 <= number < most:
                raise ValueError(f"{place}, {column} is {str(number)[:LONGEST_NAME]}; it is 0 or more, and less than {most:,.15g}")
            if isinstance(number, Decimal) and int(number.as_tuple().exponent) > LARGEST_EXPONENT:
                raise ValueError(f"{place}, {column} is {number}, which has too few digits; write it out")
        if len({column.rpartition("_")[0] for column in row.times}) < len(row.times):
            raise ValueError(f"{place} gives one time in two units; give one of them")
        if any(token < 0 for answer in row.tokens for token in answer):
            raise ValueError(f"{place} has a token id below 0; give the ids of the tokenizer")
        if row.baseline is not None and row.baseline not in names:
            raise ValueError(f"{place} has the baseline {row.baseline!r}, and no row is called so")


def _numbers(row: Row) -> Iterator[tuple[str, Decimal | int, float]]:
    """Column, number, and what it is less than."""
    for column, value in row.times.items():
        timed = time_name(column)
        assert timed is not None
        yield column, value, LONGEST / timed[1]
    for field in dataclasses.fields(row):
        value = getattr(row, field.name)
        if isinstance(value, Decimal | int) and not isinstance(value, bool):
            yield field.name, value, {"acceptance_rate": 1 + 1e-12, "draft_tokens": MOST_DRAFTS}.get(field.name, LONGEST)
    for name, shares in (("shares", row.shares), ("saved_shares", row.saved_shares)):
        for stage, share in shares.items():
            yield f"{name}[{stage!r}]", share, LONGEST
    for claim in row.speedups:
        if claim.value is not None:
            yield f"speedup of {claim.of}", claim.value, LONGEST
