"""Reasons and advice of refusals are the right ones."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest

from evbench.cli.main import main
from evbench.cli.trace_files import single_trace, traces_in
from evbench.errors import UserError
from tests.command import refused
from tests.traces import stages

RUN = "run baseline --device cpu"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("run baseline --device gpu", "unknown --device 'gpu'; did you mean 'cuda'?"),
        ("run baseline --device GPU", "did you mean 'cuda'?"),
        ("run baseline --device cuda:1", "unknown --device 'cuda:1'; give cuda, and the GPU by CUDA_VISIBLE_DEVICES=1"),
        ("run baseline --device cdua", "did you mean 'cuda'?"),
        ("run baseline --device mps", "; there is auto, cuda, cpu."),
        (f"{RUN} --dtype fp16", "--dtype fp16 is float16, in which evbench does not compute; there is float32, bfloat16."),
        (f"{RUN} --dtype float16", "--dtype float16 is float16, in which evbench does not compute"),
        (f"{RUN} --dtype half", "is float16, in which evbench"),
        (f"{RUN} --dtype float64", "is float64, in which evbench"),
        (f"{RUN} --dtype bf16", "unknown --dtype 'bf16'; did you mean 'bfloat16'?"),
        (f"{RUN} --dtype fp32", "unknown --dtype 'fp32'; did you mean 'float32'?"),
        (f"{RUN} --dtype flaot32", "did you mean 'float32'?"),
        (f"{RUN} --out file", "--out file is a file, and results are written into a folder; give another"),
        (f"{RUN} --out file/inside/it", "--out file/inside/it lies in file, which is a file, and results are written into a folder"),
        ("trace baseline --device cpu --out file", "--out file is a file, and"),
    ],
)
def test_advice_is_what_was_meant(
    arguments: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert told in refused(arguments, monkeypatch, capsys)


def write_trace(file: Path, seconds: float) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(gzip.compress(json.dumps({"traceEvents": stages(length=seconds * 1e6)}).encode()))


def test_of_a_folder_its_trace_is_taken(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no trace; record one with evbench trace, or compare"):
        single_trace(tmp_path)
    write_trace(tmp_path / "trace-baseline.json.gz", 1)
    (tmp_path / "trace-aligned.json.gz").touch()
    assert single_trace(tmp_path) == tmp_path / "trace-baseline.json.gz" == single_trace(tmp_path / "trace-baseline.json.gz")
    write_trace(tmp_path / "trace-optimized.json.gz", 1)
    with pytest.raises(UserError, match=r"holds 2 traces; give one of them: .*trace-baseline\.json\.gz, .*trace-optimized\.json\.gz"):
        single_trace(tmp_path)
    assert len(traces_in(tmp_path)) == 2


@pytest.mark.parametrize("arguments", ["diff one two", "diff one/trace.json.gz two", "diff both"])
def test_traces_of_folders_are_compared(
    arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for place, file in enumerate(
        ("one/trace.json.gz", "two/trace-baseline.json.gz", "both/trace-baseline.json.gz", "both/trace-optimized.json.gz")
    ):
        write_trace(Path(file), place % 2 + 1)
    monkeypatch.setattr(sys, "argv", ["evbench", *arguments.split()])
    main_exits(0)
    told = capsys.readouterr().out
    assert "A: one/trace.json.gz" in told or "A: both/trace-baseline.json.gz" in told
    assert "B: two/trace-baseline.json.gz" in told or "B: both/trace-optimized.json.gz" in told


def main_exits(code: int) -> None:
    with pytest.raises(SystemExit) as caught:
        main()
    assert (caught.value.code or 0) == code


def test_one_trace_is_not_compared_with_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_trace(Path("one/trace.json.gz"), 1)
    for name in ("one", "one/trace.json.gz"):
        assert "is one trace; give another to compare it with" in refused(f"diff {name}", monkeypatch, capsys)
    assert "one/trace.json.gz is one trace: --as-it-ran would have no effect" in refused("open one --as-it-ran", monkeypatch, capsys)
