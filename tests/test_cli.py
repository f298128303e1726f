"""The command as a person uses it: a process, its output, its exit code, and what it leaves."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from evbench import __version__, results, sample
from evbench.results import STAGES, Result
from evbench.trace import PREFIX
from tests.checkpoints import change_config, save_tiny_video_llava
from tests.command import evbench, interruptible, refused

QUICK = "--preset tiny --samples 3 --warmup 1 --new-tokens 20 --trace-tokens 5"


COMPARE = "compare --baseline baseline --optimized optimized --device cpu"


@pytest.fixture(scope="module", params=["video-llava", "eventgpt"])
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One real comparison of each model, compiled variant included."""
    folder = tmp_path_factory.mktemp("session")
    return folder / "out", evbench(f"{COMPARE} --model {request.param} {QUICK} --out out", folder)


Session = tuple[Path, "subprocess.CompletedProcess[str]"]


@pytest.mark.slow
def test_a_comparison_succeeds_and_tells_what_it_does(session: Session) -> None:
    _, done = session
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    for step in ("start, import", "first call", "warm-up", "timed", "trace 5 tokens"):
        assert step in done.stderr
    for told in (
        *STAGES,
        "all four",
        "Difference",
        "Same work   yes",
        "identical, all 20",
        "Peak memory",
        "baseline says",
        "optimized says",
    ):
        assert told in done.stdout


@pytest.mark.slow
def test_a_comparison_leaves_everything(session: Session) -> None:
    folder, done = session
    names = {file.name for file in folder.iterdir()}
    assert names >= {"result.json", "runs.jsonl", "report.md", "trace-baseline.json.gz", "trace-optimized.json.gz"}
    assert all(name in done.stdout for name in names if not name.endswith(".log"))
    assert not [name for name in names if name.endswith(".part")]
    report = (folder / "report.md").read_text(encoding="utf-8")
    assert "`evbench compare" in report or "cli.py compare" in report
    assert "| generate |" in report


@pytest.mark.slow
def test_both_variants_say_the_same_and_did_the_same(session: Session) -> None:
    result = results.read(session[0])
    assert (result.format, result.evbench) == (results.FORMAT, __version__)
    baseline, optimized = result.baseline, result.optimized
    assert optimized is not None
    answers = {run.tokens for side in (baseline, optimized) for run in side.runs}
    assert len(answers) == 1
    assert len(next(iter(answers))) == 20
    assert baseline.build.weights_fingerprint == optimized.build.weights_fingerprint
    assert baseline.choices["vision"] == "eager"
    assert optimized.choices["vision"] == "compile"


