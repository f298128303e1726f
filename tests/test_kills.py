"""A comparison that is killed at any moment goes on with --resume: nothing that ended is lost, nothing is doubled, nothing is mixed.

The workers and the clock are simulated; the process, its kill, the folder, the journal and the result are real.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from evbench.api.folder import now
from evbench.machine import conditions, machine
from evbench.results import SIDES, Block, Outputs, Plan, Run, RunOrder, Side, ThroughputRun, Trace
from evbench.session import compare, journal, outputs
from evbench.session.journal import Journal
from evbench.session.progress import SilentListener
from evbench.session.reference_outputs import Reference
from evbench.session.request import ComparisonRequest
from evbench.session.schedule import SLOT, slots
from evbench.session.session_folder import HEADER, RUNS
from evbench.session.verification import read_verified
from evbench.variants.named import parse
from evbench.worker.client import WorkerDied
from evbench.worker.messages import ThroughputRequest, TimedRunRequest, TraceSpec
from tests.simulation import MACHINE, OUTPUTS, PLAN, Noise, SimulatedMachine, SimulatedWorker, simulated_workload

pytestmark = pytest.mark.slow

SHORT = replace(PLAN, blocks=3, invocations=2, throughput=1, trace_tokens=4)
SECONDS = 0.0005
"""That a run takes really."""
ENDED, DIED = 0, 1
"""Exit codes of a process: the comparison is done, or a worker died."""
MOMENTS = 200


@dataclass
class Moments:
    """Kills this process at one of the moments that it is told of."""

    name: str = ""
    number: int = 0
    """Of the moments of this name, from 0."""
    died: bool = False
    """Whether a worker dies then, and not this process."""
    passed: Counter[str] = field(default_factory=Counter)

    def come(self, name: str) -> None:
        number = self.passed[name]
        self.passed[name] += 1
        if (name, number) != (self.name, self.number):
            return
        if self.died:
            raise WorkerDied("the worker ended with code -9")
        os.kill(os.getpid(), signal.SIGKILL)


class Slow(SimulatedMachine):
    """Its runs take time, and say by their text which process made them."""

    def run(self, side: Side, request: TimedRunRequest, slow: float = 1.0) -> Run:
        time.sleep(SECONDS)
        return replace(super().run(side, request, slow), text=str(os.getpid()))

    def throughput_run(self, side: Side, request: ThroughputRequest, slow: float) -> ThroughputRun:
        time.sleep(SECONDS)
        return super().throughput_run(side, request, slow)


class Tracing(SimulatedWorker):
    moments: Moments

    def timed_run(self, request: TimedRunRequest) -> Run:
        self.moments.come("in a run")
        return super().timed_run(request)

    def profile(self, spec: TraceSpec) -> Trace:
        with spec.file.open("wb") as file:
            file.write(b"half")
            file.flush()
            self.moments.come("in a trace")
            time.sleep(SECONDS)
            file.write(b" and half")
        return super().profile(spec)


def carry_out(folder: Path, plan: Plan, resume: bool, moments: Moments) -> None:
    """What `evbench compare` does, with simulated workers. In a process of its own: much is replaced."""
    simulated = Slow(os.getpid(), Noise())

    @contextmanager
    def start(side: Side, *unused: object) -> Iterator[SimulatedWorker]:
        moments.come("start of a worker")
        time.sleep(SECONDS)
        with simulated.start(side):
            worker = Tracing(simulated, side, 1.0)
            worker.moments = moments
            yield worker

    def compare_outputs(*unused: object) -> Outputs:
        moments.come("outputs")
        time.sleep(5 * SECONDS)
        return OUTPUTS

    write, move = Journal._write, os.replace

    def write_line(self: Journal, line: dict[str, Any]) -> None:
        (event,) = line.keys() - {"side"}
        kind = line[event].kind if event == "run" else event
        moments.come(f"before {kind}")
        if (moments.name, moments.number) == (f"half of {kind}", moments.passed[f"half of {kind}"]):
            os.write(self._file.fileno(), json.dumps({"session": self.header.started, **line}, default=str).encode()[:60])
        moments.come(f"half of {kind}")
        write(self, line)
        if event == "block":
            with (folder.parent / "acknowledged").open("a") as file:
                file.write(f"{line['block'].number}\n")
        moments.come(f"after {kind} of {line.get('side')}")

    def replace_file(source: Path, target: Path) -> None:
        moments.come(f"before {target.name}")
        move(source, target)
        moments.come(f"after {target.name}")

    replaced: list[tuple[Any, str, Any]] = [
        (compare, "_worker", start),
        (machine, "read", lambda device: MACHINE),
        (conditions, "watch", lambda device, pids, beside: (simulated, (), None)),
        (compare, "reference_for", lambda *unused, **named: Reference(None, "", _no_reference)),
        (outputs, "compare", compare_outputs),
        (Journal, "_write", write_line),
        (os, "replace", replace_file),
    ]
    for owner, name, value in replaced:
        setattr(owner, name, value)
    variants = {side: parse("baseline") for side in SIDES}
    request = ComparisonRequest(
        variants=variants,
        workloads=dict.fromkeys(SIDES, simulated_workload()),
        plan=plan,
        folder=folder,
        created=now(),
        command="evbench compare",
        resume=resume,
        wait=False,
    )
    compare.carry_out(request, SilentListener())


def _no_reference() -> AbstractContextManager[Any]:
    raise AssertionError("outputs are not simulated")


def begin(folder: Path, plan: Plan, moments: Moments) -> int:
    """Go on with the comparison in a process of its own; begin it where there is none. Returns the number of the process."""
    resume = (folder / HEADER).exists()
    process = os.fork()
    if process:
        return process
    code = 99
    try:
        carry_out(folder, plan, resume, moments)
        code = ENDED
    except WorkerDied:
        code = DIED
    except BaseException as error:
        (folder.parent / "error").write_text(f"{type(error).__name__}: {error}")
    finally:
        os._exit(code)


def ended_with(process: int) -> int:
    """Exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # for the lock of the device
    return tmp_path / "out"


