"""One sample under torch.profiler, in a run of its own: a profiled run is never a timed run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from evbench.results import Completeness, Trace
from evbench.stages import Pipeline, Sampler, run_stages
from evbench.traces import chrome, counters, overview
from evbench.traces.breakdown import sections
from evbench.traces.chrome import TooLarge
from evbench.traces.completeness import Counts, check, count, stamp
from evbench.traces.lanes import separate_overlaps
from evbench.traces.names import named
from evbench.traces.timeline import PREFILL, PREFIX, STEP, TEXT, Timeline
from evbench.worker.measure import Instruments, Stopwatch
from evbench.worker.messages import TraceSpec

Returned = TypeVar("Returned")

PLAIN_RUNS = 3
"""Without the profiler, to compare with. The shortest counts: what disturbs a run makes it longer."""
FIRST_KERNELS = 64
"""That a profiler may lose: as many as it was started before in this process."""
MOST_PACKED = 100 * 2**20
"""Bytes of a trace's file."""


def profile(pipeline: Pipeline[Any, Any, Any], path: Path, spec: TraceSpec, using: Instruments, batch: int = 1) -> Trace:
    """Write a Chrome trace (`.json.gz`, opens in Perfetto) of one sample, or of a batch of so many.

    Raises:
        TooLarge: the file would be. It is not kept.
    """

    def plain() -> dict[str, float]:
        watch = Stopwatch(using)
        run_stages(pipeline, path, spec.new_tokens, watch, Sampler(mark=watch.mark))
        return watch.seconds

    plain()  # the shortened decode must not be seen for the first time
    runs = [plain() for _ in range(PLAIN_RUNS)]
    shortest = {stage: min(run[stage] for run in runs) for stage in runs[0]}
    ranges = Ranges(using)

    def once() -> int:
        answer, _ = run_stages(pipeline, path, spec.new_tokens, ranges, Sampler(mark=ranges.mark))
        return len(answer.tokens) // batch

    named = module_ranges(pipeline.model) if spec.modules else nullcontext()
    how = "give fewer --trace-tokens" + (", or leave out --modules" if spec.modules else "")
    try:
        with counters.read_meanwhile(counters.gauges(using.stream.on_gpu)) as readings, named:
            new_tokens, trace = record(once, memory=True)
    except TooLarge:
        raise TooLarge(f"the trace of {spec.title} would have more than {chrome.MOST_BYTES // 2**20} MiB unpacked; {how}") from None
    timeline, found = finish(trace, spec, readings, shortest, _counted_again(once))
    chrome.write(trace, spec.file)
    if (size := spec.file.stat().st_size) > MOST_PACKED:
        spec.file.unlink()
        raise TooLarge(f"the trace of {spec.title} would have {size / 2**20:.0f} MiB, {MOST_PACKED // 2**20} are kept at most; {how}")
    slowdown = sum(span.length for span in timeline.stages.values()) / 1e6 / sum(shortest.values())
    return Trace(spec.file.name, new_tokens, slowdown, found, sections(timeline, trace.events))


def _counted_again(once: Callable[[], object]) -> Counts:
    """Counts of a second recording, which is not kept: the first must have as many. Ranges of modules are no operations."""
    _, trace = record(once)
    return count(Timeline(trace.events, "another recording of it"), trace.events)


class Ranges:
    """For `run_stages`: each stage as a named range, which its kernels do not outlast; inside generate the prefill and each decode step."""

    def __init__(self, using: Instruments) -> None:
        self._using = using
        self._inner: Any = None

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        from torch.profiler import record_function

        with record_function(PREFIX + stage):
            if stage == "generate":
                self._open(PREFILL)
            try:
                yield
            finally:
                self._close()
            self._using.synchronize()  # a stage's kernels end inside its range

    def mark(self) -> None:
        """The prefill has ended, or a decode step."""
        self._close()
        self._open(STEP)

    def _open(self, name: str) -> None:
        from torch.profiler import record_function

        self._inner = record_function(PREFIX + name)
        self._inner.__enter__()

    def _close(self) -> None:
        if self._inner is not None:
            self._inner.__exit__(None, None, None)
            self._inner = None


