"""A machine whose clock is simulated: it drifts, its first slot after a change is slow, and some of its runs are outliers."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from evbench.machine.conditions import Findings
from evbench.results import (
    FORMAT,
    STAGES,
    Activation,
    Build,
    CacheCheck,
    CachePair,
    Energy,
    Limits,
    Machine,
    Memory,
    NetworkShape,
    Plan,
    Rates,
    Result,
    Rules,
    Run,
    Sample,
    Side,
    StageRun,
    ThroughputRun,
    Trace,
    Work,
    Workload,
)
from evbench.session.config import SessionConfig
from evbench.session.journal import Journal
from evbench.session.journal_state import JournalHeader, JournalState
from evbench.session.session import run_session
from evbench.session.side_results import session_of, side_results
from evbench.variants.named import parse
from evbench.worker.capture_outputs import CapturedOutputs
from evbench.worker.compile_counts import NOTHING
from evbench.worker.messages import CacheCheckRequest, ThroughputRequest, TimedRunRequest, TraceSpec
from tests.examples import GREEDY, PRESERVED, make_trace

SECONDS = {"load": 0.1, "preprocess": 0.05, "vision": 0.08, "generate": 0.4}
MACHINE = Machine("Linux", "CPU", 2, 2**34, None, "3.11", {"torch": "2.14"}, "abc")
PLAN = Plan("interleaved", 10, 1, None, 600.0, 30, 120.0, 0, False, False, False, 0)

OUTPUTS = PRESERVED
LIMITS = Limits(Rates(1e10, 1e11), NetworkShape(3, 32, 64, 17, 14, 2, 32, 64, 2, 2, 16, 384, 4))
"""Of the least model, on a slow machine."""


@dataclass
class Noise:
    """What keeps two equal runs from taking equally long."""

    variation: float = 0.01
    """Standard deviation of the logarithm of each stage's time."""
    drift: float = 0.03
    """Relative growth over 100 runs."""
    first_slot: float = 0.02
    """By which the first two runs of a block are slower."""
    outliers: float = 0.03
    """Share of runs that take half as long again."""
    processes: float = 0.0
    """Standard deviation, between starts, of how fast a worker is for as long as it lives."""
    processes_of_stages: float = 0.0
    """The same of each stage by itself."""
    samples: float = 0.0
    """Standard deviation, between samples, of how much faster the optimized side is."""
    sequences: float = 0.0
    """The same between sequences, of whose samples all have it."""


