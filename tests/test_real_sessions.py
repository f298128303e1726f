"""One comparison of each model, really carried out: what it prints, and what it leaves."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from evbench import __version__, results
from evbench.cli.console import MOST_LINES
from evbench.report import traces
from evbench.results import STAGES, Side
from evbench.session import journal
from evbench.session.merged_traces import ALIGNED, AS_IT_RAN, merge_folder
from evbench.session.schedule import slots
from evbench.traces import chrome
from evbench.traces.timeline import Timeline
from tests.checkpoints import least_model
from tests.command import evbench, refused
from tests.left_behind import places_in
from tests.scene_files import small_clip

QUICK = "--blocks 6 --invocations 1 --warmup 5 --new-tokens 20 --trace-tokens 5"
VERDICTS = (0, 3, 4, 6)
"""Exit codes of a comparison that was carried out, on a machine that may be busy with something else."""


Session = tuple[Path, "subprocess.CompletedProcess[str]"]
CLIP = "mit Leerzeichen ünïcödé 视频.mp4"
SIDES = {
    "video-llava": f"--optimized optimized --video '{CLIP}'",
    "eventgpt": "--optimized optimized+vision=batched+generate=static --throughput 4",
}


@pytest.fixture(scope="module", params=SIDES)
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Session:
    """One real comparison of each model: of one compiled, and of a file of an unusual name; of the other with samples in a row."""
    folder, model = tmp_path_factory.mktemp("session"), request.param
    shutil.copy(small_clip(0), folder / CLIP)
    return folder / "out", evbench(f"compare --baseline baseline {SIDES[model]} {least_model(model)} {QUICK} --out out", folder)


@pytest.mark.slow
def test_a_comparison_succeeds_and_tells_what_it_does(session: Session) -> None:
    folder, done = session
    assert done.returncode in VERDICTS, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    for step in ("start the worker", "first call", "warm-up", "timed runs", "blocked-order", "trace 5 tokens", "80 of 100 comparisons"):
        assert step in done.stderr
    verdict = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
    assert verdict["exit_code"] == done.returncode
    assert f"{verdict['verdict']}: " in done.stdout
    for told in (
        *STAGES,
        "end-to-end",
        "ttft",
        "tpot",
        "identical, all 20",
        "Peak memory",
        "Start-up",
        "Output of both",
        "To see both traces",
    ):
        assert told in " ".join(done.stdout.split())
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{verdict['verdict']}: ")
    assert lines[-1].startswith(f"exit {done.returncode}: {verdict['verdict']}")
    assert len(lines) <= MOST_LINES
    report = (folder / "report.md").read_text(encoding="utf-8")
    for told in (
        # On a machine that is busy, nothing is compared.
        *(("Where the difference comes from", "total", "half-width") if verdict["verdict"] != "INVALID" else ()),
        "Noise floor",
        "stage-sync-overhead",
        "startup-and-compile",
        "Difference",
        "**Same work**: yes",
        "identical, all 20",
        "Peak memory",
        "Output of baseline",
        "Output of optimized",
    ):
        assert told in report


@pytest.mark.slow
def test_what_is_left_names_no_folder_and_no_host(session: Session) -> None:
    """But for what a worker's libraries write into its log, which is for the one who ran it."""
    folder, _ = session
    files = [file for file in folder.iterdir() if file.suffix != ".log"]
    assert len(files) >= 7
    assert {file.name: found for file in files if (found := places_in(file))} == {}


@pytest.mark.slow
def test_a_comparison_leaves_everything(session: Session) -> None:
    folder, done = session
    names = {file.name for file in folder.iterdir()}
    assert names >= {"result.json", "runs.jsonl", "report.md", "verdict.json", "trace-baseline.json.gz", "trace-optimized.json.gz"}
    assert all(name in done.stdout for name in names if not name.endswith(".log") and name != "session.json")
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
    answers = {run.tokens for measured in (baseline, optimized) for run in measured.runs}
    assert len(answers) == 1
    assert len(next(iter(answers))) == 20
    assert baseline.builds[0].weights_fingerprint == optimized.builds[0].weights_fingerprint
    assert baseline.choices["vision"] == "eager"
    assert optimized.choices["vision"] == ("compile" if baseline.workload.model == "video-llava" else "batched")
    if baseline.workload.model == "video-llava":
        assert baseline.workload.samples[0].path == CLIP, "relative to the current folder"
    assert result.outputs is not None
    assert [check for check in result.outputs.checks if check.grade != "pass"] == []


@pytest.mark.slow
def test_raw_runs_are_those_of_the_result_and_take_turns_in_blocks(session: Session) -> None:
    folder, _ = session
    result, state = results.read(folder), journal.read(folder)
    assert {side: tuple(runs) for side, runs in state.runs.items()} == {side: measured.runs for side, measured in result.variants().items()}
    runs = sorted(((run, side) for side, measured in result.variants().items() for run in measured.runs), key=lambda pair: pair[0].turn)
    streams = [stream for measured in result.variants().values() for stream in measured.throughput_runs]
    assert sorted([run.turn for run, _ in runs] + [stream.turn for stream in streams]) == list(range(len(runs) + len(streams)))
    assert [(side, run.kind) for run, side in runs[:2]] == [("baseline", "first"), ("optimized", "first")]
    for block in result.sessions[0].blocks:
        inside = [(side, run.stages is not None) for run, side in runs if run.block == block.number]
        assert inside == list(slots(block.order))
    (compiled,) = {run.compile_counts.compiled for run, side in runs if side == "optimized" and run.kind == "first"}
    assert compiled == (2 if result.baseline.workload.model == "video-llava" else 0), "vision and the decode step"
    assert not any(run.compile_counts for run, side in runs if side == "baseline")