@pytest.mark.slow
def test_raw_runs_are_those_of_the_result_in_the_order_they_happened(session: Session) -> None:
    folder, _ = session
    raw = [json.loads(line) for line in (folder / "runs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["turn"] for line in raw] == list(range(10))
    assert [(line["role"][0], line["kind"]) for line in raw] == [
        *[("b", "first"), ("o", "first"), ("b", "warmup"), ("o", "warmup")],
        *[("b", "timed"), ("o", "timed"), ("o", "timed"), ("b", "timed"), ("b", "timed"), ("o", "timed")],
    ]
    result = results.read(folder)
    for role, side in result.variants().items():
        stored = [json.loads(results.to_json(run)) for run in side.runs]
        assert stored == [
            {name: value for name, value in line.items() if name not in ("role", "variant")} for line in raw if line["role"] == role
        ]


@pytest.mark.slow
@pytest.mark.parametrize("role", ["baseline", "optimized"])
def test_the_trace_has_the_stages_as_named_ranges(session: Session, role: str) -> None:
    with gzip.open(session[0] / f"trace-{role}.json.gz", "rt", encoding="utf-8") as file:
        events: list[dict[str, Any]] = json.load(file)["traceEvents"]
    ranges = sorted((event for event in events if str(event.get("name", "")).startswith(PREFIX)), key=lambda event: event["ts"])
    assert [event["name"] for event in ranges] == [PREFIX + stage for stage in STAGES]
    for before, after in pairwise(ranges):
        assert before["ts"] + before["dur"] <= after["ts"], "stages follow each other"
    operators = [event for event in events if event.get("cat") == "cpu_op"]
    for stage in ranges[1:]:
        inside = [event for event in operators if stage["ts"] <= event["ts"] < stage["ts"] + stage["dur"]]
        assert inside, f"{stage['name']} shows what ran"


@pytest.mark.slow
def test_earlier_results_can_be_sides(session: Session) -> None:
    folder, _ = session
    again = evbench(f"compare --baseline {folder} --optimized {folder}/result.json --out again", folder.parent)
    assert again.returncode == 0, again.stderr
    told = (folder / "report.md").read_text(encoding="utf-8").splitlines()
    retold = (folder.parent / "again" / "report.md").read_text(encoding="utf-8").splitlines()
    assert retold[0] == told[0]
    untraced = [line for line in told[3:] if not line.startswith("Traces")]
    assert retold[3:] == untraced, "all but the date, the command and the traces, which stay where they are"
    assert results.read(folder.parent / "again").baseline.trace is None

    idle = evbench(f"compare --baseline {folder} --optimized {folder} --new-tokens 9 --out idle", folder.parent)
    assert idle.returncode == 2
    assert "--new-tokens would have no effect" in idle.stderr


def wait_for_a_timed_run(raw: Path) -> None:
    deadline = time.monotonic() + 120
    while not (raw.exists() and raw.read_text().count("timed")):
        assert time.monotonic() < deadline, "no timed run"
        time.sleep(0.1)


@pytest.mark.slow
def test_an_interrupt_keeps_what_ran_and_leaves_no_process(tmp_path: Path) -> None:
    with interruptible("run baseline --preset tiny --device cpu --new-tokens 4 --samples 100000 --out out", tmp_path) as running:
        wait_for_a_timed_run(tmp_path / "out" / "runs.jsonl")
        workers = [int(pid) for pid in Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()]
        assert workers
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=30)
    assert running.returncode == 130
    assert told.splitlines()[-1] == "evbench: interrupted; the runs that ended are in out/runs.jsonl"
    assert all(json.loads(line)["role"] == "baseline" for line in (tmp_path / "out" / "runs.jsonl").read_text().splitlines())
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


@pytest.mark.slow
def test_one_variant_alone_and_then_as_a_side(tmp_path: Path) -> None:
    options = f"--model eventgpt --device cpu {QUICK}"
    alone = evbench(f"run baseline {options} --out alone", tmp_path)
    assert alone.returncode == 0, alone.stderr
    assert "all four" in alone.stdout
    assert results.read(tmp_path / "alone").optimized is None

    fresh = evbench(f"compare --baseline alone --optimized baseline+generate=static {options} --out both", tmp_path)
    assert fresh.returncode == 0, fresh.stderr
    both = results.read(tmp_path / "both")
    assert both.baseline == replace(results.read(tmp_path / "alone").baseline, trace=None), "its trace stays where it is"
    assert both.optimized is not None
    assert both.optimized.variant == "baseline+generate=static"
    assert "identical, all 20" in fresh.stdout

    other = evbench(f"compare --baseline alone --optimized baseline {options} --new-tokens 21 --out other", tmp_path)
    assert other.returncode == 2
    assert "not the same work: new_tokens 20 and 21" in other.stderr
    assert not (tmp_path / "other").exists(), "refused before anything is made"


def test_help_and_variants_read_well(tmp_path: Path) -> None:
    for arguments in ("--help", "compare --help", "run --help", "variants --help"):
        told = evbench(arguments, tmp_path, COLUMNS="100")
        assert told.returncode == 0
        assert "Usage" in told.stdout
    told = evbench("variants --device cpu", tmp_path)
    assert told.returncode == 0
    assert "optimized-gpu" in told.stdout
    assert "needs an NVIDIA GPU" in told.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("compare --baseline basline --optimized optimized", "did you mean 'baseline'?"),
        ("compare --baseline baseline --optimized optimized+visoin=eager", "did you mean 'vision'?"),
        (f"{COMPARE} --model video-lava", "did you mean 'video-llava'?"),
        (f"{COMPARE} --preset huge", "there is small, tiny, 7b."),
        (f"{COMPARE} --frame-policy exclusive", "did you mean 'inclusive'?"),
        (f"{COMPARE} --preset tiny --weights .", "exclude each other"),
        (f"{COMPARE} --events .", "--events is for --model eventgpt"),
        (f"{COMPARE} --model eventgpt --video a.mp4", "--video is for --model video-llava"),
        (f"{COMPARE} --weights none", "--weights none: no such folder"),
        (f"{COMPARE} --weights .", "has no readable config.json"),
        (f"{COMPARE} --device gpu", "unknown --device 'gpu'"),
        ("compare --baseline baseline --optimized optimized-gpu --device cpu", "decode=dali needs an NVIDIA GPU"),
        (f"{COMPARE} --prompt 'look at <video>'", "contains a placeholder for pictures"),
        (f"{COMPARE} --video {'x' * 300}.mp4", "File name too long"),
        ("compare --baseline none/result.json --optimized optimized", "cannot read result none/result.json"),
        ("run optimised --device cpu", "did you mean 'optimized'?"),
        ("variants --model llava", "unknown --model 'llava'"),
    ],
)
def test_wrong_options_are_refused_in_one_line(
    arguments: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in refused(arguments, monkeypatch, capsys)
    assert list(tmp_path.iterdir()) == [], "refused before anything is made"


def test_weights_of_the_other_model_are_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "video_llava"}')
    line = refused(f"{COMPARE} --model eventgpt --weights {tmp_path} --out {tmp_path}/out", monkeypatch, capsys)
    assert "is of model_type 'video_llava', --model eventgpt loads 'EventChat_llama'" in line
    assert not (tmp_path / "out").exists()


