"""The README shows what was recorded, and links to what exists."""

from __future__ import annotations

import re
from pathlib import Path

from evbench import results
from evbench.report.render import to_markdown
from tests.examples import described

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIGURE = re.compile(r"\d[\d.,]*(?: ?(?:ms|µs|s|x|%|GiB|MiB)\b)?")


def test_the_values_of_the_report_in_the_readme_are_those_of_the_recorded_run() -> None:
    report = described(results.read(ROOT / "profiles" / "cpu" / "video-llava-small"))
    recorded = set(FIGURE.findall(to_markdown(report, "", "")))
    shown = README[README.index("    video-llava: optimized") :]
    rows = [line for line in shown.splitlines()[1:] if line.startswith("    ")][:30]
    found = [value for line in rows for value in FIGURE.findall(line)]
    assert len(found) > 20
    assert not [value for value in found if value not in recorded]


def test_every_link_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert not [link for link in links if not (ROOT / link.partition("#")[0]).exists()]
