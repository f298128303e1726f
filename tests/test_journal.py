"""A session on disk: what is written, what is left of it after the worst, and how it goes on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from evbench.errors import UserError
from evbench.results import FORMAT, Result, Run, Side, ThroughputRun
from evbench.session import journal
from evbench.session.journal import Journal
from evbench.session.journal_state import JournalHeader
from evbench.session.session_folder import HEADER, RUNS, writing
from evbench.worker.measure import RunPosition
from evbench.worker.messages import ThroughputRequest, TimedRunRequest
from tests.simulation import PLAN, Noise, SimulatedMachine, SimulatedWorker, header, run_simulated

SHORT = dataclasses.replace(PLAN, blocks=6)
ASKED = header(SHORT)


class Stopped(Exception):
    """The power went out."""


class Dying(SimulatedMachine):
    """Stops for good after so many runs."""

    lives = 40

    def run(self, side: Side, request: TimedRunRequest, slow: float = 1.0) -> Run:
        if len(self.order) == self.lives:
            raise Stopped
        return super().run(side, request, slow)

    def throughput_run(self, side: Side, request: ThroughputRequest, slow: float) -> ThroughputRun:
        if len(self.order) == self.lives:
            raise Stopped
        return super().throughput_run(side, request, slow)


def interrupted(folder: Path, lives: int = 40) -> None:
    machine = Dying(1, Noise())
    machine.lives = lives
    with pytest.raises(Stopped), journal.create(folder, ASKED) as written:
        run_simulated(machine, written)
    assert not machine.live, "workers are ended"


def go_on(folder: Path, asked: JournalHeader = ASKED) -> tuple[SimulatedMachine, object]:
    machine = SimulatedMachine(2, Noise())
    with journal.resume(folder, asked) as written:
        return machine, run_simulated(machine, written)


def test_what_happened_survives_its_file(tmp_path: Path) -> None:
    with journal.create(tmp_path / "out", ASKED) as written:
        result = run_simulated(SimulatedMachine(1), written)
        assert journal.read(tmp_path / "out") == written.state
    assert {side: tuple(runs) for side, runs in written.state.runs.items()} == {
        side: measured.runs for side, measured in result.variants().items()
    }


@pytest.mark.parametrize("lives", [1, 12, 13, 40, 60, 61, 62, 64, 66, 67])
def test_an_interrupted_session_goes_on_from_its_last_whole_block(tmp_path: Path, lives: int) -> None:
    interrupted(tmp_path / "out", lives)
    before = journal.read(tmp_path / "out")
    machine, _ = go_on(tmp_path / "out")
    after = journal.read(tmp_path / "out")
    assert after.blocks[: len(before.blocks)] == before.blocks
    assert [block.number for block in after.blocks] == list(range(6))
    timed = sum(kind == "timed" for _, kind, _, _ in machine.order)
    assert timed == 8 * (6 - len(before.blocks)), "no block is run twice"
    assert [kind for _, kind, _, _ in machine.order].count("blocked") == 8, "one confirmation of the order, by one start of the workers"
    for runs in after.runs.values():
        assert len([run for run in runs if run.kind == "timed"]) == 4 * 6
        assert len([run for run in runs if run.kind == "blocked"]) == 4
        assert [run.turn for run in runs] == sorted({run.turn for run in runs})
    assert {block.order for block in after.blocks} <= {"ABBA", "BAAB"}


def test_a_confirmation_of_the_order_that_has_ended_is_not_run_again(tmp_path: Path) -> None:
    with journal.create(tmp_path / "out", ASKED) as written:
        run_simulated(SimulatedMachine(1, Noise()), written)
    before = journal.read(tmp_path / "out").runs
    machine, _ = go_on(tmp_path / "out")
    assert {kind for _, kind, _, _ in machine.order} == {"first", "warmup"}
    for side, runs in journal.read(tmp_path / "out").runs.items():
        assert runs[: len(before[side])] == before[side]


IN_A_ROW = header(dataclasses.replace(SHORT, throughput=3))


@pytest.mark.parametrize("lives", [10, 13, 14, 16, 17, 40])
def test_an_interrupted_session_with_samples_in_a_row_goes_on(tmp_path: Path, lives: int) -> None:
    """In the warm-up of the feed, between a run and the row behind it, and within a block."""
    machine = Dying(1, Noise())
    machine.lives = lives
    with pytest.raises(Stopped), journal.create(tmp_path / "out", IN_A_ROW) as written:
        run_simulated(machine, written)
    before = journal.read(tmp_path / "out")
    ended = {block.number for block in before.blocks}
    assert all(stream.block is None or stream.block in ended for streams in before.throughput_runs.values() for stream in streams)
    _, result = go_on(tmp_path / "out", IN_A_ROW)
    after = journal.read(tmp_path / "out")
    assert isinstance(result, Result)
    for side, measured in result.variants().items():
        assert measured.throughput_runs == tuple(after.throughput_runs[side])
        assert [stream.block for stream in measured.timed_throughput_runs()] == [block for block in range(6) for _ in range(2)]
        turns = [*(run.turn for run in measured.runs), *(stream.turn for stream in measured.throughput_runs)]
        assert len(turns) == len(set(turns)), "none is counted twice"


def test_other_lengths_of_the_row_are_refused(tmp_path: Path) -> None:
    interrupted(tmp_path / "out")
    with pytest.raises(UserError, match=r"plan\.throughput 0 and 3"):
        go_on(tmp_path / "out", IN_A_ROW)


def test_a_session_may_be_interrupted_twice(tmp_path: Path) -> None:
    """Runs of a block that was begun twice and ended once count once."""
    interrupted(tmp_path / "out", 40)
    with pytest.raises(Stopped), journal.resume(tmp_path / "out", ASKED) as written:
        run_simulated(Dying(3, Noise()), written)
    go_on(tmp_path / "out")
    happened = journal.read(tmp_path / "out")
    for runs in happened.runs.values():
        assert len([run for run in runs if run.kind == "timed"]) == 4 * 6


def test_half_a_line_is_cut_off(tmp_path: Path) -> None:
    interrupted(tmp_path / "out")
    raw = tmp_path / "out" / RUNS
    whole = raw.read_bytes()
    before = journal.read(tmp_path / "out")
    raw.write_bytes(whole + whole[:100].rstrip(b"\n"))
    assert journal.read(tmp_path / "out") == before
    assert raw.read_bytes() != whole, "reading changes nothing"
    go_on(tmp_path / "out")
    assert raw.read_bytes().startswith(whole + b'{"session": "2026-01-01T00:00:00Z", "resumed": true}\n')


def test_a_disk_that_fills_up_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system takes a part of what it is given, then nothing."""
    folder = tmp_path / "out"

    class Full:
        def __init__(self, file: object) -> None:
            self.file = file

        def tell(self) -> int:
            return int(self.file.tell())  # type: ignore[attr-defined]

        def write(self, data: bytes) -> int:
            if b'"block": 2' in data:
                return int(self.file.write(data[:50]))  # type: ignore[attr-defined]
            return int(self.file.write(data))  # type: ignore[attr-defined]

        def close(self) -> None:
            self.file.close()  # type: ignore[attr-defined]

    with (
        pytest.raises(UserError, match=r"cannot write to .*No space left.*--resume"),
        writing(folder),
        journal.create(folder, ASKED) as written,
    ):
        monkeypatch.setattr(written, "_file", Full(written._file))
        run_simulated(SimulatedMachine(1), written)
    assert all(json.loads(line) for line in (folder / RUNS).read_text().splitlines())
    assert len(journal.read(folder).blocks) == 2
    go_on(folder)
    assert len(journal.read(folder).blocks) == 6


