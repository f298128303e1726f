"""Several planted faults are tried at the same time: all of them, each in a process of its own, and none is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from evbench.choices import Variant
from evbench.machine import cores
from evbench.session import mutation, outputs
from evbench.session.laboratory import THREADS, LiveWorkers, share_of_cores, workers_at_once
from evbench.session.mutation import Laboratory, _Judged, try_all
from evbench.session.reference_outputs import Reference
from evbench.variants.named import parse
from evbench.verdict.mutation import Case, MutantOutcome
from evbench.worker.client import WorkerDied
from tests.checkpoints import least_model
from tests.command import is_running, wait_for
from tests.simulation import MACHINE
from tests.test_mutants import workload

CASES = [Case(str(number), parse("optimized"), None, True, 1, seen_unseen=number in (2, 5)) for number in range(9)]
SECONDS = 0.02


class Simulated:
    """Workers that do nothing for a while, and how many there were at the same time."""

    def __init__(self, at_once: int, hangs: str = "", dies: str = "") -> None:
        self.hangs, self.dies = hangs, dies
        self.ended = threading.Event()
        self.live: list[int] = []
        self.reported: list[tuple[str, int, int]] = []
        self.peaks: dict[str, int] = {}
        self.shares: dict[str, int] = {}
        self.busy: list[str] = []
        self.beside: dict[str, tuple[int, int]] = {}
        """Case -> how many others were looked at when its times were, and how many workers lived."""
        self.laboratory = Laboratory(
            workload("video"), self.start, self.ended.set, lambda losing: Reference(None, "", self.none), self.report, at_once
        )

    @contextmanager
    def start(self, variant: Variant, mutant: str | None, sharing: int) -> Iterator[Any]:
        self.live.append(sharing)
        try:
            yield self
        finally:
            self.live.remove(sharing)

    @contextmanager
    def none(self) -> Iterator[Any]:
        raise NotImplementedError
        yield

    def report(self, activity: str, done: int, total: int) -> None:
        self.reported.append((activity, done, total))

    def judge(self, case: Case, *unused: Any) -> _Judged:
        time.sleep(SECONDS)
        self.peaks[case.name], self.shares[case.name] = len(self.live), self.live[-1]
        if case.name == self.hangs:
            self.ended.wait(timeout=60)
        if self.ended.is_set() or case.name == self.dies:
            raise WorkerDied(f"the worker of {case.name} ended with code -9")
        return _Judged((), (), None)

    def outcome(self, case: Case, *unused: Any) -> MutantOutcome:
        self.busy.append(case.name)
        time.sleep(SECONDS)
        self.busy.remove(case.name)
        if case.seen_unseen:
            self.beside[case.name] = (len(self.busy), len(self.live))
        return MutantOutcome(case.name, case.variant.name, case.harmless, (), None, None, ())


@pytest.fixture(autouse=True)
def simulated_trials(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(mutation, "_judge", lambda case, subject, *rest: subject.judge(case, *rest))
    monkeypatch.setattr(mutation, "_outcome", lambda case, subject, *rest: subject.outcome(case, *rest))
    monkeypatch.setattr(outputs, "expect", lambda *unused, lossy: {})


@pytest.mark.parametrize("at_once", [1, 3])
def test_all_cases_are_tried_and_those_of_times_alone_at_the_end(at_once: int) -> None:
    simulated = Simulated(at_once)
    tried = list(try_all(CASES, simulated.laboratory))
    assert {number: outcome.name for number, outcome in tried} == {number: case.name for number, case in enumerate(CASES)}
    assert [number for number, _ in tried[-2:]] == [2, 5]
    assert simulated.beside == {"2": (0, min(2, at_once)), "5": (0, min(2, at_once))}, "warm beside each other, and timed one by one"
    assert max(simulated.peaks.values()) == at_once
    assert simulated.live == []
    assert (simulated.shares["0"], simulated.shares["2"]) == (at_once, 1)
    reported = simulated.reported
    assert sorted(name for name, _, _ in reported) == [case.name for case in CASES]
    assert [done for _, done, _ in reported] == sorted(done for _, done, _ in reported)
    assert {total for _, _, total in reported} == {len(CASES)}
    assert not simulated.ended.is_set()


def test_one_at_a_time_they_end_in_order() -> None:
    assert [number for number, _ in try_all(CASES, Simulated(1).laboratory)] == [0, 1, 3, 4, 6, 7, 8, 2, 5]


def test_an_interruption_ends_all_workers_and_starts_no_more() -> None:
    simulated = Simulated(2, hangs="1")
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt), closing(try_all(CASES, simulated.laboratory)) as trying:
        for number, _ in trying:
            assert number != 1
            raise KeyboardInterrupt
    assert simulated.ended.is_set()
    assert simulated.live == []
    assert len(simulated.peaks) < len(CASES)
    assert threading.active_count() == threads


def test_a_dead_worker_ends_the_others() -> None:
    simulated = Simulated(2, hangs="0", dies="1")
    with pytest.raises(WorkerDied, match="the worker of 1 ended with code -9"):
        list(try_all(CASES, simulated.laboratory))
    assert simulated.live == []
    assert len(simulated.peaks) < len(CASES)


class Killable:
    killed = False

    def kill(self) -> None:
        self.killed = True


def test_workers_are_killed_by_another_thread_also_if_they_start_too_late() -> None:
    live: Any = LiveWorkers()
    over, running, late = Killable(), Killable(), Killable()
    with live.holding(over):
        pass
    with live.holding(running):
        live.end()
        with live.holding(late):
            pass
    assert (over.killed, running.killed, late.killed) == (False, True, True)


# How many.


def test_each_worker_gets_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "usable", lambda: 16)
    assert share_of_cores(1) == {}
    assert share_of_cores(6) == dict.fromkeys(THREADS, "2")


@pytest.mark.parametrize(
    ("usable", "gibibytes", "expected"), [(2, 139, 1), (4, 139, 2), (16, 139, 6), (64, 139, 6), (16, 64, 4), (16, 16, 1), (16, None, 1)]
)
def test_as_many_workers_as_fit(usable: int, gibibytes: int | None, expected: int) -> None:
    full_size = replace(workload("video"), preset="7b", weights=None, dtype="bfloat16")
    here = replace(MACHINE, cores=usable, gpu=None, memory_bytes=gibibytes and gibibytes * 2**30)
    assert workers_at_once(full_size, here) == expected
    drafter = replace(full_size, model="eventgpt", kind="event-images")
    assert gibibytes is None or workers_at_once(full_size, here, drafter) == max(
        1, min(6, usable // 2, int(gibibytes / (1.5 + 13.72 + 13.16)))
    )


# Of the command.

TWO_AT_ONCE = "from evbench.machine import cores; cores.usable = lambda: 4; from evbench.cli.main import main; main()"


@contextmanager
def two_at_once(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The command, as on a machine with four cores. Killed at the end if it still runs."""
    asked = f"selftest --mutants --variant baseline+generate=static {least_model('eventgpt')} --new-tokens 4 --out out".split()
    heed = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # see tests/command.py
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", TWO_AT_ONCE, *asked], cwd=folder, stdout=pipe, stderr=pipe, text=True, preexec_fn=heed
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def children(pid: int) -> list[int]:
    """Of all its threads."""
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


@pytest.mark.slow
@pytest.mark.parametrize("killed", [pytest.param(False, marks=pytest.mark.long), True])
def test_the_command_keeps_what_has_ended_and_leaves_no_process(tmp_path: Path, killed: bool) -> None:
    with two_at_once(tmp_path) as running:
        kept = tmp_path / "out" / "mutants.json"
        wait_for(kept, '"name"', 1)
        while len(started := children(running.pid)) < 2:
            time.sleep(0.01)
        if killed:
            for worker in started:  # one of them may be ending, which nobody would miss
                os.kill(worker, signal.SIGKILL)
        else:
            running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=60)
    last = told.splitlines()[-1]
    ended = json.loads(kept.read_text())
    if killed:
        assert running.returncode == 1
        assert "ended with code -9: SIGKILL" in last
    else:
        assert running.returncode == 130
        assert last.startswith(f"evbench: interrupted; {len(ended)} of ")
    assert "Traceback" not in told
    assert not any(map(is_running, started))
    assert sorted(path.name for path in (tmp_path / "out").glob("worker-subject*")) == ["worker-subject-0.log", "worker-subject-1.log"]
