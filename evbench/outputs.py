"""The outputs of both sides, stage by stage, against a reference: who is asked for what, in which order."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

from evbench import references
from evbench.equivalence import Finding, Seen, Sides, compare_sample, merge
from evbench.observe import Observation
from evbench.results import Outputs, Role

MOST_SAMPLES = 32
"""Of many samples so many are compared at each stage, and all whose tokens differ; the tokens of all are."""
AT_ONCE = 8
"""Samples whose arrays lie on the disk at the same time: 0.1 GB each at full size."""
Answers = Mapping[Role, Mapping[int, Collection[tuple[int, ...]]]]
"""Side -> sample -> tokens of its timed runs."""


class Observer(Protocol):
    """A worker that tells what each stage makes of a sample."""

    def observe(self, sample: int, file: Path, given: Observation | None = None, swap: bool = False) -> Observation: ...


class Follower(Protocol):
    """A worker that tells what a reference makes of the baseline's input."""

    def follow(self, sample: int, file: Path, given: Observation) -> None: ...


class Crew(Protocol):
    """The workers of a session."""

    def worker(self, role: Role) -> Observer:
        """Living, and warm."""

    def make_room(self) -> None:
        """For one more worker, if not all fit at the same time."""

    def tell(self, doing: str) -> None:
        """What is done now."""


@dataclass(frozen=True)
class Reference:
    """The same weights in higher precision, with nothing fused or cached."""

    dtype: str | None
    """None if it does not fit into this machine."""
    identity: str
    """Of the weights and of the code: with the baseline's observation, it names what is cached."""
    start: Callable[[], AbstractContextManager[Follower]]


def compare(crew: Crew, reference: Reference, answers: Answers, dtype: str) -> Outputs:
    """Everything that is compared of two sides.

    Args:
        dtype: that of the workload, by which errors are measured.
    """
    chosen = choose(answers)
    found: dict[int, list[Finding]] = {}
    for start in range(0, len(chosen), AT_ONCE):
        with tempfile.TemporaryDirectory(prefix="evbench-outputs-") as folder:
            found |= _compare_some(crew, reference, chosen[start : start + AT_ONCE], answers, dtype, Path(folder))
    return Outputs(reference.dtype, tuple(chosen), merge(found))


def choose(answers: Answers) -> list[int]:
    """The samples that are compared at each stage: spread evenly, and all whose tokens differ."""
    samples = sorted(set(answers["baseline"]) & set(answers["optimized"]))
    count = min(MOST_SAMPLES, len(samples))
    spread = {samples[index * len(samples) // count] for index in range(count)}
    differing = {sample for sample in samples if len({*answers["baseline"][sample], *answers["optimized"][sample]}) > 1}
    return sorted(spread | differing)


def _compare_some(
    crew: Crew, reference: Reference, samples: Sequence[int], answers: Answers, dtype: str, folder: Path
) -> dict[int, list[Finding]]:
    expected = expect(crew, reference, samples, folder)
    crew.tell("outputs of the optimized side")
    optimized = crew.worker("optimized")
    found = {}
    for sample in samples:
        theirs = optimized.observe(sample, folder / f"{sample}-optimized", expected[sample].baseline, swap=True)
        found[sample] = hold_against(expected[sample], theirs, dtype, answers["baseline"][sample], answers["optimized"][sample])
    return found


@dataclass(frozen=True)
class Expected:
    """What another side is held against, of one sample."""

    baseline: Observation
    again: Observation
    reference: Path | None


def expect(crew: Crew, reference: Reference, samples: Sequence[int], folder: Path) -> dict[int, Expected]:
    """Sample -> what the baseline puts out, twice, and the reference. Their files are in the folder."""
    crew.tell("outputs of the baseline, twice")
    baseline = crew.worker("baseline")
    ours = {sample: baseline.observe(sample, folder / f"{sample}-baseline") for sample in samples}
    again = {sample: baseline.observe(sample, folder / f"{sample}-again", ours[sample]) for sample in samples}
    exact = {} if reference.dtype is None else _follow(crew, reference, ours, folder)
    return {sample: Expected(ours[sample], again[sample], exact.get(sample)) for sample in samples}


def hold_against(
    expected: Expected,
    optimized: Observation,
    dtype: str,
    usual: Collection[tuple[int, ...]] = (),
    answers: Collection[tuple[int, ...]] = (),
) -> list[Finding]:
    """One sample of the other side.

    Args:
        usual, answers: tokens of further runs of the baseline and of the other side.
    """
    exact = None if expected.reference is None else load_file(expected.reference)
    return compare_sample(Sides(_seen(expected.baseline), _seen(expected.again), _seen(optimized), exact, answers, usual), dtype)


def _follow(crew: Crew, reference: Reference, given: Mapping[int, Observation], folder: Path) -> dict[int, Path]:
    """Sample -> the file of the reference, made once for the same input, weights and code."""
    names = {sample: references.name(reference.identity, observation.file) for sample, observation in given.items()}
    missing = [sample for sample, name in names.items() if references.find(name) is None]
    if missing:
        crew.make_room()
        crew.tell(f"reference in {reference.dtype}")
        with reference.start() as follower:
            for sample in missing:
                follower.follow(sample, folder / f"{sample}-reference", given[sample])
    kept = {}
    for sample, name in names.items():
        fresh = folder / f"{sample}-reference"
        kept[sample] = fresh if sample in missing else references.copy(name, fresh)
    for sample in missing:
        references.keep(names[sample], kept[sample])
    return kept


def _seen(observation: Observation) -> Seen:
    arrays: dict[str, npt.NDArray[np.generic]] = dict(load_file(observation.file))
    return Seen(arrays, observation.work, observation.prompt, observation.answer.tokens, observation.quantum)
