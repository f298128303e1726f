"""One variant on 1, 2, 4 and 8 GPUs: its samples spread over them, and its language model divided over them. Pure."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from evbench.errors import UserError
from evbench.pipelines.generate.choices import ALL_REDUCE, SHARED_SUM
from evbench.results import Result, Section, Side, SideResult
from evbench.verdict.blocks import TPOT
from evbench.verdict.judgement import Judgement, Verdict
from evbench.verdict.ranks import Loss, Pass, RankedSession, average, loss_of, slowest
from evbench.verdict.sweep import PointOutcome, outcome
from evbench.verdict.sweep import failed as failed_outcome

EXCHANGES = (ALL_REDUCE, SHARED_SUM)
"""Names of the kernels in which the GPUs of one model exchange what they have."""
ORDERED = "give whole numbers above 0, ascending, such as --gpus 1,2,4,8"


def read_gpus(text: str) -> tuple[int, ...]:
    """`1,2,4,8` -> numbers of GPUs. Raises UserError for what is no such list."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and len(word) < 6 and int(word) > 0 for word in words):
        raise UserError(f"--gpus {text!r} has what is no number of GPUs; {ORDERED}")
    numbers = tuple(map(int, words))
    if any(before >= after for before, after in itertools.pairwise(numbers)):
        raise UserError(f"--gpus {text!r} is not ascending; {ORDERED}")
    return numbers


def counted_gpus(count: int) -> str:
    """Such as `1 GPU` and `2 GPUs`."""
    return f"{count} GPU{'s' * (count != 1)}"


# What is measured.


@dataclass(frozen=True)
class Answers:
    """What a sample was answered in the timed runs of one number of GPUs."""

    path: str
    sha256: str
    """Of the sample."""
    tokens: str
    """SHA-256 over all that differ among them."""


@dataclass(frozen=True)
class SpreadRun:
    """`evbench run --gpus N`."""

    session: RankedSession
    """Its passes were measured."""
    outcome: PointOutcome
    """Its timings are of single runs."""
    answers: tuple[Answers, ...]
    """Of each sample."""
    fingerprint: str
    """Of the weights."""
    threads: int
    """CPU threads that torch uses in a worker."""


@dataclass(frozen=True)
class DividedRun:
    """The variant on one GPU, as baseline, and with its language model divided over several."""

    gpus: int
    outcome: PointOutcome
    floor_shares: dict[Side, float]
    """Of TPOT: the physical floor of as many GPUs as the side has, over its median. Without sides whose floor is not known."""
    exchanging: dict[str, float]
    """Section of the divided side's trace -> share of its kernels' time, of all GPUs, in those of EXCHANGES. Empty without a trace."""


def spread_run(session: RankedSession, result: Result, judgement: Judgement) -> SpreadRun:
    """Raises UserError if the passes of its ranks were not measured: it has not ended."""
    if session.seconds is None:
        raise UserError(f"{session.ranks} ranks have not run their samples back to back: go on with it by --resume")
    measured = result.baseline
    build = measured.builds[0]
    return SpreadRun(session, outcome(result, judgement), _answers(measured), build.weights_fingerprint, build.threads)


def _answers(measured: SideResult) -> tuple[Answers, ...]:
    tokens = measured.tokens_by_sample()
    return tuple(
        Answers(sample.path, sample.sha256, hashlib.sha256(repr(sorted(set(tokens.get(number, ())))).encode()).hexdigest())
        for number, sample in enumerate(measured.workload.samples)
    )


def divided_run(gpus: int, result: Result, judgement: Judgement) -> DividedRun:
    """Of a comparison of the variant with itself over so many GPUs."""
    trace = None if result.optimized is None else result.optimized.trace
    sections = () if trace is None else trace.sections
    shares = {section.name: share for section in sections if (share := exchanging(section)) is not None and share > 0}
    return DividedRun(gpus, outcome(result, judgement), judgement.floor_shares().get(TPOT, {}), shares)


def failed_division(gpus: int, reason: str) -> DividedRun:
    """Of one that could not be run."""
    return DividedRun(gpus, failed_outcome(reason), {}, {})


def exchanging(section: Section) -> float | None:
    """Share of the time of all kernels of a section, on all GPUs, that is in those of EXCHANGES. None if nothing ran."""
    whole = math.fsum(used.seconds for used in section.used)
    return math.fsum(used.seconds for used in section.used if used.name in EXCHANGES) / whole if whole else None


