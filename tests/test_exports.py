"""`evbench report --csv` and `--markdown`: a result for other programs, and for a pull request."""

from __future__ import annotations

import csv
import io
import os
import shutil
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from evbench import results
from evbench.cli.report import Exports, report_command, require_exports, write_report
from evbench.errors import UserError
from evbench.report import pull_request, runs_csv
from evbench.report.comparison import describe
from evbench.report.render import markdown_table
from evbench.results import STAGES, Result
from evbench.verdict.blocks import TIMED
from evbench.verdict.judge import judge
from tests import test_snapshot
from tests.command import refused
from tests.examples import make_result, make_side, make_throughput_run, scaled, with_throughput_runs
from tests.test_results import PROFILES

RECORDED = PROFILES / "cpu" / "video-llava-small"


def rows_of(result: Result) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(runs_csv.to_csv(result), newline="")))


def told(result: Result) -> str:
    judgement = judge(result)
    return pull_request.to_pull_request(result, judgement, describe(result, judgement))


# CSV.


def test_medians_of_the_counted_rows_are_those_of_the_report() -> None:
    result = results.read(RECORDED)
    judgement, rows = judge(result), rows_of(result)
    for timing in judgement.timings():
        for side, found in timing.sides.items():
            assert found is not None
            times = [float(row["time_s"]) for row in rows if (row["timing"], row["side"], row["counts"]) == (timing.name, side, "yes")]
            assert len(times) == found.runs and statistics.median(times) == pytest.approx(found.median, rel=1e-12)
    assert {row["timing"] for row in rows} == set(TIMED)
    assert [int(row["turn"]) for row in rows] == sorted(int(row["turn"]) for row in rows)


def test_there_is_a_row_for_each_run_and_stage_and_units_are_in_the_header() -> None:
    result = results.read(RECORDED)
    rows = rows_of(result)
    assert set(runs_csv.COLUMNS) >= {"time_s", "stream_time_s", "memory_process_bytes", "memory_device_bytes"}
    for side, measured in result.variants().items():
        synchronized = [run for run in measured.runs if run.stages is not None]
        for stage in STAGES:
            found = [row for row in rows if (row["side"], row["timing"]) == (side, stage)]
            assert [float(row["time_s"]) for row in found] == [run.stages[stage].seconds for run in synchronized if run.stages is not None]
            assert all(int(row["memory_process_bytes"]) > 2**20 and row["memory_device_bytes"] == "" for row in found)
        whole = [row for row in rows if (row["side"], row["timing"]) == (side, "end-to-end")]
        assert len(whole) == len(measured.runs) - len(synchronized)
        assert {row["kind"] for row in whole} >= {"timed", "blocked"}


def test_disturbed_blocks_and_throughput_runs_are_told_apart() -> None:
    side = with_throughput_runs(make_side(), make_throughput_run(block=None), make_throughput_run(0.9))
    result = make_result(scaled(side, 0.5), baseline=side)
    session = result.sessions[0]
    disturbed = replace(session.blocks[0], disturbances=("somebody was here",))
    rows = rows_of(replace(result, sessions=(replace(session, blocks=(disturbed, *session.blocks[1:])),)))
    assert {row["block"] for row in rows if row["kind"] == "timed" and row["counts"] == "no"} == {"0"}
    rates = [row for row in rows if row["timing"] == "throughput"]
    places = [("warmup", "", "no"), ("timed", "0", "no")]
    assert [(row["side"], row["kind"], row["block"], row["counts"]) for row in rates] == [
        (side, *place) for side in ("baseline", "optimized") for place in places
    ]
    assert [float(row["time_s"]) for row in rates] == pytest.approx([0.4, 0.45, 0.2, 0.225])


def test_one_variant_alone_is_exported_too_and_no_name_is_a_formula() -> None:
    rows = rows_of(make_result(baseline=replace(make_side(), variant="=1+1"), outputs=None))
    assert {row["variant"] for row in rows} == {"'=1+1"}
    assert {row["side"] for row in rows} == {"baseline"}


# Markdown.


