"""How a ladder is carried out: on a machine whose clock is simulated, and once really."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from evbench import results
from evbench.cli.main import main
from evbench.errors import UserError
from evbench.machine import machine
from evbench.places import short_workload
from evbench.report.units import format_ratios
from evbench.results import FORMAT, Activation, SideResult, Workload
from evbench.session import compare, journal, ladder
from evbench.session.config import SessionConfig
from evbench.session.journal_state import JournalHeader
from evbench.session.progress import ProgressListener
from evbench.session.request import ComparisonRequest
from evbench.variants.named import parse
from evbench.verdict import interactions
from evbench.verdict import ladder as verdict_ladder
from evbench.verdict.judge import judge
from evbench.verdict.judgement import Verdict
from evbench.worker.client import WorkerDied, WorkerGaveUp
from tests.checkpoints import least_model
from tests.command import evbench, interruptible, refused, wait_for
from tests.examples import GREEDY
from tests.simulation import PLAN, Noise, SimulatedMachine, SimulatedWorker, finished, simulated_workload

QUIET = Noise(0.002, 0.0, 0.0, 0.0)


@dataclass
class SimulatedComparisons:
    """Stands in for compare.carry_out: writes the same files, with simulated times."""

    faster: dict[str, float] = field(default_factory=dict)
    """Name of a comparison's folder -> true ratio."""
    ends: dict[str, BaseException] = field(default_factory=dict)
    """Name of a folder -> how it ends instead, after its first worker was built."""
    requests: list[tuple[str, bool]] = field(default_factory=list)
    """(name of the folder, whether it was to be resumed) of each."""

    def carry_out(self, request: ComparisonRequest, listener: ProgressListener) -> compare.JudgedResult:
        assert not request.energy, "a ladder does not report it"
        name = request.folder.name
        self.requests.append((name, request.resume))
        simulated = SimulatedMachine(len(name), QUIET, self.faster.get(name, 1.0))
        here = machine.read(request.device())
        choices: dict[str, dict[str, str]] = {side: {"name": one.name, **one.choices()} for side, one in request.variants.items()}
        workloads: dict[str, Workload] = {side: short_workload(workload) for side, workload in request.workloads.items()}
        header = JournalHeader(FORMAT, request.created, here, request.plan, 0, workloads, choices, ())
        with (journal.resume if request.resume else journal.create)(request.folder, header) as opened:
            if name in self.ends:
                opened.add_build("baseline", SimulatedWorker(simulated, "baseline", 1.0).built())
                raise self.ends[name]
            result = finished(SessionConfig(request.variants, opened, simulated.start, simulated, listener, energy=request.energy))
        assert result.optimized is not None
        sides = _active(result.baseline), _active(result.optimized)
        result = replace(result, command=request.command, rules=request.rules, baseline=sides[0], optimized=sides[1])
        results.write(result, request.folder / "result.json")
        return compare.JudgedResult(result, judge(result))


def _active(measured: SideResult) -> SideResult:
    """With evidence of its own choices: the simulated worker knows the baseline's only."""
    return replace(measured, activations=(*(Activation(part, choice, True, "1 x it") for part, choice in measured.choices.items()), GREEDY))


@dataclass
class Messages:
    """A listener that stores its messages."""

    said: list[str] = field(default_factory=list)

    def step(self, activity: str, done: int, total: int, /) -> None: ...

    def message(self, text: str, /) -> None:
        self.said.append(text)


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> SimulatedComparisons:
    made = SimulatedComparisons({"1-decode-threaded": 1.25, "whole": 1.25, "without-decode-threaded": 1.25})
    monkeypatch.setattr(compare, "carry_out", made.carry_out)
    return made


