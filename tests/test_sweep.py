"""Sweeps: which points there are, the lines of their times, and how they are carried out: on a simulated clock, and once really."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import pytest

from evbench import results
from evbench.choices import Variant
from evbench.cli.main import main
from evbench.cli.report import write_report
from evbench.errors import UserError
from evbench.machine import machine
from evbench.places import short_workload
from evbench.report import sweep as report
from evbench.results import FORMAT, Activation, Side, SideResult, Workload
from evbench.session import compare, journal, sweep
from evbench.session.config import SessionConfig
from evbench.session.journal_state import JournalHeader
from evbench.session.progress import ProgressListener
from evbench.session.request import ComparisonRequest
from evbench.variants.named import parse
from evbench.verdict import sweep as verdict_sweep
from evbench.verdict.judge import judge
from evbench.verdict.lines import fit
from evbench.verdict.sweep import Axis, Curve, MeasuredPoint, PointOutcome, PointTiming
from evbench.worker.client import WorkerDied, WorkerGaveUp
from tests import simulation
from tests.checkpoints import least_model
from tests.command import evbench, refused
from tests.examples import GREEDY
from tests.simulation import PLAN, Noise, SimulatedMachine, SimulatedWorker, finished, simulated_workload
from tests.test_climb import Messages

QUIET = Noise(0.002, 0.0, 0.0, 0.0)
AXES = (Axis("frames", (4, 8, 12)), Axis("new-tokens", (16, 32)))
FOLDERS = [f"frames-{frames}-new-tokens-{tokens}" for frames in (4, 8, 12) for tokens in (16, 32)]


@dataclass
class SimulatedPoints:
    """Stands in for compare.carry_out: vision takes 10 ms a frame and 20 ms besides, generate 5 ms a token and 100 ms besides."""

    monkeypatch: pytest.MonkeyPatch
    faster: float = 2.0
    ends: dict[str, BaseException] = field(default_factory=dict)
    """Name of a folder -> how it ends instead, after its first worker was built."""
    disturbed: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Name of a folder -> numbers of its blocks that something disturbs."""
    requests: list[tuple[str, bool]] = field(default_factory=list)
    """(name of the folder, whether it was to be resumed) of each."""

    def carry_out(self, request: ComparisonRequest, listener: ProgressListener) -> compare.JudgedResult:
        name, work = request.folder.name, request.workloads["baseline"]
        self.requests.append((name, request.resume))
        self.monkeypatch.setitem(simulation.SECONDS, "vision", 0.02 + 0.01 * work.frames)
        self.monkeypatch.setitem(simulation.SECONDS, "generate", 0.1 + 0.005 * work.new_tokens)
        simulated = SimulatedMachine(len(self.requests), QUIET, self.faster, disturbed=self.disturbed.get(name, ()))
        here = machine.read(request.device())
        choices: dict[str, dict[str, str]] = {side: {"name": one.name, **one.choices()} for side, one in request.variants.items()}
        workloads: dict[str, Workload] = {side: short_workload(workload) for side, workload in request.workloads.items()}
        header = JournalHeader(FORMAT, request.created, here, request.plan, 0, workloads, choices, ())
        with (journal.resume if request.resume else journal.create)(request.folder, header) as opened:
            if name in self.ends:
                opened.add_build("baseline", SimulatedWorker(simulated, "baseline", 1.0).built())
                raise self.ends[name]
            result = finished(SessionConfig(request.variants, opened, simulated.start, simulated, listener, energy=request.energy))
        optimized = None if result.optimized is None else _active(result.optimized)
        result = replace(result, command=request.command, rules=request.rules, baseline=_active(result.baseline), optimized=optimized)
        results.write(result, request.folder / "result.json")
        return compare.JudgedResult(result, judge(result))


def _active(measured: SideResult) -> SideResult:
    """With evidence of its own choices: the simulated worker knows the baseline's only."""
    return replace(measured, activations=(*(Activation(part, choice, True, "1 x it") for part, choice in measured.choices.items()), GREEDY))


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> SimulatedPoints:
    made = SimulatedPoints(monkeypatch)
    monkeypatch.setattr(compare, "carry_out", made.carry_out)
    return made


