"""What lossy choices lose, where a side has such: against the reference with nothing lossy, and against captions that are known. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evbench.pipelines.registry import PARTS, lossy
from evbench.results import ISOLATED, Outputs, Result, SampleLoss, Side, SideResult
from evbench.verdict.captions import Share
from evbench.verdict.findings import Array, SampleOutputs, plain
from evbench.verdict.logit_rules import divergence
from evbench.verdict.statistics import mean_and_reach


def measure(sample: int, sides: SampleOutputs) -> SampleLoss | None:
    """Of one sample, whose outputs are as the sides computed them. None without a reference, or where logits are of another shape.

    Stage-isolated, as lossy choices are of the language model: each side and the reference get the baseline's visual features, so that
    rounding and choices of earlier stages are no part of it.
    """
    name = f"{ISOLATED}generate"
    if sides.reference is None or name not in sides.optimized.arrays:
        return None
    exact = plain(sides.reference[name])
    logits: dict[Side, Array] = {
        "baseline": plain(sides.baseline.arrays["generate"]),
        "optimized": plain(sides.optimized.arrays[name]),
    }
    if any(values.shape != exact.shape or not np.isfinite(values).all() for values in logits.values()):
        return None
    most = exact.argmax(axis=-1)
    return SampleLoss(
        sample=sample,
        positions=len(exact),
        divergence={side: float(divergence(exact, values).mean()) for side, values in logits.items()},
        same_top1={side: int((values.argmax(axis=-1) == most).sum()) for side, values in logits.items()},
    )


@dataclass(frozen=True)
class Estimate:
    """A mean, or a share."""

    value: float
    low: float | None
    """Of the 95 % interval. None where there is none: over one sample."""
    high: float | None


@dataclass(frozen=True)
class LossSummary:
    """Of a comparison in which a side is lossy by design."""

    choices: dict[Side, tuple[str, ...]]
    """Such as `quantization=int8`."""
    stages: tuple[str, ...]
    """Those in which something is lost first."""
    samples: int
    """Whose logits were compared."""
    positions: int
    """Of all of them."""
    divergence: dict[Side, Estimate]
    """KL divergence of next-token distributions from the reference with nothing lossy, in nats. Empty if not measured, as the next."""
    same_top1: dict[Side, Estimate]
    """Share of positions at which the most likely token is the reference's."""
    captions: int
    """Samples whose caption is known."""
    exact: dict[Side, Estimate]
    """The task score: share of these whose caption is exactly right. Empty if none is known."""
    exact_lost: Estimate | None
    """How much of that share the optimized side loses, by pairs. None if no caption is known."""


def choices_of(measured: SideResult) -> tuple[str, ...]:
    """Its lossy choices, such as `quantization=int8`."""
    return tuple(f"{part}={choice}" for part, choice in lossy(measured.choices, measured.workload.model).items())


def is_lossy(result: Result) -> bool:
    """Whether a side has choices that change outputs by design."""
    recorded = result.outputs is not None and result.outputs.loss is not None
    return recorded or any(choices_of(measured) for measured in result.variants().values())


def is_measured(outputs: Outputs) -> bool:
    """Whether there was a reference that loses the same, without which a loss by design cannot be told from a fault."""
    return outputs.loss is not None and outputs.reference is not None


def summarize(result: Result) -> LossSummary | None:
    """None for one side alone, or if no side of the result is lossy."""
    sides = result.variants()
    if len(sides) == 1 or not is_lossy(result):
        return None
    loss = None if result.outputs is None else result.outputs.loss
    samples = () if loss is None else loss.samples
    right = {side: _exactly_right(measured) for side, measured in sides.items()}
    known = [sample for sample in right["baseline"] if sample in right["optimized"]]
    chosen = {side: lossy(measured.choices, measured.workload.model) for side, measured in sides.items()} if loss is None else loss.choices
    parts = dict.fromkeys(part for some in chosen.values() for part in some if part in PARTS)
    return LossSummary(
        choices={side: tuple(f"{part}={choice}" for part, choice in some.items()) for side, some in chosen.items() if some},
        stages=tuple(dict.fromkeys(stage for part in parts for stage in PARTS[part].stages)),
        samples=len(samples),
        positions=sum(one.positions for one in samples),
        divergence={side: _mean([one.divergence[side] for one in samples], 0.0, math.inf) for side in sides} if samples else {},
        same_top1={side: _same_top1(samples, side) for side in sides} if samples else {},
        captions=len(known),
        exact={side: _share(found, known) for side, found in right.items()} if known else {},
        exact_lost=_difference([(right["baseline"][sample], right["optimized"][sample]) for sample in known]) if known else None,
    )


def _exactly_right(measured: SideResult) -> dict[int, bool]:
    """Sample -> whether its caption is exactly right in all timed runs; of samples whose caption is known."""
    found: dict[int, bool] = {}
    for run in measured.timed():
        caption = measured.workload.samples[run.sample].caption
        if caption is not None:
            found[run.sample] = found.get(run.sample, True) and run.text == caption
    return found


def _share(right: Mapping[int, bool], samples: Sequence[int]) -> Estimate:
    """With Wilson's interval."""
    share = Share(sum(right[sample] for sample in samples), len(samples))
    return Estimate(share.value, *share.interval())


def _same_top1(samples: Sequence[SampleLoss], side: Side) -> Estimate:
    """Over samples; at least as wide as if each position were one, for samples that all agree have no spread."""
    mean = _mean([one.same_top1[side] / one.positions for one in samples], 0.0, 1.0)
    if mean.low is None or mean.high is None:
        return mean
    low, high = Share(sum(one.same_top1[side] for one in samples), sum(one.positions for one in samples)).interval()
    return Estimate(mean.value, min(mean.low, low), max(mean.high, high))


def _mean(values: Sequence[float], least: float, most: float) -> Estimate:
    """Over samples, with the interval by Student's distribution within what is possible."""
    if len(values) == 1:
        return Estimate(values[0], None, None)
    mean, reach = mean_and_reach(values)
    return Estimate(mean, max(least, mean - reach), min(most, mean + reach))


def _difference(pairs: Sequence[tuple[bool, bool]]) -> Estimate:
    """Share of the first less share of the second, of the same samples: R. G. Newcombe, Stat. Med. 17 (1998) 2635, method 10."""
    count = len(pairs)
    both, neither = sum(one and other for one, other in pairs), sum(not one and not other for one, other in pairs)
    shares = [Share(sum(pair[side] for pair in pairs), count) for side in range(2)]
    (one, other), ((low, high), (other_low, other_high)) = (share.value for share in shares), (share.interval() for share in shares)
    only_one, only_other = shares[0].right - both, shares[1].right - both
    product = math.prod(share.right * (count - share.right) for share in shares)
    agreement = both * neither - only_one * only_other
    correlation = 0.0 if not product else (max(agreement - count / 2, 0.0) if agreement > 0 else agreement) / math.sqrt(product)

    def reach(arm: float, other_arm: float) -> float:
        return math.sqrt(max(0.0, arm**2 - 2 * correlation * arm * other_arm + other_arm**2))

    value = one - other
    return Estimate(value, value - reach(one - low, other_high - other), value + reach(high - one, other - other_low))
