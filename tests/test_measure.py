"""The order of clock, synchronizer and stages, with a pipeline and a clock that are not real."""

from __future__ import annotations

from pathlib import Path

import pytest

from evbench.measure import Stopwatch, measure
from evbench.results import STAGES, Memory, Work
from evbench.stages import Answer, run_stages

STAGE_NANOSECONDS = {"load": 5_000_000, "preprocess": 7_000_000, "vision": 11_000_000, "generate": 13_000_000}


class FakeMachine:
    """A clock, a GPU that is busy until synchronised, a memory gauge and a pipeline, which all write down what happens."""

    parameters, weights_fingerprint = 0, ""

    def __init__(self) -> None:
        self.now = 0
        self.queued = 0
        self.log: list[str] = []

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
        return Memory(1, None, None, None)

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

    def generate(self, features: str, new_tokens: int, /) -> tuple[Answer, Work]:
        self._launch("generate")
        return Answer(tuple(range(new_tokens)), f"answer to {features}"), Work(new_tokens=new_tokens, dtype="float32")


def test_each_stage_is_timed_between_two_synchronised_boundaries() -> None:
    fake = FakeMachine()
    fake.queued = 99_000_000  # work of before must not be counted into the first stage
    run = measure(fake, Path("clip"), 4, "timed", 0, Stopwatch(fake.clock, fake.synchronize, fake))
    one_stage = ["reset", "synchronize", "clock", "{stage}", "synchronize", "clock", "read"]
    assert fake.log == [word.format(stage=stage) for stage in STAGES for word in one_stage]
    assert {stage: run.stages[stage].seconds for stage in STAGES} == {s: n / 1e9 for s, n in STAGE_NANOSECONDS.items()}
    assert run.seconds == pytest.approx(0.036)


def test_a_run_says_what_was_done_and_what_was_said() -> None:
    fake = FakeMachine()
    run = measure(fake, Path("clip"), 4, "first", 7, Stopwatch(fake.clock, fake.synchronize, fake))
    assert (run.kind, run.turn, run.tokens) == ("first", 7, (0, 1, 2, 3))
    assert run.text == "answer to features of pixels of frames of clip"
    assert run.work == Work(decoder="fake", prompt_tokens=3, visual_tokens=2, new_tokens=4, dtype="float32")


def test_a_stage_that_fails_stops_the_run() -> None:
    fake = FakeMachine()

    def broken(inputs: str, /) -> tuple[str, Work]:
        raise RuntimeError("no")

    fake.vision = broken  # type: ignore[method-assign]
    stopwatch = Stopwatch(fake.clock, fake.synchronize, fake)
    with pytest.raises(RuntimeError, match="no"):
        run_stages(fake, Path("clip"), 1, stopwatch)
    assert list(stopwatch.stages) == ["load", "preprocess"]
