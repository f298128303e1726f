"""Links of a page, as they are right in the repository, and where what they lead to is in the site."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = "docs/"
MOVED = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""File of the repository -> page of the site. All others under docs/ lose that folder, and what lies elsewhere keeps its path."""
BACK = {page: file for file, page in MOVED.items()}
LINK = re.compile(r"\]\(([^()\s#]+)(#[^()\s]*)?\)")
CODE = re.compile(r"^(```.*?^```|(?: {4}[^\n]*\n)+)", re.MULTILINE | re.DOTALL)
"""Paragraphs of code, in which nothing is a link."""


def site_path(source: str) -> str:
    """Where a file of the repository is in the site.

    >>> site_path("README.md"), site_path("docs/glossary.md"), site_path("profiles/README.md")
    ('index.md', 'glossary.md', 'profiles/README.md')
    """
    return MOVED.get(source, source.removeprefix(DOCS))


def repository_path(page: str) -> str:
    """The file of the repository that a page of the site is read from."""
    return BACK.get(page) or (page if (ROOT / page).is_file() else DOCS + page)


def linked(source: str, markdown: str) -> list[str]:
    """Files of the repository that a file links to."""
    return list(dict.fromkeys(target for found in _links(markdown) if (target := _target(source, found[1])) is not None))


def rewritten(source: str, markdown: str) -> str:
    """The text of a file with its links as they are right in the site. Those that lead to no file stay as they are."""
    parts, end = [], 0
    for found in _links(markdown):
        if (target := _target(source, found[1])) is not None:
            place = posixpath.relpath(site_path(target), posixpath.dirname(site_path(source)) or ".")
            parts += [markdown[end : found.start()], f"]({place}{found[2] or ''})"]
            end = found.end()
    return "".join([*parts, markdown[end:]])


def _links(markdown: str) -> Iterator[re.Match[str]]:
    code = [found.span() for found in CODE.finditer(markdown)]
    return (found for found in LINK.finditer(markdown) if not any(start <= found.start() < end for start, end in code))


def _target(source: str, link: str) -> str | None:
    """None if it leads to no file of the repository."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    return path if not path.startswith("..") and (ROOT / path).is_file() else None
