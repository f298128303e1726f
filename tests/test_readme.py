"""The README shows what was recorded, and links to what exists."""

from __future__ import annotations

import re
from pathlib import Path

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


if __name__ == "__main__":
    before, _, behind = README.partition(SAYS)
    left = behind.splitlines(keepends=True)
    while left[0].startswith("    ") or not left[0].strip():
        left.pop(0)
    (ROOT / "README.md").write_text(f"{before}{SAYS}{block()}\n{''.join(left)}", encoding="utf-8")
