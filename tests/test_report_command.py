"""`evbench report`: verdict and report of a recorded folder, derived again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from evbench.cli.report import write_report
from evbench.errors import UserError
from evbench.results import FORMAT
from tests.test_results import PROFILES


def test_a_recorded_comparison_of_the_format_before_is_reported_in_the_words_of_today(tmp_path: Path) -> None:
    recorded = PROFILES / "cpu" / "video-llava-small" / "result.json"
    result = shutil.copy(recorded, tmp_path)
    assert write_report(tmp_path) == ("verdict.json", "report.md")
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "FASTER: end-to-end speedup 1.63x, 95% CI 1.53x - 1.74x" in report
    judgement = json.loads((tmp_path / "verdict.json").read_text(encoding="utf-8"))
    assert (judgement["verdict"], judgement["end_to_end"]["name"], judgement["exit_code"]) == ("FASTER", "end-to-end", 0)
    assert judgement["metrics"]["startup-and-compile"]["unit"] == "seconds"
    assert Path(result).read_bytes() == recorded.read_bytes(), "the result stays as it is"
    assert json.loads(recorded.read_text(encoding="utf-8"))["format"] < FORMAT


def test_a_recorded_comparison_of_models_is_reported(tmp_path: Path) -> None:
    shutil.copy(PROFILES / "h200" / "models-7b" / "models.json", tmp_path)
    assert write_report(tmp_path) == ("verdict.json", "models.md")
    report = (tmp_path / "models.md").read_text(encoding="utf-8")
    assert "At equal length: end-to-end" in report
    assert "tpot" in report


def test_a_folder_without_a_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no result\.json, ladder\.json or models\.json"):
        write_report(tmp_path)
