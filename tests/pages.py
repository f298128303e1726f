"""README, CONTRIBUTING and the pages of docs/, as tests read them."""

from __future__ import annotations

import posixpath
import re

from docs.links import CODE, ROOT

FILES = ("README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in FILES}
"""Path from the root -> text."""
LINK = re.compile(r"\[([^][]*)\]\(([^()\s]+)\)")


def links(page: str) -> list[tuple[str, str]]:
    """(path from the root, heading or empty) of all links of a page that lead to no other site."""
    found = []
    for _, link in LINK.findall(CODE.sub("\n", PAGES[page])):
        if not link.startswith(("https://", "http://")):
            path, _, heading = link.partition("#")
            found.append((resolved(page, path) if path else page, heading))
    return found


def resolved(page: str, link: str) -> str:
    """Path from the root of what a link of a page leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def sentences(page: str) -> str:
    """Its text on one line, with links from the root, and without code in paragraphs of its own."""
    text = " ".join(CODE.sub("\n", PAGES[page]).split())
    return LINK.sub(lambda found: f"[{found[1]}]({found[2] if ':' in found[2] else resolved(page, found[2])})", text)


def shell_lines(page: str) -> list[str]:
    """Lines of code that a person types, those that are continued as one."""
    code = "\n".join(found[0] for found in CODE.finditer(PAGES[page]))
    lines = (line.strip() for line in code.replace("\\\n", " ").splitlines())
    return [line for line in lines if line.startswith(("evbench ", "make ", "python -m ", ".venv/bin/python "))]
