"""The command as a person uses it: a process, its output, its exit code, and what it leaves."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import NoReturn
from urllib.parse import parse_qs, urlsplit

import pytest

from evbench import __version__, results
from evbench.cli.main import main
from evbench.inputs import sample
from evbench.pipelines.load import video
from evbench.report import traces
from evbench.results import STAGES
from evbench.session import compare, journal
from evbench.session.merged_traces import ALIGNED, AS_IT_RAN, merge_folder
from evbench.session.request import ComparisonRequest
from evbench.session.schedule import slots
from evbench.traces import chrome
from evbench.traces.timeline import Timeline
from evbench.verdict.judge import judge
from tests.checkpoints import change_config, least_model, save_tiny_video_llava
from tests.command import evbench, interruptible, kill_a_worker, refused, wait_for
from tests.examples import MACHINE, make_result, make_session, make_side
from tests.simulation import Noise, SimulatedMachine, simulate
from tests.traces import stages

QUICK = "--blocks 6 --invocations 1 --warmup 5 --new-tokens 20 --trace-tokens 5"
VERDICTS = (0, 3, 4, 6)
"""Exit codes of a comparison that was carried out, on a machine that may be busy with something else."""


COMPARE = "compare --baseline baseline --optimized optimized --device cpu"


@pytest.fixture(scope="module", params=["video-llava", "eventgpt --throughput 4"])
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One real comparison of each model, compiled variant included; of one of them also with samples in a row."""
    folder, (model, *more) = tmp_path_factory.mktemp("session"), request.param.split()
    return folder / "out", evbench(
        f"compare --baseline baseline --optimized optimized {least_model(model)} {' '.join(more)} {QUICK} --out out", folder
    )


Session = tuple[Path, "subprocess.CompletedProcess[str]"]


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
        *(("Where the difference comes from", "total") if verdict["verdict"] != "INVALID" else ()),  # on a machine that is busy
        "Noise floor",
        "stage-sync-overhead",
        "startup-and-compile",
        "half-width",
        "Difference",
        "Same work   yes",
        "identical, all 20",
        "Peak memory",
        "Output of baseline",
        "Output of optimized",
    ):
        assert told in done.stdout


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
    assert optimized.choices["vision"] == "compile"


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
    assert compiled == 2, "vision and the decode step"
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
    for told in ("Throughput, 4 samples back to back", "Latency and throughput", "load-wait-per-sample"):
        assert (told in done.stdout) == (asked == 4), told
    assert "prefetch off -> on" in done.stdout or not asked
    for side, measured in result.variants().items():
        assert measured.throughput_runs == tuple(state.throughput_runs.get(side, ()))
        rows = [None, *(block.number for block in result.sessions[0].blocks for _ in range(2))] if asked else []
        assert [stream.block for stream in measured.throughput_runs] == rows
        assert len({*measured.tokens_by_sample()[0]}) == 1
        fed = {proof.choice: proof.active for proof in measured.activations if proof.part == "prefetch"}
        assert fed == {measured.choices["prefetch"]: True}


@pytest.mark.slow
@pytest.mark.parametrize("side", ["baseline", "optimized"])
def test_the_trace_has_the_stages_as_named_ranges(session: Session, side: str) -> None:
    file = session[0] / f"trace-{side}.json.gz"
    trace = chrome.read(file)
    timeline = Timeline(trace.events, file)
    assert [trace.header["evbench"]["variant"], len(timeline.steps)] == [side, 4]
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
    assert {side: about["variant"] for side, about in trace.header["evbench"].items()} == {side: side for side in ("baseline", "optimized")}
    joined = [event for event in trace.events if event.get("cat") == "evbench" and event["ph"] in "sf"]
    assert [event["name"] for event in joined] == [stage for stage in STAGES for _ in "sf"]
    assert all(event["args"]["baseline, median"] and event["args"]["95% CI"] and event["args"]["outputs"] == "pass" for event in joined)


