"""Compares the outputs of both sides, stage by stage, against a reference."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image
from safetensors.numpy import load_file

from evbench.results import Check, Grade, Loss, Outputs, Sample, SampleLoss, Side, Workload, WorstPicture
from evbench.session.reference_outputs import Reference, ReferenceOutputs, Room
from evbench.verdict import loss
from evbench.verdict.captions import right_share
from evbench.verdict.clusters import cluster_means
from evbench.verdict.equivalence import compare_sample
from evbench.verdict.findings import Finding, SampleOutputs, SideOutputs, merge, plain
from evbench.verdict.statistics import mean_and_reach
from evbench.verdict.worst_frame import WorstFrame, worst_frame
from evbench.worker.capture_outputs import CapturedOutputs

MOST_SAMPLES = 32
"""Of many samples so many are compared at each stage, and all whose tokens differ; the tokens of all are."""
AT_ONCE = 8
"""Samples whose arrays lie on the disk at the same time: 0.1 GB each at full size."""
MOST_LOST = 0.01
"""Share of what is right in the baseline's captions (mlcommons/inference_policies:inference_rules.adoc asks for 99 %)."""
Answers = Mapping[Side, Mapping[int, Collection[tuple[int, ...]]]]
"""Side -> sample -> tokens of its timed runs and throughput runs."""


class OutputSource(Protocol):
    """A worker that stores the outputs of each stage."""

    def capture_outputs(
        self, sample: int, file: Path, baseline: CapturedOutputs | None = None, isolated: bool = False
    ) -> CapturedOutputs: ...


class OutputWorkers(Room, Protocol):
    """The workers of both sides."""

    def worker(self, side: Side) -> OutputSource:
        """Live, and warm."""


def nothing() -> None:
    """To do meanwhile."""


@dataclass(frozen=True)
class LossyReference:
    """Of a side with choices that change outputs by design."""

    choices: Mapping[str, str]
    """Part -> lossy choice."""
    reference: Reference
    """It loses the same as they do."""


