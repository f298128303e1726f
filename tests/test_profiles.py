"""The recorded runs that are kept obey the rule that `profiles/prune` states, and so the repository stays small.

`python -m tests.test_profiles` writes the page that is kept again, in the words of today.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from evbench import results
from tests.test_page import written

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "profiles" / "prune"
WHOLE = ("result.json", "verdict.json", "report.md")
SHOWN = ROOT / "profiles" / "h200" / "video-llava-7b"
MOST_BYTES = 400_000
"""Of the page that is kept."""


def prune(*arguments: str | Path) -> tuple[int, str]:
    """Exit code, and what was printed."""
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=60)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def comparison(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text("{}")
    return folder


def left(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_the_recorded_runs_obey_the_rule() -> None:
    assert prune() == (0, "")


def test_what_can_be_derived_is_removed_and_only_on_demand(tmp_path: Path) -> None:
    traces = ("trace-baseline.json.gz", "trace-optimized.json.gz", "trace-aligned.json.gz")
    for place in ("cpu/small", "h200/video-llava-7b"):
        comparison(tmp_path / place, *WHOLE, "report.html", "runs.jsonl", "session.json", "worker-baseline.log", *traces)
    comparison(tmp_path / "cpu" / "models", "models.json", "models.md", "verdict.json")
    comparison(tmp_path / "cpu" / "models" / "equal-length", "runs.jsonl", "session.json")
    comparison(tmp_path / "mine", *WHOLE, "runs.jsonl")
    before = left(tmp_path)
    code, printed = prune(tmp_path)
    assert (code, len(printed.splitlines()), left(tmp_path)) == (1, 13, before)
    assert prune("--apply", tmp_path)[0] == 0
    kept = {f"{place}/{name}" for place in ("cpu/small", "h200/video-llava-7b") for name in WHOLE}
    kept |= {f"h200/video-llava-7b/{name}" for name in (*traces[:2], "report.html")}
    kept |= {f"cpu/models/{name}" for name in ("models.json", "models.md", "verdict.json")}
    kept |= {f"mine/{name}" for name in (*WHOLE, "runs.jsonl")}
    assert left(tmp_path) == kept
    assert not (tmp_path / "cpu" / "models" / "equal-length").exists()
    assert prune(tmp_path) == (0, "")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("result.json", "report.md"), "cpu/a: no verdict.json"),
        (("session.json", "runs.jsonl"), "cpu/a: a comparison that has not ended"),
        ((*WHOLE, "nsys.sqlite"), "cpu/a/nsys.sqlite: not kept of a comparison"),
    ],
)
def test_what_a_person_must_decide_breaks_the_rule_and_stays(names: tuple[str, ...], said: str, tmp_path: Path) -> None:
    folder = comparison(tmp_path / "cpu" / "a", *names)
    assert prune("--apply", tmp_path) == (1, said + "\n")
    assert left(folder) == set(names)


def test_more_than_34_mb_break_the_rule(tmp_path: Path) -> None:
    with (comparison(tmp_path / "cpu" / "a", *WHOLE) / "result.json").open("wb") as file:
        file.truncate(35_000_000)
    assert prune(tmp_path) == (1, "35.0 MB in all, and at most 34 are kept\n")


def test_the_page_that_is_kept_says_what_is_written_today() -> None:
    """Its figures are not compared: other versions of matplotlib draw them otherwise."""
    kept = (SHOWN / "report.html").read_text(encoding="utf-8")
    assert len(kept.encode()) < MOST_BYTES
    assert without_figures(kept) == without_figures(written(results.read(SHOWN))), "python -m tests.test_profiles writes it again"


def without_figures(page: str) -> str:
    return re.sub(r"(<svg[^>]*>).*?</svg>", r"\1", page, flags=re.DOTALL)


if __name__ == "__main__":
    (SHOWN / "report.html").write_text(written(results.read(SHOWN)), encoding="utf-8")