@contextmanager
def module_ranges(model: Any) -> Iterator[None]:
    """A range for each call of each part of a torch module, with the part's name."""
    from torch.profiler import record_function

    unfinished: list[AbstractContextManager[object]] = []

    def entering(label: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            unfinished.append(record_function(label))
            unfinished[-1].__enter__()

        return hook

    def leaving(*_: object) -> None:
        unfinished.pop().__exit__(None, None, None)

    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(entering(f"{name or 'model'} ({type(module).__name__})")))
        handles.append(module.register_forward_hook(leaving, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def record(once: Callable[[], Returned], memory: bool = False) -> tuple[Returned, chrome.Trace]:
    """What `once` returns, run under torch.profiler, and its trace.

    Args:
        memory: also record each allocation.

    Raises:
        TooLarge: the trace would not fit into memory.
    """
    import torch
    from torch.profiler import ProfilerActivity

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])
    with torch.profiler.profile(activities=activities, profile_memory=memory) as profiler:
        for number in _gpus_in_use():
            # Each session after the first loses one kernel more at its start (pytorch/pytorch#192021): these may go.
            spare = torch.zeros(1, device=torch.device("cuda", number))
            for _ in range(FIRST_KERNELS):
                spare += 1
            torch.cuda.synchronize(number)
        done = once()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"  # not packed: torch packs line by line, which takes longer than all else here
        profiler.export_chrome_trace(str(file))
        return done, chrome.read(file)


def _gpus_in_use() -> list[int]:
    """Numbers of the first one, and of the others that this process has memory on."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [number for number in range(count) if number == 0 or torch.cuda.memory_reserved(number)]


def finish(
    trace: chrome.Trace, spec: TraceSpec, readings: list[counters.Reading], plain: dict[str, float], expected: Counts
) -> tuple[Timeline, Completeness]:
    """Make the profiler's trace readable: stages on a track of their own, curves, and a stamp of completeness."""
    _name_parts(trace.events)
    timeline = Timeline(trace.events, spec.file)
    pid = timeline.ranges[0]["pid"]
    counters.take_memory(trace.events, pid)
    trace.events.extend(counters.from_readings(readings, int(trace.header["baseTimeNanoseconds"]), trace.events, pid))
    trace.events.extend(counters.tokens(timeline, pid))
    found = check(timeline, trace.events, plain, expected)
    separate_overlaps(trace.events)
    bars = overview.of_run(timeline)
    trace.events.extend(overview.draw({overview.STAGES: bars, overview.COMPLETENESS: [overview.whole(stamp(found), bars)]}, pid))
    trace.events[:] = named(trace.events, "", spec.process_name())
    counted = count(timeline, trace.events)
    trace.header["evbench"] = {
        "variant": spec.title,
        "new tokens": f"{spec.new_tokens} of {spec.of_tokens}",
        "stamp": stamp(found),
        "losses": list(found.losses),
        "counts": counted,
    }
    return timeline, found


def _name_parts(events: list[chrome.Event]) -> None:
    """Steps get their numbers. The range behind the last token's is none of a token: it is called what it is."""
    ranges = [event for event in events if event["ph"] == "X" and event["name"] == PREFIX + STEP]
    steps = sorted((event for event in ranges if event.get("cat") == "user_annotation"), key=lambda event: float(event["ts"]))
    for token, step in enumerate(steps, 2):
        step.setdefault("args", {})["token"] = token
    if steps:
        last = steps[-1].get("args", {})
        last.pop("token")
        for event in ranges:
            if event is steps[-1] or event.get("args", {}).get("External id", -1) == last.get("External id"):
                event["name"] = PREFIX + TEXT
