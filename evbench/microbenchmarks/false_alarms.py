"""How often the output checks would blame another way to compute the same, and how near to it they come.

    python -m evbench.microbenchmarks.false_alarms --data scenes --weights 4 --out false-alarms.json

Of each model and kind of input, with several random weights and on several scenes (a folder of `evbench scenes make`), every choice that
must not change outputs is compared with the baseline, as a comparison does it. All happens in one process, and nothing is timed.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from evbench.choices import Variant
from evbench.cli.script import require_writable, run, write_json
from evbench.errors import UserError
from evbench.inputs import workload as inputs
from evbench.inputs.listing import Selection
from evbench.pipelines.registry import KINDS, MODELS, without_rounding
from evbench.results import Grade, Side, Workload
from evbench.scenes.captions import QUESTIONS
from evbench.session import mutation
from evbench.variants.named import REFERENCE, change, parse
from evbench.variants.obstacles import obstacles
from evbench.verdict.error_rule import RULES
from evbench.verdict.findings import GRADES, Finding, distance
from evbench.verdict.pixel_rules import SHIFT_RULE

if TYPE_CHECKING:
    from evbench.session.outputs import Expected

WINDOW = "100ms:50ms"
"""Of a scene's raw events."""
TAIL = 0.1
"""Share of comparisons, those that came nearest to a threshold, from which it is reckoned how often one would be beyond it."""
FAILING = {*RULES, SHIFT_RULE}
"""Rules that fail beyond their threshold. Others, such as that of KL divergence, warn there, and fail only farther out: that they are
near their threshold says nothing of false alarms."""


@dataclass(frozen=True)
class Pair:
    """One comparison of two ways to compute the same."""

    model: str
    kind: str
    dtype: str
    seed: int
    """Of the random weights."""
    scene: str
    variant: str
    grade: Grade
    """The worst."""
    margin: float
    """Largest value of a check in units of its threshold, of the rules in FAILING and of what failed: beyond 1 is an alarm."""
    check: str
    """Which one that is."""


@dataclass(frozen=True)
class FalseAlarms:
    """All pairs, and what follows from them."""

    device: str
    pairs: tuple[Pair, ...]
    warned: int
    """Those whose worst grade is a warning, which is no false alarm."""
    failed: int
    largest_margin: float
    expected_per_thousand: dict[str, float]
    """Type of the numbers -> false alarms in 1,000 comparisons, from the tail of its margins."""
    left_out: dict[str, str]
    """Variant, kind of input and type -> why it cannot be run."""


FEWEST = 20
"""Pairs of which there is a tail to speak of."""


def measure(
    workloads: Iterable[Workload], variants_of: dict[str, Sequence[Variant]], device: str, keep: Callable[[FalseAlarms], None]
) -> FalseAlarms:
    """
    Args:
        variants_of: kind of input -> ways to compute the same.
        keep: called with all pairs as soon as there are more of them, and enough.

    Raises:
        ValueError: fewer than FEWEST pairs.
        UserError: a check that allows nothing failed.
    """
    pairs: tuple[Pair, ...] = ()
    left_out: dict[str, str] = {}
    for workload in workloads:
        pairs += (*_pairs(workload, variants_of[workload.kind], left_out),)
        if endless := next((pair for pair in pairs if not math.isfinite(pair.margin)), None):
            told = f"{endless.check}, which allows nothing, failed for {endless.variant}"
            raise UserError(f"{told}; look at it first, with evbench selftest --mutants")
        typer.echo(f"{len(pairs)} pairs", err=True)
        if len(pairs) >= FEWEST:
            keep(_summary(device, pairs, left_out))
    if len(pairs) < FEWEST:
        raise ValueError(f"{len(pairs)} pairs are too few to reckon with")
    return _summary(device, pairs, left_out)


def _summary(device: str, pairs: tuple[Pair, ...], left_out: dict[str, str]) -> FalseAlarms:
    margins: dict[str, list[float]] = {}
    for pair in pairs:  # each type has thresholds, and so a tail, of its own
        margins.setdefault(pair.dtype, []).append(pair.margin)
    warned, failed = (sum(pair.grade == grade for pair in pairs) for grade in ("warn", "fail"))
    expected = {dtype: 1000 * chance_beyond(found) for dtype, found in margins.items()}
    return FalseAlarms(device, pairs, warned, failed, max(pair.margin for pair in pairs), expected, dict(left_out))


def chance_beyond(margins: Sequence[float]) -> float:
    """How often a margin would be above 1: the tail of its logarithm is taken for exponential (Hill, Annals of Statistics 3, 1975)."""
    logs = np.log(np.sort(np.maximum(margins, 1e-9)))
    count = max(2, math.ceil(TAIL * len(logs)))
    start, tail = logs[-count - 1], logs[-count:]
    scale = float(np.mean(tail - start))
    if start >= 0:
        return float(np.mean(logs > 0))
    return count / len(logs) * math.exp(start / scale) if scale > 0 else 0.0


