"""Samples in a row, with a pipeline that only writes down what is asked of it, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from evbench.errors import UserError
from evbench.pipelines.load.choices import PREFETCH
from evbench.pipelines.load.prefetch import CALLS_AHEAD, THREAD, in_batches
from evbench.results import CompileCounts, Memory, ThroughputRun, Work
from evbench.stages import BATCH, Generation, Sampler
from evbench.worker.compile_counts import NOTHING
from evbench.worker.measure import HostStream, Instruments
from evbench.worker.throughput import BackToBack, measure_throughput, run_back_to_back
from tests.unkept import Unkept

PATIENCE = 20.0
ROW = [Path(f"{place}.mp4") for place in range(20)]


class Written:
    """A pipeline whose answer is the number of its sample."""

    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    model, tower, decoder, image_processor, tokenizer = None, None, None, None, None
    used_layers, tower_layers, decoder_layers = 0, 0, 0
    parameters, weights_fingerprint, quantum = 0, "", 0.0

    def __init__(self) -> None:
        self.main = threading.get_ident()
        self.log: list[str] = []
        """What was begun and ended, in the order in which it was."""
        self.elsewhere: set[str] = set()
        """Stages that ran in another thread."""
        self.broken: Callable[[str], None] = lambda name: None
        """Called with each sample that is loaded."""
        self.load_many: Callable[[Sequence[Path]], list[tuple[str, Work]]] | None = self._load_many

    def _began(self, stage: str, name: str) -> None:
        self.log.append(f"{stage} {name}")
        if threading.get_ident() != self.main:
            self.elsewhere.add(stage)

    def load(self, path: Path, /) -> tuple[str, Work]:
        self._began("load", path.stem)
        self.broken(path.stem)
        return path.stem, Work(decoder="pen")

    def _load_many(self, paths: Sequence[Path], /) -> list[tuple[str, Work]]:
        self._began("load", "-".join(path.stem for path in paths))
        for path in paths:
            self.broken(path.stem)
        return [(path.stem, Work(decoder="pen")) for path in paths]

    def preprocess(self, loaded: str, /) -> tuple[str, Work]:
        self._began("preprocess", loaded)
        return loaded, Work(prompt_tokens=3)

    def vision(self, inputs: str, /) -> tuple[str, Work]:
        return inputs, Work(visual_tokens=2)

    def generate(self, features: str, new_tokens: int, sampler: Sampler, /) -> tuple[Generation, Work]:
        self.log.append(f"answer {features}")
        return Generation((int(features),) * new_tokens, features), Work(new_tokens=new_tokens)


def clock() -> int:
    return time.perf_counter_ns()


def delivered(pipeline: Written, prefetch: str, row: Sequence[Path] = ROW) -> BackToBack:
    return run_back_to_back(pipeline, prefetch, row, 2, clock)


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(THREAD)}


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert threads() == set()


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.001)


@pytest.mark.parametrize("prefetch", PREFETCH.choices)
@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 20])
def test_every_sample_is_loaded_once_and_answered_in_its_place(prefetch: str, count: int) -> None:
    pipeline = Written()
    streamed = delivered(pipeline, prefetch, ROW[:count])
    assert [answer.tokens for answer in streamed.generations] == [(place, place) for place in range(count)]
    assert streamed.work == (Work(decoder="pen", prompt_tokens=3, visual_tokens=2, new_tokens=2),) * count
    loaded = [name for entry in pipeline.log if entry.startswith("load ") for name in entry.removeprefix("load ").split("-")]
    assert loaded == [path.stem for path in ROW[:count]]
    assert pipeline.elsewhere == ({"load"} if prefetch != "off" else set()), "only load is ever called by another thread"


def test_without_prefetching_nothing_is_loaded_before_the_answer_to_the_one_before() -> None:
    pipeline = Written()
    delivered(pipeline, "off", ROW[:3])
    assert pipeline.log == [f"{done} {place}" for place in range(3) for done in ("load", "preprocess", "answer")]


def test_batches_are_of_eight_and_the_last_of_what_is_left() -> None:
    pipeline = Written()
    delivered(pipeline, "batched")
    assert [entry.count("-") + 1 for entry in pipeline.log if entry.startswith("load ")] == [8, 8, 4]


def test_a_decoder_that_takes_one_file_at_a_time_has_no_batches() -> None:
    pipeline = Written()
    pipeline.load_many = None
    with pytest.raises(AssertionError, match="conflict"):
        in_batches(pipeline, ROW)


@pytest.mark.parametrize(("prefetch", "most"), [("on", CALLS_AHEAD), ("batched", 2 * BATCH - 1)])
def test_so_many_samples_are_loaded_ahead_while_one_is_worked_on_and_no_more(prefetch: str, most: int) -> None:
    pipeline = Written()
    loaded: list[str] = []
    pipeline.broken = loaded.append
    chosen = PREFETCH.implementation(prefetch)
    with chosen.deliver(chosen.calls(pipeline, ROW)) as samples:
        next(samples)
        until(lambda: len(loaded) == 1 + most)
        time.sleep(0.05)
        assert len(loaded) == 1 + most, "memory is bounded"
        next(samples)
        if prefetch == "on":
            until(lambda: len(loaded) == 2 + most)


def test_the_next_sample_is_loaded_while_one_is_worked_on() -> None:
    """Each waits for the other: in one thread this would never end."""
    pipeline, working = Written(), threading.Event()

    def load(name: str) -> None:
        if name == "1":
            assert working.wait(PATIENCE), "nothing was worked on meanwhile"

    pipeline.broken = load
    chosen = PREFETCH.implementation("on")
    with chosen.deliver(chosen.calls(pipeline, ROW[:2])) as samples:
        assert next(samples)[0] == "0"
        until(lambda: "load 1" in pipeline.log)
        working.set()
        assert next(samples)[0] == "1"


class Broken(Exception):
    """Something else than a mistake of the user's."""