def test_other_options_or_another_machine_are_refused_with_both_values(tmp_path: Path) -> None:
    interrupted(tmp_path / "out")
    for changed, told in (
        (dataclasses.replace(ASKED, plan=dataclasses.replace(SHORT, blocks=9)), "plan.blocks 6 and 9"),
        (dataclasses.replace(ASKED, machine=dataclasses.replace(ASKED.machine, cpu="B")), "machine.cpu 'CPU' and 'B'"),
        (
            dataclasses.replace(ASKED, workloads={side: dataclasses.replace(one, prompt="Who?") for side, one in ASKED.workloads.items()}),
            "workloads.baseline.prompt 'What[?]' and 'Who[?]'",
        ),
    ):
        with pytest.raises(UserError, match=told):
            go_on(tmp_path / "out", changed)
    go_on(tmp_path / "out", dataclasses.replace(ASKED, started="later", seed=99))


def test_what_is_no_session_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give the --out of a session that was interrupted"):
        go_on(tmp_path)
    for content, told in (
        ("{", "is damaged"),
        ("[]", "another version"),
        ('{"format": 1}', f"has format 1, and this evbench goes on with format {FORMAT}: it is of another version"),
        ('{"format": 99}', "has format 99, and this evbench goes on with"),
        ('{"format": "a\\nb"}', r"has format 'a\\nb', and this evbench goes on with"),
        (f'{{"format": {FORMAT}}}', "is damaged"),
    ):
        (tmp_path / HEADER).write_text(content)
        with pytest.raises(UserError, match=told):
            go_on(tmp_path)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    interrupted(tmp_path / "out")
    raw = tmp_path / "out" / RUNS
    lines = raw.read_text().splitlines()
    for damaged in ("{}", "nonsense", '{"side": "baseline", "run": {}}', '{"block": 3}', "[]"):
        raw.write_text("\n".join([*lines[:4], damaged, *lines[5:]]) + "\n")
        with pytest.raises(UserError, match="line 5 is damaged"):
            go_on(tmp_path / "out")


