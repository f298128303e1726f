"""Result -> what may be claimed of it. Pure: the same result is always judged the same."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from evbench import demands
from evbench.demands import Demand, Outcome
from evbench.differences import work_differences
from evbench.equivalence import OWN_ERROR, first_divergence, worst
from evbench.results import STAGES, Block, Check, Grade, Outputs, Proof, Result, Role, Run, Session, StreamRun, VariantResult, Work
from evbench.statistics import (
    LEVEL,
    BreakEven,
    Interval,
    break_even,
    estimate,
    holm,
    mean_and_reach,
    median_interval,
    outliers,
    over_starts,
    student_quantile,
    tail,
)
from evbench.variants import EFFECT, KINDS

SMALLEST = 0.01
"""No difference below this is claimed, however narrow the interval: it would not matter, and code placement alone can make it."""
MOST_DISTURBED = 0.2
"""Share of blocks that may be disturbed. With more, the machine is not fit to measure on."""
OVERLAP = 0.03
"""Share of the total by which the stages' sum may exceed it."""
MOST_ENERGY_ERROR = 0.15
"""Between the GPU's energy counter and its power readings (as ml-energy/zeus checks)."""
TOTAL, THROUGHPUT = "total", "throughput"


class Verdict(StrEnum):
    """Of two sides. The optimized one is ..."""

    FASTER = "FASTER"
    SAME = "SAME"
    SLOWER = "SLOWER"
    INCONCLUSIVE = "INCONCLUSIVE"
    OUTPUT_DIFFERS = "OUTPUT_DIFFERS"
    INVALID = "INVALID"


EXIT_CODES = {
    Verdict.FASTER: 0,
    Verdict.SAME: 0,
    Verdict.SLOWER: 3,
    Verdict.INCONCLUSIVE: 4,
    Verdict.OUTPUT_DIFFERS: 5,
    Verdict.INVALID: 6,
}
UNMET, UNCLEAR = 3, 4
"""Exit codes of a demand."""


@dataclass(frozen=True)
class Spread:
    """Seconds of one side."""

    median: float
    least: float
    most: float
    p90: float | None
    """None if too few runs could bound it."""
    runs: int
    outliers: int


@dataclass(frozen=True)
class Line:
    """One thing that was timed on both sides."""

    name: str
    sides: dict[Role, Spread | None]
    """None where nothing was timed, such as further tokens of an answer of one."""
    interval: Interval | None
    """None if nothing may be said: too few blocks, one side only, or sides that cannot be compared."""
    smallest: float
    """No difference below this is claimed."""
    claim: Verdict | None
    """FASTER, SAME, SLOWER or INCONCLUSIVE."""


@dataclass(frozen=True)
class Part:
    """What one part contributes to the difference of the totals, which is the sum of all parts."""

    name: str
    seconds: float
    share: float


@dataclass(frozen=True)
class Judgement:
    """Everything derived from a result."""

    verdict: Verdict | None
    """None for one variant alone."""
    reasons: tuple[str, ...]
    """Of a verdict that is none of FASTER, SAME and SLOWER."""
    preserved: Grade | None
    """Whether the outputs were, the worst of all checks. None if they were not compared."""
    flags: dict[str, str]
    """What a reader has to know before believing a number."""
    total: Line
    stages: tuple[Line, ...]
    inside: tuple[Line, ...]
    """First token, prefill and a further token."""
    throughput: Line | None
    """Seconds for each sample of a stream. None if there were no streams. The verdict is of one sample by itself; this claims for itself,
    and nothing where the verdict is refused."""
    steps: dict[Role, Spread | None]
    """Single further tokens."""
    ratio_of_medians: float | None
    ratio_of_totals: float | None
    gain: tuple[Part, ...]
    barriers: dict[Role, float]
    """By what share the sum of the stages exceeds the run without barriers."""
    break_even: BreakEven | None
    preparation: dict[Role, float]
    """Seconds until a worker is steady that a later run does not take."""
    disturbed: int
    """Blocks that were run again."""
    demands: tuple[Outcome, ...]
    exit_code: int

    def lines(self) -> tuple[Line, ...]:
        """All that were timed."""
        return (self.total, *self.stages, *self.inside, *(() if self.throughput is None else (self.throughput,)))


