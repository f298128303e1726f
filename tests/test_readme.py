"""What the README shows is what was recorded."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from evbench import results
from evbench.encoding import to_json
from evbench.report import comparison
from evbench.report import models as report_models
from evbench.report.render import to_console, to_markdown
from evbench.session import models
from evbench.verdict.judge import judge

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_is_that_of_the_recorded_run() -> None:
    screen = Console(file=io.StringIO(), width=140)
    screen.print(to_console(comparison.describe(results.read(ROOT / "profiles" / "cpu" / "video-llava-small"))))
    assert isinstance(screen.file, io.StringIO)
    recorded = {" ".join(line.split()) for line in screen.file.getvalue().splitlines()}
    shown = README[README.index("    video-llava: optimized") : README.index('"Faster" stands')]
    lines = [" ".join(line.split()) for line in shown.splitlines() if line.strip()]
    assert len(lines) == 38
    assert not [line for line in lines if line not in recorded]


def test_every_link_leads_somewhere_and_it_is_short() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert len(links) >= 7
    assert not [link for link in links if not (ROOT / link).exists()]
    assert len(README.splitlines()) <= 204


@pytest.mark.parametrize("path", sorted((ROOT / "profiles").rglob("result.json")), ids=lambda path: path.parent.name)
def test_every_recorded_result_can_be_read_and_says_how_it_was_made(path: Path) -> None:
    result = results.read(path)
    assert (path.parent / "report.md").read_text(encoding="utf-8") == to_markdown(
        comparison.describe(result), result.created, result.command
    )
    recorded = (path.parent / "verdict.json").read_text(encoding="utf-8")
    # Sums are rounded otherwise on another processor.
    assert json.loads(to_json(judge(result))) == json.loads(recorded, parse_float=lambda number: pytest.approx(float(number), rel=1e-12))


@pytest.mark.parametrize("path", sorted((ROOT / "profiles").rglob("models.json")), ids=lambda path: path.parent.name)
def test_every_recorded_comparison_of_models_can_be_read_and_says_how_it_was_made(path: Path) -> None:
    found = models.read(path.parent)
    told = (path.parent / "models.md").read_text(encoding="utf-8")
    assert told == to_markdown(report_models.describe(found.sessions), found.opening.started, found.command)
    recorded = (path.parent / "verdict.json").read_text(encoding="utf-8")
    derived = json.loads(to_json(models.judge(found.sessions)))
    assert derived == json.loads(recorded, parse_float=lambda number: pytest.approx(float(number), rel=1e-12))
