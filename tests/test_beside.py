"""Times and tokens that another script has measured, beside those of evbench: no claim."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evbench import results
from evbench.cli.main import make_app
from evbench.errors import UserError
from evbench.lint.beside import is_table, of_result_side, of_table_side, table, tokens_compared
from tests.examples import make_result, make_side

TIMES = {"load_s": 0.70, "preprocess_ms": 67, "vision_ms": 50, "generate_s": 2.50, "total_s": 3.32, "tpot_ms": 20, "upload_ms": 5}


def written(folder: Path, *rows: dict[str, Any], **fields: Any) -> str:
    path = folder / "table.json"
    path.write_text(json.dumps({"version": 1, "rows": list(rows), **fields}), encoding="utf-8")
    return str(path)


def row(name: str = "theirs", **fields: Any) -> dict[str, Any]:
    return {"name": name, "times": TIMES, **fields}


def shown(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(make_app(), ["compare", *arguments], env={"COLUMNS": "140", "TERM": "dumb", "NO_COLOR": "1"})
    said = f"{type(done.exception).__name__}: {done.exception}" if isinstance(done.exception, UserError) else done.output
    return done.exit_code, said


@pytest.fixture
def recorded(tmp_path: Path) -> str:
    """The folder of an earlier result."""
    folder = tmp_path / "first"
    folder.mkdir()
    results.write(make_result(), folder / "result.json")
    return str(folder)


def test_both_sides_stand_beside_each_other_without_a_claim(tmp_path: Path, recorded: str) -> None:
    given = written(tmp_path, row(new_tokens=2, runs=200, statistic="median", tokens=[[5, 6]]), source="a paper")
    code, said = shown("--baseline", given, "--optimized", recorded, "--out", str(tmp_path / "out"))
    report = (tmp_path / "out" / "side-by-side.md").read_text(encoding="utf-8")
    assert code == 4 and "theirs of table.json | baseline of evbench" in report
    rows = dict(line.strip("| ").split(" | ", 1) for line in report.splitlines() if line.startswith("| "))
    assert rows["load"].startswith("0.7 s |") and rows["end-to-end"].startswith("3.32 s |")
    assert rows["times"] == "median of 200 | median of 10"
    assert rows["upload"] == "5 ms | -", "a stage that evbench does not have"
    whole = " ".join(said.split())
    assert "tokens: identical, all 2" in whole and "a paper" in whole
    assert "exit 4: INCONCLUSIVE: the sides were measured by different scripts, and not in turn: nothing is claimed" in whole
    assert "x" not in rows["generate"], "no ratio"
    assert "| load | 0.7 s |" in report and "nothing is claimed" in report and str(tmp_path) not in report


def test_times_of_evbench_are_of_the_statistic_of_the_table(tmp_path: Path) -> None:
    side = make_side()
    slow = dataclasses.replace(side, runs=tuple(dataclasses.replace(run, seconds=9.0) if run.block == 0 else run for run in side.runs))
    result = make_result(baseline=slow)
    mean, median = (of_result_side(result, slow, statistic) for statistic in ("mean", "median"))
    assert mean.texts["end-to-end"] != median.texts["end-to-end"] == "400 ms"
    assert mean.of == "mean of 10" and mean.new_tokens == "2"
    plain = of_table_side(written(tmp_path, row()), "baseline")
    assert plain.statistic == "mean" and "taken for the mean" in plain.of
    assert table(plain, mean).rows[-1] == ("new tokens", "-", "2")


def test_tokens_are_compared_where_both_tell_them(tmp_path: Path) -> None:
    def of(tokens: list[list[int]]) -> Any:
        return of_table_side(written(tmp_path, row(tokens=tokens)), "baseline")

    ours = of([[1, 2, 3], [4]])
    assert tokens_compared(ours, of([[1, 2, 3], [4]])) == "tokens: identical, all 4"
    assert tokens_compared(ours, of([[1, 2, 3], [5]])) == "tokens: DIFFERENT from token 1 of sample 2 on"
    assert tokens_compared(ours, of([[1, 2], [4]])) == "tokens: DIFFERENT from token 3 of sample 1 on"
    assert tokens_compared(ours, of([[1]])) == "tokens: of 2 and 1 samples, not compared"
    assert tokens_compared(ours, of([])) == "tokens: not told by both"


def test_a_side_of_several_is_named_and_single_runs_are_averaged(tmp_path: Path) -> None:
    given = written(tmp_path, row("a"), row("b", times={"total_s": 1.0}), row("b", times={"total_s": 3.0}))
    with pytest.raises(UserError, match=r"has 2 sides; name one of them, such as .*table\.json#a"):
        of_table_side(given, "baseline")
    with pytest.raises(UserError, match=r"has no side 'c'; "):
        of_table_side(f"{given}#c", "optimized")
    found = of_table_side(f"{given}#b", "baseline")
    assert found.texts["end-to-end"] == "2.00 s on average" and found.of == "mean of 2"


def test_tokens_of_single_runs_are_those_that_all_of_them_have(tmp_path: Path) -> None:
    same = of_table_side(written(tmp_path, row(tokens=[[1, 2]]), row(tokens=[[1, 2]])), "baseline")
    assert same.tokens == ((1, 2),) and len(same.notes) == 1
    for other in ([[1, 3]], []):
        mixed = of_table_side(written(tmp_path, row(tokens=[[1, 2]]), row(tokens=other)), "baseline")
        assert mixed.tokens == () and "the rows of theirs in table.json do not all have the same tokens" in mixed.notes[-1]


def test_mistakes_that_lint_finds_are_told(tmp_path: Path) -> None:
    wrong = row("after", times={"load_s": 1.0, "generate_s": 1.0, "total_s": 9.0})
    assert any("evbench lint finds 1 mistake in table.json" in note for note in of_table_side(written(tmp_path, wrong), "baseline").notes)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--fail-if", "slower:2%"], "--fail-if asks for a claim"),
        (["--require-speedup"], "--require-speedup asks for a claim"),
        (["--blocks", "8"], "--optimized is an earlier result, nothing is run: --blocks would have no effect"),
    ],
)
def test_what_has_no_effect_is_refused(tmp_path: Path, recorded: str, options: list[str], reason: str) -> None:
    code, said = shown("--baseline", written(tmp_path, row()), "--optimized", recorded, "--out", str(tmp_path / "out"), *options)
    assert code != 0 and reason in said and not (tmp_path / "out").exists()


def test_bad_tables_are_one_line_and_code_2(tmp_path: Path) -> None:
    for content, reason in (
        ('{"version": 2, "rows": []}', "the table.version is 2, where 1 is expected"),
        ('{"rows": [{"name": "a", "times": {}, "tokens": [[-1]]}]}', "rows[0] has a token id below 0"),
        ('{"rows": [{"name": "a", "times": {}, "tokens": [1]}]}', "tokens[0] is 1, where a list is expected"),
        ("no table", "is no table of stage times"),
    ):
        (tmp_path / "table.json").write_text(content, encoding="utf-8")
        command = [sys.executable, "-m", "evbench.cli.main", "compare", "--baseline", "table.json", "--optimized", "baseline"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment())
        assert done.returncode == 2 and reason in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def environment() -> dict[str, str]:
    import os

    return os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}


def test_a_table_is_told_from_a_result_and_a_variant(tmp_path: Path, recorded: str) -> None:
    given = written(tmp_path, row())
    assert is_table(given) and is_table(f"{given}#theirs")
    assert not any(map(is_table, (recorded, f"{recorded}/result.json", "baseline", str(tmp_path / "missing.json"))))