def judge(result: Result) -> Judgement:
    """Raises UserError if a demand cannot be read."""
    sides, rules = result.variants(), result.rules
    sessions = {role: result.session(side) for role, side in sides.items()}
    apart = len({session.started for session in sessions.values()}) > 1
    counted = {role: counted_blocks(session) for role, session in sessions.items()}
    runs = {role: runs_in(side, counted[role]) for role, side in sides.items()}
    samples = counted["baseline"]
    reasons, verdict = _refusal(result, apart)
    claimable = len(sides) == 2 and verdict is None
    comparable = len(sides) == 2 and verdict not in (Verdict.INVALID, Verdict.OUTPUT_DIFFERS) and not apart

    def line(name: str, value: Timed) -> Line:
        spreads = {role: _spread(_values(timed, value)) for role, timed in runs.items()}
        interval = interval_between(sides, samples, value) if comparable else None
        return Line(name, spreads, interval, max(SMALLEST, rules.smallest.get(name, 0.0)), None)

    total = line(TOTAL, whole_seconds)
    total = _claimed(total, total.interval.p if total.interval else 1.0)
    stages = _corrected([line(stage, stage_seconds(stage)) for stage in STAGES])
    inside = _corrected([line(name, value) for name, value in INSIDE.items()])
    preserved = None if result.outputs is None else worst(result.outputs.checks)
    if comparable and verdict is None:
        verdict = total.claim or Verdict.INCONCLUSIVE
        if total.interval is None:
            reasons = ["too few blocks for an interval: six of one sample, or two samples, at least"]
    medians = _ratio_of_medians(total) if comparable else None
    demanded = _demands(result, {line.name: line for line in (total, *stages, *inside)})
    return Judgement(
        verdict=verdict if len(sides) == 2 else None,
        reasons=tuple(reasons),
        preserved=preserved,
        flags=_flags(sides, sessions, total, medians, comparable) | _flags_of_outputs(result),
        total=total,
        stages=stages,
        inside=inside,
        throughput=_throughput(sides, sessions, rules.smallest, claimable),
        steps={role: _spread(_steps(timed)) for role, timed in runs.items()},
        ratio_of_medians=medians,
        ratio_of_totals=_ratio_of_totals(sides, samples) if comparable else None,
        gain=_gain(sides, samples) if comparable or _differs_in_length_only(sides, apart) else (),
        barriers={role: _barriers(timed) for role, timed in runs.items()},
        break_even=_break_even(sides, samples, verdict) if comparable and total.interval else None,
        preparation={role: _preparation(side, counted[role]) for role, side in sides.items()},
        disturbed=sum(bool(block.disturbances) for block in sessions["baseline"].blocks),
        demands=demanded,
        exit_code=_exit_code(verdict if len(sides) == 2 else None, result, demanded),
    )


# What is timed.

Timed = Callable[[Run], float | None]
"""Run -> seconds. None if this run says nothing of it."""


def whole_seconds(run: Run) -> float | None:
    return run.seconds if run.stages is None else None


def stage_seconds(stage: str) -> Timed:
    return lambda run: run.stages[stage].seconds if run.stages is not None else None


def _first_token(run: Run) -> float | None:
    if run.stages is None or run.prefill_seconds is None:
        return None
    return math.fsum(run.stages[stage].seconds for stage in STAGES[:-1]) + run.prefill_seconds


def _further_token(run: Run) -> float | None:
    return statistics.fmean(run.step_seconds) if run.step_seconds else None


INSIDE: dict[str, Timed] = {"first token": _first_token, "prefill": lambda run: run.prefill_seconds, "further token": _further_token}


# Blocks and differences.


def counted_blocks(session: Session) -> dict[int, Block]:
    """The blocks that count, by number. If too many were disturbed none is left out: the result is INVALID anyway."""
    if _too_disturbed(session):
        return {block.number: block for block in session.blocks}
    return {block.number: block for block in session.blocks if not block.disturbances}


def _too_disturbed(session: Session) -> bool:
    return sum(bool(block.disturbances) for block in session.blocks) > MOST_DISTURBED * len(session.blocks)


def runs_in(side: VariantResult, counted: Mapping[int, Block]) -> list[Run]:
    """Those in these blocks."""
    return [run for run in side.timed() if run.block in counted]


