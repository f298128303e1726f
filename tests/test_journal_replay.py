"""A journal of which a line was lost, doubled, moved, or taken from elsewhere is refused by its name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evbench.errors import UserError
from evbench.session import journal
from evbench.session.session_folder import RUNS
from tests.simulation import PLAN, Noise, SimulatedMachine, header, run_simulated

Line = dict[str, Any]
ASKED = header(dataclasses.replace(PLAN, blocks=3, throughput=2), samples=1, seed=5)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Line]]:
    """Header and lines of a session of three blocks."""
    folder = tmp_path_factory.mktemp("journal") / "out"
    with journal.create(folder, ASKED) as written:
        run_simulated(SimulatedMachine(1, Noise()), written)
    lines = [json.loads(line) for line in (folder / RUNS).read_text().splitlines()]
    assert {line["session"] for line in lines} == {ASKED.started}
    return (folder / "session.json").read_text(), lines


def first(lines: list[Line], event: str, kind: str = "", block: int | None = None) -> int:
    """Where the first such event of a block stands."""
    for place, line in enumerate(lines):
        if event in line and (not kind or line[event]["kind"] == kind) and (block is None or line[event]["block"] == block):
            return place
    raise AssertionError(event)


def timed(lines: list[Line]) -> int:
    return first(lines, "run", "timed", 1)


def ended(lines: list[Line]) -> int:
    """Line of the block in the middle."""
    return [place for place, line in enumerate(lines) if "block" in line][1]


def change(place: Callable[[list[Line]], int], event: str, **fields: Any) -> Callable[[list[Line]], None]:
    def changed(lines: list[Line]) -> None:
        lines[place(lines)][event] |= fields

    return changed


def of_line(place: Callable[[list[Line]], int], **fields: Any) -> Callable[[list[Line]], None]:
    def changed(lines: list[Line]) -> None:
        lines[place(lines)] |= fields

    return changed


def lost(place: Callable[[list[Line]], int]) -> Callable[[list[Line]], None]:
    def changed(lines: list[Line]) -> None:
        del lines[place(lines)]

    return changed


def doubled(place: Callable[[list[Line]], int]) -> Callable[[list[Line]], None]:
    def changed(lines: list[Line]) -> None:
        lines.insert(place(lines), lines[place(lines)])

    return changed


def exchanged(place: Callable[[list[Line]], int]) -> Callable[[list[Line]], None]:
    """With the line behind it."""

    def changed(lines: list[Line]) -> None:
        number = place(lines)
        lines[number : number + 2] = reversed(lines[number : number + 2])

    return changed


FAULTS: dict[str, tuple[Callable[[list[Line]], None], str]] = {
    "unknown side": (of_line(timed, side="Baseline"), "side 'Baseline' is not of this session, which has baseline and optimized"),
    "no side": (lambda lines: lines[timed(lines)].pop("side"), "side None is not of this session"),
    "other side": (
        lambda lines: lines[timed(lines)].update(side="optimized" if lines[timed(lines)]["side"] == "baseline" else "baseline"),
        "that block 1, of order .*, does not have here",
    ),
    "unknown event": (lambda lines: lines[timed(lines)].update(note=lines[timed(lines)].pop("run")), "unknown event 'note'"),
    "two events": (of_line(timed, build={}), "it has build, run, and one event is expected"),
    "other session": (of_line(timed, session="2026-01-01T00:00:01Z"), "it is of session '2026-01-01T00:00:01Z', and this is"),
    "no session": (lambda lines: lines[timed(lines)].pop("session"), "it is of session None"),
    "timed run lost": (lost(timed), r"turn \d+ follows turn \d+: a run is missing, doubled or moved"),
    "timed run doubled": (doubled(timed), r"turn \d+ follows turn \d+: a run is missing, doubled or moved"),
    "timed runs exchanged": (exchanged(timed), r"turn \d+ follows turn \d+"),
    "timed run of no block": (change(timed, "run", block=None), "a timed run has block None"),
    "timed run of the block before": (change(timed, "run", block=0), "a run of block 0, where block 1 is next"),
    "timed run called warm-up": (change(timed, "run", kind="warmup", block=None), "does not have here"),
    "warm-up of a block": (change(lambda lines: first(lines, "run", "warmup"), "run", block=0), "a warmup run has block 0"),
    "sample 5 of 1": (change(timed, "run", sample=5), "sample 5 of 1"),
    "sample -1": (change(timed, "run", sample=-1), "sample -1 of 1"),
    "timed run without its stages": (
        lambda lines: lines[timed(lines) + (lines[timed(lines)]["run"]["stages"] is None)]["run"].update(stages=None),
        "does not have here",
    ),
    "throughput run of other length": (
        lambda lines: lines[first(lines, "throughput_run")]["throughput_run"].update(samples=1, work=[{}] * 0),
        "a throughput run of 1 samples has 2 outputs",
    ),
    "throughput run lost": (lost(lambda lines: first(lines, "throughput_run", block=1)), "a run is missing"),
    "block lost": (lost(ended), "a run of block 2, where block 1 is next|a run too many in block 1"),
    "block doubled": (doubled(ended), "block 1, where block 2 is next"),
    "block renumbered": (change(ended, "block", number=7), "block 7, where block 1 is next"),
    "block of another order": (change(ended, "block", order="AABB"), "block 1 is of order AABB and sample 0, and its runs are not"),
    "block of another sample": (change(ended, "block", sample=3), "block 1 is of order .* and sample 3, and its runs are not"),
    "block of another invocation": (change(ended, "block", invocation=9), "invocation 9, which cannot follow invocation 0"),
    "block too early": (
        lambda lines: lines.insert(timed(lines) + 1, lines.pop(ended(lines))),
        "block 1 ends before all of its runs are there",
    ),
    "block with a side": (of_line(ended, side="baseline"), "block has no side"),
    "build lost": (lost(lambda lines: first(lines, "build")), "a first call of baseline, which was not built before it"),
    "build doubled": (doubled(lambda lines: first(lines, "build")), "baseline is built twice, without a first call"),
    "first call lost": (lost(lambda lines: first(lines, "run", "first")), "turn 1 follows turn -1"),
    "blocked run lost": (lost(lambda lines: first(lines, "run", "blocked")), "a run is missing"),
    "blocked run of the other side": (
        of_line(lambda lines: first(lines, "run", "blocked"), side="optimized"),
        "a blocked run of optimized too many, or too early",
    ),
    "nothing": (lambda lines: lines.__setitem__(4, {"session": ASKED.started}), "it has nothing, and one event is expected"),
}


def write(folder: Path, asked: str, lines: list[Line]) -> None:
    folder.mkdir()
    (folder / "session.json").write_text(asked)
    (folder / RUNS).write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("name", FAULTS)
def test_a_line_that_cannot_be_there_is_refused_with_its_number(name: str, recorded: tuple[str, list[Line]], tmp_path: Path) -> None:
    asked, lines = recorded
    changed, (fault, told) = json.loads(json.dumps(lines)), FAULTS[name]
    fault(changed)
    write(tmp_path / "out", asked, changed)
    with pytest.raises(UserError, match=rf"out/runs\.jsonl, line \d+ is damaged \(.*(?:{told})") as caught:
        journal.read(tmp_path / "out")
    number = int(str(caught.value).split("line ")[1].split()[0])
    assert number <= len(changed)
    before = (tmp_path / "out" / RUNS).read_bytes()
    with pytest.raises(UserError, match="is damaged"), journal.resume(tmp_path / "out", ASKED):
        pytest.fail("it goes on from a damaged journal")
    assert (tmp_path / "out" / RUNS).read_bytes() == before, "what is refused stays as it is"


def test_every_line_that_is_lost_or_doubled_is_found(recorded: tuple[str, list[Line]], tmp_path: Path) -> None:
    """But the last ones, as a kill leaves them, and reasons of a warm-up that was not steady."""
    asked, lines = recorded
    write(tmp_path / "out", asked, lines)
    whole = journal.read(tmp_path / "out")
    for number in range(len(lines)):
        for changed in (lines[:number] + lines[number + 1 :], lines[: number + 1] + lines[number:]):
            (tmp_path / "out" / RUNS).write_text("".join(json.dumps(line) + "\n" for line in changed))
            if number == len(lines) - 1 and len(changed) < len(lines):
                assert journal.read(tmp_path / "out") != whole
            else:
                with pytest.raises(UserError, match="is damaged"):
                    journal.read(tmp_path / "out")


def test_sides_that_a_session_cannot_have_are_refused(recorded: tuple[str, list[Line]], tmp_path: Path) -> None:
    asked, lines = recorded
    content = json.loads(asked)
    for workloads in ({"from": content["workloads"]["baseline"]}, {}):
        write(tmp_path / str(len(workloads)), json.dumps(content | {"workloads": workloads}), lines)
        with pytest.raises(UserError, match=r"session\.json is damaged \(sides (from|none)\)"):
            journal.read(tmp_path / str(len(workloads)))