def test_a_text_with_line_separators_is_one_line(tmp_path: Path) -> None:
    with journal.create(tmp_path / "out", ASKED) as written:
        run = SimulatedMachine(1).run("baseline", TimedRunRequest(RunPosition("first", 0, 0, None), True, False))
        written.add_build("baseline", SimulatedWorker(SimulatedMachine(1), "baseline", 1.0).built())
        written.add_run("baseline", dataclasses.replace(run, text="a\u2028b\u0085c\nd"))
    assert journal.read(tmp_path / "out").runs["baseline"][0].text == "a\u2028b\u0085c\nd"


def test_a_journal_is_closed_with_its_block(tmp_path: Path) -> None:
    with journal.create(tmp_path / "out", ASKED) as written:
        pass
    assert isinstance(written, Journal)
    with pytest.raises(ValueError, match="closed file"):
        written.mark_resumed()


def test_a_session_of_another_state_of_evbench_is_told_as_that() -> None:
    before = header(PLAN)
    now = dataclasses.replace(before, machine=dataclasses.replace(before.machine, source="0123456789ab"))
    with pytest.raises(UserError) as caught:
        journal.require_same(before, now)
    assert str(caught.value).endswith(
        " and '0123456789ab'. evbench itself has changed since: go on with that one, or begin anew with another --out"
    )
    elsewhere = dataclasses.replace(now, plan=dataclasses.replace(PLAN, blocks=99))
    with pytest.raises(UserError, match="Give the same options, on the same machine"):
        journal.require_same(before, elsewhere)


def test_of_another_sample_only_its_path_is_told() -> None:
    before = header(PLAN)
    workload = before.workloads["baseline"]
    other = tuple(dataclasses.replace(one, path=f"other-{one.path}", sha256="another", caption="A street.") for one in workload.samples)
    now = dataclasses.replace(before, workloads={**before.workloads, "baseline": dataclasses.replace(workload, samples=other)})
    with pytest.raises(UserError, match=r"workloads\.baseline\.samples\.0\.path") as caught:
        journal.require_same(before, now)
    assert "sha256" not in str(caught.value) and "caption" not in str(caught.value)
    edited = tuple(dataclasses.replace(one, sha256="another") for one in workload.samples)
    now = dataclasses.replace(before, workloads={**before.workloads, "baseline": dataclasses.replace(workload, samples=edited)})
    with pytest.raises(UserError, match=r"samples\.0\.sha256"):
        journal.require_same(before, now)