def _values(runs: Iterable[Run], value: Timed) -> list[float]:
    return [seconds for run in runs if (seconds := value(run)) is not None]


def _by_block(side: VariantResult, counted: Mapping[int, Block], value: Timed) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for run in runs_in(side, counted):
        if (seconds := value(run)) is not None and run.block is not None:
            found.setdefault(run.block, []).append(seconds)
    return found


def _paired(
    sides: Mapping[Role, VariantResult],
    counted: Mapping[int, Block],
    value: Timed,
    difference: Callable[[list[float], list[float]], float],
) -> dict[int, float]:
    """Number of a block -> the difference between its two sides."""
    ours, theirs = (_by_block(sides[role], counted, value) for role in ("baseline", "optimized"))
    return _differences(ours, theirs, counted, difference)


def _differences(
    ours: Mapping[int, list[float]],
    theirs: Mapping[int, list[float]],
    counted: Iterable[int],
    difference: Callable[[list[float], list[float]], float],
) -> dict[int, float]:
    return {number: difference(ours[number], theirs[number]) for number in counted if number in ours and number in theirs}


def grouped(differences: Mapping[int, float], group: Callable[[int], int]) -> dict[int, list[float]]:
    """Group of a block -> its differences."""
    found: dict[int, list[float]] = {}
    for number, difference in differences.items():
        found.setdefault(group(number), []).append(difference)
    return found


def interval_between(sides: Mapping[Role, VariantResult], counted: Mapping[int, Block], value: Timed) -> Interval | None:
    """Of how many times as much of something the baseline has, block by block. None if there are too few blocks."""
    return _interval_of(_paired(sides, counted, value, _log_ratio), counted, lambda number: counted[number].sample)


def _interval_of(differences: Mapping[int, float], counted: Mapping[int, Block], sample: Callable[[int], int]) -> Interval | None:
    """`sample` is that of a block, by its number."""
    if not differences:
        return None
    interval = estimate(grouped(differences, sample))
    return interval and over_starts(interval, grouped(differences, lambda number: counted[number].start))


def _log_ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.fmean(map(_log, ours)) - statistics.fmean(map(_log, theirs))


def _throughput(
    sides: Mapping[Role, VariantResult], sessions: Mapping[Role, Session], smallest: Mapping[str, float], claimable: bool
) -> Line | None:
    """Of both sides' streams, block by block."""
    if not any(side.timed_streams() for side in sides.values()):
        return None
    found = {role: _streams_by_block(side, sessions[role]) for role, side in sides.items()}
    spreads = {role: _spread([seconds for block in blocks.values() for seconds in block]) for role, blocks in found.items()}
    interval = None
    if claimable:
        blocks = counted_blocks(sessions["baseline"])
        # Each stream is of the same samples, whichever its block is of: one kind of thing, repeated.
        interval = _interval_of(_differences(found["baseline"], found["optimized"], blocks, _log_ratio), blocks, lambda number: 0)
    least = max(SMALLEST, smallest.get(TOTAL, 0.0), smallest.get(THROUGHPUT, 0.0))
    return _claimed(Line(THROUGHPUT, spreads, interval, least, None), interval.p if interval else 1.0)


def sample_seconds(stream: StreamRun) -> float:
    """Of a stream, for each of its samples."""
    return stream.seconds / stream.samples


def counted_streams(side: VariantResult, session: Session) -> list[StreamRun]:
    """Those in blocks that count."""
    counted = counted_blocks(session)
    return [stream for stream in side.timed_streams() if stream.block in counted]


def _streams_by_block(side: VariantResult, session: Session) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for stream in counted_streams(side, session):
        if stream.block is not None:
            found.setdefault(stream.block, []).append(sample_seconds(stream))
    return found


def _log(seconds: float) -> float:
    return math.log(max(seconds, 1e-9))  # a stage that does nothing takes less than the clock can tell


def half_width(session: Session, sides: Mapping[Role, VariantResult]) -> float | None:
    """Of the interval of the total, relative; of one variant alone, that of its median. None if there is no interval yet."""
    counted = counted_blocks(session)
    if len(sides) == 2:
        interval = interval_between(sides, counted, whole_seconds)
        return None if interval is None else interval.half_width
    timed = [(run, seconds) for run in runs_in(sides["baseline"], counted) if (seconds := whole_seconds(run)) is not None]
    around = _median_interval(timed, counted)
    return None if around is None else (around[1] - around[0]) / 2 / statistics.median(seconds for _, seconds in timed)