def test_a_broken_clip_is_refused_before_anything_is_made(
    broken_clip: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path, told = broken_clip
    line = refused(f"{COMPARE} --video {path} --out {tmp_path}/out", monkeypatch, capsys)
    assert told in line
    assert str(path) in line
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert "cannot write to" in refused(f"{COMPARE} --out {tmp_path}/file", monkeypatch, capsys)
    assert "cannot write to" in refused(f"{COMPARE} --out /proc/evbench", monkeypatch, capsys)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "runs.jsonl").write_text("{}\n")
    assert "holds an earlier session" in refused(f"{COMPARE} --out {tmp_path}/used", monkeypatch, capsys)
    assert (tmp_path / "used" / "runs.jsonl").read_text() == "{}\n"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "report.md").write_text("mine")
    assert "holds an earlier session" in refused(f"{COMPARE} --out {tmp_path}/mine", monkeypatch, capsys)
    assert (tmp_path / "mine" / "report.md").read_text() == "mine"


def test_a_model_that_cannot_fit_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from evbench import machine

    monkeypatch.setattr(machine, "_memory_bytes", lambda: 16 * 2**30)
    line = refused(f"{COMPARE} --preset 7b --out {tmp_path}/out", monkeypatch, capsys)
    assert "need 55 GiB, this machine has 16" in line


def test_files_with_spaces_and_other_letters_in_their_names_run(tmp_path: Path) -> None:
    clip = tmp_path / "mit Leerzeichen ünïcödé 视频.mp4"
    clip.write_bytes(sample.CLIP.read_bytes())
    done = evbench(
        f"run baseline --device cpu --samples 1 --warmup 0 --new-tokens 2 --trace-tokens 0 --video '{clip}' --out 'out ü'", tmp_path
    )
    assert done.returncode == 0, done.stderr
    result = results.read(tmp_path / "out ü")
    assert isinstance(result, Result)
    assert result.baseline.workload.input == clip.name, "told relative to the current folder"
    assert result.baseline.trace is None


def test_weights_of_other_shapes_are_refused_in_one_line_of_the_command(tmp_path: Path) -> None:
    """Found by the worker; the user sees the same kind of line."""
    save_tiny_video_llava(tmp_path / "weights")
    change_config(tmp_path / "weights", text_config__intermediate_size=360)
    done = evbench("run baseline --device cpu --weights weights --samples 1 --out out", tmp_path)
    assert done.returncode == 2
    assert "use the config of these weights" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