def asked_for(
    folder: Path, resume: bool = False, upper: str = "fast-pixels", leave_one_out: bool = True, combined: tuple[str, ...] = ()
) -> ladder.LadderRequest:
    numbers = count()
    lower, top = parse("baseline"), parse(upper)
    return ladder.LadderRequest(
        lower=lower,
        upper=top,
        steps=verdict_ladder.plan(lower, top, "video-llava", "video", leave_one_out, combined),
        workload=simulated_workload(),
        plan=replace(PLAN, trace_tokens=0),
        noise_floors={},
        folder=folder,
        command="evbench ladder",
        resume=resume,
        wait=True,
        now=lambda: f"2026-01-01T00:00:{next(numbers):02}Z",
    )


NAMES = ["1-decode-threaded", "2-preprocess-direct", "whole", "without-decode-threaded"]


def test_each_comparison_has_a_folder_and_what_came_of_all_is_written(simulated: SimulatedComparisons, tmp_path: Path) -> None:
    listener = Messages()
    rungs = ladder.climb(asked_for(tmp_path / "out"), listener)
    assert simulated.requests == [(name, False) for name in NAMES]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*NAMES, "ladder.json", "ladder.md"}
    assert {rung.step.name: rung.claim for rung in rungs} == {
        "1-decode-threaded": Verdict.FASTER,
        "2-preprocess-direct": Verdict.SAME,
        "whole": Verdict.FASTER,
        "without-decode-threaded": Verdict.FASTER,
        "without-preprocess-direct": Verdict.SAME,
    }
    assert ladder.read(tmp_path / "out").rungs == rungs
    report = (tmp_path / "out" / "ladder.md").read_text(encoding="utf-8")
    assert "- preprocess=direct, added to the rung below: no speedup: " in report
    assert [line.partition(": FASTER")[0].partition(": SAME")[0] for line in listener.said if "comparisons: " in line] == [
        f"{place} of 4 comparisons: {name}" for place, name in enumerate(NAMES, 1)
    ]
    started = [results.read(tmp_path / "out" / name).sessions[0].started for name in NAMES]
    assert len(set(started)) == 4, "each is a session of its own"


def test_the_file_has_for_each_rung_what_a_program_may_ask(simulated: SimulatedComparisons, tmp_path: Path) -> None:
    ladder.climb(asked_for(tmp_path / "out"), Messages())
    content = json.loads((tmp_path / "out" / "ladder.json").read_text(encoding="utf-8"))
    assert content["format"] == ladder.FORMAT
    assert content["header"]["choices"]["to"]["name"] == "fast-pixels"
    first = content["rungs"][0]
    assert (first["step"]["name"], first["step"]["folder"], first["step"]["parts"]) == (
        "1-decode-threaded",
        "1-decode-threaded",
        ["decode"],
    )
    assert (first["claim"], first["outcome"]["verdict"], first["outcome"]["exit_code"], first["outcome"]["preserved"]) == (
        "FASTER",
        "FASTER",
        0,
        "pass",
    )
    interval = first["outcome"]["end_to_end"]["interval"]
    assert 1.2 < interval["low"] < interval["high"] < 1.3
    assert set(first["outcome"]["stages"]) == {"load"}


def test_combined_choices_are_compared_too_and_those_of_the_ladder_once(simulated: SimulatedComparisons, tmp_path: Path) -> None:
    simulated.faster |= {"with-preprocess": 1.2, "whole": 1.25 * 1.2 * 0.9}
    rungs = ladder.climb(asked_for(tmp_path / "out", combined=("decode", "preprocess")), Messages())
    assert [name for name, _ in simulated.requests] == [*NAMES, "with-preprocess"], "decode alone is the first rung, both are the whole"
    (pair,) = interactions.pairs(rungs)
    assert pair.differs and pair.ratio.ratio == pytest.approx(0.9, rel=0.01)
    simulated.requests = []
    assert ladder.climb(asked_for(tmp_path / "out", resume=True, combined=("decode", "preprocess")), Messages()) == rungs
    assert simulated.requests == []
    assert ladder.read(tmp_path / "out").rungs == rungs
    assert "decode=threaded and preprocess=direct: both together have 0.90x" in (tmp_path / "out" / "ladder.md").read_text(encoding="utf-8")