def _median_interval(timed: Sequence[tuple[Run, float]], counted: Mapping[int, Block]) -> tuple[float, float] | None:
    """Of a median; no narrower than over the starts, and over the samples, because runs of one resemble each other."""
    around = median_interval([seconds for _, seconds in timed])
    for unit in ("start", "sample"):
        groups: dict[int, list[float]] = {}
        for run, seconds in timed:
            if run.block is not None:
                groups.setdefault(getattr(counted[run.block], unit), []).append(seconds)
        medians = [statistics.median(values) for values in groups.values()]
        if around is not None and len(medians) > 1:
            middle, reach = mean_and_reach(medians)
            around = min(around[0], middle - reach), max(around[1], middle + reach)
    return around


def scatter(runs: Sequence[Run]) -> float | None:
    """Coefficient of variation of the last runs of the warm-up. None if there are too few."""
    last = [_log(run.seconds) for run in runs if run.kind == "warmup"][-5:]
    return statistics.stdev(last) if len(last) >= 3 else None


# Claims.


def _claimed(line: Line, p: float) -> Line:
    """With what may be claimed. `p` is corrected for the number of lines that are looked at."""
    if line.interval is None:
        return line
    low, high, small = line.interval.low, line.interval.high, line.smallest
    if low > 1 + small and p < LEVEL:
        claim = Verdict.FASTER
    elif high < 1 - small and p < LEVEL:
        claim = Verdict.SLOWER
    elif low >= 1 - SMALLEST and high <= 1 + SMALLEST:
        # A noise floor keeps from claiming a difference; it does not make things the same.
        claim = Verdict.SAME
    else:
        claim = Verdict.INCONCLUSIVE
    return Line(line.name, line.sides, line.interval, line.smallest, claim)


def _corrected(lines: Sequence[Line]) -> tuple[Line, ...]:
    chances = holm({line.name: line.interval.p for line in lines if line.interval is not None})
    return tuple(_claimed(line, chances.get(line.name, 1.0)) for line in lines)


def _refusal(result: Result, apart: bool) -> tuple[list[str], Verdict | None]:
    """Why no time is compared, and the verdict that says so."""
    sides = result.variants()
    if len(sides) == 1:
        return [], None
    invalid = []
    if different := unequal_work(sides):
        invalid.append(f"the two sides did not do the same work: {'; '.join(different)}")
    invalid += disturbed_too_often(result.sessions)
    invalid += _unproven(sides)
    if invalid:
        return invalid, Verdict.INVALID
    different = _unequal_answers(sides)
    if different and (apart or result.outputs is None or not _near_ties(result.outputs)):
        return different, Verdict.OUTPUT_DIFFERS
    if apart:
        return ["the sides were measured apart, where drift looks like a difference; run both in one comparison"], Verdict.INCONCLUSIVE
    if result.outputs is None or not _complete(result.outputs, sides):
        return ["outputs were not compared: the session ended before; go on with --resume"], Verdict.INCONCLUSIVE
    if different := _unequal_outputs(result.outputs):
        return different, Verdict.OUTPUT_DIFFERS
    if result.outputs.reference is None:
        return ["REFERENCE_MISSING: nothing of higher precision fits here to measure outputs by"], Verdict.INCONCLUSIVE
    return [], None


def disturbed_too_often(sessions: Iterable[Session]) -> list[str]:
    """Of each session that was, what disturbed it."""
    found = []
    for session in sessions:
        if _too_disturbed(session):
            disturbed = [block for block in session.blocks if block.disturbances]
            causes = ", ".join(dict.fromkeys(told for block in disturbed for told in block.disturbances))
            found.append(f"{len(disturbed)} of {len(session.blocks)} blocks were disturbed: {causes}")
    return found


def _complete(outputs: Outputs, sides: Mapping[Role, VariantResult]) -> bool:
    """Whether every stage was compared, as it ran and fed with the baseline's input, and every choice looked into."""
    wanted = {(STAGES[0], "chained"), *((stage, fed) for stage in STAGES[1:] for fed in ("chained", "swapped"))}
    proven = all({proof.part for proof in side.proofs} >= {*_at_work(side), "decoding"} for side in sides.values())
    return proven and {(check.stage, check.fed) for check in outputs.checks} >= wanted


