"""Two models on the same scenes -> what each takes, how many times as much one takes as the other, and where the difference is. Pure.

It is no speedup: the models are not to say the same. So a ratio here is of how many times as much of something the baseline has.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from evbench.results import STAGES, Block, InputKind, Result, Run, Side, SideResult, Work
from evbench.verdict.blocks import INSIDE, Timed, counted_blocks, interval_between, runs_in, stage_seconds, whole_seconds
from evbench.verdict.captions import right_share
from evbench.verdict.refusal import disturbed_too_often, not_active
from evbench.verdict.statistics import LEVEL, Interval, estimate, holm, mean_and_reach

Unit = Literal["seconds", "bytes", "tokens"]
MemoryKind = Literal["process", "allocator", "device"]
MEMORY_KINDS: dict[str, tuple[MemoryKind, ...]] = {"cpu": ("process",), "cuda": ("process", "allocator", "device")}
"""Device -> fields of Memory that are told."""
TOTAL, TOKEN = "end to end", "further token"
SIDES: tuple[Side, Side] = ("baseline", "optimized")


@dataclass(frozen=True)
class Line:
    """One quantity of both models."""

    name: str
    unit: Unit
    medians: dict[Side, float | None]
    """Over single runs. None where there is nothing of it."""
    interval: Interval | None
    """Of how many times as much the baseline has. None if there are too few blocks."""
    different: bool | None
    """Whether the interval leaves out 1, and still would where so many lines are looked at (Holm). None without an interval."""


@dataclass(frozen=True)
class Part:
    """What one part contributes to a difference, which is the sum of all parts."""

    name: str
    amount: float
    """Seconds that the baseline takes longer: the mean over the scenes."""
    low: float | None
    """95 % interval over the scenes, or over the blocks of one. None of a single one."""
    high: float | None
    share: float | None
    """Of the difference. None if there may be no difference."""


@dataclass(frozen=True)
class Split:
    """A difference, taken apart."""

    parts: tuple[Part, ...]
    whole: Part

    def share(self, name: str) -> float | None:
        return next(part.share for part in self.parts if part.name == name)


@dataclass(frozen=True)
class Score:
    """How much of what the captions of its scenes tell a model told right."""

    share: float
    low: float | None
    """95 % interval over the scenes. None of a single one."""
    high: float | None
    exact: int
    """Captions told in exactly their words, each time."""
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
    cut: float
    """Share of the runs whose answer was ended by the limit, and not by itself."""
    mixed: Interval | None
    """How many times the time of a further token comes out where the whole of generate is divided by its tokens."""
    over_prompt: Interval | None
    """How many times as long a further token takes as a token of the prompt."""


@dataclass(frozen=True)
class Account:
    """All that is told of one session of two models."""

    sides: dict[Side, ModelSide]
    invalid: tuple[str, ...]
    """Why no difference may be claimed. Empty if it may. Of numbers of tokens it may where something only took time."""
    disturbed: int
    """Blocks that were run again."""
    total: Line
    stages: tuple[Line, ...]
    inside: tuple[Line, ...]
    """First token, prefill, further token."""
    tokens: tuple[Line, ...]
    memory: dict[str, tuple[Line, ...]]
    """Kind of memory -> its peak in each stage."""
    difference: Split
    """Of the whole, by stages."""
    generate: Split
    """Of generate, by prefill, length of the answer, and time of a token."""

    def line(self, name: str) -> Line:
        return next(line for line in (self.total, *self.stages, *self.inside, *self.tokens) if line.name == name)

    def side(self, model: str) -> Side:
        return next(side for side, measured in self.sides.items() if measured.model == model)


def account(result: Result) -> Account:
    """Of a result of two models."""
    sides = result.variants()
    (session,) = result.sessions
    counted = counted_blocks(session)
    other_work = (*_not_active(sides), *_other_length(sides))
    invalid = (*disturbed_too_often(result.sessions), *other_work)

    def line(name: str, unit: Unit, value: Timed) -> Line:
        found = {side: [one for run in runs_in(measured, counted) if (one := value(run)) is not None] for side, measured in sides.items()}
        medians = {side: statistics.median(values) if values else None for side, values in found.items()}
        positive = all(values and min(values) > 0 for values in found.values())
        # What takes time from a run takes no token from its answer.
        amiss = other_work if unit == "tokens" else invalid
        interval = interval_between(sides, counted, value) if positive and not amiss else None
        return Line(name, unit, medians, interval, None)

    device = result.baseline.workload.device
    return Account(
        sides={side: _side(measured, counted) for side, measured in sides.items()},
        invalid=invalid,
        disturbed=sum(bool(block.disturbances) for block in session.blocks),
        total=_decided([line(TOTAL, "seconds", whole_seconds)])[0],
        stages=_decided([line(stage, "seconds", stage_seconds(stage)) for stage in STAGES]),
        inside=_decided([line(name, "seconds", value) for name, value in INSIDE.items()]),
        tokens=_decided([line(name, "tokens", value) for name, value in TOKENS.items()]),
        memory={kind: _decided([line(stage, "bytes", _peak(stage, kind)) for stage in STAGES]) for kind in MEMORY_KINDS[device]},
        difference=_split(sides, counted, _stages_apart, claimable=not invalid),
        generate=_split(sides, counted, _generate_apart, claimable=not invalid),
    )


def _count(value: Callable[[Work], int | None]) -> Timed:
    return lambda run: None if (count := value(run.work)) is None else float(count)


TOKENS: dict[str, Timed] = {
    "tokens in the prompt": _count(lambda work: work.prompt_tokens),
    "visual tokens": _count(lambda work: work.visual_tokens),
    "new tokens": lambda run: float(len(run.tokens)),
}


def _peak(stage: str, kind: MemoryKind) -> Timed:
    return lambda run: getattr(run.stages[stage].memory, kind) if run.stages is not None else None


def _decided(lines: Sequence[Line]) -> tuple[Line, ...]:
    chances = holm({line.name: line.interval.p for line in lines if line.interval is not None})
    return tuple(
        Line(line.name, line.unit, line.medians, line.interval, leaves_out_1(line.interval) and chances[line.name] < LEVEL)
        if line.interval is not None
        else line
        for line in lines
    )


def leaves_out_1(interval: Interval) -> bool:
    """Whether it shows a difference by itself."""
    return not interval.low <= 1 <= interval.high


def _not_active(sides: Mapping[Side, SideResult]) -> list[str]:
    return [f"NOT_ACTIVE: {proof.part}={proof.choice} of the {side} ({proof.evidence})" for side, proof in not_active(sides)]


def _other_length(sides: Mapping[Side, SideResult]) -> list[str]:
    """At equal length, each answer has as many tokens as were asked for."""
    return [
        f"the {side} made {len(run.tokens)} tokens where {measured.workload.new_tokens} were asked for"
        for side, measured in sides.items()
        if not measured.workload.stop_at_end
        for run in measured.timed()
        if len(run.tokens) != measured.workload.new_tokens
    ][:1]


# Of one side.


def _side(measured: SideResult, counted: Mapping[int, Block]) -> ModelSide:
    runs = runs_in(measured, counted)
    return ModelSide(
        model=measured.workload.model,
        variant=measured.variant,
        kind=measured.workload.kind,
        work=runs[0].work,
        score=_score(measured, runs),
        cut=statistics.fmean(run.work.stop == "length" for run in runs),
        mixed=_within(runs, _by_tokens, INSIDE[TOKEN]),
        over_prompt=_within(runs, INSIDE[TOKEN], _prompt_token),
    )


def _by_tokens(run: Run) -> float | None:
    """The whole of generate over the tokens that it made."""
    return run.stages["generate"].seconds / len(run.tokens) if run.stages is not None else None


def _prompt_token(run: Run) -> float | None:
    prompt = run.work.prompt_tokens
    return run.prefill_seconds / prompt if run.prefill_seconds is not None and prompt else None


def _within(runs: Sequence[Run], one: Timed, other: Timed) -> Interval | None:
    """How many times as much of the one as of the other a run has."""
    several = len({run.sample for run in runs}) > 1
    found: dict[int, list[float]] = {}
    for run in runs:
        ours, theirs = one(run), other(run)
        if ours and theirs:
            found.setdefault(run.sample if several else 0, []).append(math.log(ours) - math.log(theirs))
    return estimate(found) if found else None


def _score(measured: SideResult, runs: Iterable[Run]) -> Score | None:
    said: dict[int, list[str]] = {}
    for run in runs:
        said.setdefault(run.sample, []).append(run.text)
    known = [(sample.caption, said[index]) for index, sample in enumerate(measured.workload.samples) if sample.caption and index in said]
    if not known:
        return None
    shares = [statistics.fmean(right_share(caption, text) for text in texts) for caption, texts in known]
    exact = sum(set(texts) == {caption} for caption, texts in known)
    if len(shares) == 1:
        return Score(shares[0], None, None, exact, 1)
    mean, reach = mean_and_reach(shares)
    return Score(mean, max(0.0, mean - reach), min(1.0, mean + reach), exact, len(shares))


# Where a difference comes from.

Apart = Callable[[Sequence[Run], Sequence[Run]], tuple[dict[str, float], float]]
"""Runs of both sides, of one scene or block -> the parts of their difference, and all of it."""


def _split(sides: Mapping[Side, SideResult], counted: Mapping[int, Block], apart: Apart, *, claimable: bool) -> Split:
    """Over the scenes; of a single one over its blocks."""
    ours, theirs = (_by_unit(runs_in(sides[side], counted)) for side in SIDES)
    found = [apart(ours[unit], theirs[unit]) for unit in sorted(ours.keys() & theirs.keys())]
    whole = _part("all of it", [total for _, total in found], None)
    claimed = claimable and whole.low is not None and whole.high is not None and not whole.low <= 0 <= whole.high
    of = whole.amount if claimed else None
    parts = tuple(_part(name, [parts[name] for parts, _ in found], of) for name in found[0][0])
    return Split(parts, _part("all of it", [total for _, total in found], of))


def _by_unit(runs: Sequence[Run]) -> dict[int, list[Run]]:
    several = len({run.sample for run in runs}) > 1
    found: dict[int, list[Run]] = {}
    for run in runs:
        if run.block is not None:
            found.setdefault(run.sample if several else run.block, []).append(run)
    return found


def _part(name: str, amounts: Sequence[float], of: float | None) -> Part:
    mean = statistics.fmean(amounts)
    share = None if of is None else mean / of
    if len(amounts) == 1:
        return Part(name, mean, None, None, share)
    _, reach = mean_and_reach(amounts)
    return Part(name, mean, mean - reach, mean + reach, share)


def _mean(runs: Iterable[Run], value: Timed) -> float:
    return statistics.fmean(found for run in runs if (found := value(run)) is not None)


def _stages_apart(ours: Sequence[Run], theirs: Sequence[Run]) -> tuple[dict[str, float], float]:
    """The stages are of runs with barriers between them and add up to more than the whole: by what overlaps without them, and by what
    they cost.
    """
    parts = {stage: _mean(ours, stage_seconds(stage)) - _mean(theirs, stage_seconds(stage)) for stage in STAGES}
    whole = _mean(ours, whole_seconds) - _mean(theirs, whole_seconds)
    parts["overlap of stages, barriers"] = whole - sum(parts.values())
    return parts, whole


def _generate_apart(ours: Sequence[Run], theirs: Sequence[Run]) -> tuple[dict[str, float], float]:
    """Decoding takes (further tokens) x (time of each), so its difference is a difference of lengths at the mean time of a token, and
    a difference of times at the mean length.
    """
    lengths, times = [], []
    for runs in (ours, theirs):
        lengths.append(_mean(runs, lambda run: float(len(run.decode_step_seconds)) if run.decode_step_seconds is not None else None))
        times.append(_mean(runs, _decoding) / lengths[-1] if lengths[-1] else None)
    one, other = (time if time is not None else next((known for known in times if known is not None), 0.0) for time in times)
    parts = {
        "prefill": _mean(ours, INSIDE["prefill"]) - _mean(theirs, INSIDE["prefill"]),
        "length of the answer": (lengths[0] - lengths[1]) * (one + other) / 2,
        "time of a further token": (one - other) * (lengths[0] + lengths[1]) / 2,
    }
    whole = _mean(ours, stage_seconds("generate")) - _mean(theirs, stage_seconds("generate"))
    parts["before prefill, and behind the last token"] = whole - sum(parts.values())
    return parts, whole


def _decoding(run: Run) -> float | None:
    return sum(run.decode_step_seconds) if run.decode_step_seconds is not None else None
