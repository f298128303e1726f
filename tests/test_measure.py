"""The order of clock, synchronizer and stages, with a pipeline and a clock that are not real."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
import torch

from evbench.results import STAGES, CompileCounts, Memory, Work
from evbench.stages import Generation, Sampler, run_stages
from evbench.worker.compile_counts import NOTHING
from evbench.worker.measure import HostStream, Instruments, RunPosition, Stopwatch, measure
from tests.unkept import Unkept

STAGE_NANOSECONDS = {"load": 5_000_000, "preprocess": 7_000_000, "vision": 11_000_000, "generate": 13_000_000}


class FakeMachine:
    """A clock, a GPU that is busy until synchronised, a memory gauge and a pipeline, which all write down what happens."""

    parameters, weights_fingerprint = 0, ""
    prepared = NOTHING

    def __init__(self) -> None:
        self.now = 0
        self.queued = 0
        self.reached = 0
        self.log: list[str] = []

    # The stream reaches its moments later than the host, which only queues them.

    on_gpu: ClassVar[bool] = True

    def moment(self) -> int:
        self.log.append("moment")
        return self.reached

    def seconds(self, start: int, end: int) -> float:
        return (end - start) / 1e9

    def instruments(self) -> Instruments:
        return Instruments(self.clock, self.synchronize, self, self, lambda: self.prepared, lambda: 77)

    def clock(self) -> int:
        self.log.append("clock")
        return self.now

    def synchronize(self) -> None:
        self.log.append("synchronize")
        self.now += self.queued
        self.queued = 0

    def reset(self) -> None:
        self.log.append("reset")

    def read(self) -> Memory:
        self.log.append("read")
        self.now += 1_000_000_000  # reading is slow, and must not be timed
        return Memory(1, None, None, None, None)

    def _launch(self, stage: str) -> None:
        self.log.append(stage)
        self.queued += STAGE_NANOSECONDS[stage]

    def load(self, path: Path, /) -> tuple[str, Work]:
        self._launch("load")
        return f"frames of {path}", Work(decoder="fake")

    def preprocess(self, loaded: str, /) -> tuple[str, Work]:
        self._launch("preprocess")
        return f"pixels of {loaded}", Work(prompt_tokens=3)

    def vision(self, inputs: str, /) -> tuple[str, Work]:
        self._launch("vision")
        return f"features of {inputs}", Work(visual_tokens=2, dtype="float32")

    def generate(self, features: str, new_tokens: int, sampler: Sampler, /) -> tuple[Generation, Work]:
        self._launch("generate")
        for _ in range(new_tokens):
            self.reached += 2_000_000
            sampler(torch.zeros(1, 4))
        return Generation(tuple(range(new_tokens)), f"answer to {features}"), Work(new_tokens=new_tokens, dtype="float32")


TIMED = RunPosition("timed", 5, 1, 2)


def test_each_stage_is_timed_between_two_synchronised_boundaries() -> None:
    fake = FakeMachine()
    fake.queued = 99_000_000  # work of before must not be counted into the first stage
    run = measure(fake, Path("clip"), 2, TIMED, True, fake.instruments(), Unkept())
    off_stream = ["reset", "synchronize", "clock", "{stage}", "synchronize", "clock", "read"]
    vision = ["reset", "synchronize", "clock", "moment", "vision", "moment", "synchronize", "clock", "read"]
    generate = [*vision[:4], "generate", "moment", "moment", *vision[5:]]
    expected = [word.format(stage=stage) for stage in STAGES[:2] for word in off_stream]
    assert fake.log == [*expected, *vision, *generate]
    assert run.stages is not None
    assert {stage: run.stages[stage].seconds for stage in STAGES} == {s: n / 1e9 for s, n in STAGE_NANOSECONDS.items()}
    assert run.seconds == pytest.approx(0.036)


def test_without_stage_sync_the_host_waits_at_the_two_ends_only() -> None:
    fake = FakeMachine()
    fake.queued = 99_000_000
    run = measure(fake, Path("clip"), 2, TIMED, False, fake.instruments(), Unkept())
    assert fake.log == ["synchronize", "clock", *STAGES, "synchronize", "clock"]
    assert run.seconds == pytest.approx(0.036)
    assert (run.stages, run.prefill_seconds, run.decode_step_seconds) == (None, None, None)


def test_prefill_and_each_step_are_read_from_the_stream_after_the_loop() -> None:
    fake = FakeMachine()
    run = measure(fake, Path("clip"), 3, TIMED, True, fake.instruments(), Unkept())
    assert run.prefill_seconds == pytest.approx(0.002)
    assert run.decode_step_seconds == pytest.approx((0.002, 0.002))
    assert run.stages is not None
    assert run.stages["generate"].stream_seconds == pytest.approx(0.006), "from the first moment to the last, not the host's time"
    assert run.stages["load"].stream_seconds is None, "its work is on other streams"


def test_on_the_host_a_span_is_not_told_as_something_else() -> None:
    fake = FakeMachine()
    using = fake.instruments()
    host = Instruments(fake.clock, fake.synchronize, fake, HostStream(fake.clock), using.prepared, using.reserved)
    run = measure(fake, Path("clip"), 3, TIMED, True, host, Unkept())
    assert run.stages is not None
    assert all(stage.stream_seconds is None for stage in run.stages.values())
    assert run.decode_step_seconds == (0, 0)


def test_a_run_says_what_was_done_and_what_was_said() -> None:
    fake = FakeMachine()
    run = measure(fake, Path("clip"), 4, TIMED, True, fake.instruments(), Unkept())
    assert (run.kind, run.turn, run.sample, run.block, run.tokens) == ("timed", 5, 1, 2, (0, 1, 2, 3))
    assert run.text == "answer to features of pixels of frames of clip"
    assert run.work == Work(decoder="fake", prompt_tokens=3, visual_tokens=2, new_tokens=4, dtype="float32")
    assert run.reserved == 77


def test_what_was_made_ready_in_a_run_is_told() -> None:
    fake = FakeMachine()
    fake.prepared = CompileCounts(3, 2, 1, 0)
    using = fake.instruments()
    states = iter([CompileCounts(3, 2, 1, 0), CompileCounts(5, 3, 1, 4)])
    changed = Instruments(using.clock, using.synchronize, using.gauge, using.stream, lambda: next(states), using.reserved)
    run = measure(fake, Path("clip"), 1, TIMED, False, changed, Unkept())
    assert run.compile_counts == CompileCounts(2, 1, 0, 4)
    assert run.compile_counts
    assert not measure(fake, Path("clip"), 1, TIMED, False, using, Unkept()).compile_counts


def test_a_stage_that_fails_stops_the_run() -> None:
    fake = FakeMachine()

    def broken(inputs: str, /) -> tuple[str, Work]:
        raise RuntimeError("no")

    fake.vision = broken  # type: ignore[method-assign]
    stopwatch = Stopwatch(fake.instruments())
    with pytest.raises(RuntimeError, match="no"):
        run_stages(fake, Path("clip"), 1, stopwatch)
    assert list(stopwatch.seconds) == ["load", "preprocess"]