def _at_work(side: VariantResult) -> list[str]:
    """Parts that have an effect on the kind of input. One that is not known any more had."""
    return [part for part in side.choices if side.workload.kind in EFFECT.get(part, KINDS)]


def not_active(sides: Mapping[Role, VariantResult]) -> list[tuple[Role, Proof]]:
    """Choices that left no sign of having been at work."""
    return [(role, proof) for role, side in sides.items() for proof in side.proofs if not proof.active]


def _unproven(sides: Mapping[Role, VariantResult]) -> list[str]:
    """Choices that are not active and would be paid for: those in which the sides differ, by name or in truth. And sampling."""
    ours, theirs = (side.choices for side in sides.values())
    inactive = not_active(sides)
    parts = [proof.part for _, proof in inactive]
    return [
        f"NOT_ACTIVE: {proof.part}={proof.choice} of the {role} side ({proof.evidence})"
        for role, proof in inactive
        if ours.get(proof.part) != theirs.get(proof.part) or proof.part not in ours or parts.count(proof.part) == 1
    ]


def _near_ties(outputs: Outputs) -> bool:
    """Whether it was looked into where tokens first differ. What was found there is a check like the others."""
    return any(check.rule == "tokens" and check.place for check in outputs.checks)


def _unequal_outputs(outputs: Outputs) -> list[str]:
    """The first stage that differs, and why nothing else is to blame."""
    found = []
    if unstable := [check for check in outputs.checks if check.fed == "twice" and check.grade == "fail"]:
        apart = "is too far from the reference" if unstable[0].rule == OWN_ERROR else "does not repeat itself"
        found.append(f"the baseline {apart}: {tell(unstable[0])}")
    if (first := first_divergence(outputs.checks)) is not None:
        found.append(f"the first stage to differ is {tell(first)}")
    return found


def tell(check: Check) -> str:
    """A check in words."""
    fed = {"twice": "the baseline twice", "chained": "as it ran", "swapped": "fed with the baseline's input"}[check.fed]
    told = f"{check.stage}, {fed}: {check.rule} {check.figure:.3g} where {check.line:.3g} is let pass"
    told += f", at {check.place}" if check.place else ""
    told += f" ({check.told})" if check.told else ""
    return told + (f"; {check.failed} of {check.samples} samples" if check.samples > 1 and check.failed else "")


def _flags_of_outputs(result: Result) -> dict[str, str]:
    flags = {}
    if inactive := not_active(result.variants()):
        flags["NOT_ACTIVE"] = "; ".join(f"{role}: {proof.part}={proof.choice}, {proof.evidence}" for role, proof in inactive)
    if result.outputs is None:
        return flags
    if result.outputs.reference is None:
        flags["REFERENCE_MISSING"] = (
            "no reference of higher precision fits into this machine: features and logits are compared by their cosine only, "
            "and tokens have to be identical"
        )
    spread = [check for check in result.outputs.checks if check.fed == "twice" and check.grade == "warn"]
    if spread:
        stages = ", ".join(dict.fromkeys(check.stage for check in spread))
        flags["NOT_REPEATABLE"] = f"the baseline does not repeat itself to the last bit ({stages}); its own spread is in the lines"
    if warned := [check for check in result.outputs.checks if check.fed != "twice" and check.grade == "warn"]:
        flags["OUTPUT_NEARLY"] = "; ".join(map(tell, warned))
    return flags


def unequal_work(sides: Mapping[Role, VariantResult]) -> list[str]:
    """Fields in which a run or stream did something else than the baseline's first run of the same sample."""
    asked: dict[int, Work] = {}
    for sample, work in sides["baseline"].work():
        asked.setdefault(sample, work)
    done = [(asked[sample], work) for side in sides.values() for sample, work in side.work() if sample in asked]
    return next((found for ours, theirs in done if (found := work_differences(ours, theirs))), [])


def _differs_in_length_only(sides: Mapping[Role, VariantResult], apart: bool) -> bool:
    """Then no time is compared, but the part of the difference that the number of tokens made can be told."""
    different = unequal_work(sides) if len(sides) == 2 and not apart else []
    return bool(different) and all(field.startswith(("new_tokens ", "stop ")) for field in different)