@pytest.mark.slow
def test_traces_are_compared(session: Session) -> None:
    folder, _ = session
    done = evbench(f"diff {folder}/trace-baseline.json.gz {folder}/trace-optimized.json.gz", folder.parent)
    assert done.returncode == 0, done.stderr
    assert "baseline, COMPLETE" in done.stdout
    assert "Where the time went" in done.stdout and "Time by kernel family" in done.stdout
    assert re.search(r"vision +gone +aten::\w+", done.stdout), "an operation that the compiler has taken in"
    merge_folder(folder, folder, aligned=True)
    twice = evbench(f"diff {folder}/trace-baseline.json.gz {folder}/{ALIGNED}", folder.parent)
    assert (twice.returncode, twice.stdout) == (2, done.stdout.splitlines(keepends=True)[0])
    assert "holds several runs" in twice.stderr


@pytest.mark.slow
def test_one_variant_is_traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = f"trace baseline {least_model('video-llava')} --new-tokens 6 --trace-tokens 3"
    done = evbench(f"{asked} --modules --out out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 of 6 new tokens" in done.stdout and "COMPLETE: " in done.stdout and "evbench open out/trace.json.gz" in done.stdout
    assert len(Timeline(chrome.read(tmp_path / "out" / "trace.json.gz").events, "out").steps) == 2
    for options, told in (("--blocks 9", "--blocks would have no effect"), ("--trace-tokens 0", "is no trace")):
        assert told in refused(f"{asked} {options} --out {tmp_path}/wrong", monkeypatch, capsys)
    assert not (tmp_path / "wrong").exists()


@pytest.mark.slow
def test_a_trace_is_handed_to_perfetto_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "trace.json.gz"
    chrome.write(chrome.Trace({}, stages()), file)
    with interruptible(f"open {file}", tmp_path) as running:
        assert running.stdout is not None
        assert "ssh -L 9001:127.0.0.1:9001" in running.stdout.readline()
        link = urlsplit(running.stdout.readline().strip())
        (source,) = parse_qs(link.fragment.removeprefix("!/?"))["url"]
        asked = urllib.request.Request(source, headers={"Origin": f"{link.scheme}://{link.netloc}"})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            assert answer.read() == file.read_bytes()
        assert running.stdout.readline() == "The trace was fetched\n"
        assert running.wait(timeout=30) == 0
    with interruptible(f"open {file}", tmp_path) as running:
        assert running.stdout is not None and running.stderr is not None
        running.stdout.readline()
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=30) == 130
        assert running.stderr.read() == "evbench: interrupted; the trace was not fetched\n"


@pytest.mark.parametrize("command", ["diff {0} {0}", "open {0}"])
def test_what_is_no_trace_is_told_in_one_line(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "trace.json.gz"
    file.write_bytes(b"")
    for name in (file, tmp_path / "gone.json.gz", tmp_path):
        assert str(name) in refused(command.format(name), monkeypatch, capsys)


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


@pytest.mark.slow
def test_a_killed_worker_and_an_interrupt_leave_no_process_and_the_session_goes_on(tmp_path: Path) -> None:
    options = "--new-tokens 4 --blocks 30 --invocations 1 --warmup 2 --trace-tokens 0 --out out"
    asked = f"run baseline {least_model('eventgpt')} {options}"
    raw = tmp_path / "out" / "runs.jsonl"
    with interruptible(asked, tmp_path) as running:
        wait_for(raw, '"block": {', 3)
        kill_a_worker(running)
        _, told = running.communicate(timeout=30)
    assert running.returncode == 1
    assert "the worker of baseline ended with code -9" in told
    assert told.splitlines()[-1].endswith("To go on, give the same command with --out out --resume")
    kept = journal.read(tmp_path / "out")
    assert 3 <= len(kept.blocks) < 30

    with interruptible(f"{asked} --resume", tmp_path) as running:
        wait_for(raw, '"block": {', len(kept.blocks) + 3)
        workers = [int(pid) for pid in Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()]
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=30)
    assert running.returncode == 130
    expected = "evbench: interrupted; the runs that ended are in out/runs.jsonl. To go on, give the same command with --out out --resume"
    assert told.splitlines()[-1] == expected
    assert workers and not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    assert not (tmp_path / "out" / "result.json").exists()
    more = journal.read(tmp_path / "out")
    assert more.blocks[: len(kept.blocks)] == kept.blocks
    assert len(more.blocks) > len(kept.blocks)

    other = evbench(f"{asked} --resume --warmup 9", tmp_path)
    assert other.returncode == 2
    assert "plan.warmup_runs 2 and 9" in other.stderr
    done = evbench(f"{asked} --resume", tmp_path)
    assert done.returncode == 0, done.stderr
    result = results.read(tmp_path / "out")
    assert [block.number for block in result.sessions[0].blocks] == list(range(len(result.sessions[0].blocks)))
    assert len(result.baseline.builds) == 3
    assert result.sessions[0].blocks[: len(more.blocks)] == tuple(more.blocks)


