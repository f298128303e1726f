"""Trying to fool evbench: comparisons on a machine whose clock is simulated, and whose truth is therefore known."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from itertools import product

import pytest

from evbench.results import STAGES, Delay, Side
from evbench.session import schedule
from evbench.verdict.judge import judge
from evbench.verdict.judgement import Judgement, Verdict
from evbench.verdict.selftest import assess, find_planted, look_for_planted, noise_floors, repetitions
from evbench.verdict.statistics import minimum_detectable_effect
from tests.simulation import PLAN, Noise, SimulatedMachine, simulate

TOO_OFTEN = 0.06
"""The true rate of false findings is 4.9 %, what Wilcoxon's test has at 10 blocks."""
CERTAIN = (Verdict.FASTER, Verdict.SLOWER)


def comparisons(few: int, many: int) -> pytest.MarkDecorator:
    """How many are simulated. The few have fixed seeds and find the faults named in each test; the many measure the rates."""
    return pytest.mark.parametrize("count", [few, pytest.param(many, marks=pytest.mark.long)])


def compare(seed: int, faster: float = 1.0, noise: Noise | None = None, plan: object = None, samples: int = 1) -> Judgement:
    machine = SimulatedMachine(seed, noise or Noise(), faster)
    return judge(simulate(machine, plan or PLAN, samples))  # type: ignore[arg-type]


def scatter(count: int) -> float:
    """By which a number of sessions that is 95 of 100 in the long run may be missed by chance: two standard deviations."""
    return 2 * math.sqrt(0.05 * 0.95 * count)


def finds_a_difference(judged: Judgement) -> bool:
    """By its interval alone: a stricter question than whether it claims one."""
    interval = judged.end_to_end.interval
    assert interval is not None
    return interval.excludes_1


@pytest.mark.slow
@comparisons(200, 2000)
def test_a_variant_is_rarely_found_to_differ_from_itself(count: int) -> None:
    judged = [compare(seed) for seed in range(count)]
    assert sum(map(finds_a_difference, judged)) <= TOO_OFTEN * count
    assert sum(one.verdict in CERTAIN for one in judged) <= 0.01 * count, "claims need more than an interval"


def finds_a_stage(judged: Judgement) -> bool:
    return any(line.interval is not None and line.interval.excludes_1 for line in judged.stages)


def claims_a_stage(judged: Judgement) -> bool:
    return any(line.claim in CERTAIN for line in judged.stages)


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [6, pytest.param(8, marks=pytest.mark.long), 12, pytest.param(20, marks=pytest.mark.long)])
@comparisons(100, 2000)
def test_of_four_equal_stages_one_is_rarely_found_to_differ(blocks: int, count: int) -> None:
    """With an interval of 95 % for each it is so in 10 to 14 of 100 sessions."""
    judged = [compare(seed, plan=dataclasses.replace(PLAN, blocks=blocks)) for seed in range(count)]
    assert all(line.interval is not None for one in judged for line in one.stages)
    assert sum(map(finds_a_stage, judged)) <= TOO_OFTEN * count
    assert sum(map(claims_a_stage, judged)) <= 0.01 * count, "claims need more than an interval"
    assert sum(one.verdict in CERTAIN for one in judged) <= 0.01 * count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("blocks", "invocations"), [(6, 4), (12, 4), *(pytest.param(*other, marks=pytest.mark.long) for other in [(8, 4), (12, 2), (20, 4)])]
)
@comparisons(60, 2000)
def test_over_invocations_that_differ_in_each_stage_one_is_rarely_found_to_differ(blocks: int, invocations: int, count: int) -> None:
    plan, noise = dataclasses.replace(PLAN, blocks=blocks, invocations=invocations), Noise(processes_of_stages=0.02)
    judged = [compare(seed, noise=noise, plan=plan) for seed in range(count)]
    assert sum(map(finds_a_stage, judged)) <= TOO_OFTEN * count
    assert sum(map(claims_a_stage, judged)) <= 0.05 * count
    assert sum(one.verdict in CERTAIN for one in judged) <= 0.05 * count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("invocations", "noise"),
    [(1, Noise(variation=0.02, outliers=0)), (4, Noise(variation=0.02, outliers=0, first_slot=0))],
    ids=["one invocation", "four invocations"],
)
@pytest.mark.parametrize("longer", [1.1, 1 / 1.1, pytest.param(1.25, marks=pytest.mark.long), 1 / 250])
@comparisons(60, 2000)
def test_six_blocks_show_a_difference_of_a_tenth_in_a_stage(longer: float, invocations: int, noise: Noise, count: int) -> None:
    plan = dataclasses.replace(PLAN, blocks=6, invocations=invocations)
    machines = (SimulatedMachine(seed, noise, slower_stages={"preprocess": longer}) for seed in range(count))
    claims = [{line.name: line.claim for line in judge(simulate(machine, plan)).stages} for machine in machines]
    found = sum(claim["preprocess"] is (Verdict.SLOWER if longer > 1 else Verdict.FASTER) for claim in claims)
    assert found >= 0.95 * count - scatter(count)
    assert sum(claim[stage] in CERTAIN for claim in claims for stage in STAGES if stage != "preprocess") <= 0.05 * count


