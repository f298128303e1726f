"""Two models on the same scenes -> times, tokens and memory of each, their ratios, and where the difference comes from. Pure.

It is no speedup: the models need not generate the same text. A ratio here is of the baseline over the other model.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from evbench.results import STAGES, Memory, Result, Side, SideResult, Work
from evbench.verdict.blocks import END_TO_END, TIMED, TOKEN_TIMINGS, RunValue, counted_blocks, counted_runs, interval_between, values
from evbench.verdict.model_difference import Decomposition, by_stages, decompose, inside_generate
from evbench.verdict.model_side import ModelSide, describe_side
from evbench.verdict.refusal import disturbed_too_often, not_active
from evbench.verdict.statistics import LEVEL, Interval, holm

Unit = Literal["seconds", "bytes", "tokens"]
MemoryKind = Literal["process", "allocator", "device"]
MEMORY_KINDS: dict[str, tuple[MemoryKind, ...]] = {"cpu": ("process",), "cuda": ("process", "allocator", "device")}
"""Device -> fields of Memory that are compared."""
SIDES: tuple[Side, Side] = ("baseline", "optimized")


@dataclass(frozen=True)
class Compared:
    """One quantity of both models."""

    name: str
    unit: Unit
    medians: dict[Side, float | None]
    """Over single runs. None where a model does not have it."""
    interval: Interval | None
    """Of the ratio of the baseline over the other model. None if there are too few blocks."""
    different: bool | None
    """Whether the interval excludes 1, also after the correction for the number of quantities (Holm). None without an interval."""


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
    difference: Decomposition
    """Of the end-to-end time, by stages."""
    generate_difference: Decomposition
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
    other_work = (*_inactive(sides), *_other_length(sides))
    invalid = (*disturbed_too_often(result.sessions), *other_work)

    def compare(name: str, unit: Unit, value: RunValue) -> Compared:
        found = {side: values(counted_runs(measured, counted), value) for side, measured in sides.items()}
        medians = {side: statistics.median(some) if some else None for side, some in found.items()}
        positive = all(some and min(some) > 0 for some in found.values())
        # Interference changes times, and no number of tokens.
        refused = other_work if unit == "tokens" else invalid
        interval = interval_between(sides, counted, value) if positive and not refused else None
        return Compared(name, unit, medians, interval, None)

    kinds = MEMORY_KINDS[result.baseline.workload.device]
    ours, theirs = (counted_runs(sides[side], counted) for side in SIDES)
    return ModelsJudgement(
        sides={side: describe_side(measured, counted) for side, measured in sides.items()},
        invalid=invalid,
        disturbed=sum(bool(block.disturbances) for block in session.blocks),
        end_to_end=_decided([compare(END_TO_END, "seconds", TIMED[END_TO_END])])[0],
        stages=_decided([compare(stage, "seconds", TIMED[stage]) for stage in STAGES]),
        token_timings=_decided([compare(name, "seconds", value) for name, value in TOKEN_TIMINGS.items()]),
        token_counts=_decided([compare(name, "tokens", value) for name, value in TOKEN_COUNTS.items()]),
        memory={kind: _decided([compare(stage, "bytes", _peak(stage, kind)) for stage in STAGES]) for kind in kinds},
        difference=decompose(ours, theirs, by_stages, claimable=not invalid),
        generate_difference=decompose(ours, theirs, inside_generate, claimable=not invalid),
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


def _decided(compared: Sequence[Compared]) -> tuple[Compared, ...]:
    """With whether they differ, corrected for their number."""
    chances = holm({one.name: one.interval.p for one in compared if one.interval is not None})
    return tuple(
        one if one.interval is None else dataclasses.replace(one, different=excludes_1(one.interval) and chances[one.name] < LEVEL)
        for one in compared
    )


def excludes_1(interval: Interval) -> bool:
    """Whether it shows a difference by itself."""
    return not interval.low <= 1 <= interval.high


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
