"""Two models on the same scenes -> times, tokens and memory of each, their ratios, and where the difference comes from. Pure.

It is no speedup: the models need not generate the same text. A ratio here is of the baseline over the other model.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from evbench.results import SIDES, STAGES, Memory, Result, Side, SideResult, Work
from evbench.verdict.blocks import END_TO_END, TIMED, TOKEN_TIMINGS, RunValue, counted_blocks, counted_runs, interval_between, values
from evbench.verdict.model_difference import Decomposition, by_stages, decompose, inside_generate
from evbench.verdict.model_side import ModelSide, describe_side
from evbench.verdict.refusal import disturbed_too_often, not_active
from evbench.verdict.statistics import Interval

Unit = Literal["seconds", "bytes", "tokens"]
MemoryKind = Literal["process", "allocator", "device"]
MEMORY_KINDS: dict[str, tuple[MemoryKind, ...]] = {"cpu": ("process",), "cuda": ("process", "allocator", "device")}
"""Device -> fields of Memory that are compared."""


@dataclass(frozen=True)
class Compared:
    """One quantity of both models."""

    name: str
    unit: Unit
    medians: dict[Side, float | None]
    """Over single runs. None where a model does not have it."""
    interval: Interval | None
    """Of the ratio of the baseline over the other model, simultaneous with those of the other quantities of its kind. None if there are
    too few blocks."""
    different: bool | None
    """Whether the interval excludes 1. None without an interval."""


@dataclass(frozen=True)
class ModelsJudgement:
    """Everything derived from one session of two models."""

    sides: dict[Side, ModelSide]
    invalid: tuple[str, ...]
    """Why no difference of times may be claimed. Empty if it may."""
    disturbed: int
    """Blocks with interference, which were run again."""
    end_to_end: Compared
    stages: tuple[Compared, ...]
    token_timings: tuple[Compared, ...]
    """TTFT, prefill, TPOT."""
    token_counts: tuple[Compared, ...]
    """They may be claimed also where something disturbed the times only."""
    memory: dict[str, tuple[Compared, ...]]
    """Kind of memory -> its peak in each stage."""
    difference: Decomposition | None
    """Of the end-to-end time, by stages. None if every block was disturbed."""
    generate_difference: Decomposition | None
    """Of generate, by prefill, number of tokens, and TPOT."""
    different_outputs: dict[Side, int]
    """Number of scenes for which a model generated different tokens in its runs."""

    def quantity(self, name: str) -> Compared:
        return next(one for one in (self.end_to_end, *self.stages, *self.token_timings, *self.token_counts) if one.name == name)

    def side(self, model: str) -> Side:
        return next(side for side, measured in self.sides.items() if measured.model == model)


def judge_models(result: Result) -> ModelsJudgement:
    """Of a session of two models."""
    sides = result.variants()
    (session,) = result.sessions
    counted = counted_blocks(session)
    every = {block.number: block for block in session.blocks}
    other_work = (*_inactive(sides), *_other_length(sides))
    invalid = (*disturbed_too_often(result.sessions), *other_work)

    def compare(name: str, unit: Unit, value: RunValue, family: int) -> Compared:
        # Interference changes times, and no number of tokens.
        refused, blocks = (other_work, every) if unit == "tokens" else (invalid, counted)
        found = {side: values(counted_runs(measured, blocks), value) for side, measured in sides.items()}
        medians = {side: statistics.median(some) if some else None for side, some in found.items()}
        positive = all(some and min(some) > 0 for some in found.values())
        interval = interval_between(sides, blocks, value, family) if positive and not refused else None
        return Compared(name, unit, medians, interval, None if interval is None else interval.excludes_1)

    def compare_all(unit: Unit, quantities: Mapping[str, RunValue]) -> tuple[Compared, ...]:
        return tuple(compare(name, unit, value, len(quantities)) for name, value in quantities.items())

    kinds = MEMORY_KINDS[result.baseline.workload.device]
    ours, theirs = (counted_runs(sides[side], counted) for side in SIDES)
    samples = result.baseline.workload.samples
    return ModelsJudgement(
        sides={side: describe_side(measured, counted) for side, measured in sides.items()},
        invalid=invalid,
        disturbed=sum(bool(block.disturbances) for block in session.blocks),
        end_to_end=compare(END_TO_END, "seconds", TIMED[END_TO_END], 1),
        stages=compare_all("seconds", {stage: TIMED[stage] for stage in STAGES}),
        token_timings=compare_all("seconds", TOKEN_TIMINGS),
        token_counts=compare_all("tokens", TOKEN_COUNTS),
        memory={kind: compare_all("bytes", {stage: _peak(stage, kind) for stage in STAGES}) for kind in kinds},
        difference=decompose(ours, theirs, samples, by_stages, claimable=not invalid),
        generate_difference=decompose(ours, theirs, samples, inside_generate, claimable=not invalid),
        different_outputs={side: sum(len(set(tokens)) > 1 for tokens in one.tokens_by_sample().values()) for side, one in sides.items()},
    )


def _count(value: Callable[[Work], int | None]) -> RunValue:
    return lambda run: None if (count := value(run.work)) is None else float(count)


TOKEN_COUNTS: dict[str, RunValue] = {
    "prompt-tokens": _count(lambda work: work.prompt_tokens),
    "visual-tokens": _count(lambda work: work.visual_tokens),
    "new-tokens": lambda run: float(len(run.tokens)),
}


def _peak(stage: str, kind: MemoryKind) -> RunValue:
    def bytes_of(memory: Memory) -> int | None:
        return {"process": memory.process, "allocator": memory.allocator, "device": memory.device}[kind]

    return lambda run: bytes_of(run.stages[stage].memory) if run.stages is not None else None


def _inactive(sides: Mapping[Side, SideResult]) -> list[str]:
    return [f"NOT_ACTIVE: {found.part}={found.choice} of the {side} ({found.evidence})" for side, found in not_active(sides)]


def _other_length(sides: Mapping[Side, SideResult]) -> list[str]:
    """At equal length, each output has as many tokens as were requested."""
    return [
        f"the {side} generated {len(run.tokens)} tokens where {measured.workload.new_tokens} were requested"
        for side, measured in sides.items()
        if not measured.workload.stop_at_end
        for run in measured.timed()
        if len(run.tokens) != measured.workload.new_tokens
    ][:1]
