"""The README shows what was recorded, and links to what exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from evbench import results
from tests.test_console import printed

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RECORDED = ROOT / "profiles" / "cpu" / "video-llava-small"
SAYS = "It says:\n\n"
"""Stands in front of what a comparison prints."""


def block() -> str:
    """What the recorded comparison prints at 80 columns, but for the folder that it was written to."""
    lines = printed(results.read(RECORDED)).splitlines()
    return "\n".join(f"    {line}".rstrip() for line in lines if not line.startswith(("Written to", "To see"))) + "\n"


def test_the_report_in_the_readme_is_what_the_recorded_run_prints() -> None:
    assert SAYS + block() in README, "python -m tests.test_readme writes it again"


def test_every_link_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert not [link for link in links if not (ROOT / link.partition("#")[0]).exists()]


REPORTS = sorted(set(re.findall(r"\]\((profiles/[^)]+)/report\.md\)", README)))
TABLE = {"Video-LLaVA": "profiles/h200/video-llava-7b", "EventGPT": "profiles/h200/eventgpt-7b"}
"""First word of a row of the table at full size -> where it was measured."""


@pytest.mark.parametrize("folder", REPORTS)
def test_the_results_that_it_links_to_have_ended_with_a_claim(folder: str) -> None:
    verdict = json.loads((ROOT / folder / "verdict.json").read_text(encoding="utf-8"))
    assert verdict["verdict"] in ("FASTER", "SLOWER", "SAME"), verdict["reasons"]
    if str(results.read(ROOT / folder).sessions[0].machine.source).endswith("-dirty"):
        assert f"({folder}/report.md) (recorded by an earlier version)" in README, "say so, or record it from a clean commit"


def test_every_speedup_that_it_gives_is_that_of_the_report_beside_it() -> None:
    text = " ".join(README.split())
    given = re.findall(r"\]\((profiles/[^)]+)/report\.md\)(?: has(?: a speedup of)?)? (\d[\d.]*x) \((\d[\d.]*x) - (\d[\d.]*x)\)", text)
    assert len(given) >= 3
    for folder, ratio, low, high in given:
        assert f"end-to-end speedup {ratio}, 95% CI {low} - {high}" in (ROOT / folder / "report.md").read_text(encoding="utf-8"), folder


def test_every_time_of_its_table_stands_in_the_report() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in README.splitlines() if line.startswith(("| Video", "| Event"))
    ]
    assert len(rows) == 4
    for variant, *times in rows:
        model, _, name = variant.partition(", ")
        report = (ROOT / TABLE[model] / "report.md").read_text(encoding="utf-8")
        assert name in report.splitlines()[0]
        assert not [time for time in times if f"| {time} |" not in report], variant


def test_what_it_says_of_self_tests_stands_in_them() -> None:
    text = " ".join(README.split())
    faults = re.search(r"\[(\d+ of \d+) faults were caught, and (\d+ of \d+) equal computations passed\]\(([^)]+)\)", text)
    floor = re.search(r"\[(\d+) % here\]\(([^)]+)\)", text)
    planted = re.search(r"`--plant (\S+)`.*?\[found there, and nowhere else\]\(([^)]+)\), in (\d+) blocks over (\d+) invocations", text)
    assert faults and floor and planted
    assert f"**Passed: {faults[1]} faults caught, {faults[2]} equal computations passed**" in (ROOT / faults[3]).read_text(encoding="utf-8")
    (row,) = [line for line in (ROOT / floor[2]).read_text(encoding="utf-8").splitlines() if line.startswith("| end-to-end |")]
    assert round(float(row.split("|")[4].strip().removesuffix("%"))) == int(floor[1])
    recorded = (ROOT / planted[2]).read_text(encoding="utf-8")
    assert f"--plant {planted[1]} --blocks {planted[3]} --invocations {planted[4]} " in recorded
    assert "**Passed: the delay of " in recorded


if __name__ == "__main__":
    before, _, behind = README.partition(SAYS)
    left = behind.splitlines(keepends=True)
    while left[0].startswith("    ") or not left[0].strip():
        left.pop(0)
    (ROOT / "README.md").write_text(f"{before}{SAYS}{block()}\n{''.join(left)}", encoding="utf-8")