def _unequal_answers(sides: Mapping[Role, VariantResult]) -> list[str]:
    """Samples whose answers are not the same tokens in every run and stream of both sides."""
    answers = {role: {sample: set(tokens) for sample, tokens in side.answers().items()} for role, side in sides.items()}
    ours, theirs = answers["baseline"], answers["optimized"]
    found = []
    if unstable := [sample for sample in ours if len(ours[sample]) > 1]:
        found.append(f"the baseline itself does not repeat its answer to {_samples(unstable, len(ours))}")
    if different := [sample for sample in ours if sample in theirs and ours[sample] != theirs[sample]]:
        found.append(f"the two sides answered {_samples(different, len(ours))} with different tokens")
    return found


def _samples(found: Sequence[int], of: int) -> str:
    return "the sample" if of == 1 else f"{len(found)} of {of} samples"


def _flags(
    sides: Mapping[Role, VariantResult], sessions: Mapping[Role, Session], total: Line, medians: float | None, comparable: bool
) -> dict[str, str]:
    flags = {}
    if unsteady := [f"{role}: {reason}" for role, side in sides.items() for reason in dict.fromkeys(side.unsteady)]:
        flags["NOT_STEADY"] = f"the warm-up was given up: {'; '.join(unsteady)}"
    if any(session.plan.order == "reload" for session in sessions.values()) and len(sides) == 2:
        flags["ORDER=RELOAD"] = "only one worker fits at a time: each block starts both anew, one after the other"
    if comparable and len({block.start for block in sessions["baseline"].blocks}) == 1:
        flags["ONE_START"] = "each worker was started once: the interval is of these two processes, and others may differ; give --starts"
    if len({session.started for session in sessions.values()}) > 1:
        flags["MEASURED_APART"] = (
            f"the baseline from {sessions['baseline'].started}, the optimized side from {sessions['optimized'].started}"
        )
    if not comparable or total.interval is None:
        return flags
    if (width := sessions["baseline"].plan.precision) is not None and total.interval.half_width > width:
        flags["NOT_PRECISE"] = f"{width:.1%} was asked for and not reached within --max-time"
    one_sample = len(sides["baseline"].workload.samples) == 1
    if one_sample and medians is not None and abs(medians / total.interval.ratio - 1) > total.interval.half_width:
        flags["MULTIMODAL"] = f"the ratio of the medians is {medians:.3f}: times fall into groups, and one number does not tell them"
    if one_sample and (told := _order_sensitive(sides, total.interval)):
        flags["ORDER_SENSITIVE"] = told
    return flags


def _order_sensitive(sides: Mapping[Role, VariantResult], interval: Interval) -> str | None:
    """Whether runs of one side after the other tell something else than the blocks."""
    ours, theirs = ([_log(run.seconds) for run in side.runs if run.kind == "blocked"] for side in sides.values())
    if len(ours) < 2 or len(theirs) < 2:
        return None
    difference = statistics.fmean(ours) - statistics.fmean(theirs)
    error = math.sqrt(statistics.variance(ours) / len(ours) + statistics.variance(theirs) / len(theirs))
    reach = student_quantile(1 - LEVEL / 2, len(ours) + len(theirs) - 2) * error
    if math.log(interval.low) - reach <= difference <= math.log(interval.high) + reach:
        return None
    return (
        f"all runs of one side after all of the other's gave {math.exp(difference):.3f} times; caches, clocks or power depend on the order"
    )


# Secondary figures.


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    return Spread(statistics.median(values), min(values), max(values), tail(values, 0.9), len(values), outliers(values))


def _steps(runs: Iterable[Run]) -> list[float]:
    return [seconds for run in runs for seconds in run.step_seconds or ()]


def _ratio_of_medians(total: Line) -> float | None:
    ours, theirs = total.sides["baseline"], total.sides["optimized"]
    return None if ours is None or theirs is None else ours.median / theirs.median


def _ratio_of_totals(sides: Mapping[Role, VariantResult], counted: Mapping[int, Block]) -> float:
    ours, theirs = (math.fsum(_values(runs_in(side, counted), whole_seconds)) for side in sides.values())
    return ours / theirs


