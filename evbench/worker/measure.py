"""One run, timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Protocol

from evbench.results import CompileCounts, Drafting, Kind, Memory, Run, StageRun
from evbench.stages import Passes, Stages, run_stages
from evbench.worker.compile_counts import since
from evbench.worker.kept_rows import KeptRows

ON_STREAM = ("vision", "generate")
"""Stages whose work is on the compute stream. A decoder's is not: its events would measure something else."""


class MemoryGauge(Protocol):
    """Peak memory between `reset` and `read`."""

    def reset(self) -> None: ...

    def read(self) -> Memory: ...


class Stream(Protocol):
    """Moments on the compute stream."""

    on_gpu: ClassVar[bool]
    """Whether a span measures something that the host's clock does not."""

    def moment(self) -> Any:
        """Now, as the stream will reach it. Waits for nothing."""

    def seconds(self, start: Any, end: Any) -> float:
        """Between two moments that the stream has passed."""


class CudaStream:
    """CUDA events on the current stream."""

    on_gpu: ClassVar[bool] = True

    def moment(self) -> Any:
        import torch

        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def seconds(self, start: Any, end: Any) -> float:
        return float(start.elapsed_time(end)) / 1e3


@dataclass(frozen=True)
class HostStream:
    """The host's clock, where the work itself is on the host."""

    on_gpu: ClassVar[bool] = False
    clock: Callable[[], int]

    def moment(self) -> int:
        return self.clock()

    def seconds(self, start: int, end: int) -> float:
        return (end - start) / 1e9


@dataclass(frozen=True)
class Instruments:
    """What a run is measured with. All are arguments, so that tests need neither a GPU nor time."""

    clock: Callable[[], int]
    """Nanoseconds, monotonic."""
    synchronize: Callable[[], None]
    """Waits until the devices are idle."""
    gauge: MemoryGauge
    stream: Stream
    prepared: Callable[[], CompileCounts]
    """What the process has compiled and captured so far."""
    reserved: Callable[[], int | None]
    """Size of torch's memory pool."""


@dataclass
class Stopwatch:
    """Times a stage between two synchronised boundaries, and reads its peak memory outside of them.

    Order: reset the gauge, synchronize, clock, the stage, synchronize, clock, read the gauge.
    """

    instruments: Instruments
    seconds: dict[str, float] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    spans: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """Stage on the stream -> its first and last moment."""
    marks: list[Any] = field(default_factory=list)
    """A moment for each token, when its logits are there."""
    passes: TimedPasses = field(init=False)

    def __post_init__(self) -> None:
        self.passes = TimedPasses(self)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        using = self.instruments
        using.gauge.reset()
        using.synchronize()
        start = using.clock()
        first = using.stream.moment() if stage in ON_STREAM else None
        yield
        if stage in ON_STREAM:
            self.spans[stage] = first, using.stream.moment()
        using.synchronize()
        self.seconds[stage] = (using.clock() - start) / 1e9
        self.memory[stage] = using.gauge.read()

    def mark(self) -> None:
        self.marks.append(self.instruments.stream.moment())

    def stages(self) -> dict[str, StageRun]:
        stream = self.instruments.stream
        spans = {stage: stream.seconds(*span) for stage, span in self.spans.items()} if stream.on_gpu else {}
        return {stage: StageRun(seconds, spans.get(stage), self.memory[stage]) for stage, seconds in self.seconds.items()}

    def steps(self) -> tuple[float, ...]:
        """Seconds of the prefill, then of each decode step."""
        moments = [self.spans["generate"][0], *self.marks]
        return tuple(self.instruments.stream.seconds(before, after) for before, after in pairwise(moments))


@dataclass
class TimedPasses(Passes):
    """Moments on the stream, and how many drafts there were."""

    watch: Stopwatch
    moments: list[tuple[Any, Any, Any]] = field(default_factory=list)
    """Of each pass: its last token in front, when its drafts were there, and when the model had gone over them."""
    counts: list[tuple[int, int]] = field(default_factory=list)
    """Of each pass: drafted, and accepted."""

    def drafted(self, count: int) -> None:
        self._before, self._there, self._drafted = self.watch.marks[-1], self.watch.instruments.stream.moment(), count

    def verified(self) -> None:
        self.moments.append((self._before, self._there, self.watch.instruments.stream.moment()))

    def accepted(self, count: int) -> None:
        self.counts.append((self._drafted, count))

    def read(self) -> Drafting | None:
        """To be asked when the run has ended. None if nothing was drafted."""
        if not self.counts:
            return None
        seconds = self.watch.instruments.stream.seconds
        return Drafting(
            passes=len(self.counts),
            drafted=sum(drafted for drafted, _ in self.counts),
            accepted=sum(accepted for _, accepted in self.counts),
            rejecting=sum(accepted < drafted for drafted, accepted in self.counts),
            draft_seconds=sum(seconds(before, there) for before, there, _ in self.moments),
            verify_seconds=sum(seconds(there, over) for _, there, over in self.moments),
        )


@dataclass(frozen=True)
class RunPosition:
    """Where in a session a run stands."""

    kind: Kind
    turn: int
    sample: int
    block: int | None


def measure(
    pipeline: Stages[Any, Any, Any],
    path: Path,
    new_tokens: int,
    position: RunPosition,
    stage_sync: bool,
    using: Instruments,
    kept: KeptRows,
) -> Run:
    """One sample through all stages.

    Args:
        stage_sync: whether the host waits for the device before and after each stage, so that each has a time of its own. Else it
            waits at the two ends only, as it does for a user; the overhead of stage synchronization is the difference.
        kept: where the run leaves rows of its outputs, when the clock has stopped.
    """
    before = using.prepared()
    stages = prefill = steps = drafting = None
    if stage_sync:
        watch = Stopwatch(using)
        watched = kept.watch(path, new_tokens, watch.mark, watch.passes)
        answer, work = run_stages(pipeline, path, new_tokens, watch, watched.sampler, watched.observe)
        stages, seconds = watch.stages(), sum(watch.seconds.values())
        prefill, *rest = watch.steps()
        steps, drafting = tuple(rest), watch.passes.read()
    else:
        watched = kept.watch(path, new_tokens)
        using.synchronize()
        start = using.clock()
        answer, work = run_stages(pipeline, path, new_tokens, sampler=watched.sampler, observe=watched.observe)
        using.synchronize()
        seconds = (using.clock() - start) / 1e9
    run = Run(
        kind=position.kind,
        turn=position.turn,
        sample=position.sample,
        block=position.block,
        seconds=seconds,
        stages=stages,
        prefill_seconds=prefill,
        decode_step_seconds=steps,
        compile_counts=since(before, using.prepared()),
        reserved=using.reserved(),
        work=work,
        tokens=answer.tokens,
        text=answer.text,
        drafting=drafting,
    )
    watched.ended(answer)
    return run
