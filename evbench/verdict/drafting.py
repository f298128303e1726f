"""Speculative decoding as it was measured in timed runs, and the speedup of decoding that was to be expected. Pure.

The expectation is the usual formula: each draft is accepted with one probability, whatever happened before, and a pass takes what drafting
and verifying take. What was measured differs by how the drafts were really accepted, and by the rest of a pass: the host waits for its
tokens and looks at them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evbench.pipelines.registry import tokens_per_pass
from evbench.results import Block, Run, Side, SideResult
from evbench.verdict import speculation
from evbench.verdict.blocks import counted_runs
from evbench.verdict.clusters import clusters
from evbench.verdict.speculation import RatioEstimate


@dataclass(frozen=True)
class Expectation:
    """Of decoding with drafts against the same without, on the other side. Above 1 drafts pay."""

    step_seconds: float
    """Mean decode step of the other side."""
    break_even: float | None
    """Probability of acceptance from which on they do. None: never."""
    speedup: float
    """By the formula."""
    best_gamma: int
    """Drafts in a pass, eight at most, of which the formula gives the most, if verification takes as long whatever their number."""
    best_speedup: float
    """With so many."""
    measured: float
    """Mean decode step over the mean time of a token with drafts."""


@dataclass(frozen=True)
class DraftedDecoding:
    """Of one side, over its timed runs with synchronized stages."""

    tokens_per_pass: RatioEstimate
    """Of the language model, the prefill not counted."""
    acceptance: RatioEstimate | None
    """Accepted drafts, of those in front of which all were accepted. None: nothing was drafted."""
    expected_tokens: float
    """For each pass, by the formula."""
    drafts_per_pass: float
    pass_seconds: float
    """Mean of all that a pass takes: decoding over passes."""
    draft_seconds: float
    """Mean of these, until the drafts are there."""
    verify_seconds: float
    """Mean of these, from there until the model has gone over them."""
    expectation: Expectation | None
    """None unless the other side is the same without drafts."""

    @property
    def rest_seconds(self) -> float:
        return self.pass_seconds - self.draft_seconds - self.verify_seconds


def of_sides(sides: Mapping[Side, SideResult], counted: Mapping[Side, Mapping[int, Block]]) -> dict[Side, DraftedDecoding]:
    """Of those that draft, if their runs say so. How many a choice drafts that is not known here, such as a plug-in's, is not known."""
    runs = {side: counted_runs(measured, counted[side]) for side, measured in sides.items()}
    found = {}
    for side, measured in sides.items():
        drafted = [run for run in runs[side] if run.drafting is not None]
        if drafted and tokens_per_pass(measured.choices) > 1:
            alike = [other for other in sides if other != side and _is_without_drafts(sides[other], measured)]
            steps = [run for other in alike for run in runs[other] if run.decode_step_seconds]
            found[side] = _decoding(measured, drafted, steps)
    return found


def _is_without_drafts(one: SideResult, other: SideResult) -> bool:
    """Whether one is the other but for its drafts."""
    rest = [{part: choice for part, choice in side.choices.items() if part != "draft"} for side in (one, other)]
    return rest[0] == rest[1] and tokens_per_pass(one.choices) == 1


def _decoding(measured: SideResult, runs: Sequence[Run], others: Sequence[Run]) -> DraftedDecoding:
    """`others`: of the same without drafts."""
    of, gamma = clusters(measured.workload.samples), tokens_per_pass(measured.choices) - 1
    of_samples: dict[int, list[Run]] = {}
    for run in runs:
        of_samples.setdefault(run.sample, []).append(run)
    units = [of[sample] for sample in of_samples]

    def sums(field: str) -> list[float]:
        return [math.fsum(getattr(run.drafting, field) for run in some) for some in of_samples.values()]

    passes, drafted, accepted, rejecting = map(sums, ("passes", "drafted", "accepted", "rejecting"))
    tokens = [float(sum(len(run.decode_step_seconds or ()) for run in some)) for some in of_samples.values()]
    tried = [math.fsum(pair) for pair in zip(accepted, rejecting, strict=True)]
    acceptance = speculation.ratio(accepted, tried, (0, 1), units) if any(tried) else None
    alpha = 0.0 if acceptance is None else acceptance.value
    count, seconds = math.fsum(passes), math.fsum(sum(run.decode_step_seconds or ()) for run in runs)
    draft, verify = (math.fsum(sums(field)) / count for field in ("draft_seconds", "verify_seconds"))
    expected = speculation.expected_tokens(alpha, gamma)
    expectation = None
    # Of the same samples, since answers differ in length.
    if steps := [step for run in others if run.sample in of_samples for step in run.decode_step_seconds or ()]:
        step = math.fsum(steps) / len(steps)
        costs = draft / step / gamma, verify / step
        best = speculation.best_gamma(alpha, *costs)
        expectation = Expectation(
            step,
            break_even=speculation.break_even(gamma, *costs),
            speedup=speculation.speedup(expected, gamma, *costs),
            best_gamma=best,
            best_speedup=speculation.speedup(speculation.expected_tokens(alpha, best), best, *costs),
            measured=step * sum(tokens) / seconds,
        )
    return DraftedDecoding(
        tokens_per_pass=speculation.ratio(tokens, passes, (1, gamma + 1), units),
        acceptance=acceptance,
        expected_tokens=expected,
        drafts_per_pass=math.fsum(drafted) / count,
        pass_seconds=seconds / count,
        draft_seconds=draft,
        verify_seconds=verify,
        expectation=expectation,
    )