def test_a_claim_says_what_the_interval_beside_it_says() -> None:
    """Of every timing, whatever the number of blocks: no other rule decides."""
    seen = Counter[Verdict]()
    for seed, (blocks, invocations) in product(range(12), [(6, 1), (7, 1), (8, 2), (12, 4)]):
        stages = {"load": 1.0, "preprocess": 1.5, "vision": 0.7, "generate": 1 + 0.01 * seed}
        noise = Noise(variation=0.02 if seed % 2 else 0.001, outliers=0.03 * (seed % 3))
        judged = judge(
            simulate(SimulatedMachine(seed, noise, slower_stages=stages), dataclasses.replace(PLAN, blocks=blocks, invocations=invocations))
        )
        for line in judged.timings():
            assert line.interval is not None and line.claim is not None
            assert (line.claim is Verdict.FASTER) == (line.interval.low > 1 + line.claim_threshold)
            assert (line.claim is Verdict.SLOWER) == (line.interval.high < 1 - line.claim_threshold)
            assert line.interval.low <= line.interval.ratio <= line.interval.high
            seen[line.claim] += 1
    assert seen.keys() == {Verdict.FASTER, Verdict.SLOWER, Verdict.SAME, Verdict.INCONCLUSIVE}


@pytest.mark.slow
@pytest.mark.parametrize("fixed", ["AAABBB", "ABAB"])
def test_a_fixed_order_finds_differences_that_are_not_there(fixed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the same code: what saves the others is the order alone."""
    monkeypatch.setitem(schedule.PATTERNS, "interleaved", (fixed,))
    found = sum(finds_a_difference(compare(seed)) for seed in range(80))
    assert found > 0.3 * 80


@pytest.mark.slow
@pytest.mark.parametrize("invocations", [1, 3, 4, 6])
@comparisons(60, 300)
def test_two_processes_of_a_variant_that_differ_for_life_are_not_taken_for_two_variants(invocations: int, count: int) -> None:
    """Blocks on one pair of workers all show its difference, and their interval nothing of the next pair's."""
    plan = dataclasses.replace(PLAN, blocks=12, invocations=invocations)
    found = [finds_a_difference(compare(seed, noise=Noise(processes=0.02), plan=plan)) for seed in range(count)]
    if invocations == 1:
        assert sum(found) > 0.5 * count
        assert "ONE_INVOCATION" in compare(0, plan=plan).flags
    else:
        assert sum(found) <= 0.07 * count  # 5 % expected


@pytest.mark.slow
@pytest.mark.parametrize(("truth", "samples"), [(1.0, 1), (1.02, 1), (1.05, 1), (1.5, 1), (1.0, 12), (1.5, 25)])
@comparisons(60, 400)
def test_the_interval_contains_the_truth(truth: float, samples: int, count: int) -> None:
    noise = Noise(samples=0 if samples == 1 else 0.03)
    first = 10_000 * samples  # seeds of their own, so that one unlucky draw is not seen in all of them
    judged = [compare(first + seed, truth, noise, samples=samples) for seed in range(count)]
    intervals = [one.end_to_end.interval for one in judged]
    covered = sum(interval is not None and interval.low <= truth <= interval.high for interval in intervals)
    assert covered >= 0.95 * count - scatter(count)


@pytest.mark.slow
@comparisons(40, 200)
def test_the_interval_contains_the_truth_also_if_blocks_are_added_until_it_is_narrow(count: int) -> None:
    plan = dataclasses.replace(PLAN, precision=0.005)
    judged = [compare(seed, 1.02, plan=plan) for seed in range(count)]
    widths = [one.end_to_end.interval.half_width for one in judged if one.end_to_end.interval]
    assert max(widths) <= 0.005
    covered = sum(
        one.end_to_end.interval is not None and one.end_to_end.interval.low <= 1.02 <= one.end_to_end.interval.high for one in judged
    )
    assert covered >= 0.95 * count - scatter(count)


@pytest.mark.slow
@pytest.mark.parametrize(("blocks", "samples", "invocations"), [(10, 1, 1), (12, 1, 4), (8, 4, 1)])
@comparisons(80, 300)
def test_the_minimum_detectable_effect_is_detected_as_often_as_promised(blocks: int, samples: int, invocations: int, count: int) -> None:
    quiet = Noise(variation=0.02, drift=0, first_slot=0, outliers=0)
    # A run's four stages vary one by one, and the sum of them less than each.
    total = math.hypot(0.1, 0.05, 0.08, 0.4) / (0.1 + 0.05 + 0.08 + 0.4) * 0.02
    effect = minimum_detectable_effect(total, blocks, samples, invocations)
    assert effect is not None
    plan = dataclasses.replace(PLAN, blocks=blocks, invocations=invocations)
    found = sum(finds_a_difference(compare(seed, 1 + effect, quiet, plan, samples)) for seed in range(count))
    assert 0.72 * count <= found <= 0.88 * count


@pytest.mark.slow
@pytest.mark.parametrize(("blocks", "invocations"), [(6, 1), (12, 4)])
@comparisons(80, 300)
def test_the_minimum_detectable_effect_of_a_stage_is_detected_as_often_as_promised(blocks: int, invocations: int, count: int) -> None:
    effect = minimum_detectable_effect(0.02, blocks, 1, invocations, len(STAGES))
    assert effect is not None
    quiet, plan = (
        Noise(variation=0.02, drift=0, first_slot=0, outliers=0),
        dataclasses.replace(PLAN, blocks=blocks, invocations=invocations),
    )
    machines = (SimulatedMachine(seed, quiet, slower_stages={"vision": 1 + effect}) for seed in range(count))
    intervals = (next(line.interval for line in judge(simulate(machine, plan)).stages if line.name == "vision") for machine in machines)
    assert 0.7 * count <= sum(interval is not None and interval.high < 1 for interval in intervals) <= 0.88 * count


@pytest.mark.slow
@comparisons(20, 100)
def test_a_delay_in_one_stage_is_found_there_and_nowhere_else(count: int) -> None:
    claims: Counter[str] = Counter()
    for seed in range(count):
        # MIN_CLAIM, and an interval that is wider by what the four stages have in common: of 2 % it finds 86 in 100.
        machine = SimulatedMachine(seed, slower_stages={"vision": 1.025})
        judged = judge(simulate(machine, dataclasses.replace(PLAN, blocks=60)))
        claims.update(line.name for line in judged.stages if line.claim in CERTAIN)
        assert judged.verdict not in CERTAIN, "a third of a per cent of the total is none"
    assert claims["vision"] >= 0.95 * count - scatter(count)
    assert sum(claims[stage] for stage in STAGES if stage != "vision") <= 0.01 * count


def test_a_planted_delay_is_given_only_if_it_is_found_where_it_was_planted() -> None:
    plan, delay = dataclasses.replace(PLAN, blocks=60), Delay("vision", 0.02)

    def found_planted(slower: dict[str, float]) -> tuple[bool, str]:
        return find_planted(look_for_planted(judge(simulate(SimulatedMachine(5, slower_stages=slower), plan))), delay)

    assert found_planted({"vision": 1.02}) == (True, "the delay of 2.0% was found in vision and in no other stage")
    assert found_planted({}) == (False, "the delay of 2.0% in vision was not found; more --blocks and --invocations detect less")
    assert found_planted({"load": 1.02}) == (False, "a delay of 2.0% was planted in vision, and a difference was found in load")
    assert found_planted({"load": 1.02, "vision": 1.02})[1].endswith("found in load and vision")
    assert not found_planted({"vision": 1 / 1.02})[0], "faster is no delay"


@pytest.mark.slow
def test_a_variant_passes_the_selftest_and_a_machine_that_favours_a_side_does_not() -> None:
    plan = dataclasses.replace(PLAN, blocks=200)
    result = simulate(SimulatedMachine(3), plan)
    passed = assess(judge(result), repetitions(result, 10))
    assert passed.passed
    assert passed.max_significant == 3
    assert [trial.comparisons for trial in passed.trials] == [20] * 8
    assert all(0 < trial.noise_floor < 0.02 for trial in passed.trials[:5])
    result = simulate(SimulatedMachine(3, faster=1.03), plan)
    failed = assess(judge(result), repetitions(result, 10))
    assert not failed.passed
    assert "found a difference" in failed.summary


def test_a_selftest_on_a_machine_that_disturbs_it_or_with_too_few_blocks_says_nothing() -> None:
    plan = dataclasses.replace(PLAN, blocks=60)
    for disturbed, blocks in ((tuple(range(1000)), 6), (tuple(range(0, 1000, 2)), 6), ((), 5)):
        result = simulate(SimulatedMachine(3, disturbed=disturbed), plan)
        test = assess(judge(result), repetitions(result, blocks))
        assert not test.passed
        assert not test.comparable
        assert all(math.isfinite(floor) for floor in noise_floors(test).values())


def test_what_is_hidden_behind_the_rest_is_found_in_the_throughput_and_not_in_the_latency() -> None:
    judged = judge(simulate(SimulatedMachine(1), dataclasses.replace(PLAN, throughput=4)))
    assert judged.verdict not in CERTAIN
    assert judged.throughput is not None
    assert judged.throughput.claim is Verdict.FASTER
    assert judged.throughput.interval is not None
    # Of four samples of 0.63 s each, three do not wait for the 0.1 s of their loading.
    assert judged.throughput.interval.low <= 0.63 / (0.63 - 0.075) <= judged.throughput.interval.high


def test_a_selftest_with_throughput_runs_has_a_floor_of_its_own_for_them() -> None:
    plan = dataclasses.replace(PLAN, blocks=60, throughput=4)
    machine = SimulatedMachine(3, feeds_ahead=False)
    result = simulate(machine, plan)
    test = assess(judge(result), repetitions(result, 6))
    assert test.comparable
    trial = test.trials[-1]
    assert (trial.name, trial.comparisons) == ("throughput", 10)
    assert 0 < noise_floors(test)["throughput"] < 0.02
    without = simulate(SimulatedMachine(3), dataclasses.replace(plan, throughput=0))
    assert "throughput" not in noise_floors(assess(judge(without), repetitions(without, 6)))


@pytest.mark.slow
@comparisons(100, 400)
def test_throughput_is_rarely_found_to_differ_from_itself(count: int) -> None:
    plan = dataclasses.replace(PLAN, throughput=4)
    lines = [judge(simulate(SimulatedMachine(seed, feeds_ahead=False), plan)).throughput for seed in range(count)]
    intervals = [line.interval for line in lines if line is not None and line.interval is not None]
    assert len(intervals) == count
    assert sum(not one.low <= 1 <= one.high for one in intervals) <= 0.08 * count  # 5 % expected


def test_the_same_seed_gives_the_same_order_and_another_seed_another() -> None:
    sides: tuple[Side, Side] = ("baseline", "optimized")
    orders = [[schedule.pattern(sides, "interleaved", seed, block) for block in range(40)] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert set(orders[0]) == {"ABBA", "BAAB"}