def _mean(runs: Iterable[Run], value: Timed) -> float:
    return float(np.mean(_values(runs, value)))


def _barriers(runs: Sequence[Run]) -> float:
    return _mean(runs, lambda run: run.seconds if run.stages is not None else None) / _mean(runs, whole_seconds) - 1


def _gain(sides: Mapping[Role, VariantResult], counted: Mapping[int, Block]) -> tuple[Part, ...]:
    """Difference of the means, taken apart. The stages add up to more than the whole by what barriers cost and overlap saves."""
    ours, theirs = (runs_in(side, counted) for side in sides.values())
    parts = {stage: _mean(ours, stage_seconds(stage)) - _mean(theirs, stage_seconds(stage)) for stage in STAGES}
    tokens = _mean(ours, lambda run: len(run.tokens)) - _mean(theirs, lambda run: len(run.tokens))
    if tokens and _values(ours, _further_token):
        # Tokens that only one side generated, at the baseline's price: no gain of the optimization.
        parts["number of tokens"] = tokens * _mean(ours, _further_token)
        parts["generate"] -= parts["number of tokens"]
    whole = _mean(ours, whole_seconds) - _mean(theirs, whole_seconds)
    parts["overlap of stages, barriers"] = whole - math.fsum(parts.values())
    return tuple(Part(name, seconds, seconds / whole if whole else 0.0) for name, seconds in parts.items())


def _preparation(side: VariantResult, counted: Mapping[int, Block]) -> float:
    """Start, first call and warm-up of the first worker, less what its runs would take when steady.

    Later starts find in the compile cache what the first one compiled.
    """
    usual = _mean(runs_in(side, counted), lambda run: run.seconds if run.stages is not None else None)
    runs = sorted((run for run in side.runs if run.kind in ("first", "warmup")), key=lambda run: run.turn)
    second = next((place for place, run in enumerate(runs) if run.kind == "first" and place), len(runs))
    return side.builds[0].seconds + math.fsum(run.seconds - usual for run in runs[:second])


def _break_even(sides: Mapping[Role, VariantResult], counted: Mapping[int, Block], verdict: Verdict | None) -> BreakEven:
    """Only what is FASTER pays anything back."""
    gains = _paired(sides, counted, whole_seconds, lambda ours, theirs: statistics.fmean(ours) - statistics.fmean(theirs))
    extra = _preparation(sides["optimized"], counted) - _preparation(sides["baseline"], counted)
    if extra > 0 and verdict is not Verdict.FASTER:
        return BreakEven(None, None, None)
    return break_even(extra, grouped(gains, lambda number: counted[number].sample))


# Demands.


def _demands(result: Result, lines: Mapping[str, Line]) -> tuple[Outcome, ...]:
    rules, sides = result.rules, result.variants()
    model = result.baseline.workload.model
    role: Role = "optimized" if result.optimized is not None else "baseline"
    side = sides[role]
    counted = counted_blocks(result.session(side))
    values = {TOTAL: whole_seconds, **{stage: stage_seconds(stage) for stage in STAGES}, **INSIDE}

    def decide(demand: Demand) -> Outcome:
        if demand.seconds is None:
            return demands.decide_slower(demand, lines[demand.what].interval, lines[demand.what].smallest)
        timed = [(run, seconds) for run in runs_in(side, counted) if (seconds := values[demand.what](run)) is not None]
        return demands.decide_target(demand, [seconds for _, seconds in timed], _median_interval(timed, counted))

    return tuple(decide(demand) for demand in demands.read(rules.targets, rules.fail_if, model))


def _exit_code(verdict: Verdict | None, result: Result, outcomes: Sequence[Outcome]) -> int:
    if verdict in (Verdict.OUTPUT_DIFFERS, Verdict.INVALID):
        return EXIT_CODES[verdict]
    if any(outcome.met is False for outcome in outcomes):
        return UNMET
    if any(outcome.met is None for outcome in outcomes):
        return UNCLEAR
    if verdict is None:
        return 0
    if result.rules.require_speedup and verdict is Verdict.SAME:
        return UNMET
    # Whoever says from where on slower is a failure has said that less is none.
    return 0 if result.rules.fail_if and not result.rules.require_speedup else EXIT_CODES[verdict]
