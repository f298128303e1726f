"""Outputs of one sample, findings of single rules, and checks over all samples. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evbench.results import STAGES, Check, Grade, Mode, Side, Work

Array = npt.NDArray[np.floating]
Axes = tuple[str, ...]
GRADES: tuple[Grade, ...] = ("pass", "warn", "fail")
MODES: tuple[Mode, ...] = ("baseline-repeat", "end-to-end", "stage-isolated")


@dataclass(frozen=True)
class SideOutputs:
    """Outputs of one side for one sample."""

    arrays: Mapping[str, npt.NDArray[np.generic]]
    """By stage; of a stage that ran by itself on what sides hand over of the baseline's input, under `stage-isolated/`."""
    work: Work
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    quantum: float
    axes: Mapping[str, Axes]
    """Stage -> names of its array's axes (`evbench.stages.Pipeline.axes`)."""
    batch: int = 1
    """Samples that went through the stages together: tokens and logits are of each of them in turn."""


@dataclass(frozen=True)
class SampleOutputs:
    """Outputs of both sides and of the reference for one sample."""

    baseline: SideOutputs
    repeat: SideOutputs
    """The baseline repeat."""
    optimized: SideOutputs
    reference: Mapping[str, Array] | None
    """Outputs of the reference for the baseline's inputs. None if it did not fit on this machine."""
    optimized_tokens: Collection[tuple[int, ...]]
    """Tokens of all timed runs of the optimized side."""
    baseline_tokens: Collection[tuple[int, ...]]
    """Those of the baseline."""
    lost: Mapping[Side, Mapping[str, Array]] = field(default_factory=dict)
    """Of sides with lossy choices: the outputs of a reference that loses the same, less those of the reference."""
    rounded: Mapping[Side, Mapping[str, Array]] = field(default_factory=dict)
    """Of those of them that declare to round what they compute to a coarser format, what is lost by that alone: see
    `evbench.verdict.error_rule`."""


@dataclass(frozen=True)
class Finding:
    """A rule, for one sample."""

    stage: str
    mode: Mode
    rule: str
    grade: Grade
    value: float
    threshold: float
    location: str = ""
    detail: str = ""


def merge(samples: Mapping[int, Sequence[Finding]]) -> tuple[Check, ...]:
    """One check for each rule, over all samples."""
    grouped: dict[tuple[str, Mode, str], dict[int, Finding]] = {}
    for sample, found in samples.items():
        for finding in found:
            grouped.setdefault((finding.stage, finding.mode, finding.rule), {})[sample] = finding

    def badness(finding: Finding) -> tuple[int, float]:
        return GRADES.index(finding.grade), distance(finding.value, finding.threshold)

    checks = []
    for (stage, mode, rule), findings in grouped.items():
        sample = max(findings, key=lambda sample: badness(findings[sample]))
        worst = findings[sample]
        failed = sum(finding.grade == "fail" for finding in findings.values())
        checks.append(
            Check(stage, mode, rule, worst.grade, worst.value, worst.threshold, worst.location, worst.detail, sample, len(findings), failed)
        )
    return tuple(checks)


def distance(value: float, threshold: float) -> float:
    """Value over threshold: 1 is at the threshold, more is beyond."""
    if threshold > 0:
        return value / threshold
    return 0.0 if value <= 0 else float("inf")


def worst(checks: Iterable[Check]) -> Grade:
    """The worst grade of several checks."""
    return max((check.grade for check in checks), key=GRADES.index, default="pass")


def first_divergence(checks: Sequence[Check]) -> Check | None:
    """The failed check to blame: of the first stage that fails stage-isolated, else of the first that fails at all."""
    failed = [check for check in checks if check.grade == "fail" and check.mode != "baseline-repeat"]
    alone = [check for check in failed if check.mode == "stage-isolated" or check.stage == "load"]
    return min(alone or failed, key=lambda check: STAGES.index(check.stage), default=None)


def locate(axes: Axes, index: Iterable[int | np.integer]) -> str:
    """An element, or a row that has fewer numbers, by the names of its axes.

    >>> locate(("frame", "token", "feature"), (2, 7))
    'frame 2, token 7'
    """
    return ", ".join(f"{name} {int(number)}" for name, number in zip(axes, index, strict=False))


def plain(values: npt.NDArray[np.generic]) -> Array:
    return values.astype(np.float64)