# What is derived.


@dataclass(frozen=True)
class Row:
    """One number of GPUs against the smallest."""

    gpus: int
    samples: int
    samples_per_second: float
    slowest: int
    """The rank that ended last."""
    different: tuple[str, ...]
    """Samples whose answers are not those on the smallest number of GPUs."""
    withheld: tuple[str, ...]
    """Why it is not compared. Empty if it is."""
    speedup: float | None
    """Samples per second against the smallest number. None where it is not compared."""
    loss: Loss | None
    """Against as many times the smallest number, on average over its ranks. None where it is not compared, and of the smallest."""
    by_rank: tuple[Loss, ...]
    """The same of each rank."""


def rows(runs: Sequence[SpreadRun]) -> tuple[Row, ...]:
    """Of each number of GPUs, against the first of them."""
    return tuple(_row(runs[0], run) for run in runs)


def _row(first: SpreadRun, run: SpreadRun) -> Row:
    base, here = _whole(first), _whole(run)
    gpus = run.session.ranks
    rate = here.samples / here.seconds * gpus
    different = _different(first, run)
    withheld = (*_withheld(run), *_not_the_same(first, run, different))
    if run is not first and _withheld(first):
        withheld = (*withheld, f"{counted_gpus(first.session.ranks)} cannot be used, with which it would be compared")
    losses: tuple[Loss, ...] = ()
    if run is not first and not withheld and run.session.seconds is not None:
        losses = tuple(loss_of(share.together, base, run.session.seconds) for share in run.session.shares)
    return Row(
        gpus=gpus,
        samples=here.samples,
        samples_per_second=rate,
        slowest=slowest(run.session),
        different=different,
        withheld=withheld,
        speedup=None if withheld else rate / (base.samples / base.seconds * first.session.ranks),
        loss=average(losses) if losses else None,
        by_rank=losses,
    )


def _whole(run: SpreadRun) -> Pass:
    """All ranks as one, which takes as long as all GPUs together."""
    shares, seconds = run.session.shares, run.session.seconds or math.nan
    return Pass(
        samples=sum(share.together.samples for share in shares),
        seconds=run.session.ranks * seconds,
        load_wait_seconds=math.fsum(share.together.load_wait_seconds for share in shares),
    )


def _withheld(run: SpreadRun) -> tuple[str, ...]:
    gpus = counted_gpus(run.session.ranks)
    differing = sum(share.differing for share in run.session.shares)
    told = [f"{gpus}: {reason}" for reason in run.outcome.left_out]
    if differing:
        told.append(f"{gpus}: back to back {differing} of the samples had other tokens than in their timed runs")
    return tuple(told)


def _not_the_same(first: SpreadRun, run: SpreadRun, different: Sequence[str]) -> tuple[str, ...]:
    gpus = counted_gpus(run.session.ranks)
    if first.fingerprint != run.fingerprint:
        return (f"{gpus}: the weights are others",)
    if not _same_samples(first, run):
        return (f"{gpus}: the samples that could be used are others",)
    return (f"{gpus}: {len(different)} of {len(run.answers)} samples have other tokens",) if different else ()


def _different(first: SpreadRun, run: SpreadRun) -> tuple[str, ...]:
    if not _same_samples(first, run):
        return ()
    return tuple(ours.path for theirs, ours in zip(first.answers, run.answers, strict=True) if theirs.tokens != ours.tokens)


def _same_samples(first: SpreadRun, run: SpreadRun) -> bool:
    return [one.sha256 for one in first.answers] == [one.sha256 for one in run.answers]


def exit_code(spread: Sequence[SpreadRun], divided: Sequence[DividedRun]) -> int:
    """1 if one could not be run; else 6 if one is invalid, 5 if outputs differ; else 0."""
    outcomes = [*(run.outcome for run in spread), *(run.outcome for run in divided)]
    if any(found.failed for found in outcomes):
        return 1
    if any(found.left_out and found.verdict is not Verdict.OUTPUT_DIFFERS for found in outcomes):
        return 6
    differ = any(found.verdict is Verdict.OUTPUT_DIFFERS for found in outcomes)
    return 5 if differ or any(row.withheld for row in rows(spread)) else 0
