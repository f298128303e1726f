"""A file -> what is wrong with it: a result of evbench, or a table of stage times from elsewhere."""

from __future__ import annotations

from pathlib import Path

from evbench.errors import UserError
from evbench.external_table import ExternalTable
from evbench.lint import arithmetic, claims, own, protocol
from evbench.lint.figures import of_rows, of_sides
from evbench.lint.finding import Finding
from evbench.lint.read import MOST_BYTES, ReadTable, parse_json, read_table
from evbench.results import RESULT, require_ended

MOST_RESULT_BYTES = 64 * 2**20
"""Of a result: some ten thousands of runs."""
ORDER = ("mistake", "not told", "note")


def examine(path: Path) -> tuple[Finding, ...]:
    """Mistakes first.

    Raises:
        UserError: it is neither, or cannot be read.
        OSError: there is no such file.
    """
    found = own.findings(path) if is_result(path) else of_table(read_table(path, content_of(path)))
    return tuple(sorted(found, key=lambda finding: ORDER.index(finding.kind)))


def of_table(read: ReadTable) -> tuple[Finding, ...]:
    """In the order of the file."""
    rows, sides = of_rows(read.table, read.places), of_sides(read.table)
    found = [finding for row in rows for finding in arithmetic.of_one(row)]
    found += [*claims.of_sides(sides), *protocol.of_sides(sides), *_of_source(read.table)]
    return tuple(found + [Finding("note", "not read", unread, "", "it is not of the format") for unread in read.unread])


def _of_source(table: ExternalTable) -> list[Finding]:
    return [] if table.source else [Finding("not told", "the table", "source", "", "")]


def is_result(path: Path) -> bool:
    """Whether it is one of evbench: a folder, what is called so, or what looks like one inside. Raises UserError if it is no file."""
    if path.is_dir() or path.name == RESULT:
        file = path / RESULT if path.is_dir() else path
        require_ended(path)
        if path.is_dir() and not file.exists():
            raise UserError(f"{path} has no {RESULT}; give the folder of a comparison or run, or a table of stage times")
        _require_file(file)
        if file.stat().st_size > MOST_RESULT_BYTES:
            raise UserError(f"{file} has more than {MOST_RESULT_BYTES // 2**20} MiB, as no result has; give the folder of a comparison")
        return True
    content = content_of(path)
    if path.suffix.lower() == ".csv" or b'"sessions"' not in content:
        return False
    try:
        parsed = parse_json(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return False  # said where it is read as a table
    return isinstance(parsed, dict) and parsed.keys() >= {"sessions", "baseline"}


def content_of(path: Path) -> bytes:
    """Raises UserError if it is no file or too large, and OSError."""
    _require_file(path)
    with path.open("rb") as opened:
        content = opened.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UserError(
            f"{path} has more than {MOST_BYTES // 2**20} MiB, as no table of stage times has; of a result of evbench give the folder"
        )
    return content


def _require_file(path: Path) -> None:
    """A pipe or device would not end. What does not exist is said where it is opened."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is no file; give a table of stage times in JSON or CSV, or a folder of evbench")