def expected_outputs(workload: Workload, paths: Sequence[Path], folder: Path, losing: Mapping[str, str] | None = None) -> list[Expected]:
    """What the outputs of another variant are compared with, for each path. Their files are in the folder.

    Args:
        losing: of a lossy variant: part -> hidden choice with which a second reference loses the same.
    """
    from evbench.pipelines.build import build
    from evbench.session.outputs import Expected
    from evbench.worker.capture_outputs import capture_outputs, capture_reference
    from evbench.worker.kept_rows import KeptRows

    baseline, reference = build(parse("baseline"), workload), build(REFERENCE, workload, "float64")
    lossy = None if losing is None else build(change(REFERENCE, losing), workload, "float64")
    rest = without_rounding(losing or {})
    rounds = rest != (losing or {})
    unrounded = build(change(REFERENCE, rest), workload, "float64") if rounds and rest else None
    expected = []
    for number, path in enumerate(paths):
        exact, lost = folder / f"{number}-reference", folder / f"{number}-lossy-reference"
        ours = capture_outputs(baseline, path, workload.new_tokens, folder / f"{number}-baseline", None, False, KeptRows())
        again = capture_outputs(baseline, path, workload.new_tokens, folder / f"{number}-again", ours, False, KeptRows())
        capture_reference(reference, path, exact, ours, "float64")
        if lossy is not None:
            capture_reference(lossy, path, lost, ours, "float64")
        known: dict[Side, Path] = {} if lossy is None else {"optimized": lost}
        less = exact
        if unrounded is not None:
            less = folder / f"{number}-unrounded-reference"
            capture_reference(unrounded, path, less, ours, "float64")
        expected.append(Expected(ours, again, exact, known, {"optimized": less} if rounds else {}))
    return expected


def _pairs(workload: Workload, variants: Sequence[Variant], left_out: dict[str, str]) -> Iterator[Pair]:
    """Of one set of weights: every sample with every variant. What cannot be run is added to those left out: not every library takes
    every type.
    """
    from evbench.pipelines.build import build
    from evbench.session.outputs import compare_with
    from evbench.worker.capture_outputs import capture_outputs
    from evbench.worker.kept_rows import KeptRows

    tokens = workload.new_tokens
    paths = [Path(sample.path) for sample in workload.samples]
    with tempfile.TemporaryDirectory(prefix="evbench-false-alarms-") as name:
        folder = Path(name)
        expected = expected_outputs(workload, paths, folder)
        for variant in variants:
            try:
                pipeline = build(variant, workload)
                for number, path in enumerate(paths):
                    seen = capture_outputs(pipeline, path, tokens, folder / "other", expected[number].baseline, True, KeptRows())
                    yield _pair(workload, path.name, variant, compare_with(expected[number], seen, workload.dtype))
            except UserError as error:
                left_out[f"{variant.name}, {workload.kind}, {workload.dtype}"] = str(error)


def _pair(workload: Workload, scene: str, variant: Variant, found: Sequence[Finding]) -> Pair:
    judged = [finding for finding in found if finding.mode != "baseline-repeat"]
    closest = nearest_to_alarm(judged)
    check = f"{closest.stage}, {closest.mode}: {closest.rule}"
    of = workload.model, workload.kind, workload.dtype, workload.seed or 0
    grade = max((finding.grade for finding in judged), key=GRADES.index)
    return Pair(*of, scene, variant.name, grade, distance(closest.value, closest.threshold), check)


def nearest_to_alarm(judged: Iterable[Finding]) -> Finding:
    """What failed by most, or else came nearest to failing."""
    return max(
        (finding for finding in judged if finding.rule in FAILING or finding.grade == "fail"),
        key=lambda finding: (GRADES.index(finding.grade), distance(finding.value, finding.threshold)),
    )


def _chosen(variant: Variant) -> set[str]:
    return {f"{part}={choice}" for part, choice in variant.choices().items()}


def main(
    data: Annotated[Path, typer.Option(help="Folder that `evbench scenes make` has made.")],
    scenes: Annotated[int, typer.Option(min=1, help="How many of them.")] = 4,
    weights: Annotated[int, typer.Option(min=1, help="How many random weights.")] = 4,
    dtype: Annotated[list[str] | None, typer.Option(help="Of the weights. Several may be given.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    skip: Annotated[list[str] | None, typer.Option(help="PART=CHOICE to leave out, such as vision=compile. Several may be given.")] = None,
    new_tokens: Annotated[int, typer.Option(min=2)] = 8,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Look how near equal computations come to the thresholds of the output checks."""
    require_writable(out)
    workloads: list[Workload] = []
    variants: dict[str, list[Variant]] = {}
    whole = parse("optimized-gpu" if device == "cuda" else "static-cache")
    for kind in KINDS:
        model = next(name for name, entry in MODELS.items() if kind in entry.kinds)
        cases = mutation.equal_computations(
            whole,
            model,
            kind,
            lambda one: not obstacles(one, model, kind, device),  # noqa: B023, called at once
        )
        variants[kind] = [case.variant for case in cases if not set(skip or []) & _chosen(case.variant)]
        options: dict[str, Any] = {
            "model": model, "preset": "tiny", "weights": None, "videos": (), "events_folders": (), "data": data,
            "selection": Selection(samples=scenes), "frame_policy": "inclusive", "prompt": QUESTIONS["concise"],
            "new_tokens": new_tokens, "stop_at_end": False, "device": device,
            "raw_events": kind == "events", "event_window": WINDOW if kind == "events" else None,
        }  # fmt: skip
        workloads += [inputs.describe(**options, seed=seed, dtype=one) for one in dtype or ["float32"] for seed in range(weights)]
    found = measure(workloads, dict(variants), device, lambda so_far: write_json(out, so_far))
    worst = sorted(found.pairs, key=lambda pair: -pair.margin)[:5]
    typer.echo(
        f"{len(found.pairs)} pairs, {found.warned} warned, {found.failed} failed; largest margin {found.largest_margin:.3f}; ", nl=False
    )
    of_each = ", ".join(f"{value:.3g} in {dtype}" for dtype, value in found.expected_per_thousand.items())
    typer.echo(f"false alarms expected in 1,000 comparisons: {of_each}")
    for name, reason in found.left_out.items():
        typer.echo(f"  left out: {name}: {reason}")
    for pair in worst:
        typer.echo(f"  {pair.margin:.3f}  {pair.check}  {pair.variant}, {pair.kind}, {pair.dtype}, weights {pair.seed}, {pair.scene}")


if __name__ == "__main__":
    run(main)
