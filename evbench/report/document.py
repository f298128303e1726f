"""Sections -> one HTML file that needs nothing beside itself: no script, no font, no request."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources

from evbench.report import explained
from evbench.report.markup import Markup, element, joined

BEGINNING = '<!DOCTYPE html>\n<html lang="en">\n'
MARK = f'{BEGINNING}<head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="default-src'
"""What the report of a comparison begins with, and hardly a page of somebody else's."""


def document(title: str, head: Markup, sections: Mapping[str, Sequence[Markup]], version: str) -> str:
    """The whole page.

    Args:
        head: what stands above the links to the sections.
        sections: heading -> its parts in order.
        version: of the evbench that it is of.
    """
    names = {heading: heading.lower().replace(" ", "-").replace(",", "") for heading in sections}
    links = (element("li", element("a", heading, href=f"#{name}")) for heading, name in names.items())
    body = element(
        "body",
        element("a", "Skip to the report", class_="skip", href="#report"),
        head,
        element("nav", element("ul", *links), aria_label="Sections"),
        element("main", *(_section(names[heading], heading, parts) for heading, parts in sections.items()), id="report"),
        element("footer", element("p", f"Written by evbench {version}. Nothing in this file is loaded from elsewhere.")),
    )
    return f"{BEGINNING}{_metadata(title).text}\n{body.text}\n</html>\n"


def _metadata(title: str) -> Markup:
    sheet = resources.files("evbench.report").joinpath("page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        Markup(f"<style>{sheet}</style>"),
    )


def _section(name: str, heading: str, parts: Sequence[Markup]) -> Markup:
    told = (element("p", text, class_="told") for text in explained.SECTIONS.get(heading, ()))
    return element("section", element("h2", heading, id=name), joined(*told, *parts), aria_labelledby=name)
