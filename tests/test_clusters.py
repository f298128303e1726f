"""Windows of one sequence are not independent: intervals over samples have sequences as their units."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence

import pytest

from evbench.report.units import format_samples
from evbench.results import Result, Sample, SideResult
from evbench.scenes.captions import describe
from evbench.scenes.world import imagine
from evbench.session.block_schedule import too_few_blocks
from evbench.session.outputs import Compared, task_score
from evbench.verdict.blocks import TOKEN_TIMINGS, counted_blocks, interval_of_median
from evbench.verdict.clusters import cluster_means, clusters, one_sequence
from evbench.verdict.difference import paid_back
from evbench.verdict.judge import judge
from evbench.verdict.models import judge_models
from evbench.verdict.speculation import ratio
from evbench.verdict.statistics import Interval
from tests.simulation import PLAN, Noise, SimulatedMachine, simulate

SIZES = (1, 2, 2, 3, 4, 4, 5, 7, 8, 4, 5, 3)
"""Windows of each of twelve sequences, as uneven as recordings are long."""


def of(*sequences: str | None) -> list[Sample]:
    return [Sample(f"{index}.mp4", str(index), 4, 6, sequence=name) for index, name in enumerate(sequences)]


WINDOWS = of(*(f"street-{number}" for number, size in enumerate(SIZES) for _ in range(size)))


def as_recorded(result: Result, samples: Sequence[Sample]) -> Result:
    """The result, with what is known of its samples."""

    def measured(side: SideResult) -> SideResult:
        return dataclasses.replace(side, workload=dataclasses.replace(side.workload, samples=tuple(samples)))

    assert result.optimized is not None
    return dataclasses.replace(result, baseline=measured(result.baseline), optimized=measured(result.optimized))


def test_samples_of_one_sequence_are_one_cluster() -> None:
    assert clusters(of("a", "a", None, "b", "a", None)) == (0, 0, 2, 3, 0, 5)
    assert clusters(of(None, None)) == (0, 1) and clusters(of("a")) == (0,)
    assert not one_sequence(of(None, None)) and not one_sequence(of("a")) and not one_sequence(of("a", "b"))
    assert cluster_means({0: 1.0, 1: 3.0, 3: 5.0}, of("a", "a", "b", "b")) == [2.0, 5.0]


def test_where_all_are_of_one_sequence_each_is_one_by_itself_and_the_report_says_so() -> None:
    street = of("a", "a", "a")
    assert one_sequence(street) and clusters(street) == (0, 1, 2)
    assert format_samples(street) == "3 samples, all of one sequence: it covers no other"


def covered(intervals: Sequence[Interval | tuple[float, float] | None], truth: float) -> float:
    """The share of intervals that contain it."""
    bounds = [(one.low, one.high) if isinstance(one, Interval) else one for one in intervals]
    return sum(one is not None and one[0] <= truth <= one[1] for one in bounds) / len(bounds)


@pytest.mark.slow
@pytest.mark.parametrize("count", [60, pytest.param(400, marks=pytest.mark.long)])
def test_the_interval_over_sequences_contains_the_truth_where_one_over_windows_does_not(count: int) -> None:
    """Sequences differ by 5 %, windows of one by 0.5 %: 48 windows know no more of other streets than their 12 sequences do."""
    noise = Noise(samples=0.005, sequences=0.05, outliers=0)
    names = {number: str(sample.sequence) for number, sample in enumerate(WINDOWS)}
    every = [simulate(SimulatedMachine(seed, noise, 1.5, names), PLAN, len(WINDOWS)) for seed in range(count)]
    by_sequence = [judge(as_recorded(result, WINDOWS)).end_to_end.interval for result in every]
    by_window = [judge(result).end_to_end.interval for result in every]
    assert covered(by_sequence, 1.5) >= 0.95 - 2 * math.sqrt(0.05 * 0.95 / count)
    assert covered(by_window, 1.5) < 0.75


def test_equal_windows_of_a_sequence_make_no_interval_narrower() -> None:
    """Stages, throughput of one side alone, two models: whatever is said over samples is over sequences."""
    noise = Noise(samples=0.002, sequences=0.05)
    names = {number: str(sample.sequence) for number, sample in enumerate(WINDOWS)}
    plain = simulate(SimulatedMachine(1, noise, 1.5, names), PLAN, len(WINDOWS))
    known = as_recorded(plain, WINDOWS)
    compared = zip(judge(known).timings(), judge(plain).timings(), strict=True)
    for one, other in ((one, other) for one, other in compared if one.name not in TOKEN_TIMINGS):  # those are simulated without noise
        assert one.interval is not None and other.interval is not None
        assert one.interval.half_width > 1.3 * other.interval.half_width, one.name
    blocks = counted_blocks(known.sessions[0])
    ours, theirs = (paid_back(result.variants(), blocks, 100.0, faster=True) for result in (known, plain))
    assert ours.low is not None and ours.high is not None and theirs.low is not None and theirs.high is not None
    assert ours.high - ours.low > 1.2 * (theirs.high - theirs.low)
    models, apart = judge_models(known), judge_models(plain)
    assert models.difference is not None and apart.difference is not None
    assert width(models.difference.total) > 1.3 * width(apart.difference.total)
    timed = [(run, run.seconds) for run in known.variants()["optimized"].timed() if run.stages is None]
    low, high = interval_of_median(timed, blocks, WINDOWS) or (0.0, 0.0)
    lower, higher = interval_of_median(timed, blocks, plain.baseline.workload.samples) or (0.0, 0.0)
    assert high - low > higher - lower


def width(part: object) -> float:
    low, high = getattr(part, "low", None), getattr(part, "high", None)
    assert low is not None and high is not None
    return float(high - low)


def test_the_score_of_captions_may_fall_by_chance_as_much_as_sequences_differ() -> None:
    caption = describe(imagine(1, 0), "concise", colours=True)
    said = {number: Compared([], (caption, caption if number % 4 else "nothing")) for number in range(12)}

    def lost(*sequences: str | None) -> float:
        samples = [dataclasses.replace(one, caption=caption) for one in of(*sequences)]
        (check,) = task_score(said, samples)
        return check.value

    assert lost(*"aaaabbbbcccc") == pytest.approx(0.25), "each sequence loses a quarter: there is nothing to be unsure of"
    assert lost(*"abcdabcdabcd") > lost(*[None] * 12) > 0.25, "one of four sequences loses everything"


def test_the_interval_of_an_acceptance_rate_contains_the_truth_over_sequences() -> None:
    source, of_street = random.Random(3), clusters(WINDOWS)
    found = []
    for _ in range(500):
        shares = {cluster: source.uniform(0.3, 0.7) for cluster in set(of_street)}
        below = [source.randint(20, 60) for _ in WINDOWS]
        above = [sum(source.random() < shares[cluster] for _ in range(size)) for size, cluster in zip(below, of_street, strict=True)]
        by_sequence, by_window = (ratio(above, below, (0, 1), units).interval for units in (of_street, range(len(below))))
        found.append((by_sequence, by_window))
    assert 0.9 < covered([one for one, _ in found], 0.5) < 0.98
    assert covered([other for _, other in found], 0.5) < 0.8


def test_sequences_count_where_it_is_told_whether_blocks_suffice() -> None:
    assert too_few_blocks(4, 1, None) and not too_few_blocks(4, 2, None)
    assert format_samples(WINDOWS) == "12 sequences with 48 samples"
