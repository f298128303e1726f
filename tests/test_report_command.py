"""`evbench report`: verdict and report of a recorded folder, derived again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from evbench.cli.console import MOST_LINES
from evbench.cli.report import Written, report_command, write_report
from evbench.errors import UserError
from evbench.results import FORMAT
from evbench.session.verification import ALONE
from tests.command import refused
from tests.test_results import EARLIER, PROFILES


def headline_of(folder: Path) -> str:
    """The verdict in the recorded report."""
    (line,) = [line for line in (folder / "report.md").read_text(encoding="utf-8").splitlines() if line.startswith("**FASTER: ")]
    return line.strip("*")


def test_a_recorded_comparison_of_the_format_before_is_reported_in_the_words_of_today(tmp_path: Path) -> None:
    recorded = EARLIER / "result.json"
    result = shutil.copy(recorded, tmp_path)
    headline = headline_of(EARLIER)
    assert write_report(tmp_path) == Written(
        (headline,), ("report.html", "report.md", "verdict.json"), f"baseline: {ALONE}; optimized: {ALONE}"
    )
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert headline in report
    judgement = json.loads((tmp_path / "verdict.json").read_text(encoding="utf-8"))
    assert (judgement["verdict"], judgement["end_to_end"]["name"], judgement["exit_code"]) == ("FASTER", "end-to-end", 0)
    assert judgement["metrics"]["startup-and-compile"]["unit"] == "seconds"
    assert Path(result).read_bytes() == recorded.read_bytes(), "the result stays as it is"
    assert json.loads(recorded.read_text(encoding="utf-8"))["format"] < FORMAT


def test_a_recorded_comparison_of_models_is_reported(tmp_path: Path) -> None:
    shutil.copy(PROFILES / "h200" / "models-7b" / "models.json", tmp_path)
    assert write_report(tmp_path).files == ("verdict.json", "models.md")
    report = (tmp_path / "models.md").read_text(encoding="utf-8")
    assert "At equal length: end-to-end" in report
    assert "tpot" in report


@pytest.mark.parametrize("model", ["video-llava-7b", "eventgpt-7b"])
def test_a_recorded_ladder_is_reported_from_the_results_of_its_comparisons(tmp_path: Path, model: str) -> None:
    recorded = PROFILES / "h200" / model / "ladder"
    for result in recorded.glob("*/result.json"):
        (tmp_path / result.parent.name).mkdir()
        shutil.copy(result, tmp_path / result.parent.name)
    shutil.copy(recorded / "ladder.json", tmp_path)
    assert write_report(tmp_path).files == ("ladder.md",)
    report = (tmp_path / "ladder.md").read_text(encoding="utf-8")
    rungs = json.loads((recorded / "ladder.json").read_text(encoding="utf-8"))["rungs"]
    assert report.count("| end-to-end |") == sum(rung["step"]["kind"] != "whole" for rung in rungs)
    recorded_claims = [rung["claim"] or "not run yet" for rung in rungs if rung["step"]["kind"] != "whole"]
    rows = [line.removesuffix(" |").split(" | ") for line in report.splitlines() if "| end-to-end |" in line]
    for row, before in zip(rows, recorded_claims, strict=True):
        interval, claim = row[-3], row[-1]
        assert claim == before
        if claim in ("FASTER", "SLOWER"):
            low, high = (float(bound.removesuffix("x")) for bound in interval.split(" - "))
            assert low > 1 if claim == "FASTER" else high < 1
    assert "FASTER" in [row[-1] for row in rows]


def test_a_folder_without_a_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no result\.json, ladder\.json, sweep\.json, scaling\.json or models\.json"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("folder", "raw", "verdicts"),
    [
        ("cpu/video-llava-small", "result.json", ("FASTER: end-to-end speedup",)),
        ("h200/models-7b", "models.json", ("At equal length: end-to-end", "At own length: end-to-end")),
        ("h200/video-llava-7b/ladder", "ladder.json", ("optimized-h100+prefetch=off against baseline+attention=sdpa-flash: FASTER",)),
    ],
)
def test_the_verdict_is_told_first(
    folder: str, raw: str, verdicts: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(PROFILES / folder / raw, tmp_path)
    report_command(tmp_path)
    told = capsys.readouterr().out.splitlines()
    assert len(told) <= MOST_LINES
    assert all(line.startswith(verdict) for line, verdict in zip(told, verdicts, strict=False)), told
    assert told[len(verdicts)].startswith(f"Written to {tmp_path}: ")


@pytest.mark.parametrize("name", ["", "result.json"])
def test_a_folder_is_meant_also_by_its_result(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = PROFILES / "cpu" / "video-llava-small"
    shutil.copy(recorded / "result.json", tmp_path)
    report_command(tmp_path / name)
    told = capsys.readouterr().out.splitlines()
    assert told == [
        headline_of(recorded),
        f"Written to {tmp_path}: report.html, report.md, verdict.json",
        f"Not verified: baseline: {ALONE}; optimized: {ALONE}",
    ]


@pytest.mark.parametrize("name", ["none", "none/result.json"])
def test_what_is_not_there_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{name}: no such file or folder; give the folder of a comparison"):
        report_command(tmp_path / name)


@pytest.mark.parametrize(
    "command", ["report cut", "lint cut", "merge cut", "verify cut", "compare --baseline cut --optimized optimized --device cpu"]
)
def test_a_session_that_has_not_ended_is_told_as_that(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cut").mkdir()
    for name in ("session.json", "runs.jsonl"):
        (Path("cut") / name).write_text("{}\n")
    line = refused(command, monkeypatch, capsys)
    assert line == "evbench: cut holds a session that has not ended; give the command that began it, with --out cut --resume"


def test_what_is_no_folder_of_a_comparison_is_refused(tmp_path: Path) -> None:
    name = "report.md"
    (tmp_path / name).touch()
    with pytest.raises(
        UserError,
        match=r"is no folder of a comparison; give one that holds result\.json, ladder\.json, sweep\.json, scaling\.json or models\.json",
    ):
        report_command(tmp_path / name)
