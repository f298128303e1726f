"""What a published comparison of two models states, and whether it holds: by its own figures where these decide, else by what was measured.

The page's figures and statements are data, in `published.toml`. Here they are read and computed.
"""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from evbench.report.expressions import Known, Quantity, evaluate, fill, names_in, rounded

Holds = Literal["holds", "does not hold", "cannot be told"]
Basis = Literal["its own figures", "measured here", "not comparable"]
Operator = Literal["=", "<=", ">=", "same side of 1"]
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Figure:
    """A value as the page writes it."""

    text: str
    unit: str
    line: int
    exact: bool = False
    """A count, which nobody has rounded."""

    @property
    def value(self) -> Quantity | str:
        """In its unit; of a date in seconds, of an answer its words and marks, of what is no number the text."""
        if self.unit == "UTC":
            return Quantity(datetime.datetime.fromisoformat(self.text).replace(tzinfo=datetime.UTC).timestamp())
        if self.unit == "words and marks":
            return Quantity(len(re.findall(r"\w+(?:'\w+)?|[^\w\s]", self.text)))
        if not self.unit:
            return self.text
        return Quantity(float(self.text)) if self.exact else rounded(Decimal(self.text))

    def __str__(self) -> str:
        return self.text + {"": "", "x": "x"}.get(self.unit, f" {self.unit}")


@dataclass(frozen=True)
class Check:
    """What a statement says, and what should be there: any of several."""

    stated: str
    operator: Operator
    expected: tuple[str, ...]

    def names(self) -> set[str]:
        return names_in(self.stated).union(*map(names_in, self.expected))

    def holds(self, known: Known) -> bool | None:
        """None if what is known does not decide it."""
        stated = evaluate(self.stated, known)
        found = [_compare(stated, self.operator, evaluate(expression, known)) for expression in self.expected]
        return None if None in found else any(found)


def _compare(stated: Quantity | str, operator: Operator, found: Quantity | str) -> bool | None:
    if isinstance(stated, str) or isinstance(found, str):
        return stated == found
    match operator:
        case "=":
            return stated.meets(found)
        case "<=":
            return stated.low <= found.high
        case ">=":
            return stated.high >= found.low
        case "same side of 1":
            return None if found.low <= 1 <= found.high else (stated.value > 1) == (found.value > 1)


@dataclass(frozen=True)
class Statement:
    """One of the page's. `published.toml` says what each field means."""

    says: str
    by: Basis
    checks: tuple[Check, ...]
    given: Check | None = None
    if_so: Holds = "holds"
    said: str | None = None
    found: str = ""
    notes: tuple[str, ...] = ()

    def names(self) -> set[str]:
        """Of all quantities that it is about."""
        templates = (self.said or "", self.found, *self.notes)
        checks = self.checks if self.given is None else (self.given, *self.checks)
        return set().union(*(check.names() for check in checks), *(names_in(text) for text in templates if "{" in text))


@dataclass(frozen=True)
class Finding:
    """Whether a statement holds."""

    verdict: Holds
    said: str
    """The page's figure."""
    found: str
    """What it should be by the page's other figures, or what was measured."""
    note: str
    """What else there is to say of it."""


@dataclass(frozen=True)
class Page:
    """The published page."""

    source: str
    models: Mapping[str, Mapping[str, str]]
    """Prefix of names -> `title` on the page and `name` in evbench."""
    figures: Mapping[str, Figure]
    statements: tuple[Statement, ...]

    def lines(self, statement: Statement) -> str:
        """Where the page has what a statement is about."""
        return ", ".join(map(str, sorted({self.figures[name].line for name in statement.names() & self.figures.keys()})))


@cache
def read_page() -> Page:
    content: dict[str, Any] = tomllib.loads(files("evbench.report").joinpath("published.toml").read_text(encoding="utf-8"))
    figures = {name: Figure(**fields) for name, fields in content["figures"].items()}
    statements = tuple(
        Statement(
            **fields
            | {"checks": tuple(map(_check, fields["checks"])), "notes": tuple(fields.get("notes", ()))}
            | ({"given": _check(fields["given"])} if "given" in fields else {})
        )
        for fields in content["statements"]
    )
    return Page(content["source"], content["models"], figures, statements)


def _check(written: list[Any]) -> Check:
    stated, operator, expected = written
    return Check(stated, operator, (expected,) if isinstance(expected, str) else tuple(expected))


def examine(page: Page, measured: Known) -> dict[int, Finding]:
    """Number of a statement -> whether it holds.

    Args:
        measured: Name -> what was measured here (`quantities.measured`).
    """
    known = {**{name: figure.value for name, figure in page.figures.items()}, **measured}
    texts = {name: str(figure) for name, figure in page.figures.items()}
    return {number: _examine(statement, known, texts) for number, statement in enumerate(page.statements, 1)}


def _examine(statement: Statement, known: Known, texts: Mapping[str, str]) -> Finding:
    stated = statement.said or ", ".join(f"{{{check.stated}}}" for check in statement.checks)
    notes = [note for template in statement.notes if (note := fill(template, known, texts)) is not None]
    results = {check: _holds(check, known) for check in statement.checks}
    if True in results.values() and (wrong := [check.stated for check, holds in results.items() if holds is False]):
        named = sorted(name.replace("_", " ") for stated in wrong for name in names_in(stated))
        notes.append(f"wrong: {', '.join(named)}")
    return Finding(
        _verdict(statement, known), fill(stated, known, texts) or "", fill(statement.found, known, texts) or NOT_MEASURED, "; ".join(notes)
    )


def _holds(check: Check, known: Known) -> bool | None:
    return check.holds(known) if check.names() <= known.keys() else None


def _verdict(statement: Statement, known: Known) -> Holds:
    if statement.given is not None and not _holds(statement.given, known):
        return "cannot be told"
    found = [_holds(check, known) for check in statement.checks]
    return "does not hold" if False in found else "cannot be told" if None in found else statement.if_so
