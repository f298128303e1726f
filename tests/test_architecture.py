"""docs/architecture.md names the folders that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evbench import results

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FOLDERS = PAGE[PAGE.index("## The folders") : PAGE.index("## Who may import whom")]


@pytest.mark.parametrize("top", ["evbench", "pipelines"])
def test_every_folder_is_drawn(top: str) -> None:
    folders = {path.parent.name for path in (ROOT / top).glob("*/*.py")} - {"kernels", "pipelines"}
    assert folders
    assert not [name for name in folders if not re.search(rf"^  {name}/ ", FOLDERS, re.MULTILINE)]


def test_it_is_one_page_of_links_that_lead_somewhere() -> None:
    assert len(PAGE.splitlines()) <= 120
    paths = re.findall(r"`((?:evbench|pipelines|tests|profiles)/[\w/]+(?:\.\w+)?)`", PAGE)
    assert len(paths) >= 5
    assert not [path for path in paths if not (ROOT / path).parent.is_dir()]


def test_the_changelog_tells_of_every_format() -> None:
    formats = re.findall(r"^\| (\d+) \| \d{4}-", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(number) for number in formats][: results.FORMAT] == list(range(1, results.FORMAT + 1))