def test_an_interrupted_ladder_keeps_what_ended_and_goes_on(simulated: SimulatedComparisons, tmp_path: Path) -> None:
    simulated.ends = {"2-preprocess-direct": KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        ladder.climb(asked_for(tmp_path / "out"), Messages())
    kept = ladder.read(tmp_path / "out")
    assert [rung.step.name for rung in kept.rungs if rung.outcome is not None] == ["1-decode-threaded"]
    assert kept.rungs[0].claim is Verdict.FASTER
    assert "| not run yet |" in (tmp_path / "out" / "ladder.md").read_text(encoding="utf-8")
    ended = (tmp_path / "out" / "1-decode-threaded" / "result.json").read_bytes()

    simulated.ends, simulated.requests = {}, []
    rungs = ladder.climb(asked_for(tmp_path / "out", resume=True), Messages())
    assert simulated.requests == [("2-preprocess-direct", True), ("whole", False), ("without-decode-threaded", False)]
    assert rungs[0] == kept.rungs[0]
    assert (tmp_path / "out" / "1-decode-threaded" / "result.json").read_bytes() == ended
    assert all(rung.outcome is not None for rung in rungs)
    assert ladder.read(tmp_path / "out").header == kept.header

    simulated.requests = []
    assert ladder.climb(asked_for(tmp_path / "out", resume=True), Messages()) == rungs
    assert simulated.requests == [], "all of it had ended"


@pytest.mark.parametrize("error", [WorkerDied("the worker of optimized ended with code -9"), WorkerGaveUp("optimized: out of GPU memory")])
def test_a_dead_worker_costs_its_rung_only_and_is_tried_again(simulated: SimulatedComparisons, tmp_path: Path, error: Exception) -> None:
    simulated.ends = {"2-preprocess-direct": error}
    listener = Messages()
    rungs = ladder.climb(asked_for(tmp_path / "out"), listener)
    assert [name for name, _ in simulated.requests] == NAMES
    assert verdict_ladder.exit_code(rungs) == 1
    assert rungs[1].outcome == verdict_ladder.failed(str(error))
    assert f"2 of 4 comparisons: 2-preprocess-direct: could not be run: {error}" in listener.said
    assert f"preprocess=direct, added to the rung below: could not be measured: {error}." in (tmp_path / "out" / "ladder.md").read_text()

    simulated.ends, simulated.requests = {}, []
    rungs = ladder.climb(asked_for(tmp_path / "out", resume=True), Messages())
    assert simulated.requests == [("2-preprocess-direct", True)]
    assert verdict_ladder.exit_code(rungs) == 0


def test_a_wrong_that_is_not_of_one_rung_ends_the_ladder(simulated: SimulatedComparisons, tmp_path: Path) -> None:
    simulated.ends = {"2-preprocess-direct": UserError("another evbench is measuring on this CPU")}
    with pytest.raises(UserError, match="another evbench"):
        ladder.climb(asked_for(tmp_path / "out"), Messages())
    assert [name for name, _ in simulated.requests] == NAMES[:2]
    assert ladder.read(tmp_path / "out").rungs[0].outcome is not None


def test_a_folder_with_a_ladder_is_left_alone_unless_it_is_resumed(simulated: SimulatedComparisons, tmp_path: Path) -> None:
    ladder.climb(asked_for(tmp_path / "out"), Messages())
    with pytest.raises(UserError, match="holds an earlier ladder; go on with it by --resume"):
        ladder.climb(asked_for(tmp_path / "out"), Messages())
    with pytest.raises(UserError, match="holds an earlier session"):
        ladder.climb(asked_for(tmp_path / "out" / "whole"), Messages())
    assert len(simulated.requests) == 4


def test_resume_asks_for_the_same(simulated: SimulatedComparisons, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--resume: cannot read .*ladder\.json .*; give the --out of a ladder that was interrupted"):
        ladder.climb(asked_for(tmp_path, resume=True), Messages())
    folder = tmp_path / "out"
    ladder.climb(asked_for(folder), Messages())
    with pytest.raises(UserError, match=r"choices\.to\.name 'fast-pixels' and 'fast-vision'; choices\.to\.vision 'eager' and 'compile'"):
        ladder.climb(asked_for(folder, resume=True, upper="fast-vision"), Messages())
    with pytest.raises(UserError, match=r"plan\.blocks 10 and 11"):
        ladder.climb(replace(asked_for(folder, resume=True), plan=replace(PLAN, trace_tokens=0, blocks=11)), Messages())
    with pytest.raises(UserError, match=r"workloads\.from\.new_tokens 3 and 4"):
        ladder.climb(replace(asked_for(folder, resume=True), workload=replace(simulated_workload(), new_tokens=4)), Messages())
    assert len(simulated.requests) == 4


def test_a_folder_that_holds_another_comparison_is_not_taken_for_the_rung(simulated: SimulatedComparisons, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    ladder.climb(asked_for(folder), Messages())
    (folder / "whole" / "result.json").write_bytes((folder / "1-decode-threaded" / "result.json").read_bytes())
    with pytest.raises(UserError, match=r"out/whole: --resume: .*choices\.optimized\.name 'baseline\+decode=threaded' and 'fast-pixels'"):
        ladder.climb(asked_for(folder, resume=True), Messages())


def test_leaving_one_out_can_be_added_later_and_a_removed_folder_is_run_again(simulated: SimulatedComparisons, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    ladder.climb(asked_for(folder, leave_one_out=False), Messages())
    assert [name for name, _ in simulated.requests] == NAMES[:3]
    shutil.rmtree(folder / "whole")
    simulated.requests = []
    ladder.climb(asked_for(folder, resume=True), Messages())
    assert simulated.requests == [("whole", False), ("without-decode-threaded", False)]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is damaged"),
        ("[]", "is of another version of evbench"),
        ('{"format": 0}', "is of another version of evbench"),
        ('{"format": 2}', "is damaged (ladder lacks the fields "),
    ],
)
def test_a_damaged_file_is_told(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "ladder.json").write_text(content)
    with pytest.raises(UserError) as caught:
        ladder.read(tmp_path)
    assert told in str(caught.value)
    assert str(caught.value).endswith("begin anew with another --out")


def test_a_verdict_that_there_is_not_is_told_with_its_place(simulated: SimulatedComparisons, tmp_path: Path) -> None:
    ladder.climb(asked_for(tmp_path / "out"), Messages())
    file = tmp_path / "out" / "ladder.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"claim": "FASTER"', '"claim": "FAST"'), encoding="utf-8")
    with pytest.raises(UserError, match=r"is damaged \(ladder\.rungs\[0\]\.outcome\.end_to_end\.claim is 'FAST', where FASTER or SAME "):
        ladder.read(tmp_path / "out")


def whole_gone(content: dict[str, Any]) -> None:
    content["rungs"] = [rung for rung in content["rungs"] if rung["step"]["kind"] != "whole"]


def part_gone(content: dict[str, Any]) -> None:
    content["rungs"][0]["step"]["optimized"]["selection"][0][0] = "x"


def choice_gone(content: dict[str, Any]) -> None:
    del content["rungs"][0]["step"]["optimized"]["selection"][0][1]


def workloads_gone(content: dict[str, Any]) -> None:
    content["header"]["workloads"] = {}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (workloads_gone, "its header has the workloads of no side, where that of from is"),
        (whole_gone, "0 of its rungs are of the whole, where 1 is"),
        (part_gone, "the sides of '1-decode-threaded' do not have the parts in which they are said to differ"),
        (choice_gone, r"selection\[0\] is \['decode'\], where a list of 2 is expected"),
    ],
)
def test_rungs_that_do_not_fit_together_are_told(
    change: Callable[[dict[str, Any]], None], told: str, simulated: SimulatedComparisons, tmp_path: Path
) -> None:
    ladder.climb(asked_for(tmp_path / "out"), Messages())
    file = tmp_path / "out" / "ladder.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=told):
        ladder.read(tmp_path / "out")