@dataclass
class SimulatedMachine:
    """Both workers, the watch over them, and a listener that stores its messages."""

    seed: int
    noise: Noise = field(default_factory=Noise)
    faster: float = 1.0
    """True ratio of baseline and optimized side."""
    sequence_of: Mapping[int, str] = field(default_factory=dict)
    """Sample -> the sequence that it is a window of."""
    slower_stages: dict[str, float] = field(default_factory=dict)
    """Stage of the optimized side -> by which factor it takes longer."""
    disturbed: tuple[int, ...] = ()
    """Numbers of the blocks that something disturbs, in the order in which they are run."""
    compiles: dict[int, int] = field(default_factory=dict)
    """Turn -> graphs compiled in this run."""
    feeds_ahead: bool = True
    """Whether the optimized side loads while it computes."""
    fingerprints: dict[Side, str] = field(default_factory=dict)
    """Of the weights, if they are not the same."""
    streamed: tuple[tuple[int, ...], ...] = ()
    """Tokens of the optimized side's throughput runs, if not the usual ones."""
    remembers: dict[Side, dict[str, float]] = field(default_factory=dict)
    """Timing -> by which factor it is faster on input that the side has seen."""
    checked: list[tuple[Side, CacheCheckRequest]] = field(default_factory=list)
    gathering: list[tuple[str, Side]] = field(default_factory=list)
    """When evidence of the choices was begun, and when it was there."""
    messages: list[str] = field(default_factory=list)
    order: list[tuple[Side, str, int, bool]] = field(default_factory=list)
    """(side, kind, sample, stage synchronization) of each run; of a throughput run, its length in the place of the sample."""
    live: set[Side] = field(default_factory=set)
    most_live: int = 0
    starts: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._blocks = -1
        self._in_block = 0
        self._of_sample: dict[int, float] = {}
        self._of_sequence: dict[str, float] = {}
        self._of_process: dict[tuple[Side, str], float] = {}

    @contextmanager
    def start(self, side: Side) -> Iterator[SimulatedWorker]:
        self.live.add(side)
        self.starts += 1
        self.most_live = max(self.most_live, len(self.live))
        try:
            if spread := self.noise.processes_of_stages:
                self._of_process |= {(side, stage): math.exp(self._random.gauss(0, spread)) for stage in STAGES}
            yield SimulatedWorker(self, side, math.exp(self._random.gauss(0, self.noise.processes)))
        finally:
            self.live.discard(side)

    # Watch.

    def warmed(self) -> None: ...

    def begin(self) -> None:
        self._blocks += 1
        self._in_block = 0

    def look(self) -> None: ...

    def end(self) -> Findings:
        return Findings(("somebody else was here",) if self._blocks in self.disturbed else (), ())

    # Listener.

    def step(self, activity: str, done: int, total: int, /) -> None: ...

    def message(self, text: str, /) -> None:
        self.messages.append(text)

    def run(self, side: Side, request: TimedRunRequest, slow: float = 1.0) -> Run:
        place = request.position
        self.order.append((side, place.kind, place.sample, request.stage_sync))
        seconds = {stage: usual * self._factor(side, stage, place.sample) for stage, usual in SECONDS.items()}
        slow *= 1 + self.noise.drift * len(self.order) / 100
        if place.kind == "timed":
            slow *= 1 + self.noise.first_slot * (self._in_block < 2)
            self._in_block += 1
        slow *= 1.5 if self._random.random() < self.noise.outliers else 1
        stages = {stage: StageRun(seconds[stage] * slow, None, Memory(1, None, None, None, None)) for stage in STAGES}
        return Run(
            kind=place.kind,
            turn=place.turn,
            sample=place.sample,
            block=place.block,
            seconds=sum(stage.seconds for stage in stages.values()),
            stages=stages if request.stage_sync else None,
            prefill_seconds=0.1 if request.stage_sync else None,
            decode_step_seconds=(0.01, 0.01) if request.stage_sync else None,
            compile_counts=NOTHING if place.turn not in self.compiles else type(NOTHING)(self.compiles[place.turn], 0, 0, 0),
            reserved=None,
            work=Work(new_tokens=3, stop="length"),
            tokens=(1, 2, 3),
            text="",
        )

    def cache_pair(self, side: Side) -> CachePair:
        def run(factors: dict[str, float]) -> dict[str, float]:
            # Of `generate` for each of the three tokens of a run.
            usual = SECONDS | {"prefill": 0.1, "generate": 0.04}
            if side == "optimized":
                usual = {timing: seconds * self.slower_stages.get(timing, 1.0) / self.faster for timing, seconds in usual.items()}
            scatter = {timing: math.exp(self._random.gauss(0, self.noise.variation)) for timing in usual}
            slow = {timing: 1.5 if self._random.random() < self.noise.outliers else 1.0 for timing in usual}
            return {timing: seconds * scatter[timing] * slow[timing] / factors.get(timing, 1.0) for timing, seconds in usual.items()}

        return CachePair(run(self.remembers.get(side, {})), run({}))

    def throughput_run(self, side: Side, request: ThroughputRequest, slow: float) -> ThroughputRun:
        """The optimized side loads ahead, as far as its time suffices."""
        self.order.append((side, "stream" if request.block is not None else "stream warm-up", request.samples, False))
        load, rest = (
            sum(SECONDS[stage] * self._factor(side, stage, 0) for stage in stages) * request.samples * slow
            for stages in (STAGES[:1], STAGES[1:])
        )
        waited = load if side == "baseline" or not self.feeds_ahead else load / request.samples
        return ThroughputRun(
            turn=request.turn,
            block=request.block,
            seconds=rest + waited,
            samples=request.samples,
            load_seconds=load,
            load_wait_seconds=waited,
            compile_counts=NOTHING if request.turn not in self.compiles else type(NOTHING)(self.compiles[request.turn], 0, 0, 0),
            work=(Work(new_tokens=3, stop="length"),) * request.samples,
            tokens=self.streamed if side == "optimized" and self.streamed else ((1, 2, 3),) * request.samples,
        )

    def _factor(self, side: Side, stage: str, sample: int) -> float:
        noise = math.exp(self._random.gauss(0, self.noise.variation)) * self._of_process.get((side, stage), 1.0)
        if side == "baseline":
            return noise
        if sample not in self._of_sample:
            self._of_sample[sample] = math.exp(self._random.gauss(0, self.noise.samples))
            if (sequence := self.sequence_of.get(sample)) is not None:
                if sequence not in self._of_sequence:
                    self._of_sequence[sequence] = math.exp(self._random.gauss(0, self.noise.sequences))
                self._of_sample[sample] *= self._of_sequence[sequence]
        return noise * self._of_sample[sample] * self.slower_stages.get(stage, 1.0) / self.faster