@dataclass
class Watcher:
    """Holds what a comparison has left after each kill against what it had before."""

    folder: Path
    lines: bytes = b""
    """Whole ones, after the last kill."""

    def look(self) -> None:
        raw = self.folder / RUNS
        data = raw.read_bytes() if raw.exists() else b""
        assert data.startswith(self.lines), "a line that was written has changed"
        self.lines = data[: data.rfind(b"\n") + 1]
        if (self.folder / HEADER).exists():
            blocks = journal.read(self.folder).blocks
            acknowledged = self.folder.parent / "acknowledged"
            told = acknowledged.read_text().splitlines() if acknowledged.exists() else []
            assert [block.number for block in blocks][: len(told)] == list(map(int, told)), "a block that had ended is lost"
        if (self.folder / "result.json").exists():
            found = read_verified(self.folder)
            assert not any(measured.unverified for measured in found.variants().values())
        for name in ("verdict.json", "result.json"):
            if (self.folder / name).exists():
                json.loads((self.folder / name).read_text())

    def look_at_the_end(self, plan: Plan) -> None:
        """Nothing lost, doubled or mixed."""
        self.look()
        result = read_verified(self.folder)
        (session,) = result.sessions
        sides = result.variants()
        assert [block.number for block in session.blocks] == list(range(plan.blocks))
        turns = [run.turn for measured in sides.values() for run in measured.runs]
        turns += [run.turn for measured in sides.values() for run in measured.throughput_runs]
        assert len(turns) == len(set(turns)), "a run is counted twice"
        for block in session.blocks:
            require_whole(block, sides, plan)
        blocked = [run for measured in sides.values() for run in measured.runs if run.kind == "blocked"]
        if plan.order == "interleaved":
            assert Counter(side for side, one in sides.items() for run in one.runs if run.kind == "blocked") == dict.fromkeys(SIDES, 4)
            assert len({run.text for run in blocked}) == 1, "the confirmation of the order is of two processes"
        for side, measured in sides.items():
            assert measured.activations and measured.trace is not None
            assert len([run for run in measured.runs if run.kind == "first"]) <= len(measured.builds)
            assert (self.folder / f"trace-{side}.json.gz").read_bytes() == b"half and half"
        assert result.outputs == OUTPUTS
        names = {path.name for path in self.folder.iterdir()}
        traces = {f"trace-{side}.json.gz" for side in SIDES}
        assert names == {HEADER, RUNS, "result.json", "verdict.json", "report.md", "report.html", *traces}, "nothing half-written is left"


