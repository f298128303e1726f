"""Speculative decoding as it was measured in timed runs, and the speedup of decoding that follows from its parts. Pure.

The prediction counts passes, and what drafting and verifying one take on the stream. What else a pass takes is the rest: looking at its
tokens, and what the host does in between. The rest is all that the prediction and what was measured part by.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evbench.results import Block, Run, Side, SideResult
from evbench.verdict.blocks import counted_runs, tpot_seconds, values
from evbench.verdict.clusters import clusters
from evbench.verdict.speculation import Estimate, ratio


@dataclass(frozen=True)
class Prediction:
    """Of decoding with drafts against the same without, on the other side. Above 1 drafts pay."""

    step_seconds: float
    """Mean decode step of the other side."""
    break_even: float
    """Tokens per pass at which drafting and verifying take as long as so many steps."""
    speedup: float
    """By the tokens per pass, and what drafting and verifying take."""
    measured: float
    """Mean decode step over the mean time of a token with drafts: the rest included."""


@dataclass(frozen=True)
class DraftedDecoding:
    """Of one side, over its timed runs with synchronized stages."""

    tokens_per_pass: Estimate
    """Of the language model, the prefill not counted."""
    accepted: Estimate | None
    """Share of the drafts. None: nothing was drafted."""
    drafts_per_pass: float
    pass_seconds: float
    """Mean of all that a pass takes: decoding over passes."""
    draft_seconds: float
    """Mean of these, until the drafts are there."""
    verify_seconds: float
    """Mean of these, from there to the first token of the pass."""
    prediction: Prediction | None
    """None unless the other side is the same without drafts."""

    @property
    def rest_seconds(self) -> float:
        return self.pass_seconds - self.draft_seconds - self.verify_seconds


def of_sides(sides: Mapping[Side, SideResult], counted: Mapping[Side, Mapping[int, Block]]) -> dict[Side, DraftedDecoding]:
    """Of those that draft."""
    runs = {side: counted_runs(measured, counted[side]) for side, measured in sides.items()}
    found = {}
    for side, measured in sides.items():
        others = [other for other in sides if other != side and _without_drafts(sides[other], measured)]
        step = statistics.fmean(values(runs[others[0]], tpot_seconds)) if others and runs[others[0]] else None
        if drafted := [run for run in runs[side] if run.drafting is not None]:
            found[side] = _decoding(measured, drafted, step)
    return found


def _without_drafts(one: SideResult, other: SideResult) -> bool:
    """Whether one is the other but for its drafts."""
    rest = [{part: choice for part, choice in side.choices.items() if part != "draft"} for side in (one, other)]
    return rest[0] == rest[1] and all(run.drafting is None for run in one.runs)


def _decoding(measured: SideResult, runs: Sequence[Run], step: float | None) -> DraftedDecoding:
    of_samples: dict[int, list[Run]] = {}
    for run in runs:
        of_samples.setdefault(run.sample, []).append(run)
    units = [clusters(measured.workload.samples)[sample] for sample in of_samples]

    def sums(field: str) -> list[float]:
        return [math.fsum(getattr(run.drafting, field) for run in some) for some in of_samples.values()]

    passes, drafted, accepted = sums("passes"), sums("drafted"), sums("accepted")
    tokens = [math.fsum(one) for one in zip(passes, accepted, strict=True)]
    count, seconds = math.fsum(passes), math.fsum(sum(run.decode_step_seconds or ()) for run in runs)
    # A pass may have no drafts, as the last one of an answer.
    per_pass = ratio(tokens, passes, (1.0, math.inf), units)
    draft, verify = (math.fsum(sums(field)) / count for field in ("draft_seconds", "verify_seconds"))
    prediction = None
    if step is not None and draft + verify > 0:
        break_even = (draft + verify) / step
        prediction = Prediction(step, break_even, per_pass.value / break_even, per_pass.value * step * count / seconds)
    return DraftedDecoding(
        tokens_per_pass=per_pass,
        accepted=ratio(accepted, drafted, (0.0, 1.0), units) if any(drafted) else None,
        drafts_per_pass=math.fsum(drafted) / count,
        pass_seconds=seconds / count,
        draft_seconds=draft,
        verify_seconds=verify,
        prediction=prediction,
    )
