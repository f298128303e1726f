"""Who is asked for what, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import save_file

from evbench.results import Outputs, Side, Work
from evbench.session import outputs
from evbench.session.outputs import choose
from evbench.session.reference_outputs import Reference
from evbench.stages import Generation
from evbench.worker.capture_outputs import CapturedOutputs
from evbench.worker.client import OutOfMemory
from tests.simulation import simulated_workload

TOKENS = (1, 2, 3)


def arrays(error: float) -> dict[str, npt.NDArray[Any]]:
    random = np.random.default_rng(0)
    shapes = {"preprocess": (2, 3, 4, 4), "vision": (2, 3, 8), "generate": (3, 9)}
    made = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    made["generate"][np.arange(3), TOKENS] += 9
    noisy = {name: values + np.float32(error) * random.normal(size=values.shape).astype(np.float32) for name, values in made.items()}
    return {"load": np.zeros((2, 4, 4, 3), np.float32)} | noisy | {f"stage-isolated/{name}": noisy[name] for name in noisy}


@dataclass
class SimulatedWorkers:
    """Workers that write arrays of noise, and a reference that writes none."""

    error: float = 1e-6
    tokens: tuple[int, ...] = TOKENS
    requests: list[str] = field(default_factory=list)
    room: bool = False
    crowded: bool = False
    """Whether there is no memory for the reference as long as workers of the sides are there."""

    def worker(self, side: Side) -> _Worker:
        return _Worker(self, side)

    def free(self) -> None:
        self.requests.append("free")
        self.crowded = False

    def report(self, activity: str) -> None: ...

    @contextmanager
    def reference(self) -> Iterator[_Worker]:
        self.requests.append("reference begins")
        try:
            yield _Worker(self, "baseline")
        finally:
            self.requests.append("reference ends")


AXES = {
    "load": ("frame", "row", "column", "channel"),
    "preprocess": ("frame", "channel", "row", "column"),
    "vision": ("frame", "token", "feature"),
    "generate": ("position", "token"),
}

AXES = {
    "load": ("frame", "row", "column", "channel"),
    "preprocess": ("frame", "channel", "row", "column"),
    "vision": ("frame", "token", "feature"),
    "generate": ("position", "token"),
}


@dataclass
class _Worker:
    workers: SimulatedWorkers
    side: Side

    def capture_outputs(self, sample: int, file: Path, baseline: CapturedOutputs | None = None, isolated: bool = False) -> CapturedOutputs:
        self.workers.requests.append(f"{self.side} {sample}{' given' if baseline else ''}{' isolated' if isolated else ''}")
        ours = self.side == "baseline"
        save_file(arrays(1e-6 if ours else self.workers.error), file)
        return CapturedOutputs(file, Work(), (1,), Generation(TOKENS if ours else self.workers.tokens, ""), 0.015, AXES)

    def capture_reference(self, sample: int, file: Path, baseline: CapturedOutputs) -> None:
        self.workers.requests.append(f"reference {sample}")
        if self.workers.crowded:
            raise OutOfMemory("reference: out of GPU memory")
        save_file(arrays(0.0), file)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


ANSWERS: outputs.Answers = {"baseline": {0: {TOKENS}, 1: {TOKENS}}, "optimized": {0: {TOKENS}, 1: {TOKENS}}}


def compare(workers: SimulatedWorkers, dtype: str | None = "float64", answers: outputs.Answers = ANSWERS, samples: int = 2) -> Outputs:
    return outputs.compare(workers, Reference(dtype, "weights", workers.reference), answers, simulated_workload(samples))


def test_the_baseline_is_asked_twice_and_the_other_side_follows_it() -> None:
    workers = SimulatedWorkers()
    found = compare(workers)
    assert workers.requests == [
        "baseline 0", "baseline 1", "baseline 0 given", "baseline 1 given",
        "free", "reference begins", "reference 0", "reference 1", "reference ends",
        "optimized 0 given isolated", "optimized 1 given isolated",
    ]  # fmt: skip
    assert (found.reference, found.samples) == ("float64", (0, 1))
    assert {check.grade for check in found.checks if check.mode != "baseline-repeat"} == {"pass"}


def test_where_there_is_room_the_reference_is_built_beside_the_workers_and_once_for_all_samples() -> None:
    workers, answers = SimulatedWorkers(room=True), {side: {sample: {TOKENS} for sample in range(10)} for side in ANSWERS}
    reference = Reference("float64", "weights", workers.reference)
    outputs.compare(workers, reference, answers, simulated_workload(10), lambda: workers.requests.append("evidence"))
    found = [request for request in workers.requests if request.startswith(("reference b", "reference e", "evidence", "free"))]
    assert found == ["reference begins", "evidence", "reference ends"]
    order = workers.requests
    assert order.index("baseline 7") < order.index("reference begins") < order.index("baseline 0 given") < order.index("evidence")
    assert order.index("evidence") < order.index("reference 0") < order.index("optimized 0 given isolated")


def test_a_reference_without_memory_beside_the_workers_is_run_alone() -> None:
    """Its weights fit there, and what its input takes is not known before."""
    workers = SimulatedWorkers(room=True, crowded=True)
    found = compare(workers)
    assert workers.requests[2:] == [
        "reference begins", "baseline 0 given", "baseline 1 given", "reference 0", "reference ends",
        "free", "reference begins", "reference 0", "reference 1", "reference ends",
        "optimized 0 given isolated", "optimized 1 given isolated",
    ]  # fmt: skip
    assert found.reference == "float64"


def test_what_has_run_out_of_memory_once_is_not_tried_beside_the_workers_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evbench.session.references.store", lambda name, file: None)  # all samples have the same outputs here
    samples = range(outputs.AT_ONCE + 1)
    workers = SimulatedWorkers(room=True, crowded=True)
    compare(workers, answers={side: {sample: {TOKENS} for sample in samples} for side in ANSWERS}, samples=len(samples))
    last = f"baseline {samples[-1]}"
    behind = workers.requests[workers.requests.index(last) :]
    assert behind[:3] == [last, f"{last} given", "free"], "the reference is not started before the workers have ended"


@pytest.mark.parametrize("room", [False, True])
def test_a_reference_that_has_no_memory_alone_is_told(room: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedWorkers, "free", lambda self: None)
    with pytest.raises(OutOfMemory, match="out of GPU memory"):
        compare(SimulatedWorkers(room=room, crowded=True))


def test_a_reference_is_made_once_for_the_same_input() -> None:
    compare(SimulatedWorkers())
    again = SimulatedWorkers()
    found = compare(again)
    assert not [request for request in again.requests if request.startswith(("reference", "free"))]
    assert {check.rule for check in found.checks} >= {"RMS error"}


def test_a_reference_that_does_not_fit_is_not_asked_for() -> None:
    workers = SimulatedWorkers()
    found = compare(workers, None)
    assert found.reference is None
    assert not [request for request in workers.requests if request.startswith("reference")]
    assert "RMS error" not in {check.rule for check in found.checks}


def test_what_is_wrong_fails() -> None:
    assert "fail" in {check.grade for check in compare(SimulatedWorkers(error=1e-2)).checks}
    told = {check.rule: check.grade for check in compare(SimulatedWorkers(tokens=(1, 2, 4))).checks if check.mode == "end-to-end"}
    assert told["tokens"] == "fail"


def test_of_many_samples_some_are_compared_and_all_that_differ() -> None:
    many: outputs.Answers = {side: {sample: {TOKENS} for sample in range(500)} for side in ("baseline", "optimized")}
    chosen = choose(many)
    assert len(chosen) == outputs.MOST_SAMPLES
    assert chosen[0] == 0
    assert max(later - earlier for earlier, later in pairwise(chosen)) <= 16
    differing = {**many["optimized"], 101: {(9,)}, 102: {(8,)}}
    assert set(choose({**many, "optimized": differing})) == {*chosen, 101, 102}


def test_a_score_counts_only_what_the_baseline_could_lose() -> None:
    samples = [replace(one, caption=None) for one in simulated_workload(2).samples]
    assert outputs.task_score({0: outputs.Compared([], ("a", "b"))}, samples) == ()
