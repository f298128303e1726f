"""Text -> HTML. Whatever is foreign is escaped here, and nowhere else: a child that is a str is text, only Markup is not. Pure."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass

from evbench.report.render import TEXT_COLUMNS, Table, printable

VOID = ("br", "img", "meta")
"""Elements without an end."""


@dataclass(frozen=True)
class Markup:
    """HTML that was made here, or drawn."""

    text: str


Child = str | Markup


def escape(text: str) -> str:
    """For the content of an element or of an attribute in double quotes. A control character becomes a dot, as in all that is written."""
    return html.escape(printable(text), quote=True)


def element(name: str, /, *children: Child, **attributes: str) -> Markup:
    """One element. `class_` is the attribute class, `aria_label` is aria-label.

    >>> element("p", "a < b", element("br"), class_="note").text
    '<p class="note">a &lt; b<br></p>'
    """
    opened = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    content = "".join(escape(child) if isinstance(child, str) else child.text for child in children)
    return Markup(f"<{name}{opened}>" if name in VOID else f"<{name}{opened}>{content}</{name}>")


def joined(*parts: Markup) -> Markup:
    """One behind the other, a line for each."""
    return Markup("\n".join(part.text for part in parts))


def items(*texts: Child) -> Markup:
    """A list."""
    return element("ul", *(element("li", text) for text in texts))


def row_of_figures(*drawn: Markup | None) -> list[Markup]:
    """Figures, beside each other where there is room. None: there is nothing to draw."""
    known = [figure for figure in drawn if figure is not None]
    return [element("div", *known, class_="figures")] if known else []


def pairs(texts: Mapping[str, Child]) -> Markup:
    """Names, each with its text."""
    return element("dl", *(element("div", element("dt", name), element("dd", text)) for name, text in texts.items()))


def table(content: Table) -> Markup:
    """It scrolls by itself where it is too wide, also by keyboard; the first column names the row."""
    header = element("tr", *(_header(content.columns, place) for place in range(len(content.columns))))
    rows = (element("tr", *(_cell(content.columns, place, cell) for place, cell in enumerate(row))) for row in content.rows)
    made = element("table", element("caption", content.title), element("thead", header), element("tbody", *rows))
    return element("div", made, class_="scroll", role="region", aria_label=content.title, tabindex="0")


def folded(summary: str, *children: Child) -> Markup:
    """Shown on demand, without a script."""
    return element("details", element("summary", summary), *children)


def _header(columns: tuple[str, ...], place: int) -> Markup:
    # A header without text is none: screen readers would announce it before each cell.
    return element("th", columns[place], scope="col", class_=_alignment(columns, place)) if columns[place] else element("td")


def _cell(columns: tuple[str, ...], place: int, cell: str) -> Markup:
    return element("td", cell, class_=_alignment(columns, place)) if place else element("th", cell, scope="row")


def _alignment(columns: tuple[str, ...], place: int) -> str:
    return "number" if place and columns[place] not in TEXT_COLUMNS else "words"
