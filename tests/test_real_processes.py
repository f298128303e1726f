"""The command as a person uses it: several processes, some of which are killed, wait for each other, or take turns."""

from __future__ import annotations

import re
import signal
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from evbench import results
from evbench.inputs import sample
from evbench.session import journal
from evbench.traces import chrome
from evbench.traces.timeline import Timeline
from evbench.verdict.judge import judge
from tests.checkpoints import change_config, least_model, save_tiny_video_llava
from tests.command import evbench, interruptible, is_running, kill_a_worker, refused, wait_for, workers
from tests.traces import stages

QUICK = "--blocks 6 --invocations 1 --warmup 5 --new-tokens 20 --trace-tokens 5"
VERDICTS = (0, 3, 4, 6)
"""Exit codes of a comparison that was carried out, on a machine that may be busy with something else."""


@pytest.mark.slow
def test_one_variant_is_traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = f"trace baseline {least_model('video-llava')} --new-tokens 6 --trace-tokens 3"
    done = evbench(f"{asked} --modules --out out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 of 6 new tokens" in done.stdout and "COMPLETE: " in done.stdout and "evbench open out/trace.json.gz" in done.stdout
    assert len(Timeline(chrome.read(tmp_path / "out" / "trace.json.gz").events, "out").steps) == 2
    capsys.readouterr()  # what was told while the weights were made
    for options, told in (("--blocks 9", "evbench trace takes no --blocks; leave it out"), ("--trace-tokens 0", "is no trace")):
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


@pytest.mark.slow
def test_sessions_wait_for_each_other_and_what_is_killed_or_interrupted_leaves_no_process_and_goes_on(tmp_path: Path) -> None:
    options = "--new-tokens 4 --blocks 120 --invocations 1 --warmup 2 --trace-tokens 0 --out out"
    asked = f"run baseline {least_model('eventgpt')} {options}"
    raw = tmp_path / "out" / "runs.jsonl"
    with interruptible(asked, tmp_path) as running:
        wait_for(raw, '"block": {', 1)
        second = evbench(f"{asked}/second --no-wait", tmp_path)
        assert (second.returncode, f"another evbench (process {running.pid}) is measuring on this CPU" in second.stderr) == (2, True)
        assert not (tmp_path / "out" / "second").exists()
        with interruptible(f"{asked}-later", tmp_path) as waiting:
            assert waiting.stderr is not None
            assert "waiting for it to end" in waiting.stderr.readline()
            wait_for(raw, '"block": {', 3)
            kill_a_worker(running)
            _, told = running.communicate(timeout=30)
            assert "start the worker" in waiting.stderr.readline(), "it goes on"
            waiting.send_signal(signal.SIGINT)
            assert waiting.wait(timeout=30) == 130
    assert running.returncode == 1
    assert "the worker of baseline ended with code -9" in told
    assert told.splitlines()[-1].endswith("To go on, give the same command with --out out --resume")
    kept = journal.read(tmp_path / "out")
    assert 3 <= len(kept.blocks) < 120

    with interruptible(f"{asked} --resume", tmp_path) as running:
        wait_for(raw, '"block": {', len(kept.blocks) + 3)
        started = workers(running)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=30)
    assert running.returncode == 130
    expected = "evbench: interrupted; the runs that ended are in out/runs.jsonl. To go on, give the same command with --out out --resume"
    assert told.splitlines()[-1] == expected
    assert started and not [pid for pid in started if Path(f"/proc/{pid}").exists()]
    assert not (tmp_path / "out" / "result.json").exists()
    more = journal.read(tmp_path / "out")
    assert more.blocks[: len(kept.blocks)] == kept.blocks
    assert len(more.blocks) > len(kept.blocks)

    with interruptible(f"{asked} --resume", tmp_path) as running:
        wait_for(raw, '"block": {', len(more.blocks) + 2)
        started = workers(running)
        running.kill()
        running.wait()
        deadline = time.monotonic() + 5
        while any(map(is_running, started)):
            assert time.monotonic() < deadline, "workers outlive a parent that is killed in their timed runs"
    more = journal.read(tmp_path / "out")

    other = evbench(f"{asked} --resume --warmup 9", tmp_path)
    assert other.returncode == 2
    assert "plan.warmup_runs 2 and 9" in other.stderr
    done = evbench(f"{asked} --resume", tmp_path)
    assert done.returncode == 0, done.stderr
    result = results.read(tmp_path / "out")
    assert [block.number for block in result.sessions[0].blocks] == list(range(len(result.sessions[0].blocks)))
    assert len(result.baseline.builds) == 4
    assert result.sessions[0].blocks[: len(more.blocks)] == tuple(more.blocks)