@pytest.mark.slow
def test_each_run_knows_its_first_token_and_its_further_ones(session: Session) -> None:
    for measured in results.read(session[0]).variants().values():
        for run in measured.runs:
            if run.stages is None:
                assert (run.prefill_seconds, run.decode_step_seconds) == (None, None)
                continue
            assert run.prefill_seconds is not None
            assert run.decode_step_seconds is not None
            assert len(run.decode_step_seconds) == 19
            assert all(seconds > 0 for seconds in run.decode_step_seconds)
            assert run.prefill_seconds + sum(run.decode_step_seconds) <= run.stages["generate"].seconds


@pytest.mark.slow
def test_samples_in_a_row_stand_beside_one_by_itself(session: Session) -> None:
    folder, done = session
    result, state = results.read(folder), journal.read(folder)
    asked = result.sessions[0].plan.throughput
    report = (folder / "report.md").read_text(encoding="utf-8")
    for told in ("Throughput, 4 samples back to back", "Latency and throughput", "load-wait-per-sample"):
        assert (told in report) == (asked == 4), told
    assert ("Throughput, 4 samples" in done.stdout) == (asked == 4)
    assert "prefetch off -> on" in report or not asked
    for side, measured in result.variants().items():
        assert measured.throughput_runs == tuple(state.throughput_runs.get(side, ()))
        rows = [None, *(block.number for block in result.sessions[0].blocks for _ in range(2))] if asked else []
        assert [stream.block for stream in measured.throughput_runs] == rows
        assert len({*measured.tokens_by_sample()[0]}) == 1
        fed = {proof.choice: proof.active for proof in measured.activations if proof.part == "prefetch"}
        assert fed == {measured.choices["prefetch"]: True}


@pytest.mark.slow
@pytest.mark.parametrize("side", ["baseline", "optimized"])
def test_the_trace_has_the_stages_as_named_ranges(session: Session, side: Side) -> None:
    file = session[0] / f"trace-{side}.json.gz"
    trace = chrome.read(file)
    timeline = Timeline(trace.events, file)
    assert [trace.header["evbench"]["variant"], len(timeline.steps)] == [results.read(session[0]).variants()[side].variant, 4]
    assert trace.header["evbench"]["stamp"].startswith("COMPLETE")
    operators = [event for event in trace.events if event.get("cat") == "cpu_op"]
    for stage in ("preprocess", "vision", "generate"):
        assert any(timeline.stage_at(event["ts"]) == stage for event in operators), f"{stage} shows what ran"


@pytest.mark.slow
@pytest.mark.parametrize("file", [AS_IT_RAN, ALIGNED])
def test_both_traces_are_on_one_timeline(session: Session, file: str) -> None:
    folder, done = session
    assert "evbench open out" in done.stdout
    merged = evbench(f"merge {folder}", folder.parent)
    assert (merged.returncode, file in merged.stdout) == (0, True), merged.stderr
    trace = chrome.read(folder / file)
    names = {side: measured.variant for side, measured in results.read(folder).variants().items()}
    assert {side: about["variant"] for side, about in trace.header["evbench"].items()} == names
    joined = [event for event in trace.events if "bind_id" in event]
    assert sorted(event["name"] for event in joined) == sorted(STAGES * 2)
    assert all(event["args"]["baseline, median"] and event["args"]["95% CI"] and event["args"]["outputs"] == "pass" for event in joined)


@pytest.mark.slow
def test_traces_are_compared(session: Session) -> None:
    folder, _ = session
    done = evbench(f"diff {folder}/trace-baseline.json.gz {folder}/trace-optimized.json.gz", folder.parent)
    assert done.returncode == 0, done.stderr
    assert "baseline, COMPLETE" in done.stdout
    assert "Where the time went" in done.stdout and "Time by kernel family" in done.stdout
    if results.read(folder).baseline.workload.model == "video-llava":
        assert re.search(r"vision +gone +aten::\w+", done.stdout), "an operation that the compiler has taken in"
    merge_folder(folder, folder, aligned=True)
    twice = evbench(f"diff {folder}/trace-baseline.json.gz {folder}/{ALIGNED}", folder.parent)
    assert (twice.returncode, twice.stdout) == (2, done.stdout.splitlines(keepends=True)[0])
    assert "holds several runs" in twice.stderr


@pytest.mark.slow
def test_earlier_results_can_be_sides(session: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = session
    again = evbench(f"compare --baseline {folder} --optimized {folder}/result.json --out again", folder.parent)
    assert again.returncode in VERDICTS, again.stderr
    told = (folder / "report.md").read_text(encoding="utf-8").split("\n## ")
    retold = (folder.parent / "again" / "report.md").read_text(encoding="utf-8").split("\n## ")
    assert retold[0].splitlines()[3:] == told[0].splitlines()[3:], "all but the date and the command"
    notes = next(part for part in told if part.startswith("Notes"))
    untraced = "\n".join(line for line in notes.split("\n") if not line.startswith(("- Traces", "- trace-")))
    traced = (traces.WENT, traces.SPENT, traces.ONLY)
    expected = [untraced if part is notes else part for part in told[1:] if not part.startswith(traced)]
    assert retold[1:] == expected, "traces stay where they are"
    assert results.read(folder.parent / "again").baseline.trace is None

    for option in ("--new-tokens 9", "--throughput 4"):
        told_idle = refused(f"compare --baseline {folder} --optimized {folder} {option} --out {folder.parent}/idle", monkeypatch, capsys)
        assert f"{option.split()[0]} would have no effect" in told_idle
