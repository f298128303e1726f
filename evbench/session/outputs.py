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

from evbench.results import Check, Grade, Outputs, Sample, Side, Workload
from evbench.session import references
from evbench.verdict.captions import right_share
from evbench.verdict.equivalence import Finding, SampleOutputs, Seen, compare_sample, merge
from evbench.verdict.statistics import mean_and_reach
from evbench.worker.capture_outputs import CapturedOutputs

MOST_SAMPLES = 32
"""Of many samples so many are compared at each stage, and all whose tokens differ; the tokens of all are."""
AT_ONCE = 8
"""Samples whose arrays lie on the disk at the same time: 0.1 GB each at full size."""
MOST_LOST = 0.01
"""Of what the baseline tells right (mlcommons/inference_policies:inference_rules.adoc asks for 99 %)."""
Answers = Mapping[Side, Mapping[int, Collection[tuple[int, ...]]]]
"""Side -> sample -> tokens of its timed runs and streams."""


class OutputSource(Protocol):
    """A worker that tells what each stage makes of a sample."""

    def capture_outputs(self, sample: int, file: Path, given: CapturedOutputs | None = None, swap: bool = False) -> CapturedOutputs: ...


class ReferenceSource(Protocol):
    """A worker that tells what a reference makes of the baseline's input."""

    def capture_reference(self, sample: int, file: Path, given: CapturedOutputs) -> None: ...


class WorkerPool(Protocol):
    """The workers of a session."""

    def worker(self, side: Side) -> OutputSource:
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
    start: Callable[[], AbstractContextManager[ReferenceSource]]


def compare(crew: WorkerPool, reference: Reference, answers: Answers, workload: Workload) -> Outputs:
    """Everything that is compared of two sides."""
    chosen = choose(answers)
    compared: dict[int, Compared] = {}
    for start in range(0, len(chosen), AT_ONCE):
        with tempfile.TemporaryDirectory(prefix="evbench-outputs-") as folder:
            compared |= _compare_some(crew, reference, chosen[start : start + AT_ONCE], answers, workload.dtype, Path(folder))
    checks = merge({sample: one.found for sample, one in compared.items()})
    return Outputs(reference.dtype, tuple(chosen), checks + task_score(compared, workload.samples))


@dataclass(frozen=True)
class Compared:
    """One sample."""

    found: list[Finding]
    texts: tuple[str, str]
    """What the baseline said, and what the other side did."""


def task_score(compared: Mapping[int, Compared], samples: Sequence[Sample]) -> tuple[Check, ...]:
    """How much less of the captions is told right, relative to the baseline; with several samples, the bound that holds at 97.5 %.

    Nothing is said where no caption is known, or where the baseline tells nothing right that could be lost.
    """
    scores = {
        sample: [right_share(caption, text) for text in one.texts]
        for sample, one in compared.items()
        if (caption := samples[sample].caption) is not None
    }
    usual = sum(ours for ours, _ in scores.values()) / max(1, len(scores))
    if usual == 0:
        return ()
    lost = {sample: ours - theirs for sample, (ours, theirs) in scores.items()}
    mean, reach = mean_and_reach(list(lost.values())) if len(lost) > 1 else (next(iter(lost.values())), 0.0)
    figure = max(0.0, (mean + reach) / usual)
    told = f"{usual:.1%} of what the captions tell is right; {-mean / usual:+.1%} on the optimized side"
    if len(lost) == 1 and mean:
        told += "; one sample has no interval"
    failed = sum(value > 0 for value in lost.values())
    grade: Grade = "pass" if figure <= MOST_LOST else "fail"
    sample = max(lost, key=lambda sample: lost[sample])
    return (Check("generate", "end-to-end", "caption accuracy lost", grade, figure, MOST_LOST, "", told, sample, len(lost), failed),)


def choose(answers: Answers) -> list[int]:
    """The samples that are compared at each stage: spread evenly, and all whose tokens differ."""
    samples = sorted(set(answers["baseline"]) & set(answers["optimized"]))
    count = min(MOST_SAMPLES, len(samples))
    spread = {samples[index * len(samples) // count] for index in range(count)}
    differing = {sample for sample in samples if len({*answers["baseline"][sample], *answers["optimized"][sample]}) > 1}
    return sorted(spread | differing)


def _compare_some(
    crew: WorkerPool, reference: Reference, samples: Sequence[int], answers: Answers, dtype: str, folder: Path
) -> dict[int, Compared]:
    expected = expect(crew, reference, samples, folder)
    crew.tell("outputs of the optimized side")
    optimized = crew.worker("optimized")
    compared = {}
    for sample in samples:
        ours = expected[sample].baseline
        theirs = optimized.capture_outputs(sample, folder / f"{sample}-optimized", ours, swap=True)
        found = hold_against(expected[sample], theirs, dtype, answers["baseline"][sample], answers["optimized"][sample])
        compared[sample] = Compared(found, (ours.answer.text, theirs.answer.text))
    return compared


@dataclass(frozen=True)
class Expected:
    """What another side is held against, of one sample."""

    baseline: CapturedOutputs
    again: CapturedOutputs
    reference: Path | None


def expect(crew: WorkerPool, reference: Reference, samples: Sequence[int], folder: Path) -> dict[int, Expected]:
    """Sample -> what the baseline puts out, twice, and the reference. Their files are in the folder."""
    crew.tell("outputs of the baseline, twice")
    baseline = crew.worker("baseline")
    ours = {sample: baseline.capture_outputs(sample, folder / f"{sample}-baseline") for sample in samples}
    again = {sample: baseline.capture_outputs(sample, folder / f"{sample}-again", ours[sample]) for sample in samples}
    exact = {} if reference.dtype is None else _follow(crew, reference, ours, folder)
    return {sample: Expected(ours[sample], again[sample], exact.get(sample)) for sample in samples}


def hold_against(
    expected: Expected,
    optimized: CapturedOutputs,
    dtype: str,
    usual: Collection[tuple[int, ...]] = (),
    answers: Collection[tuple[int, ...]] = (),
) -> list[Finding]:
    """One sample of the other side.

    Args:
        usual, answers: tokens of further runs of the baseline and of the other side.
    """
    exact = None if expected.reference is None else load_file(expected.reference)
    return compare_sample(SampleOutputs(_seen(expected.baseline), _seen(expected.again), _seen(optimized), exact, answers, usual), dtype)


def _follow(crew: WorkerPool, reference: Reference, given: Mapping[int, CapturedOutputs], folder: Path) -> dict[int, Path]:
    """Sample -> the file of the reference, made once for the same input, weights and code."""
    names = {sample: references.name(reference.identity, observation.file) for sample, observation in given.items()}
    missing = [sample for sample, name in names.items() if references.find(name) is None]
    if missing:
        crew.make_room()
        crew.tell(f"make the reference ({reference.dtype})")
        with reference.start() as follower:
            for sample in missing:
                follower.capture_reference(sample, folder / f"{sample}-reference", given[sample])
    kept = {}
    for sample, name in names.items():
        fresh = folder / f"{sample}-reference"
        kept[sample] = fresh if sample in missing else references.copy(name, fresh)
    for sample in missing:
        references.keep(names[sample], kept[sample])
    return kept


def _seen(observation: CapturedOutputs) -> Seen:
    arrays: dict[str, npt.NDArray[np.generic]] = dict(load_file(observation.file))
    return Seen(arrays, observation.work, observation.prompt, observation.answer.tokens, observation.quantum)