def require_whole(block: Block, sides: Any, plan: Plan) -> None:
    """All runs of a block are there, in its order, and of one process."""
    runs = sorted(
        ((run.turn, side, run.stages is not None, run.text) for side, one in sides.items() for run in one.runs if run.block == block.number)
    )
    assert [(side, stage_sync) for _, side, stage_sync, _ in runs] == list(slots(block.order))
    assert len({text for *_, text in runs}) == 1, "a block is of two processes"
    rows = [run for one in sides.values() for run in one.throughput_runs if run.block == block.number]
    assert len(rows) == (len(runs) // SLOT if plan.throughput else 0)


def is_killed(folder: Path, plan: Plan, moments: Moments) -> bool:
    """Whether the moment came; else the comparison has ended."""
    code = ended_with(begin(folder, plan, moments))
    assert code in (ENDED, DIED if moments.died else -signal.SIGKILL)
    return code != ENDED


@dataclass
class Removal(Moments):
    """Somebody removes the folder at the moment."""

    folder: Path = Path()

    def come(self, name: str) -> None:
        if name == self.name and self.folder.exists():
            shutil.rmtree(self.folder)


@pytest.mark.parametrize("name", ["in a run", "outputs", "before verdict.json", "before report.md"])
def test_a_comparison_whose_folder_is_removed_says_what_is_lost(name: str, folder: Path) -> None:
    assert ended_with(begin(folder, SHORT, Removal(name, folder=folder))) == 99
    told = (folder.parent / "error").read_text()
    lost = r"or replaced while this session wrote it: its \d+ runs and \d+ blocks are lost|meanwhile, and what was measured into it is lost"
    assert re.fullmatch(rf"UserError: .*/out.* was removed ({lost}); begin anew.*", told), told
    assert not folder.exists()


DECISIVE = [
    ("before session.json", 0), ("start of a worker", 1), ("half of timed", 3), ("before block", 1), ("half of block", 0),
    ("after blocked of baseline", 1), ("half of blocked", 6), ("before result.json", 0), ("outputs", 0), ("in a trace", 1),
]  # fmt: skip
FURTHER = [
    ("after session.json", 0), ("half of build", 0), ("after build of baseline", 0), ("before first", 1), ("after warmup of optimized", 2),
    ("after timed of baseline", 1), ("after block of None", 0), ("before throughput_run", 3), ("start of a worker", 2),
    ("after blocked of baseline", 3), ("after blocked of optimized", 2), ("after blocked of optimized", 3), ("after result.json", 0),
    ("before result.json", 1), ("in a trace", 0), ("before result.json", 2), ("before verdict.json", 0), ("before report.md", 0),
    ("before report.html", 0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "number"), [*DECISIVE, *(pytest.param(*moment, marks=pytest.mark.long) for moment in FURTHER)])
def test_a_comparison_that_is_killed_at_a_decisive_moment_goes_on(name: str, number: int, folder: Path) -> None:
    """Twice at the same moment, and then not."""
    watcher = Watcher(folder)
    assert is_killed(folder, SHORT, Moments(name, number)), "the moment came"
    watcher.look()
    is_killed(folder, SHORT, Moments(name, number))
    watcher.look()
    assert not is_killed(folder, SHORT, Moments())
    watcher.look_at_the_end(SHORT)


@pytest.mark.parametrize(("order", "number"), [("interleaved", 3), ("interleaved", 40), ("reload", 20)])
def test_a_comparison_whose_worker_is_killed_goes_on(order: RunOrder, number: int, folder: Path) -> None:
    plan, watcher = replace(SHORT, order=order), Watcher(folder)
    assert is_killed(folder, plan, Moments("in a run", number, died=True))
    watcher.look()
    assert not is_killed(folder, plan, Moments())
    watcher.look_at_the_end(plan)


def timed_out(process: int, seconds: float) -> int:
    """Kill it after this time, if it has not ended. Its exit code."""
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    return ended_with(process)


def kill_at_random(folder: Path, plan: Plan, chance: random.Random, usual: float) -> Iterator[str]:
    """Until the comparison has ended. Gives what was killed each time."""
    watcher = Watcher(folder)
    for attempt in range(4):
        if attempt < 3 and chance.random() < 0.3:
            runs = 10 if attempt else 60
            ended = not is_killed(folder, plan, Moments("in a run", chance.randrange(runs), died=True))
            what = "worker"
        elif attempt < 3:
            ended = timed_out(begin(folder, plan, Moments()), usual * chance.random() ** (1 + attempt)) == ENDED
            what = "parent"
        else:
            ended, what = not is_killed(folder, plan, Moments()), ""
            assert ended
        watcher.look()
        if ended:
            break
        yield what
    watcher.look_at_the_end(plan)


def phases(folder: Path) -> str:
    """How far a comparison had got when it was killed."""
    if not (folder / HEADER).exists():
        return "before the start"
    if (folder / "verdict.json").exists():
        return "report"
    if (folder / "result.json").exists():
        return "outputs and traces"
    state = journal.read(folder)
    lines = (folder / RUNS).read_text().splitlines()
    if any('"kind": "blocked"' in line for line in lines):
        return "blocked order"
    return "blocks" if state.blocks or any('"kind": "timed"' in line for line in lines) else "start and warm-up"


def usual_seconds(folder: Path) -> float:
    """Of a comparison, and of a part of its report: to draw that takes longer than all else here."""
    begun = time.time()
    assert not is_killed(folder, SHORT, Moments())
    return 1.1 * ((folder / "verdict.json").stat().st_mtime - begun)


@pytest.mark.long
def test_a_comparison_that_is_killed_at_random_moments_goes_on(folder: Path) -> None:
    """Parent and workers, in every phase."""
    usual, chance = usual_seconds(folder.parent / "usual"), random.Random(20)
    (folder.parent / "acknowledged").unlink()
    killed: Counter[str] = Counter()
    place = 0
    while killed.total() < MOMENTS:
        place += 1
        one = folder.parent / str(place) / "out"
        one.parent.mkdir()
        plan = replace(SHORT, order="reload" if place % 4 == 0 else "interleaved")
        for what in kill_at_random(one, plan, chance, usual):
            killed[f"{what}, {phases(one)}"] += 1
    print(dict(killed))
    for phase in ("start and warm-up", "blocks", "blocked order", "outputs and traces"):
        assert killed[f"parent, {phase}"] >= 3, killed
    assert sum(number for what, number in killed.items() if what.startswith("worker")) >= 20
