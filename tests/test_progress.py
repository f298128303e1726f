"""What is told of a session while it runs: how far it is, and how long it will take."""

from __future__ import annotations

import dataclasses
import datetime
import doctest
import io
import re
import statistics
from dataclasses import dataclass, field

import pytest
from rich.console import Console

from evbench.cli import progress
from evbench.cli.progress import BarWithMedians, ProgressBar, ProgressLines, TimeLeft
from evbench.report.units import format_seconds
from evbench.session.live_medians import LiveMedians
from tests.simulation import PLAN, MemoryJournal, Noise, SimulatedMachine, configure, finished, header


@dataclass
class Steps(SimulatedMachine):
    """A machine that stores the steps that it is told of."""

    steps: list[tuple[str, int, int]] = field(default_factory=list)

    def step(self, activity: str, done: int, total: int, /) -> None:
        self.steps.append((activity, done, total))


@pytest.mark.parametrize(("disturbed", "total"), [((), 10), ((2,), 11), ((2, 5), 12), (tuple(range(99)), 10)])
def test_a_block_that_is_run_again_is_one_more_of_all(disturbed: tuple[int, ...], total: int) -> None:
    machine = Steps(1, Noise(), disturbed=disturbed)
    result = finished(configure(machine, MemoryJournal(header(PLAN))))
    assert all(done <= of for _, done, of in machine.steps)
    assert all(done < of for activity, done, of in machine.steps if activity.startswith("timed runs"))
    assert machine.steps[-1][1:] == (total, total)
    assert len(result.sessions[0].blocks) == total


def test_blocks_that_are_added_are_counted_before_they_are_run() -> None:
    machine = Steps(1, Noise())
    result = finished(configure(machine, MemoryJournal(header(dataclasses.replace(PLAN, precision=0.004)))))
    blocks = len(result.sessions[0].blocks)
    assert blocks > 11
    assert all(done < of <= blocks for activity, done, of in machine.steps if activity.startswith("timed runs"))
    assert next(of for activity, done, of in machine.steps if activity.startswith("timed runs") and done == 10) > 11


def test_the_time_left_is_that_of_the_steps_before_without_what_came_before_the_first() -> None:
    clock = iter([0.0, 50.0, 100.0, 104.0, 110.0, 120.0, 150.0, 160.0, 170.0, 300.0])
    left = TimeLeft(lambda: next(clock))
    assert left.step("start the worker", 0, 4) is None
    assert left.step("warm-up", 0, 4) is None
    assert left.step("timed runs", 0, 4) is None
    assert left.step("throughput runs", 0, 4) is None
    assert left.step("timed runs", 1, 4) == pytest.approx(10 * 3), "the first took 10 s"
    assert left.step("timed runs", 2, 4) == pytest.approx(10 * 2)
    assert left.step("start the worker", 2, 4) == pytest.approx(25 * 2), "a restart between two takes time as well"
    assert left.step("timed runs", 3, 5) == pytest.approx(20 * 2), "one is run again"
    assert left.step("outputs", 5, 5) is None
    assert left.step("timed runs", 0, 4) is None, "another session"


def test_the_steps_of_an_earlier_session_took_no_time_of_this_one() -> None:
    clock = iter([0.0, 100.0, 110.0])
    left = TimeLeft(lambda: next(clock))
    assert left.step("start the worker", 6, 9) is None
    assert left.step("timed runs", 6, 9) is None
    assert left.step("timed runs", 7, 9) == pytest.approx(20)


def test_in_a_pipe_each_tenth_has_a_line_with_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = iter(range(0, 1000, 10))
    times = (datetime.datetime(2026, 1, 1, 12, 0, second) for second in range(60))
    lines = ProgressLines(TimeLeft(lambda: next(seconds)), lambda: next(times))
    for activity, done in [
        ("warm-up, run 1", 0),
        ("warm-up, run 2", 0),
        ("timed runs", 0),
        *(("timed runs", block) for block in range(21)),
    ]:
        lines.step(activity, done, 20)
    told = capsys.readouterr().err.splitlines()
    assert told[:3] == ["12:00:00 [0/20] warm-up", "12:00:01 [0/20] timed runs", "12:00:02 [2/20] timed runs, about 4 min left"]
    assert told[-2:] == ["12:00:10 [18/20] timed runs, about 21 s left", "12:00:11 [20/20] timed runs"]
    assert len(told) == 12
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d \[\d+/20\] [\w ,-]+", line) for line in told)


def test_medians_of_the_runs_so_far_are_told_of_each_side_and_stage() -> None:
    machine = Steps(1, Noise(variation=0, drift=0, first_slot=0, outliers=0), faster=2.0)
    finished(configure(machine, MemoryJournal(header(PLAN))))
    told = [activity for activity, _, _ in machine.steps if activity.startswith("timed runs")]
    assert told[0] == "timed runs", "before the first there are none"
    assert told[-1] == (
        "timed runs; medians: baseline 630 ms (load 100 ms, preprocess 50.0 ms, vision 80.0 ms, generate 400 ms), "
        "optimized 315 ms (load 50.0 ms, preprocess 25.0 ms, vision 40.0 ms, generate 200 ms)"
    )


def test_live_medians_are_those_of_all_runs_also_of_an_earlier_session() -> None:
    whole = finished(configure(SimulatedMachine(4, Noise()), MemoryJournal(header(PLAN)))).baseline
    timed = whole.timed()
    live = LiveMedians({"baseline": [run for run in whole.runs if run not in timed[5:]]})
    live.add("baseline", timed[5:])
    end_to_end = statistics.median(run.seconds for run in timed if run.stages is None)
    load = statistics.median(run.stages["load"].seconds for run in timed if run.stages is not None)
    assert live.in_words().startswith(f"; medians: baseline {format_seconds(end_to_end)} (load {format_seconds(load)}, preprocess ")
    assert LiveMedians({}).in_words() == ""


def test_medians_stand_behind_the_time_left_and_make_no_line_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = iter(range(0, 1000, 10))
    lines = ProgressLines(TimeLeft(lambda: next(seconds)), lambda: datetime.datetime(2026, 1, 1, 12))
    for block in range(20):
        lines.step(f"timed runs; medians: baseline {block} ms" if block else "timed runs", block, 20)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 10 and told[0] == "12:00:00 [0/20] timed runs"
    assert told[1] == "12:00:00 [2/20] timed runs, about 3 min left; medians: baseline 2 ms"


def test_on_a_terminal_medians_stand_under_the_bar() -> None:
    with BarWithMedians("{task.description}", console=Console(file=io.StringIO())) as bar:
        progress_bar = ProgressBar(bar)
        progress_bar.step("timed runs; medians: baseline 483 ms (load 79.7 ms)", 3, 20)
        shown = Console(file=io.StringIO(), width=200)
        shown.print(bar.get_renderable())
        assert isinstance(shown.file, io.StringIO)
        assert [line.strip() for line in shown.file.getvalue().splitlines()] == ["timed runs", "medians: baseline 483 ms (load 79.7 ms)"]


def test_the_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(progress).failed == 0


def test_a_step_whose_name_ends_with_a_number_is_told_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """As some planted faults do."""
    lines = ProgressLines()
    for number, name in enumerate(("frame + 1", "frame + 2", "BT.601 for BT.709")):
        lines.step(name, number, 3)
    assert [line[9:].partition(", about")[0] for line in capsys.readouterr().err.splitlines()] == [
        "[0/3] frame + 1", "[1/3] frame + 2", "[2/3] BT.601 for BT.709",
    ]  # fmt: skip
