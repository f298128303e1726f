"""A session: workers are started, warmed until steady, run in blocks, and traced."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from evbench.choices import Variant
from evbench.errors import UserError
from evbench.machine.conditions import Watch
from evbench.results import Activation, Block, Build, Energy, Kind, Outputs, Run, Session, Side, SideResult, ThroughputRun, Trace, Workload
from evbench.session.journal import Journal
from evbench.session.outputs import Answers, OutputSource, WorkerPool
from evbench.session.schedule import SLOT, pattern, slots
from evbench.traces import chrome
from evbench.verdict import blocks as verdict_blocks
from evbench.verdict.statistics import smallest_effect, unsteady
from evbench.worker import messages
from evbench.worker.measure import RunPosition
from evbench.worker.messages import ThroughputRequest, TimedRunRequest

STEADY_RUNS = 5
"""The last of a warm-up, which are looked at."""
BLOCKED_RUNS = 4
SPARE = 1.2
"""More blocks than the width calls for, so that one look more is rarely needed."""
MOST_GROWTH = 4.0
"""Of the number of blocks at once: the first widths are rough."""
ENERGY_SECONDS = 5.0


Failed = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]
"""What a context manager is told at its end."""


class Runner(OutputSource, Protocol):
    """A worker, as a session needs it."""

    def built(self) -> Build: ...

    def measure(self, order: TimedRunRequest) -> Run: ...

    def stream(self, order: ThroughputRequest) -> ThroughputRun: ...

    def prove(self) -> tuple[Activation, ...]: ...

    def profile(self, order: messages.TraceSpec) -> Trace: ...

    def repeat(self, seconds: float, idle_watts: float | None) -> Energy | None: ...


class ProgressListener(Protocol):
    """Is told what a session does."""

    def step(self, doing: str, blocks: int, planned: int) -> None: ...

    def say(self, text: str) -> None: ...


@dataclass(frozen=True)
class NamedListener:
    """Listens for another, and says in front which of several sessions it is."""

    name: str
    listener: ProgressListener

    def step(self, doing: str, blocks: int, planned: int) -> None:
        self.listener.step(f"{self.name}: {doing}", blocks, planned)

    def say(self, text: str) -> None:
        self.listener.say(f"{self.name}: {text}")


@dataclass(frozen=True)
class SessionConfig:
    """What a session works with, beside what it was asked."""

    start: Callable[[Side], AbstractContextManager[Runner]]
    watch: Watch
    listener: ProgressListener
    fingerprint: str
    """Of the weights of an earlier result that will be the other side. Empty if there is none."""
    energy: bool
    """Whether it is measured, where there is a counter."""
    idle_watts: float | None
    compare_outputs: Callable[[WorkerPool, Answers], Outputs] | None
    """None for two models, which are not to say the same."""


class SessionRunner:
    """The runs of one session, in order. All that happens goes into the journal, also what an interrupted session had already."""

    def __init__(self, variants: Mapping[Side, Variant], journal: Journal, setting: SessionConfig) -> None:
        self._variants, self._journal, self._setting = variants, journal, setting
        opening = journal.opening
        self._workloads: dict[Side, Workload] = {side: opening.workloads[side] for side in variants}
        (self._samples,) = {len(workload.samples) for workload in self._workloads.values()}
        self._plan, self._seed = opening.plan, opening.seed
        self._living: dict[Side, tuple[ExitStack, Runner]] = {}
        self._turn = journal.happened.turns()
        self._wanted = 0
        self._invocation = max((block.invocation for block in journal.happened.blocks), default=-1)
        self._in_invocation = 0
        self._foretold = False
        self.traces: dict[Side, Trace] = {}
        self.energies: dict[Side, Energy | None] = {}
        self.outputs: Outputs | None = None
        self.activations: dict[Side, tuple[Activation, ...]] = {}

    def run(self, keep: Callable[[], object], folder: Path) -> None:
        """`keep` is called before outputs are compared and before the traces: what fails there must not cost the rest."""
        with self._crew():
            self._blocks()
            if self._plan.order == "in turn" and len(self._variants) == 2 and self._samples == 1:
                self.worker("baseline")
                self._blocked()
            keep()
            for side in self._variants:
                self.tell(f"{side}: see whether its choices are active")
                self.activations[side] = self.worker(side).prove()
            if len(self._variants) == 2 and self._setting.compare_outputs is not None:
                self.outputs = self._setting.compare_outputs(self, self._answers())
                keep()
            for side in self._variants:
                self._afterwards(side, folder)

    def results(self) -> tuple[Session, dict[Side, SideResult]]:
        """What there is so far."""
        opening, happened = self._journal.opening, self._journal.happened
        session = Session(opening.started, opening.machine, self._plan, self._seed, tuple(happened.blocks), opening.remarks)
        return session, {
            side: SideResult(
                variant=variant.name,
                choices=variant.choices(),
                workload=self._workloads[side],
                session=opening.started,
                builds=tuple(happened.builds[side]),
                unsteady=tuple(happened.unsteady.get(side, ())),
                runs=tuple(happened.runs[side]),
                streams=tuple(happened.streams.get(side, ())),
                trace=self.traces.get(side),
                energy=self.energies.get(side),
                activations=self.activations.get(side, ()),
            )
            for side, variant in self._variants.items()
        }

    # Workers.

    @contextmanager
    def _crew(self) -> Iterator[None]:
        """Ends whatever lives at the end; at once if something went wrong."""
        with ExitStack() as all_of_them:
            all_of_them.push(lambda kind, error, trace: self._end(*self._living, failed=(kind, error, trace)))
            yield

    def _end(self, *sides: Side, failed: Failed = (None, None, None)) -> None:
        with ExitStack() as ending:  # each of them, also if a second interrupt comes while one ends
            for side in sides:
                stack, _ = self._living.pop(side)
                ending.callback(stack.__exit__, *failed)

    def _start(self, side: Side) -> Runner:
        self.tell(f"{side}: start, import, make the model")
        stack = ExitStack()
        worker = stack.enter_context(self._setting.start(side))
        self._living[side] = stack, worker
        self._journal.built(side, worker.built())
        model = self._workloads[side].model
        alike = [other for other, workload in self._workloads.items() if workload.model == model]
        builds = [build for other in alike for build in self._journal.happened.builds.get(other, [])]
        require_same_weights([build.weights_fingerprint for build in builds] + [self._setting.fingerprint])
        self.tell(f"{side}: first call")
        self._measure(side, "first", 0, None, stage_sync=True)
        return worker

    def worker(self, side: Side) -> Runner:
        """The worker, warm. Where only one fits, the other makes room for it."""
        if side not in self._living:
            sides = tuple(self._variants) if self._plan.order == "in turn" else (side,)
            self._end(*self._living)
            for starting in sides:
                self._start(starting)
            self._warm_up(sides)
            self._foretell()
        return self._living[side][1]

    def make_room(self) -> None:
        """For a worker beside those of the session. Where only one fits, there is room when none is left."""
        if self._plan.order == "reload":
            self._end(*self._living)

    def _measure(self, side: Side, kind: Kind, sample: int, block: int | None, stage_sync: bool) -> Run:
        _, worker = self._living[side]
        run = worker.measure(TimedRunRequest(RunPosition(kind, self._turn, sample, block), stage_sync, self._plan.cold_files))
        self._turn += 1
        self._journal.ran(side, run)
        return run

    def _stream(self, side: Side, block: int | None) -> ThroughputRun:
        _, worker = self._living[side]
        stream = worker.stream(ThroughputRequest(self._turn, block, self._plan.throughput, self._plan.cold_files))
        self._turn += 1
        self._journal.streamed(side, stream)
        return stream

    # Warm-up.

    def _warm_up(self, sides: tuple[Side, ...]) -> None:
        """Until steady, for each shape of input: what is compiled for one is not for another."""
        shapes: dict[tuple[tuple[int, int], ...], int] = {}
        for index, inputs in enumerate(zip(*(self._workloads[side].samples for side in sides), strict=True)):
            shapes.setdefault(tuple((one.height, one.width) for one in inputs), index)
        for sample in shapes.values():
            warmed: dict[Side, list[Run]] = {side: [] for side in sides}
            waiting = list(sides)
            while waiting:
                for side in list(waiting):
                    reasons = unsteady_reasons(warmed[side])
                    spent = sum(run.seconds for run in warmed[side])
                    capped = len(warmed[side]) >= self._plan.warmup_runs or spent >= self._plan.warmup_seconds
                    if not reasons or capped:
                        waiting.remove(side)
                        if reasons:
                            self._journal.gave_up(side, reasons)
                        continue
                    self.tell(f"{side}: warm-up {len(warmed[side]) + 1}")
                    warmed[side].append(self._measure(side, "warmup", sample, None, stage_sync=True))
                    self._setting.watch.warmed()
        for side in sides if self._plan.throughput else ():
            self.tell(f"{side}: warm-up of its feed")
            self._stream(side, None)
            self._setting.watch.warmed()

    def _foretell(self) -> None:
        """Say what the planned blocks can see."""
        if self._foretold:
            return
        self._foretold = True
        scatter = [verdict_blocks.scatter(self._journal.happened.runs.get(side, [])) for side in self._variants]
        known = [value for value in scatter if value is not None]
        if len(self._variants) == 1 or not known:
            return
        cv = max(known)
        seen = smallest_effect(cv, self._planned(), self._samples, self._invocations())
        if seen is None:
            told = f"{self._planned()} blocks are too few for any interval"
        else:
            alike = ", if samples are alike" if self._samples > 1 else ""
            told = f"with {self._planned()} blocks a difference of {seen:.1%} is seen in 80 of 100 comparisons{alike}"
        self._setting.listener.say(f"warm-up runs scatter by {cv:.1%}; {told}")

    # Blocks.

    def _blocks(self) -> None:
        while (sample := self._next_sample()) is not None:
            self._block(sample)

    def _next_sample(self) -> int | None:
        """The sample with the fewest blocks that count. None if there is enough of everything."""
        blocks = self._journal.happened.blocks
        disturbed = sum(bool(block.disturbances) for block in blocks)
        # A machine that disturbs more than this is not fit to measure on: nothing is run again any more, and the result is INVALID.
        redo = disturbed <= max(1, verdict_blocks.MOST_DISTURBED * max(self._planned(), len(blocks)))
        counted = [block.sample for block in blocks if not (redo and block.disturbances)]
        fewest = min(range(self._samples), key=lambda sample: (counted.count(sample), sample))
        # Also of those that something disturbed, every sample has its share.
        if counted.count(fewest) * self._samples < self._planned() or (redo and len(counted) % self._samples):
            return fewest
        return fewest if self._is_too_wide(len(counted)) else None

    def _planned(self) -> int:
        """Blocks, the same number for each sample."""
        return -(-self._plan.blocks // self._samples) * self._samples

    def _invocations(self) -> int:
        """Of the workers, for the planned blocks."""
        return self._planned() if self._plan.order == "reload" else min(self._plan.invocations, self._planned())

    def _is_too_wide(self, counted: int) -> bool:
        if self._plan.precision is None:
            return False
        happened = self._journal.happened
        spent = sum(run.seconds for runs in happened.runs.values() for run in runs if run.kind == "timed")
        spent += sum(stream.seconds for streams in happened.streams.values() for stream in streams if stream.block is not None)
        if spent >= self._plan.max_seconds:
            return False
        # Stopping at the first block at which the interval happens to be narrow would make it narrow by luck. So it is looked at
        # rarely: from its width follows how many blocks it will take, and these are run first.
        if counted < self._wanted:
            return True
        session, sides = self.results()
        width = verdict_blocks.half_width(session, sides)
        if width is not None and width <= self._plan.precision:
            return False
        growth = MOST_GROWTH if width is None else min(MOST_GROWTH, (width / self._plan.precision) ** 2)
        self._wanted = max(counted + 1, math.ceil(counted * growth * SPARE))
        return True

    def _block(self, sample: int) -> None:
        number = len(self._journal.happened.blocks)
        letters = pattern(tuple(self._variants), self._plan.order, self._seed, number)
        watch = self._setting.watch
        self._begin_invocation()
        if self._plan.order == "in turn":
            self.worker(next(iter(self._variants)))  # what starting takes is no part of the block
        watch.begin()
        prepared = False
        for place, (side, stage_sync) in enumerate(slots(letters), 1):
            self.worker(side)
            self.tell("timed runs")
            run = self._measure(side, "timed", sample, number, stage_sync)
            prepared |= bool(run.compile_counts)
            watch.look()
            if self._plan.throughput and place % SLOT == 0:
                self.tell("samples in a row")
                prepared |= bool(self._stream(side, number).compile_counts)
                watch.look()
        found = watch.end()
        disturbances = found.disturbances + (("something was compiled or captured in a timed run",) if prepared else ())
        self._journal.ended(Block(number, sample, self._invocation, letters, disturbances, found.remarks, found.sm_mhz))
        self._in_invocation += not disturbances

    def _begin_invocation(self) -> None:
        """End the workers if they have served their share of the blocks: processes of one variant are not equally fast."""
        if self._plan.order == "reload":
            served = True
        else:
            served = self._plan.invocations > 1 and self._in_invocation >= -(-self._planned() // self._plan.invocations)
        if served or not self._living:
            self._end(*self._living)
            self._invocation += 1
            self._in_invocation = 0

    def _blocked(self) -> None:
        """All of one, then all of the other: if that tells something else than the blocks, the order matters."""
        done = {run.turn for runs in self._journal.happened.runs.values() for run in runs if run.kind == "blocked"}
        if done:
            return
        for side in self._variants:
            self.tell(f"{side}: one after the other")
            for _ in range(BLOCKED_RUNS):
                self._measure(side, "blocked", 0, None, stage_sync=False)

    def _afterwards(self, side: Side, folder: Path) -> None:
        """Energy and trace, in runs of their own."""
        if self._setting.energy and self._workloads[side].device == "cuda":
            self.tell(f"{side}: energy")
            self.energies[side] = self.worker(side).repeat(ENERGY_SECONDS, self._setting.idle_watts)
        if self._plan.trace_tokens:
            whole = self._workloads[side].new_tokens
            tokens = min(self._plan.trace_tokens, whole)
            self.tell(f"{side}: trace {tokens} tokens")
            file = folder / f"trace-{side}.json.gz"
            order = messages.TraceSpec(file, self._variants[side].name, tokens, whole, self._plan.trace_modules)
            try:
                self.traces[side] = self.worker(side).profile(order)
            except chrome.TooLarge as error:  # the times are worth more than their picture
                self._setting.listener.say(str(error))

    def _answers(self) -> Answers:
        _, sides = self.results()
        return {side: {sample: set(tokens) for sample, tokens in measured.answers().items()} for side, measured in sides.items()}

    def tell(self, doing: str) -> None:
        """What is done now."""
        self._setting.listener.step(doing, len(self._journal.happened.blocks), self._planned())


def unsteady_reasons(runs: list[Run]) -> list[str]:
    """What speaks against a warm-up being done. Empty if it is."""
    if len(runs) < STEADY_RUNS:
        return [f"{len(runs)} warm-up runs are too few to tell, {STEADY_RUNS} are looked at"]
    last = runs[-STEADY_RUNS:]
    found = unsteady([run.seconds for run in last])
    if any(run.compile_counts for run in last):
        found.append("something was still compiled or captured")
    if len({run.reserved for run in last}) > 1:
        found.append("the memory pool still grew")
    return found


def require_same_workload(ours: Workload, theirs: Workload) -> None:
    """Raises UserError, naming the fields and both values, if the two ask for different work."""
    one, other = (_without_paths(workload) for workload in (ours, theirs))
    if different := [f"{name} {one[name]!r} and {other[name]!r}" for name in one if one[name] != other[name]]:
        raise UserError(f"not the same work: {'; '.join(different)}. Measure with the options of the earlier result")


def _without_paths(workload: Workload) -> dict[str, object]:
    """The same files may lie elsewhere."""
    plain = dataclasses.asdict(workload) | {"samples": [sample.sha256[:12] for sample in workload.samples]}
    del plain["weights"]
    return plain


def require_same_weights(fingerprints: list[str]) -> None:
    """Raises UserError if the sides have different weights. An empty fingerprint is of a side that is not known yet."""
    if len(set(filter(None, fingerprints))) > 1:
        raise UserError(
            "the two sides ran different weights; measure both with the same --weights, or on the same machine with the same --seed"
        )