@dataclass
class SimulatedWorker:
    machine: SimulatedMachine
    side: Side
    slow: float

    def built(self) -> Build:
        return Build(1.0, 10, self.machine.fingerprints.get(self.side, "ab"), 2, {}, 0)

    def timed_run(self, request: TimedRunRequest) -> Run:
        assert self.side in self.machine.live
        return self.machine.run(self.side, request, self.slow)

    def throughput_run(self, request: ThroughputRequest) -> ThroughputRun:
        assert self.side in self.machine.live
        return self.machine.throughput_run(self.side, request, self.slow)

    def limits(self) -> Limits:
        return LIMITS

    def cache_check(self, request: CacheCheckRequest) -> CacheCheck:
        self.machine.checked.append((self.side, request))
        return CacheCheck(tuple(self.machine.cache_pair(self.side) for _ in range(request.pairs)), True)

    def gather_activations(self) -> Callable[[], tuple[Activation, ...]]:
        self.machine.gathering.append(("begun", self.side))

        def gathered() -> tuple[Activation, ...]:
            self.machine.gathering.append(("ended", self.side))
            return (*(Activation(part, choice, True, "simulated") for part, choice in parse("baseline").choices().items()), GREEDY)

        return gathered

    def capture_outputs(self, sample: int, file: Path, baseline: CapturedOutputs | None = None, isolated: bool = False) -> CapturedOutputs:
        raise AssertionError("outputs are not simulated")

    def profile(self, spec: TraceSpec) -> Trace:
        return make_trace(spec.file.name, spec.new_tokens)

    def energy(self, seconds: float, idle_watts: float | None) -> Energy | None:
        return Energy(10, seconds, 200.0, 200.0, idle_watts)


class MemoryJournal(Journal):
    """Writes nothing."""

    def __init__(self, header: JournalHeader) -> None:
        self.header, self.state = header, JournalState()

    def _write(self, line: dict[str, object]) -> None: ...


def simulated_workload(samples: int = 1) -> Workload:
    inputs = tuple(Sample(f"{index}.mp4", str(index), 4, 6) for index in range(samples))
    return Workload("video-llava", "tiny", None, inputs, 8, "inclusive", "What?", 3, False, "cpu", "float32", 0, kind="video")


def header(plan: Plan = PLAN, samples: int = 1, seed: int = 0) -> JournalHeader:
    workloads = dict.fromkeys(("baseline", "optimized"), simulated_workload(samples))
    return JournalHeader(FORMAT, "2026-01-01T00:00:00Z", MACHINE, plan, seed, workloads, {}, ())


def configure(machine: SimulatedMachine, journal: Journal, names: tuple[Side, ...] = ("baseline", "optimized")) -> SessionConfig:
    """A session on the simulated machine, with the baseline's choices on both sides."""
    return SessionConfig({side: parse("baseline") for side in names}, journal, machine.start, machine, machine, idle_watts=0.0)


def finished(config: SessionConfig) -> Result:
    """Run the session. Outputs are not simulated: the result says that they are preserved."""
    untimed = run_session(config, Path("nowhere"), None, lambda untimed: None)
    session, sides = session_of(config, untimed), side_results(config, untimed)
    outputs = OUTPUTS if "optimized" in sides else None
    rules = Rules({}, (), (), False, ())
    return Result(FORMAT, "0", session.started, "evbench compare", rules, (session,), sides["baseline"], sides.get("optimized"), outputs)


def run_simulated(machine: SimulatedMachine, journal: Journal, names: tuple[Side, ...] = ("baseline", "optimized")) -> Result:
    """A whole session on the simulated machine."""
    return finished(configure(machine, journal, names))


def simulate(machine: SimulatedMachine, plan: Plan = PLAN, samples: int = 1) -> Result:
    return run_simulated(machine, MemoryJournal(header(plan, samples, machine.seed)))