@pytest.mark.parametrize("prefetch", PREFETCH.choices)
@pytest.mark.parametrize("error", [UserError("3.mp4 is damaged"), Broken("no memory"), OSError(5, "I/O error")])
def test_what_loading_raises_is_raised_as_it_is_without_a_thread(prefetch: str, error: Exception) -> None:
    pipeline = Written()

    def fail(name: str) -> None:
        if name == "3":
            raise error

    pipeline.broken = fail
    with pytest.raises(type(error)) as caught:
        delivered(pipeline, prefetch)
    assert caught.value is error
    answered = [entry for entry in pipeline.log if entry.startswith("answer ")]
    assert answered == ([] if prefetch == "batched" else ["answer 0", "answer 1", "answer 2"])
    loads = len([entry for entry in pipeline.log if entry.startswith("load ")])
    assert loads <= 4 + CALLS_AHEAD, "what was not begun is not made any more"


@pytest.mark.parametrize("prefetch", PREFETCH.choices)
def test_a_stage_that_fails_ends_the_thread_too(prefetch: str) -> None:
    pipeline = Written()

    def broken(inputs: str, /) -> tuple[str, Work]:
        raise UserError("the prompt is too long")

    pipeline.vision = broken  # type: ignore[method-assign]
    with pytest.raises(UserError, match="too long"):
        delivered(pipeline, prefetch)
    assert threads() == set()
    assert len([entry for entry in pipeline.log if entry.startswith("load ")]) <= 1 + CALLS_AHEAD


def instruments(ticks: Callable[[], int], waits: list[str], prepared: Callable[[], CompileCounts]) -> Instruments:
    class Gauge:
        def reset(self) -> None: ...

        def read(self) -> Memory:
            raise AssertionError("a stream reads no memory")

    return Instruments(ticks, lambda: waits.append("synchronize"), Gauge(), HostStream(ticks), prepared, lambda: None)


def test_a_stream_is_timed_as_a_whole_and_its_loading_and_waiting_apart() -> None:
    """On a clock that moves with the work: loading takes 5, all else 7."""
    pipeline, now, waits = Written(), [100], list[str]()

    def take(seconds: int) -> None:
        now[0] += seconds * 10**9

    pipeline.broken = lambda name: take(5)
    really = pipeline.vision

    def vision(inputs: str, /) -> tuple[str, Work]:
        take(7)
        return really(inputs)

    pipeline.vision = vision  # type: ignore[method-assign]
    states = iter([NOTHING, CompileCounts(2, 0, 0, 0)])
    using = instruments(lambda: now[0], waits, lambda: next(states))
    run = measure_throughput(pipeline, "off", ROW[:3], 1, 9, 4, using, Unkept())
    assert run == ThroughputRun(
        turn=9,
        block=4,
        seconds=36.0,
        samples=3,
        load_seconds=15.0,
        load_wait_seconds=15.0,
        compile_counts=CompileCounts(2, 0, 0, 0),
        work=(Work(decoder="pen", prompt_tokens=3, visual_tokens=2, new_tokens=1),) * 3,
        tokens=((0,), (1,), (2,)),
    )
    assert waits == ["synchronize"] * 2, "at the two ends only"


def test_ahead_the_loop_waits_for_less_than_loading_takes() -> None:
    """Each sample is worked on until the next is loaded: only for the first there is something to wait for."""
    pipeline, loaded = Written(), list[str]()

    def load(name: str) -> None:
        time.sleep(0.05)
        loaded.append(name)

    pipeline.broken = load
    really = pipeline.vision

    def vision(inputs: str, /) -> tuple[str, Work]:
        until(lambda: len(loaded) >= min(8, int(inputs) + 2))
        return really(inputs)

    pipeline.vision = vision  # type: ignore[method-assign]
    using = instruments(clock, [], lambda: NOTHING)
    run = measure_throughput(pipeline, "on", ROW[:8], 1, 0, None, using, Unkept())
    assert run.load_seconds >= 8 * 0.05
    assert 0.05 <= run.load_wait_seconds < run.load_seconds