def asked_for(folder: Path, resume: bool = False, axes: tuple[Axis, ...] = AXES, compared: bool = True) -> sweep.SweepRequest:
    numbers = count()
    variants: dict[Side, Variant] = {"baseline": parse("baseline")}
    if compared:
        variants["optimized"] = parse("fast-pixels")
    workloads = {
        point.folder: replace(simulated_workload(), frames=point.values.get("frames", 8), new_tokens=point.values.get("new-tokens", 72))
        for point in verdict_sweep.points(axes)
    }
    return sweep.SweepRequest(
        variants=variants,
        axes=axes,
        workloads=workloads,
        plan=replace(PLAN, trace_tokens=0),
        noise_floors={name: {} for name in workloads},
        folder=folder,
        command="evbench sweep",
        resume=resume,
        wait=True,
        now=lambda: f"2026-01-01T00:00:{next(numbers):02}Z",
    )


def curve(found: sweep.Sweep, timing: str, axis: str, side: Side = "baseline", fixed: int | None = None) -> Curve:
    curves = verdict_sweep.curves(found.axes, found.points)
    (one,) = [
        one
        for one in curves
        if (one.timing, one.axis, one.side) == (timing, axis, side) and [*one.fixed.values()] == ([] if fixed is None else [fixed])
    ]
    return one


# Points.