def compare(
    workers: OutputWorkers,
    reference: Reference,
    answers: Answers,
    workload: Workload,
    meanwhile: Callable[[], None] = nothing,
    lossy: Mapping[Side, LossyReference] | None = None,
) -> Outputs:
    """All output checks of two sides, over the samples that `choose` picks. Their arrays are on disk for as long as they are needed.

    Args:
        meanwhile: called once, while the reference is built, if it is built beside the workers. May use them.
        lossy: of the sides that have such choices.
    """
    lossy = lossy or {}
    chosen = choose(answers)
    compared: dict[int, Compared] = {}
    with ReferenceOutputs(reference, workers) as exact:
        at_once = max(1, AT_ONCE // workload.batch)
        for start in range(0, len(chosen), at_once):
            samples, left_to_do = chosen[start : start + at_once], nothing if start else meanwhile
            with tempfile.TemporaryDirectory(prefix="evbench-outputs-") as folder:
                compared |= _compare_some(workers, exact, samples, answers, workload.dtype, Path(folder), left_to_do, lossy)
    checks = merge({sample: one.found for sample, one in compared.items()})
    picture = worst_picture({sample: one.worst for sample, one in compared.items() if one.worst is not None})
    if lossy:
        found = tuple(one.loss for one in compared.values() if one.loss is not None)
        lost = Loss({side: dict(one.choices) for side, one in lossy.items()}, found)
        return Outputs(reference.dtype, tuple(chosen), checks, lost, picture)
    return Outputs(reference.dtype, tuple(chosen), checks + task_score(compared, workload.samples), worst_picture=picture)


def worst_picture(found: Mapping[int, WorstFrame]) -> WorstPicture | None:
    """Of the sample with the largest difference. None if no sample has any."""
    if not found:
        return None
    sample = max(found, key=lambda sample: found[sample].levels)
    worst, drawn = found[sample], io.BytesIO()
    Image.fromarray(np.concatenate(worst.pictures, axis=1)).save(drawn, "png", optimize=True)
    return WorstPicture(sample, worst.frame, worst.levels, base64.b64encode(drawn.getvalue()).decode("ascii"))


@dataclass(frozen=True)
class Compared:
    """One sample."""

    found: list[Finding]
    texts: tuple[str, str]
    """Answer of the baseline, and of the optimized side."""
    worst: WorstFrame | None = None
    """Of its frames, where some differ."""
    loss: SampleLoss | None = None
    """None if no side is lossy."""


def task_score(compared: Mapping[int, Compared], samples: Sequence[Sample]) -> tuple[Check, ...]:
    """How much less of the captions is right, relative to the baseline; with several samples, the bound that holds at 97.5 %.

    No check where no caption is known, or where nothing that the baseline says is right and could be lost.
    """
    scores = {
        sample: [right_share(caption, text) for text in one.texts]
        for sample, one in compared.items()
        if (caption := samples[sample].caption) is not None
    }
    ours_right = cluster_means({sample: ours for sample, (ours, _) in scores.items()}, samples)
    usual = sum(ours_right) / max(1, len(ours_right))
    if usual == 0:
        return ()
    lost = {sample: ours - theirs for sample, (ours, theirs) in scores.items()}
    means = cluster_means(lost, samples)
    mean, reach = mean_and_reach(means) if len(means) > 1 else (means[0], 0.0)
    figure = max(0.0, (mean + reach) / usual)
    detail = f"{usual:.1%} of the captions is right; {-mean / usual:+.1%} on the optimized side"
    if len(lost) == 1 and mean:
        detail += "; one sample has no interval"
    failed = sum(value > 0 for value in lost.values())
    grade: Grade = "pass" if figure <= MOST_LOST else "fail"
    sample = max(lost, key=lambda sample: lost[sample])
    return (Check("generate", "end-to-end", "caption accuracy lost", grade, figure, MOST_LOST, "", detail, sample, len(lost), failed),)


def choose(answers: Answers) -> list[int]:
    """The samples that are compared at each stage: spread evenly, and all whose tokens differ."""
    samples = sorted(set(answers["baseline"]) & set(answers["optimized"]))
    count = min(MOST_SAMPLES, len(samples))
    spread = {samples[index * len(samples) // count] for index in range(count)}
    differing = {sample for sample in samples if len({*answers["baseline"][sample], *answers["optimized"][sample]}) > 1}
    return sorted(spread | differing)


def _compare_some(
    workers: OutputWorkers,
    exact: ReferenceOutputs,
    samples: Sequence[int],
    answers: Answers,
    dtype: str,
    folder: Path,
    meanwhile: Callable[[], None],
    lossy: Mapping[Side, LossyReference],
) -> dict[int, Compared]:
    references = {side: one.reference for side, one in lossy.items()}
    expected = expect(workers, exact, samples, folder, meanwhile, references)
    workers.report("outputs of the optimized side")
    optimized = workers.worker("optimized")
    compared = {}
    for sample in samples:
        ours = expected[sample].baseline
        theirs = optimized.capture_outputs(sample, folder / f"{sample}-optimized", ours, isolated=True)
        sides = outputs_of(expected[sample], theirs, answers["baseline"][sample], answers["optimized"][sample])
        lost = loss.measure(sample, sides) if lossy else None
        worst = worst_frame(sides.baseline.arrays["load"], sides.optimized.arrays["load"])
        compared[sample] = Compared(compare_sample(sides, dtype), (ours.answer.text, theirs.answer.text), worst, lost)
    return compared


@dataclass(frozen=True)
class Expected:
    """What the outputs of another side are compared with, of one sample."""

    baseline: CapturedOutputs
    again: CapturedOutputs
    reference: Path | None
    lossy: Mapping[Side, Path] = field(default_factory=dict)
    """Of sides with lossy choices: outputs of the reference that loses the same."""
    unrounded: Mapping[Side, Path] = field(default_factory=dict)
    """Of those of them that declare to round what they compute: outputs of the reference that loses all but that."""


def expect(
    workers: OutputWorkers,
    exact: ReferenceOutputs,
    samples: Sequence[int],
    folder: Path,
    meanwhile: Callable[[], None] = nothing,
    lossy: Mapping[Side, Reference] | None = None,
) -> dict[int, Expected]:
    """Sample -> outputs of the baseline, of its repeat, and of the references. Their files are in the folder.

    Args:
        lossy: of sides with lossy choices, the reference that loses the same.
    """
    workers.report("outputs of the baseline, twice")
    baseline = workers.worker("baseline")
    ours = {sample: baseline.capture_outputs(sample, folder / f"{sample}-baseline") for sample in samples}
    exact.prepare(ours)
    again = {sample: baseline.capture_outputs(sample, folder / f"{sample}-again", ours[sample]) for sample in samples}
    meanwhile()
    files, of_sides = exact.files(ours, folder), dict[Side, dict[int, Path]]()
    unrounded: dict[Side, dict[int, Path]] = {}
    for side, reference in (lossy or {}).items():
        exact.end()  # there need not be room for two references
        of_sides[side] = _of_another(reference, workers, ours, folder / f"reference-of-{side}")
        if reference.rounds:
            rest = reference.unrounded
            unrounded[side] = files if rest is None else _of_another(rest, workers, ours, folder / f"unrounded-reference-of-{side}")
    return {
        sample: Expected(
            ours[sample],
            again[sample],
            files.get(sample),
            {side: found[sample] for side, found in of_sides.items() if sample in found},
            {side: found[sample] for side, found in unrounded.items() if sample in found},
        )
        for sample in samples
    }


def _of_another(reference: Reference, workers: OutputWorkers, ours: Mapping[int, CapturedOutputs], folder: Path) -> dict[int, Path]:
    """Sample -> outputs of a reference for the same outputs of the baseline."""
    folder.mkdir()
    with ReferenceOutputs(reference, workers) as outputs:
        outputs.prepare(ours)
        return outputs.files(ours, folder)


def compare_with(expected: Expected, optimized: CapturedOutputs, dtype: str, answers: Collection[tuple[int, ...]] = ()) -> list[Finding]:
    """All findings of one sample of another side than the baseline, of which `answers` are tokens of timed runs."""
    return compare_sample(outputs_of(expected, optimized, answers=answers), dtype)


def outputs_of(
    expected: Expected,
    optimized: CapturedOutputs,
    usual: Collection[tuple[int, ...]] = (),
    answers: Collection[tuple[int, ...]] = (),
) -> SampleOutputs:
    """One sample, with the outputs of the other side.

    Args:
        usual: tokens of timed runs of the baseline.
        answers: tokens of timed runs of the other side.
    """
    exact = None if expected.reference is None else load_file(expected.reference)
    lost: dict[Side, dict[str, npt.NDArray[np.floating]]] = {}
    rounded: dict[Side, dict[str, npt.NDArray[np.floating]]] = {}
    if exact is not None:
        for side, file in expected.lossy.items():
            losing = {name: plain(values) for name, values in load_file(file).items()}
            lost[side] = {name: values - plain(exact[name]) for name, values in losing.items()}
            if (unrounded := expected.unrounded.get(side)) == expected.reference:
                rounded[side] = lost[side]  # nothing else is lost
            elif unrounded is not None:
                rest = load_file(unrounded)
                rounded[side] = {name: values - plain(rest[name]) for name, values in losing.items()}
    return SampleOutputs(
        _side_outputs(expected.baseline),
        _side_outputs(expected.again),
        _side_outputs(optimized),
        exact,
        answers,
        usual,
        lost,
        rounded,
    )


def _side_outputs(captured: CapturedOutputs) -> SideOutputs:
    arrays: dict[str, npt.NDArray[np.generic]] = dict(load_file(captured.file))
    return SideOutputs(arrays, captured.work, captured.prompt, captured.answer.tokens, captured.quantum, captured.axes, captured.batch)