@pytest.mark.slow
def test_where_only_one_worker_fits_they_alternate_and_the_result_says_so(tmp_path: Path) -> None:
    asked = f"compare --baseline baseline --optimized baseline+generate=static {least_model('eventgpt')} --new-tokens 4"
    done = evbench(f"{asked} --order reload --blocks 1 --warmup 1 --trace-tokens 0 --out out", tmp_path)
    assert done.returncode == 4, done.stderr
    assert "INCONCLUSIVE: too few blocks for an interval" in done.stdout
    assert "ORDER=RELOAD" in done.stdout
    result = results.read(tmp_path / "out")
    (block,) = result.sessions[0].blocks
    assert block.order in ("AAAABBBB", "BBBBAAAA")
    # Later each is started once more, to see whether its choices are active and what it puts out.
    turns = {side: [run.turn for run in measured.runs if run.block == 0] for side, measured in result.variants().items()}
    first, second = sorted(turns.values())
    assert max(first) < min(second), "one was ended before the other was started"


@pytest.mark.slow
def test_several_samples_are_run_and_counted_as_samples(tmp_path: Path) -> None:
    for name, order in (("one", "01234"), ("two", "44444")):
        (tmp_path / name).mkdir()
        for place, number in enumerate(order):
            (tmp_path / name / f"{place}.png").write_bytes((sample.EVENTS / f"{number}.png").read_bytes())
    asked = f"compare --baseline baseline --optimized baseline+generate=static {least_model('eventgpt')} --new-tokens 12"
    done = evbench(f"{asked} --events one --events two --blocks 3 --invocations 1 --warmup 5 --trace-tokens 0 --out out", tmp_path)
    assert done.returncode in VERDICTS, done.stderr
    assert "2 samples; the first: one, 5 event images of 640x480" in done.stdout
    assert "identical in all runs of all 2 samples" in done.stdout
    assert "95% CI over 2 samples" in done.stdout
    result = results.read(tmp_path / "out")
    assert [run.path for run in result.baseline.workload.samples] == ["one", "two"]
    assert [block.sample for block in result.sessions[0].blocks if not block.disturbances] == [0, 1, 0, 1]
    answers = {number: {run.tokens for run in result.baseline.runs if run.sample == number} for number in (0, 1)}
    assert all(len(tokens) == 1 for tokens in answers.values())
    assert answers[0] != answers[1], "they are different samples"


@pytest.mark.slow
def test_two_sessions_do_not_measure_at_the_same_time(tmp_path: Path) -> None:
    asked = f"run baseline {least_model('eventgpt')} --new-tokens 4 --warmup 1 --trace-tokens 0"
    with interruptible(f"{asked} --blocks 100000 --out first", tmp_path) as running:
        wait_for(tmp_path / "first" / "runs.jsonl", "timed", 1)
        second = evbench(f"{asked} --no-wait --out second", tmp_path)
        assert second.returncode == 2
        assert f"another evbench (process {running.pid}) is measuring on this CPU" in second.stderr
        assert not (tmp_path / "second").exists()
        with interruptible(f"{asked} --blocks 2 --out third", tmp_path) as waiting:
            assert waiting.stderr is not None
            assert "waiting for it to end" in waiting.stderr.readline()
            running.send_signal(signal.SIGINT)
            running.communicate(timeout=30)
            waiting.communicate(timeout=120)
            assert waiting.returncode == 0