def test_axes_are_read_and_combined() -> None:
    axes = verdict_sweep.read_axes(["frames=12, 4,8", "new-tokens=16,32"])
    assert axes == AXES
    points = verdict_sweep.points(axes)
    assert [point.folder for point in points] == FOLDERS
    assert points[1].values == {"frames": 4, "new-tokens": 32}
    order = [point.folder for point in verdict_sweep.order(points)]
    assert sorted(order) == sorted(FOLDERS) and order != FOLDERS, "shuffled"
    assert order == [point.folder for point in verdict_sweep.order(points)], "and always the same way: a sweep is resumed"


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ("batch=0,2", "--batch 0 is out of range; give 1 to 1,024"),
        ("frame=4,8", "--over 'frame=4,8' names no amount of work; did you mean 'frames'?"),
        ("=4,8", "names no amount of work"),
        ("frames", "--over 'frames' has no 2 values that all differ; write it such as frames=4,8,12"),
        ("frames=", "--over frames: '' is no whole number above 0"),
        ("frames=4", "has no 2 values that all differ"),
        ("frames=4,8,4", "has no 2 values that all differ"),
        ("frames=4,-8", "--over frames: '-8' is no whole number above 0; write it such as frames=4,8,12"),
        ("frames=4,8.5", "'8.5' is no whole number"),
        ("frames=4,²", "'²' is no whole number"),
        ("frames=4,99999999999999", "is no whole number"),
        ("frames=0,4", "--frames 0 is out of range; give 1 to 1,024"),
        ("new-tokens=16,2000", "--new-tokens 2000 is out of range; give 1 to 1,024"),
        ("frames=4,40", "scene.mp4 has 20 frames and the model is given 40; give a longer clip, or fewer --frames"),
        ("frames=4,8 --frames 4", "--frames and --over frames exclude each other; give one of them"),
        ("new-tokens=4,8 --new-tokens 4", "--new-tokens and --over new-tokens exclude each other"),
        ("new-tokens=4,8 --stop-at-end", "--stop-at-end lets answers end before the tokens that --over new-tokens asks for; leave it out"),
        ("frames=4,8 --over frames=8,12", "--over frames is given twice; give all its values at once, such as --over frames=4,8,12"),
        ("frames=4,8 --model eventgpt", "--frames is of the frames of a video, and --model eventgpt takes event images"),
        (f"new-tokens={','.join(map(str, range(1, 70)))}", "--over has 69 points, and 64 are the most; give fewer values"),
        ("frames=4,8 --variant nobody", "unknown variant 'nobody'"),
        ("frames=4,8 --resume", "--resume goes on with the session in --out, which is not given"),
        ("frames=8,16", "the prompt has 4128 tokens, with 72 new ones more than the model's 4096; give a shorter --prompt, fewer --frames"),
    ],
)
def test_what_cannot_be_swept_is_refused_in_one_line(
    over: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in refused(f"sweep --variant baseline --device cpu --over {over}", monkeypatch, capsys)
    assert list(tmp_path.iterdir()) == [], "refused before anything is made"


def test_a_sweep_goes_over_something(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Missing option '--over'" in refused("sweep --variant baseline", monkeypatch, capsys)
    with pytest.raises(UserError, match="a sweep goes over something: give --over, such as --over frames=4,8,12"):
        verdict_sweep.read_axes([])


# Curves.


def outcome(seconds: float, floor: float | None = None, **fields: object) -> PointOutcome:
    timing = PointTiming({"baseline": seconds}, floor, None, None)
    return replace(PointOutcome(None, "", (), (), None, {"vision": timing}), **fields)  # type: ignore[arg-type]


def measured(*outcomes: PointOutcome | None) -> tuple[tuple[Axis, ...], list[MeasuredPoint]]:
    axes = (Axis("frames", tuple(range(1, len(outcomes) + 1))),)
    return axes, [MeasuredPoint(point, found) for point, found in zip(verdict_sweep.points(axes), outcomes, strict=True)]


def test_where_a_stage_leaves_its_floor() -> None:
    (found,) = verdict_sweep.curves(*measured(outcome(1.0, 0.1), outcome(1.1, 0.6), outcome(1.2, 0.7), outcome(9.0, 0.8)))
    assert found.shares() == pytest.approx((0.1, 0.6 / 1.1, 0.7 / 1.2, 0.8 / 9))
    assert found.turns() == ((1, 2, True), (3, 4, False))
    told = report.floor_in_words(found)
    assert told == "comes near its floor between 1 and 2, leaves its floor between 3 and 4 (floor 9% to 58% of the time)"
    assert found.floor_line == fit([(1, 0.1), (2, 0.6), (3, 0.7), (4, 0.8)])
    (far,) = verdict_sweep.curves(*measured(outcome(1.0, 0.1), outcome(2.0, 0.2)))
    assert report.floor_in_words(far) == "away from its floor throughout (floor 10% of the time)"
    (near,) = verdict_sweep.curves(*measured(outcome(1.0, 0.8), outcome(2.0, 1.8)))
    assert report.floor_in_words(near) == "near its floor throughout (floor 80% to 90% of the time)"
    (unknown,) = verdict_sweep.curves(*measured(outcome(1.0, 0.8), outcome(2.0)))
    assert (unknown.floors, unknown.floor_line, unknown.turns(), report.floor_in_words(unknown)) == ((), None, (), "")


def test_points_that_are_not_there_or_count_for_nothing_are_in_no_line() -> None:
    axes, points = measured(outcome(1.0), None, outcome(99.0, left_out=("disturbed",)), verdict_sweep.failed("no memory"), outcome(1.4))
    (found,) = verdict_sweep.curves(axes, points)
    assert (found.amounts, found.seconds) == ((1, 5), (1.0, 1.4))
    assert found.line.slope.value == pytest.approx(0.1) and found.line.slope.low is None
    assert verdict_sweep.curves(*measured(outcome(1.0), None)) == ()


# Carrying out.


def test_each_point_has_a_folder_and_the_lines_are_those_of_the_machine(simulated: SimulatedPoints, tmp_path: Path) -> None:
    listener = Messages()
    found = sweep.carry_out(asked_for(tmp_path / "out"), listener)
    assert sorted(simulated.requests) == sorted((name, False) for name in FOLDERS)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*FOLDERS, "sweep.json", "sweep.md", "sweep.html"}
    ended = [text for text in listener.said if " of 6 points: " in text]
    assert len(ended) == 6 and ended[0].startswith("1 of 6 points: frames-") and "FASTER: end-to-end" in ended[0]
    vision = curve(found, "vision", "frames", fixed=32).line
    assert vision.slope.value == pytest.approx(0.01, rel=0.02) and vision.intercept.value == pytest.approx(0.02, rel=0.1)
    assert vision.slope.low is not None and vision.slope.low <= vision.slope.value
    half = curve(found, "vision", "frames", "optimized", fixed=32).line
    assert half.slope.value == pytest.approx(0.005, rel=0.03)
    assert curve(found, "generate", "new-tokens", fixed=12).line.slope.value == pytest.approx(0.005, rel=0.02)
    assert curve(found, "vision", "new-tokens", fixed=8).line.slope.value == pytest.approx(0, abs=1e-4)
    assert curve(found, "load", "frames", fixed=16).line.slope.value == pytest.approx(0, abs=1e-3)
    assert verdict_sweep.exit_code(found.points) == 0


def test_the_report_tells_slopes_points_and_speedups(simulated: SimulatedPoints, tmp_path: Path) -> None:
    found = sweep.carry_out(asked_for(tmp_path / "out"), Messages())
    text = (tmp_path / "out" / "sweep.md").read_text(encoding="utf-8")
    assert "**fast-pixels against baseline over frames=4,8,12 and new-tokens=16,32: 6 of 6 points measured**" in text
    assert "- baseline, vision over frames at new-tokens=16: 10" in text or "- baseline, vision over frames at new-tokens=16: 9.9" in text
    assert " ms a frame (95% CI " in text and " whatever the number" in text
    assert "baseline, load over frames at new-tokens=16: no growth found (95% CI -" in text
    for heading in ("Over frames: ", "Over new-tokens: ", "Points: median end-to-end time", "Median times", "Notes"):
        assert f"## {heading}" in text
    rows = [line for line in text.splitlines() if line.startswith("| frames=4, new-tokens=16 |")]
    assert "| FASTER |" in rows[0] and "2.0" in rows[0]
    page = (tmp_path / "out" / "sweep.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2 and 'aria-label="Times over frames: ' in page and "<script" not in page
    first = next(one.outcome for one in found.points if one.outcome is not None)
    assert first.timings["end-to-end"].interval is not None
    assert first.timings["end-to-end"].interval.confidence == pytest.approx(1 - 0.05 / 6), "one of six points"


def test_a_batch_is_told_by_the_sample_too(simulated: SimulatedPoints, tmp_path: Path) -> None:
    axes = (Axis("batch", (1, 4)),)
    sweep.carry_out(asked_for(tmp_path / "out", axes=axes, compared=False), Messages())
    text = (tmp_path / "out" / "sweep.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in text.splitlines() if line.startswith(("| point", "| batch="))]
    (heads, one, four) = rows[:3]
    assert heads == ["point", "baseline", "baseline, a sample"]
    assert one[1] == one[2] and four[1].endswith(" ms") and four[2].endswith(" ms")
    assert float(four[1].removesuffix(" ms")) / 4 == pytest.approx(float(four[2].removesuffix(" ms")), rel=0.01)


def test_one_variant_alone_has_lines_and_no_speedup(simulated: SimulatedPoints, tmp_path: Path) -> None:
    found = sweep.carry_out(asked_for(tmp_path / "out", axes=AXES[:1], compared=False), Messages())
    assert [one.outcome.verdict for one in found.points if one.outcome is not None] == [None] * 3
    assert curve(found, "vision", "frames").line.slope.value == pytest.approx(0.01, rel=0.02)
    text = (tmp_path / "out" / "sweep.md").read_text(encoding="utf-8")
    assert "**baseline over frames=4,8,12: 3 of 3 points measured**" in text
    assert "- vision over frames: " in text and "simultaneous" not in text


def test_an_interrupted_sweep_keeps_what_ended_and_goes_on(simulated: SimulatedPoints, tmp_path: Path) -> None:
    order = [point.folder for point in verdict_sweep.order(verdict_sweep.points(AXES))]
    simulated.ends[order[2]] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        sweep.carry_out(asked_for(tmp_path / "out"), Messages())
    assert "2 of 6 points measured" in (tmp_path / "out" / "sweep.md").read_text()
    simulated.ends.clear()
    simulated.requests.clear()
    shutil.rmtree(tmp_path / "out" / order[0])
    found = sweep.carry_out(asked_for(tmp_path / "out", resume=True), Messages())
    again = [order[0], *order[2:]]
    assert simulated.requests == [(name, name == order[2]) for name in again], "and the one whose folder is gone"
    assert all(one.outcome is not None for one in found.points)
    simulated.requests.clear()
    assert sweep.carry_out(asked_for(tmp_path / "out", resume=True), Messages()).points == found.points
    assert simulated.requests == []


@pytest.mark.parametrize("error", [WorkerDied("the worker died"), WorkerGaveUp("no memory for it")])
def test_a_worker_that_fails_costs_its_point_only_and_is_tried_again(simulated: SimulatedPoints, tmp_path: Path, error: Exception) -> None:
    simulated.ends[FOLDERS[4]] = error
    found = sweep.carry_out(asked_for(tmp_path / "out"), Messages())
    assert verdict_sweep.exit_code(found.points) == 1
    told = sweep.account(found)
    assert report.exit_reason(told, 1) == f"exit 1: {FOLDERS[4]} could not be run"
    assert f"{FOLDERS[4]} is in no line: {error}." in report.notes(told)
    assert curve(found, "vision", "frames", fixed=16).amounts == (4, 8)
    simulated.ends.clear()
    simulated.requests.clear()
    again = sweep.carry_out(asked_for(tmp_path / "out", resume=True), Messages())
    assert simulated.requests == [(FOLDERS[4], True)]
    assert verdict_sweep.exit_code(again.points) == 0


@pytest.mark.parametrize("compared", [True, False])
def test_a_point_that_was_disturbed_is_in_no_line(simulated: SimulatedPoints, tmp_path: Path, compared: bool) -> None:
    simulated.disturbed[FOLDERS[0]] = tuple(range(40))
    found = sweep.carry_out(asked_for(tmp_path / "out", compared=compared), Messages())
    assert curve(found, "vision", "frames", fixed=16).amounts == (8, 12)
    told = sweep.account(found)
    code = verdict_sweep.exit_code(found.points)
    assert (code, report.exit_reason(told, code)) == (6, f"exit 6: {FOLDERS[0]} INVALID")
    assert f"To measure {FOLDERS[0]} again, remove its folder and continue with --resume." in report.notes(told)
    assert "6 of 6 points measured, 1 of them in no line" in report.headline(told)


def test_resume_asks_for_the_same(simulated: SimulatedPoints, tmp_path: Path) -> None:
    sweep.carry_out(asked_for(tmp_path / "out", axes=AXES[:1]), Messages())
    with pytest.raises(UserError, match="holds an earlier sweep; go on with it by --resume, give another --out, or remove it"):
        sweep.carry_out(asked_for(tmp_path / "out", axes=AXES[:1]), Messages())
    other = (Axis("frames", (4, 8, 14)),)
    with pytest.raises(UserError, match=r"the sweep was begun over frames=4,8,12, and not over frames=4,8,14\. Give the same --over"):
        sweep.carry_out(asked_for(tmp_path / "out", resume=True, axes=other), Messages())
    with pytest.raises(UserError, match=r"the session was begun with something else: .*optimized"):
        sweep.carry_out(asked_for(tmp_path / "out", resume=True, axes=AXES[:1], compared=False), Messages())
    # A folder that holds another result is not taken for the point.
    shutil.copy(tmp_path / "out" / "frames-8" / "result.json", tmp_path / "out" / "frames-4" / "result.json")
    for name in ("session.json", "runs.jsonl"):
        shutil.copy(tmp_path / "out" / "frames-8" / name, tmp_path / "out" / "frames-4" / name)
    with pytest.raises(UserError, match=r"frames-4: --resume: the session was begun with something else: .*frames 8 and 4"):
        sweep.carry_out(asked_for(tmp_path / "out", resume=True, axes=AXES[:1]), Messages())


def test_the_report_is_written_again_from_the_results(simulated: SimulatedPoints, tmp_path: Path) -> None:
    sweep.carry_out(asked_for(tmp_path / "out"), Messages())
    before = {name: (tmp_path / "out" / name).read_text() for name in ("sweep.md", "sweep.html", "sweep.json")}
    for name in ("sweep.md", "sweep.html"):
        (tmp_path / "out" / name).unlink()
    written = write_report(tmp_path / "out")
    assert written.files == ("sweep.md", "sweep.html") and "6 of 6 points measured" in written.headlines[0]
    assert {name: (tmp_path / "out" / name).read_text() for name in before} == before


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "sweep.json is damaged"),
        ("[]", "sweep.json is of another version of evbench"),
        ('{"format": 99}', "sweep.json has format 99, and this evbench goes on with format 1"),
        ('{"format": 1}', "sweep.json is damaged"),
    ],
)
def test_a_damaged_file_is_told(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(UserError, match=told):
        sweep.read(tmp_path)


def test_points_that_are_not_of_the_axes_are_told(simulated: SimulatedPoints, tmp_path: Path) -> None:
    sweep.carry_out(asked_for(tmp_path / "out", axes=AXES[:1]), Messages())
    content = json.loads((tmp_path / "out" / "sweep.json").read_text())
    content["points"][0]["point"]["folder"] = "../elsewhere"
    (tmp_path / "out" / "sweep.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="its points are not those of its axes"):
        write_report(tmp_path / "out")


def test_the_command_tells_curves_and_ends_with_the_reason(
    simulated: SimulatedPoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = "--over frames=4,8,12 --variant fast-pixels --baseline baseline --device cpu --preset tiny --blocks 10 --invocations 1"
    monkeypatch.setattr(sys, "argv", ["evbench", "sweep", *options.split(), "--out", "out"])
    with pytest.raises(SystemExit) as caught:
        main()
    lines = capsys.readouterr().out.splitlines()
    assert caught.value.code == 0
    assert lines[0] == "fast-pixels against baseline over frames=4,8,12: 3 of 3 points measured"
    assert any(line.startswith("fast-pixels, vision over frames: ") for line in lines)
    assert lines[-1] == "exit 0: all points measured" and len(lines) <= 40
    assert json.loads((tmp_path / "out" / "sweep.json").read_text())["axes"] == [{"name": "frames", "values": [4, 8, 12]}]


@pytest.mark.long
def test_a_sweep_on_this_machine(tmp_path: Path) -> None:
    options = f"--blocks 2 --invocations 1 --warmup 1 {least_model('video-llava')} --out out"
    done = evbench(f"sweep --over frames=2,8 --over new-tokens=2,6 --variant baseline {options}", tmp_path)
    assert done.returncode in (0, 6), done.stderr  # 6: somebody else used this machine
    assert "4 of 4 points measured" in done.stdout
    folders = sorted(path.parent.name for path in (tmp_path / "out").glob("*/result.json"))
    assert folders == ["frames-2-new-tokens-2", "frames-2-new-tokens-6", "frames-8-new-tokens-2", "frames-8-new-tokens-6"]
    for folder in folders:
        result = results.read(tmp_path / "out" / folder)
        work = result.baseline.timed()[0].work
        assert f"frames-{len(work.frame_indices or ())}-new-tokens-{work.new_tokens}" == folder
        assert result.baseline.trace is None
    again = evbench(f"sweep --over frames=2,8 --over new-tokens=2,6 --variant baseline {options} --resume", tmp_path)
    assert again.returncode == done.returncode and "4 of 4 points measured" in again.stdout
