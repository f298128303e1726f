"""One of two models: its work, how much of the captions is right, and what its decode steps are compared with. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from evbench.results import Block, InputKind, Run, SideResult, Work
from evbench.verdict.blocks import RunValue, counted_runs, tpot_seconds
from evbench.verdict.captions import right_share
from evbench.verdict.clusters import cluster_means, clusters
from evbench.verdict.statistics import Interval, estimate, mean_and_reach


@dataclass(frozen=True)
class Score:
    """How much of the captions of its scenes a model generates correctly."""

    share: float
    low: float | None
    """Of the 95% CI over the scenes, or over their clusters. None for a single one."""
    high: float | None
    exact: int
    """Captions that are exactly right in every run."""
    scenes: int


@dataclass(frozen=True)
class ModelSide:
    """One model."""

    model: str
    variant: str
    kind: InputKind
    work: Work
    """Of its first timed run."""
    score: Score | None
    """None where no caption is known."""
    cut_off: float
    """Share of the runs that ended at the limit of new tokens."""
    generate_per_token_over_tpot: Interval | None
    """Ratio of generate divided by its tokens, prefill included, over the TPOT."""
    tpot_over_prompt_token: Interval | None
    """Ratio of the TPOT over prefill divided by the tokens of the prompt."""


def describe_side(measured: SideResult, counted: Mapping[int, Block]) -> ModelSide:
    """Times are of blocks that count. What was done and generated is of all: interference does not change it."""
    runs, timed = counted_runs(measured, counted), measured.timed()
    return ModelSide(
        model=measured.workload.model,
        variant=measured.variant,
        kind=measured.workload.kind,
        work=timed[0].work,
        score=_score(measured, timed),
        cut_off=statistics.fmean(run.work.stop == "length" for run in timed),
        generate_per_token_over_tpot=_ratio(measured, runs, _generate_per_token, tpot_seconds),
        tpot_over_prompt_token=_ratio(measured, runs, tpot_seconds, _prefill_per_token),
    )


def _generate_per_token(run: Run) -> float | None:
    return run.stages["generate"].seconds / len(run.tokens) if run.stages is not None else None


def _prefill_per_token(run: Run) -> float | None:
    prompt = run.work.prompt_tokens
    return run.prefill_seconds / prompt if run.prefill_seconds is not None and prompt else None


def _ratio(measured: SideResult, runs: Sequence[Run], numerator: RunValue, denominator: RunValue) -> Interval | None:
    """Of two quantities of the same run."""
    cluster = clusters(measured.workload.samples)
    found: dict[int, list[float]] = {}
    for run in runs:
        ours, theirs = numerator(run), denominator(run)
        if ours and theirs:
            found.setdefault(cluster[run.sample], []).append(math.log(ours) - math.log(theirs))
    return estimate(found) if found else None


def _score(measured: SideResult, runs: Iterable[Run]) -> Score | None:
    texts: dict[int, list[str]] = {}
    for run in runs:
        texts.setdefault(run.sample, []).append(run.text)
    samples = measured.workload.samples
    known = {index: (sample.caption, texts[index]) for index, sample in enumerate(samples) if sample.caption and index in texts}
    if not known:
        return None
    right = {index: statistics.fmean(right_share(caption, text) for text in some) for index, (caption, some) in known.items()}
    exact = sum(set(some) == {caption} for caption, some in known.values())
    shares = cluster_means(right, samples)
    if len(shares) == 1:
        return Score(shares[0], None, None, exact, len(known))
    mean, reach = mean_and_reach(shares)
    return Score(mean, max(0.0, mean - reach), min(1.0, mean + reach), exact, len(known))