# The command.


QUICK = "--preset tiny --device cpu --new-tokens 4 --trace-tokens 0"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--target 'video-llava.end-to-end<1s'", "evbench ladder takes no --target; leave it out"),
        ("--fail-if slower:2%", "evbench ladder takes no --fail-if; leave it out"),
        ("--from optimized", "optimized and optimized have the same choices"),
        ("--from basline", "did you mean 'baseline'?"),
        ("--to optimized-gpu", "decode=dali and preprocess=triton"),
        ("--from baseline+decode=dali", "decode=dali needs"),
        ("--resume", "--resume goes on with the session in --out, which is not given"),
        ("--order sideways", "unknown --order 'sideways'"),
    ],
)
def test_wrong_options_are_refused_in_one_line(
    arguments: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in refused(f"ladder {QUICK} {arguments}", monkeypatch, capsys)
    assert list(tmp_path.iterdir()) == [], "nothing is made"


@pytest.mark.parametrize(
    ("ends", "code"), [({}, 0), ({"2-preprocess-direct": WorkerDied("it died")}, 1), ({"whole": KeyboardInterrupt()}, 130)]
)
def test_the_command_tells_which_choice_pays_and_exits_with_the_whole(
    ends: dict[str, BaseException],
    code: int,
    simulated: SimulatedComparisons,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    simulated.ends = ends
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["evbench", *f"ladder --to fast-pixels {QUICK} --invocations 1 --out {tmp_path}/out".split()])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == code
    output = capsys.readouterr()
    if code == 130:
        assert f"are in {tmp_path}/out/ladder.md. To go on, give the same command with --out {tmp_path}/out --resume" in output.err
        return
    told = output.out.splitlines()
    assert any(line.startswith("decode=threaded, added to the rung below: faster: speedup 1.2") for line in told)
    assert any(line.startswith("decode=threaded, added to all the others: faster: speedup 1.2") for line in told)
    assert any(line.startswith("fast-pixels against baseline: FASTER: speedup 1.2") for line in told)
    ending = "could not be measured" if ends else "no speedup"
    assert any(line.startswith(f"preprocess=direct, added to the rung below: {ending}") for line in told)
    assert told[-2] == f"Written to {tmp_path}/out: ladder.md, ladder.json, and a folder for each comparison"
    assert told[-1].startswith(f"exit {code}: ")
    assert "…" not in output.out, "nothing is cut off"


def test_each_choice_is_judged_among_the_others(simulated: SimulatedComparisons, tmp_path: Path) -> None:
    """Six blocks among two choices: Student's interval, in the file, the table and the claim."""
    rungs = ladder.climb(replace(asked_for(tmp_path / "out"), plan=replace(PLAN, blocks=6, trace_tokens=0)), Messages())
    first, whole = rungs[0], next(rung for rung in rungs if rung.step.kind == "whole")
    assert first.end_to_end is not None and first.end_to_end.interval is not None
    assert whole.end_to_end is not None and whole.end_to_end.interval is not None
    assert (first.end_to_end.interval.confidence, whole.end_to_end.interval.confidence) == pytest.approx((0.975, 0.95))
    assert (first.claim, whole.claim) == (Verdict.FASTER, Verdict.FASTER)
    low, high = first.end_to_end.interval.low, first.end_to_end.interval.high
    told = (tmp_path / "out" / "ladder.md").read_text(encoding="utf-8").splitlines()
    (sentence,) = [line for line in told if line.startswith("- decode=threaded, added to the rung")]
    assert f"95% CI {format_ratios(low, high)}" in sentence
    assert ladder.read(tmp_path / "out").rungs == rungs


def test_a_ladder_of_before_is_read_and_its_claims_are_of_today(simulated: SimulatedComparisons, tmp_path: Path) -> None:
    """It has chances, and no intervals among the choices. They are derived from the results; where these are gone nothing is claimed."""
    out = tmp_path / "out"
    rungs = ladder.climb(asked_for(out), Messages())
    told = (out / ladder.REPORT).read_text(encoding="utf-8")
    content = json.loads((out / ladder.RAW).read_text(encoding="utf-8"))
    for rung in content["rungs"]:
        del rung["outcome"]["among_choices"]
        for timing in (rung["outcome"]["end_to_end"], *rung["outcome"]["stages"].values()):
            del timing["interval"]["confidence"]
            timing["interval"]["p"] = 0.002
    (out / ladder.RAW).write_text(json.dumps(content | {"format": 2}), encoding="utf-8")
    before = ladder.read(out).rungs
    assert [rung.step for rung in before] == [rung.step for rung in rungs]
    assert {rung.outcome.among_choices for rung in before if rung.outcome is not None} == {None}
    stored = [rung.outcome.end_to_end.interval for rung in before if rung.outcome is not None and rung.outcome.end_to_end is not None]
    assert {interval.confidence for interval in stored if interval is not None} == {0.95}
    ladder.write_derived(out)
    assert (out / ladder.REPORT).read_text(encoding="utf-8") == told
    for name in NAMES:
        (out / name / "result.json").unlink()
    ladder.write_derived(out)
    assert "decode=threaded, added to the rung below: unclear" in (out / ladder.REPORT).read_text(encoding="utf-8")


@pytest.mark.long
def test_a_ladder_on_this_machine_that_is_interrupted_and_goes_on(tmp_path: Path) -> None:
    """Of one choice, so that its rung, the whole, and the whole without it are one comparison."""
    asked = f"ladder --from baseline --to baseline+preprocess=direct {least_model('eventgpt')} --blocks 6"
    asked += " --invocations 1 --new-tokens 4 --warmup 5 --trace-tokens 0 --out out"
    out, name = tmp_path / "out", "1-preprocess-direct"
    raw = out / name / "runs.jsonl"
    with interruptible(asked, tmp_path) as running:
        wait_for(raw, '"block": {', 2)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=30)
    assert running.returncode == 130
    assert told.splitlines()[-1].endswith("To go on, give the same command with --out out --resume")
    assert not any(rung.outcome for rung in ladder.read(out).rungs)
    kept = journal.read(out / name).blocks

    done = evbench(f"{asked} --resume", tmp_path)
    assert done.returncode in (0, 3, 4, 6), done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    rungs = ladder.read(out).rungs
    assert [(rung.step.name, rung.step.folder) for rung in rungs] == [(step, name) for step in (name, "whole", "without-preprocess-direct")]
    for rung in rungs:
        assert rung.outcome is not None
        assert (rung.outcome.preserved, rung.outcome.exit_code) == ("pass", done.returncode)
    result = results.read(out / name)
    assert result.optimized is not None
    step = rungs[0].step
    for measured, asked_for in ((result.baseline, step.baseline), (result.optimized, step.optimized)):
        assert measured.choices == asked_for.choices()
        assert all(activation.active for activation in measured.activations)
    assert result.sessions[0].blocks[: len(kept)] == tuple(kept), "what was measured before the interrupt counts"
    assert (out / name / "report.md").exists()
    assert "not run yet" not in (out / "ladder.md").read_text(encoding="utf-8")

    again = evbench(f"{asked} --resume", tmp_path)
    assert again.returncode == done.returncode
    assert again.stdout == done.stdout, "nothing is run again"
    assert ladder.read(out).rungs == rungs
