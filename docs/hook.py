"""What mkdocs does beside reading docs/: pages that stand elsewhere in the repository, generated tables, and files that pages link to.

A link in a page is written as it is right in the repository, such as `../profiles/README.md`. Whatever it leads to is put into the site
under the same path. A link that leads nowhere is left as it is, and `mkdocs build --strict` ends with an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs import reference
from docs.links import DOCS, MOVED, ROOT, linked, repository_path, rewritten, site_path

GENERATED: dict[str, Callable[[], str]] = {"choices": reference.choices, "commands": reference.commands, "variants": reference.variants}
"""Name -> function that returns Markdown. A page has it where it says `<!-- generated: name -->`."""
MARK = re.compile(r"^<!-- generated: (\S+) -->$", re.MULTILINE)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add pages from elsewhere, and what pages link to."""
    waiting = [*MOVED, *(f"{DOCS}{file.src_uri}" for file in files.documentation_pages())]
    seen = set(waiting)
    while waiting:
        source = waiting.pop()
        if not source.startswith(DOCS):
            files.append(File.generated(config, site_path(source), abs_src_path=str(ROOT / source)))
        if source.endswith(".md"):
            new = [target for target in linked(source, whole((ROOT / source).read_text(encoding="utf-8"))) if target not in seen]
            waiting += [target for target in new if not target.startswith(DOCS)]
            seen.update(new)
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Generated tables in their places, and links as they are right in the site."""
    return rewritten(repository_path(page.file.src_uri), whole(markdown))


def whole(markdown: str) -> str:
    """With generated tables in their places."""
    return MARK.sub(lambda found: GENERATED[found[1]](), markdown)
