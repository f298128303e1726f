"""`evbench compare --config FILE`: options from a file that anybody may have written."""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from evbench import results
from evbench.api.options import Options
from evbench.cli.config import KEYS
from evbench.cli.main import main
from evbench.inputs import sample
from evbench.results import Result
from evbench.session import compare
from evbench.session.request import ComparisonRequest
from tests.command import refused
from tests.simulation import SimulatedMachine, simulate

TEAM = """
baseline = "baseline"
optimized = "baseline+decode=threaded"
preset = "tiny"
device = "cpu"
blocks = 7
new-tokens = 4
video = ["clips/a.mp4"]
fail-if = ["slower:2%"]
stop-at-end = true
modules = false
max-time = 30
precision = "5%"
prompt = "What? [bold]"
"""


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[ComparisonRequest]:
    """What is asked for. It is carried out on a simulated machine."""
    asked: list[ComparisonRequest] = []

    def simulated(request: ComparisonRequest, listener: object, checkpoint: Any) -> Result:
        asked.append(request)
        request.folder.mkdir(parents=True)
        plan = replace(request.plan, precision=None)
        result = replace(simulate(SimulatedMachine(1), plan), created=request.created, command=request.command, rules=request.rules)
        checkpoint(result)
        return result

    monkeypatch.setattr(compare, "measure", simulated)
    return asked


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration file and its clip."""
    (tmp_path / "clips").mkdir()
    shutil.copy(sample.CLIP, tmp_path / "clips" / "a.mp4")
    (tmp_path / "evbench.toml").write_text(TEAM, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["evbench", *shlex.split(arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code in (0, 3, 4)


def test_a_file_gives_the_options_and_says_which(
    team: Path, requests: list[ComparisonRequest], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run("compare --config evbench.toml --out out", monkeypatch)
    (request,) = requests
    assert [variant.name for variant in request.variants.values()] == ["baseline", "baseline+decode=threaded"]
    plan, workload = request.plan, request.workloads["optimized"]
    assert (plan.blocks, plan.max_seconds, plan.precision, plan.trace_modules) == (7, 30.0, 0.05, False)
    assert (workload.preset, workload.new_tokens, workload.stop_at_end, workload.prompt) == ("tiny", 4, True, "What? [bold]")
    assert request.rules.fail_if == ("slower:2%",)
    told = " ".join(capsys.readouterr().err.split())
    assert "evbench: evbench.toml gives baseline = baseline, optimized = baseline+decode=threaded, preset = tiny, device = cpu, " in told
    assert "video = clips/a.mp4" in told and "stop-at-end = true" in told and "prompt = What? [bold]" in told


def test_the_recorded_command_asks_for_the_same_without_the_file(
    team: Path, requests: list[ComparisonRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("compare --config evbench.toml --blocks 6 --out out", monkeypatch)
    command = results.read(team / "out").command
    assert command.startswith("evbench compare --blocks 6 --out out --baseline baseline ")
    assert "evbench.toml" not in command and "--modules" not in command and " --stop-at-end" in command
    (team / "evbench.toml").unlink()
    run(command.removeprefix("evbench ").replace("--out out", "--out again"), monkeypatch)
    first, again = requests
    assert (first.workloads, first.variants, first.plan, first.rules) == (again.workloads, again.variants, again.plan, again.rules)


def test_the_command_line_wins_and_that_is_said(
    team: Path, requests: list[ComparisonRequest], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = str(sample.OTHER_CLIP)
    run(f"compare --config=evbench.toml --blocks 9 --video {other} --optimized baseline+attention=eager --out out", monkeypatch)
    (request,) = requests
    assert (request.plan.blocks, request.plan.max_seconds) == (9, 30.0)
    assert [Path(one.path).name for one in request.workloads["baseline"].samples] == [sample.OTHER_CLIP.name], (
        "no list is a mixture of both"
    )
    assert request.variants["optimized"].name == "baseline+attention=eager"
    told = " ".join(capsys.readouterr().err.split())
    assert "; the command line has its own --optimized, --blocks, --video" in told
    assert "blocks = 7" not in told


def test_paths_are_relative_to_the_file(team: Path, requests: list[ComparisonRequest], monkeypatch: pytest.MonkeyPatch) -> None:
    (team / "elsewhere").mkdir()
    monkeypatch.chdir(team / "elsewhere")
    run("compare --config ../evbench.toml --out out", monkeypatch)
    assert Path(requests[0].workloads["baseline"].samples[0].path).resolve() == team / "clips" / "a.mp4"


def test_a_side_may_be_an_earlier_result_beside_the_file(
    team: Path, requests: list[ComparisonRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("compare --config evbench.toml --out first", monkeypatch)
    (team / "both.toml").write_text('baseline = "first"\noptimized = "first/result.json"\n')
    (team / "deep").mkdir()
    monkeypatch.chdir(team / "deep")
    run("compare --config ../both.toml --out out", monkeypatch)
    assert "--baseline ../first --optimized ../first/result.json" in requests[1].command


def test_a_file_is_not_read_unless_it_is_named(
    team: Path, requests: list[ComparisonRequest], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused("compare", monkeypatch, capsys)
    assert told == (
        "evbench: Missing option '--baseline'; evbench.toml is here, and --config evbench.toml reads it. See: evbench compare --help"
    )
    run("compare --baseline baseline --optimized optimized --device cpu --preset tiny --out out", monkeypatch)
    assert requests[0].plan.blocks == 12
    assert requests[0].command.endswith("--out out")
    (team / "evbench.toml").unlink()
    capsys.readouterr()
    assert refused("compare", monkeypatch, capsys) == "evbench: Missing option '--baseline'. See: evbench compare --help"


def test_every_option_of_a_comparison_can_be_given(team: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(KEYS) >= {"baseline", "optimized", "target", "allow", "fail-if", "require-speedup", "blocks", "weights", "modules"}
    assert {key.replace("-", "_") for key in KEYS[6:]} <= {field.name for field in fields(Options)}
    for name in KEYS:
        (team / "all.toml").write_text(f"{name} = 2000-01-01")
        told = refused("compare --config all.toml", monkeypatch, capsys)
        assert told.startswith(f"evbench: all.toml: {name} "), told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("block = 3", "unknown option 'block'; did you mean 'blocks'?"),
        ("new_tokens = 3", "unknown option 'new_tokens'; did you mean 'new-tokens'?"),
        ("starts = 3", "unknown option 'starts'; it is now called invocations"),
        ("qqqqqqq = 3", "unknown option 'qqqqqqq'; there is baseline, optimized, "),
        (f"{'b' * 5000} = 3", f"unknown option '{'b' * 60}...'; there is baseline"),
        ('"\\u001b[31m" = 3', "unknown option '\\x1b[31m'"),
        ("resume = true", "'resume' is of one session; give it on the command line"),
        ('out = "profiles"', "'out' is of one session"),
        ('config = "other.toml"', "'config' is the option that names such a file"),
        ("[compare]\nblocks = 3", "'compare' is a table; an option is one line, such as blocks = 12"),
        ("blocks = {a = 1}", "'blocks' is a table"),
        ('blocks = "3"', "blocks '3' is no whole number; give one"),
        ("blocks = 3.0", "blocks 3.0 is no whole number; give one"),
        ("blocks = true", "blocks True is no whole number; give one"),
        ("blocks = 0", "blocks 0 is out of range; give 1 to 10,000"),
        ("blocks = 1979-05-27", "is no whole number; give one"),
        ("max-time = nan", "max-time nan is no number; give one"),
        ("baseline = 3", "baseline 3 is no text; give one"),
        ('require-speedup = "no"', "require-speedup is not 'no'; write true or false"),
        ("modules = 1", "modules is not 1; write true or false"),
        ('video = "a.mp4"', 'video is a list; write video = ["..."]'),
        ("video = []", "video is an empty list; leave it out"),
        ("video = [3]", "video 3 is no Path; give one"),
        ("fail-if = [3]", "fail-if 3 is no text; give one"),
        ('fail-if = [["slower:2%"]]', "fail-if ['slower:2%'] is no text; give one"),
        ('weights = ""', "weights '' is an empty path"),
        ('weights = "a\\u0000b"', "weights has a character that no option can have"),
        ('video = ["a\\u0000b"]', "video has a character that no option can have"),
        ("blocks = 3\nblocks = 4", "is no TOML: Cannot overwrite a value"),
        ("blocks", "is no TOML: "),
        ("", "gives no option; write one, such as blocks = 12"),
        (f"blocks = {'9' * 5000}", "is no TOML: "),
        (f"blocks = {'9' * 4000}", "is out of range"),
        (f"x = {'[' * 5000}", "is nested too deeply"),
        (f"# {'x' * 100_000}", "has 100,003 bytes, and options take 100,000 at most"),
        ("blocks = 3\udcff", "is no TOML: "),
    ],
)
def test_what_a_file_cannot_give_is_refused_in_one_line(
    text: str, told: str, team: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (team / "evbench.toml").write_bytes(f"{text}\n".encode(errors="surrogateescape"))
    line = refused("compare --config evbench.toml --baseline baseline --optimized optimized", monkeypatch, capsys)
    assert line.startswith("evbench: evbench.toml") and told in line
    assert len(line) < 5000


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("gone.toml", "gone.toml: no such file; give a configuration file such as evbench.toml"),
        (".", ".: is no plain file"),
        ("/dev/zero", "/dev/zero: is no plain file"),
        ("''", "--config '' is an empty path"),
    ],
)
def test_what_is_no_file_is_refused(
    file: str, told: str, team: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in refused(f"compare --config {file} --baseline baseline --optimized optimized", monkeypatch, capsys)