def test_a_pull_request_is_told_verdict_times_outputs_and_how_to_reproduce() -> None:
    result = results.read(RECORDED)
    text = told(result)
    lines = text.splitlines()
    assert len(lines) <= 30
    assert lines[:2] == [pull_request.MARK, "**FASTER: end-to-end speedup 1.82x, 95% CI 1.67x - 2.04x**"]
    report = (RECORDED / "report.md").read_text(encoding="utf-8")
    latency = [line for line in report.splitlines() if line.startswith(("| load |", "| generate |", "| end-to-end |"))][:3]
    assert set(latency) <= set(lines), "the same cells as in the report"
    assert "- **Outputs**: preserved, 63 checks pass against float64; tokens identical, all 72" in lines
    assert f"    {result.command}" in lines and "    evbench verify FOLDER" in lines
    assert text.endswith("\n") and not text.endswith("\n\n")


def test_what_claims_nothing_is_not_said_to_be_verifiable() -> None:
    few = told(results.read(PROFILES / "cpu" / "drafts"))
    assert "**INCONCLUSIVE" in few and "evbench verify" not in few
    alone = told(make_result(baseline=make_side(), outputs=None))
    assert "| load |" in alone and "Outputs" not in alone and "evbench verify" not in alone
    assert "Throughput, 2 samples back to back" in told(test_snapshot.result())
    assert "- **NOT\\_STEADY**: " in told(test_snapshot.result())


def test_names_are_shown_letter_for_letter_and_stay_in_their_line() -> None:
    hostile = replace(make_side(), variant="<img src=x>|`*[a](b)")
    result = replace(make_result(scaled(hostile, 0.5), baseline=hostile), command="evbench\n# compare")
    text = told(result)
    assert "\\<img src=x>\\|\\`\\*\\[a\\](b)" in text
    assert "    evbench·# compare" in text
    assert all(len(row.split(" | ")) == 6 for row in text.splitlines() if row.startswith("| "))
    assert markdown_table(describe(result, judge(result)).tables[0])[0] in text


# Files.


def test_files_are_written_beside_the_report_and_written_again(tmp_path: Path) -> None:
    shutil.copy(RECORDED / "result.json", tmp_path)
    exports = Exports(csv=tmp_path / "runs.csv", markdown=tmp_path / "pr.md")
    for _ in range(2):
        require_exports(tmp_path, exports, show=False)
        assert write_report(tmp_path, exports).files == ("report.html", "report.md", "verdict.json")
    require_exports(tmp_path, Exports(html=tmp_path / "report.html"), show=False)
    assert (tmp_path / "runs.csv").read_bytes().startswith(runs_csv.HEADER.encode() + b"\r\n")
    assert (tmp_path / "pr.md").read_text(encoding="utf-8").startswith(pull_request.MARK)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--csv runs.txt", "--csv runs.txt does not end in .csv; other files are not replaced by a report"),
        ("--markdown pr.html", "--markdown pr.html does not end in .md"),
        ("--csv none/runs.csv", "--csv none/runs.csv: there is no folder none; make it, or give another file"),
        ("--csv folder.csv", "--csv folder.csv is a folder; give a file in it"),
        ("--markdown mine.md", "--markdown mine.md was not written by this option, and is not replaced; remove it, or give another file"),
        ("--csv mine.csv", "--csv mine.csv was not written by this option"),
        ("--html mine.html", "--html mine.html was not written by this option, and is not replaced; remove it, or give another file"),
        ("--csv pipe.csv", "--csv pipe.csv is a pipe or device; give a file"),
        ("--markdown out/report.md", "was not written by this option"),
        ("--csv ''", "--csv '' is an empty path"),
    ],
)
def test_files_that_cannot_be_are_refused_before_anything_is_written(
    options: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    shutil.copy(RECORDED / "result.json", "out")
    Path("folder.csv").mkdir()
    os.mkfifo("pipe.csv")
    for name in ("mine.md", "mine.csv", "mine.html", "out/report.md"):
        Path(name).write_text("# Mine\n")
    assert reason in refused(f"report out {options}", monkeypatch, capsys)
    assert Path("mine.html").read_text() == Path("mine.md").read_text() == Path("out/report.md").read_text() == "# Mine\n"


@pytest.mark.parametrize(("folder", "raw"), [("cpu/models", "models.json"), ("h200/video-llava-7b/ladder", "ladder.json")])
def test_of_several_comparisons_there_is_no_export(folder: str, raw: str, tmp_path: Path) -> None:
    shutil.copy(PROFILES / folder / raw, tmp_path)
    with pytest.raises(UserError, match=rf"--csv can be had of one comparison, and {tmp_path} has a {raw}; give the folder of one"):
        report_command(tmp_path, csv=tmp_path / "runs.csv")