@pytest.mark.long
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


@pytest.mark.long
def test_several_samples_are_run_and_counted_as_samples(tmp_path: Path) -> None:
    for name, order in (("one", "01234"), ("two", "44444")):
        (tmp_path / name).mkdir()
        for place, number in enumerate(order):
            (tmp_path / name / f"{place}.png").write_bytes((sample.EVENTS / f"{number}.png").read_bytes())
    asked = f"compare --baseline baseline --optimized baseline+generate=static {least_model('eventgpt')} --new-tokens 12"
    done = evbench(f"{asked} --events one --events two --blocks 3 --invocations 1 --warmup 5 --trace-tokens 0 --out out", tmp_path)
    assert done.returncode in VERDICTS, done.stderr
    assert "identical in all runs of all 2 samples" in " ".join(done.stdout.split())
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "2 samples; the first: one, 5 event images of 640x480" in report
    assert "95% CI over 2 samples" in report or done.returncode == 6, "6 on a machine that is too busy"
    result = results.read(tmp_path / "out")
    assert [run.path for run in result.baseline.workload.samples] == ["one", "two"]
    assert [block.sample for block in result.sessions[0].blocks if not block.disturbances] == [0, 1, 0, 1]
    answers = {number: {run.tokens for run in result.baseline.runs if run.sample == number} for number in (0, 1)}
    assert all(len(tokens) == 1 for tokens in answers.values())
    assert answers[0] != answers[1], "they are different samples"


@pytest.mark.long
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


@pytest.mark.long
def test_a_planted_delay_is_found_in_its_stage(tmp_path: Path) -> None:
    """A large one: how small a delay can be found depends on how quiet a machine is (profiles/ has one of 2 %)."""
    asked = f"selftest {least_model('eventgpt')} --new-tokens 4 --blocks 8 --invocations 1 --repetitions 1 --warmup 5"
    asked += " --plant vision:400%"
    assert "between 0 and 100 %" in evbench(asked, tmp_path).stderr
    done = evbench(asked.replace("400%", "99%") + " --out out", tmp_path, XDG_STATE_HOME=str(tmp_path))
    assert done.returncode in (0, 6)
    judged = judge(results.read(tmp_path / "out"))
    assert {line.name: line.claim for line in judged.stages}["vision"] in ("SLOWER", None), "None if the machine was too busy"
    told = (tmp_path / "out" / "selftest.md").read_text()
    assert ("**Passed: the delay of 99.0% was found in vision and in no other stage**" in told) == (done.returncode == 0)
    assert not list(tmp_path.glob("evbench")), "a noise floor is not measured by a planted delay"


@pytest.mark.long
def test_one_variant_alone_and_then_as_a_side(tmp_path: Path) -> None:
    options = f"{least_model('eventgpt')} {QUICK}"
    alone = evbench(
        f"run baseline+prefetch=on {options} --throughput 3 --target eventgpt.load<100s --target eventgpt.tpot<1us --out alone",
        tmp_path,
    )
    assert alone.returncode == 3, alone.stderr
    assert "end-to-end" in alone.stdout and "throughput" in alone.stdout
    assert results.read(tmp_path / "alone").optimized is None
    report = (tmp_path / "alone" / "report.md").read_text(encoding="utf-8")
    demanded = report[report.index("## Demands") :].splitlines()[4:6]
    assert [line.split()[-2] for line in demanded] == ["yes", "NO"]
    assert re.fullmatch(r"exit 3: tpot [\d.]+ .?s, target 1.00 µs", alone.stdout.splitlines()[-1])

    fresh = evbench(f"compare --baseline alone --optimized baseline+generate=static {options} --out both", tmp_path)
    assert fresh.returncode in (4, 6), fresh.stderr
    assert "INCONCLUSIVE: the sides are of different sessions" in fresh.stdout or fresh.returncode == 6, "6 on a machine that is too busy"
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


@pytest.mark.long
def test_weights_of_other_shapes_are_refused_in_one_line_of_the_command(tmp_path: Path) -> None:
    """Found by the worker; the user sees the same kind of line."""
    save_tiny_video_llava(tmp_path / "weights")
    change_config(tmp_path / "weights", text_config__intermediate_size=360)
    done = evbench("run baseline --device cpu --weights weights --blocks 1 --out out", tmp_path)
    assert done.returncode == 2
    assert "use the config of these weights" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