@pytest.mark.slow
def test_a_variant_against_itself_on_this_machine(tmp_path: Path) -> None:
    asked = f"selftest {least_model('eventgpt')} --new-tokens 4 --blocks 6 --invocations 1 --repetitions 2 --warmup 5"
    asked += " --trace-tokens 0"
    done = evbench(f"{asked} --out out", tmp_path, XDG_STATE_HOME=str(tmp_path / "state"))
    assert done.returncode in (0, 6), done.stderr
    assert "The same variant on both sides" in done.stdout
    assert "Not stored: fewer than 10 repetitions" in done.stdout
    assert ("Passed: " in done.stdout) == (done.returncode == 0)
    blocks = [block for block in results.read(tmp_path / "out").sessions[0].blocks if not block.disturbances]
    assert len(blocks) >= 12 or done.returncode == 6
    assert {block.invocation for block in blocks} >= {0, 1}, "each comparison has workers of its own"
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(("faster", "code"), [(1.0, 0), (1.03, 6)])
def test_noise_floors_are_kept_and_heeded(
    faster: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also those of a machine on which the self-test fails: it needs them most. Here its clock is simulated."""
    machine = SimulatedMachine(3, Noise(processes=0.01), faster)
    requests: list[ComparisonRequest] = []

    def simulated(request: ComparisonRequest, listener: object) -> compare.JudgedResult:
        requests.append(request)
        result = simulate(machine, request.plan)
        return compare.JudgedResult(result, judge(result))

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(compare, "carry_out", simulated)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["evbench", *f"selftest --preset tiny --device cpu --repetitions 12 --out {tmp_path}/out".split()])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == code
    told = capsys.readouterr().out
    assert ("Passed: " in told) == (code == 0)
    assert ("**Passed: " in (tmp_path / "out" / "selftest.md").read_text()) == (code == 0)
    assert (requests[0].plan.blocks, requests[0].plan.invocations) == (12 * 12, 12 * 4)
    (floor,) = json.loads((tmp_path / "evbench" / "noise-floors.json").read_text())
    assert floor["work"] == "video-llava tiny on cpu, 72 new tokens"
    assert set(floor["smallest"]) == {"end-to-end", *STAGES, "ttft", "prefill", "tpot"}
    assert floor["smallest"]["end-to-end"] > (0.005 if code == 0 else 0.03)


@pytest.mark.slow
def test_a_planted_delay_is_found_in_its_stage(tmp_path: Path) -> None:
    """A large one: how small a delay can be found depends on how quiet a machine is (profiles/ has one of 2 %)."""
    asked = f"selftest {least_model('eventgpt')} --new-tokens 4 --blocks 8 --invocations 1 --repetitions 1 --warmup 5"
    asked += " --plant vision:400%"
    assert "no share between 0 and 100 %" in evbench(asked, tmp_path).stderr
    done = evbench(asked.replace("400%", "99%") + " --out out", tmp_path, XDG_STATE_HOME=str(tmp_path))
    assert done.returncode in (0, 6)
    judged = judge(results.read(tmp_path / "out"))
    assert {line.name: line.claim for line in judged.stages}["vision"] in ("SLOWER", None), "None if the machine was too busy"
    told = (tmp_path / "out" / "selftest.md").read_text()
    assert ("**Passed: the delay of 99.0% was found in vision and in no other stage**" in told) == (done.returncode == 0)
    assert not list(tmp_path.glob("evbench")), "a noise floor is not measured by a planted delay"


@pytest.mark.slow
def test_one_variant_alone_and_then_as_a_side(tmp_path: Path) -> None:
    options = f"{least_model('eventgpt')} {QUICK}"
    alone = evbench(
        f"run baseline+prefetch=on {options} --throughput 3 --target eventgpt.load<100s --target eventgpt.tpot<1us --out alone",
        tmp_path,
    )
    assert alone.returncode == 3, alone.stderr
    assert "end-to-end" in alone.stdout and "throughput" in alone.stdout
    assert results.read(tmp_path / "alone").optimized is None
    demanded = alone.stdout[alone.stdout.index("Demands") :].splitlines()[4:6]
    assert [line.split()[-1] for line in demanded] == ["yes", "NO"]

    fresh = evbench(f"compare --baseline alone --optimized baseline+generate=static {options} --out both", tmp_path)
    assert fresh.returncode == 4, fresh.stderr
    assert "INCONCLUSIVE: the sides were measured apart" in fresh.stdout
    assert "Throughput, 3 samples back to back: nothing is claimed either" in fresh.stdout
    both = results.read(tmp_path / "both")
    assert both.baseline == replace(results.read(tmp_path / "alone").baseline, trace=None), "its trace stays where it is"
    assert both.optimized is not None
    assert both.optimized.variant == "baseline+generate=static"
    assert len(both.sessions) == 2
    assert "identical, all 20" in fresh.stdout

    other = evbench(f"compare --baseline alone --optimized baseline {options} --new-tokens 21 --out other", tmp_path)
    assert other.returncode == 2
    assert "not the same work: new_tokens 20 and 21" in other.stderr
    assert not (tmp_path / "other").exists(), "refused before anything is made"


def test_results_of_other_machines_are_compared_only_if_allowed_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = make_session(machine=replace(MACHINE, cpu="Other CPU", packages={"torch": "2.15"}))
    results.write(make_result(), tmp_path / "here.json")
    later = replace(
        make_result(
            sessions=(replace(there, started="2027-01-01T00:00:00Z"),), baseline=replace(make_side(), session="2027-01-01T00:00:00Z")
        )
    )
    results.write(later, tmp_path / "there.json")
    asked = "compare --baseline here.json --optimized there.json --out out"
    monkeypatch.chdir(tmp_path)
    told = refused(asked, monkeypatch, capsys)
    assert "cpu: CPU and Other CPU; torch: 2.14 and 2.15" in told
    assert "--allow cpu --allow torch" in told
    refused(f"{asked} --allow cpu", monkeypatch, capsys)
    assert "unknown --allow 'cup'; did you mean 'cpu'?" in refused(f"{asked} --allow cup", monkeypatch, capsys)
    allowed = evbench(f"{asked} --allow cpu --allow torch", tmp_path)
    assert allowed.returncode == 4
    assert "on Other CPU" in allowed.stdout
    assert "cpu: CPU and Other CPU; torch: 2.14 and 2.15" in allowed.stdout


@pytest.mark.parametrize("count", ["-1", "1001", "some", "2.5"])
def test_a_row_that_cannot_be_is_refused(
    count: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["evbench", *COMPARE.split(), "--throughput", count])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "--throughput" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


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
        (f"{COMPARE} --model eventgpt --frame-policy stride", "--model eventgpt takes none: it would have no effect; leave it out"),
        ("run baseline --model eventgpt --frame-policy stride", "--frame-policy is of the frames of a video"),
        (f"{COMPARE} --preset tiny --weights .", "exclude each other"),
        (f"{COMPARE} --events .", "--events is not for --model video-llava"),
        (f"{COMPARE} --model eventgpt --video a.mp4", "--video is not for --model eventgpt"),
        (f"{COMPARE} --event-window 0:50ms", "--event-window: of raw events, and"),
        (f"{COMPARE} --model eventgpt --event-limit none --event-size own", "--event-limit, --event-size: of raw events, and"),
        (f"{COMPARE} --model eventgpt --events a.npz", "a.npz: no such file; give a file of raw events"),
        (
            f"{COMPARE} --model eventgpt --events a.npz --events b",
            "a.npz holds raw events and b holds event images; give samples of one kind",
        ),
        (f"{COMPARE} --model eventgpt --events a.npz --event-window 50", "--event-window '50' cannot be read; write START:LENGTH"),
        (f"{COMPARE} --model eventgpt --events a.npz --event-window 0:0ms", "--event-window '0:0ms' cannot be read"),
        (
            f"{COMPARE} --model eventgpt --events a.npz --event-limit 0.1s",
            "--event-limit '0.1s' cannot be read; write a time such as 100ms",
        ),
        (f"{COMPARE} --model eventgpt --events a.npz --event-size camera", "unknown --event-size 'camera'; there is own, sensor"),
        (f"{COMPARE} --model eventgpt --raw-events", "--raw-events is of the scenes in --data, which is not given"),
        (f"{COMPARE} --data . --raw-events", "--raw-events is not for --model video-llava"),
        (f"{COMPARE} --weights none", "--weights none: no such folder"),
        (f"{COMPARE} --weights .", "has no readable config.json"),
        (f"{COMPARE} --device gpu", "unknown --device 'gpu'"),
        ("compare --baseline baseline --optimized optimized-gpu --device cpu", "needs an NVIDIA GPU, and the run is on the CPU"),
        (f"{COMPARE} --prompt 'look at <video>'", "contains a placeholder for pictures"),
        (f"{COMPARE} --video {'x' * 300}.mp4", "File name too long"),
        ("compare --baseline none/result.json --optimized optimized", "cannot read result none/result.json"),
        (f"{COMPARE} --precision 1", "--precision '1' is no share between 0 and 100 %"),
        (f"{COMPARE} --order abba", "unknown --order 'abba'"),
        (f"{COMPARE} --target generate", "--target 'generate' cannot be read"),
        (f"{COMPARE} --target eventgpt.generate<2s", "is of eventgpt, and video-llava is measured"),
        (f"{COMPARE} --fail-if slower", "--fail-if 'slower' cannot be read"),
        (f"{COMPARE} --resume", "--resume goes on with the session in --out"),
        (f"{COMPARE} --resume --out none", "cannot read none/session.json"),
        (f"{COMPARE} --data none", "none/dataset.json"),
        (f"{COMPARE} --limit 3", "--limit is of the scenes in --data"),
        (f"{COMPARE} --data . --video a.mp4", "--video and --data exclude each other"),
        ("selftest --device cpu --plant loading:2%", "names no stage and share"),
        ("selftest --device cpu --plant vision", "names no stage and share"),
        ("selftest --device cpu --precision 1%", "takes no --target and no --precision"),
        ("selftest --device cpu --blocks 5", "--blocks 5 are too few for any interval"),
        (f"{COMPARE} --max-time inf", "--max-time inf is no number of seconds"),
        ("run optimised --device cpu", "did you mean 'optimized'?"),
        ("run optimized+prefetch=onn --device cpu", "did you mean 'on'?"),
        ("run optimized+prefetch=batched --device cpu", "because that decoder takes one file at a time"),
        ("run optimized-gpu+prefetch=batched --device cpu", "prefill=eager+prefetch=on"),
        ("variants --model llava", "unknown --model 'llava'"),
    ],
)
def test_wrong_options_are_refused_in_one_line(
    arguments: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in refused(arguments, monkeypatch, capsys)
    assert list(tmp_path.iterdir()) == [], "refused before anything is made"


def test_an_interrupt_while_input_is_looked_at_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(path: Path) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(video, "probe", interrupt)
    monkeypatch.setattr(sys, "argv", ["evbench", "run", "baseline", "--device", "cpu"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130
    assert capsys.readouterr() == ("", "evbench: interrupted\n")


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
    from evbench.machine import machine as this_machine

    monkeypatch.setattr(this_machine, "_memory_bytes", lambda: 16 * 2**30)
    line = refused(f"{COMPARE} --preset 7b --out {tmp_path}/out", monkeypatch, capsys)
    assert "need 27 GiB, this machine has 16" in line


def test_files_with_spaces_and_other_letters_in_their_names_run(tmp_path: Path) -> None:
    clip = tmp_path / "mit Leerzeichen ünïcödé 视频.mp4"
    clip.write_bytes(sample.CLIP.read_bytes())
    done = evbench(
        f"run baseline --device cpu --blocks 1 --warmup 0 --new-tokens 2 --trace-tokens 0 --video '{clip}' --out 'out ü'", tmp_path
    )
    assert done.returncode == 0, done.stderr
    result = results.read(tmp_path / "out ü")

    assert result.baseline.workload.samples[0].path == clip.name, "told relative to the current folder"
    assert result.baseline.trace is None


def test_weights_of_other_shapes_are_refused_in_one_line_of_the_command(tmp_path: Path) -> None:
    """Found by the worker; the user sees the same kind of line."""
    save_tiny_video_llava(tmp_path / "weights")
    change_config(tmp_path / "weights", text_config__intermediate_size=360)
    done = evbench("run baseline --device cpu --weights weights --blocks 1 --out out", tmp_path)
    assert done.returncode == 2
    assert "use the config of these weights" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
