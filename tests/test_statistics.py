from __future__ import annotations

import math
import random
from itertools import product

import numpy as np
import pytest

from evbench.verdict.statistics import (
    FEWEST_BLOCKS,
    FEWEST_SAMPLES,
    LEVEL,
    BreakEven,
    Interval,
    break_even,
    deviation,
    estimate,
    has_signed_rank,
    level_of_each,
    median_interval,
    minimum_detectable_effect,
    outliers,
    over_invocations,
    tail,
    unsteady_times,
)
from evbench.verdict.student import student_cdf, student_quantile

OF_FOUR = level_of_each(4)


def of_one_sample(blocks: list[float], level: float = LEVEL) -> Interval:
    interval = estimate({0: blocks}, level)
    assert interval is not None
    return interval


def of_samples(means: list[float], level: float = LEVEL) -> Interval:
    interval = estimate({sample: [mean] for sample, mean in enumerate(means)}, level)
    assert interval is not None
    return interval


def logs(interval: Interval) -> tuple[float, float, float]:
    return math.log(interval.ratio), math.log(interval.low), math.log(interval.high)


# Student's distribution.


@pytest.mark.parametrize(
    ("chance", "freedom", "known"),
    [
        (0.975, 1, 12.706),
        (0.975, 2, 4.303),
        (0.975, 3, 3.182),
        (0.975, 5, 2.571),
        (0.975, 9, 2.262),
        (0.975, 10, 2.228),
        (0.975, 30, 2.042),
        (0.975, 100, 1.984),
        (0.95, 4, 2.132),
        (0.995, 8, 3.355),
        (0.8, 9, 0.883),
    ],
)
def test_quantiles_are_those_of_the_printed_tables(chance: float, freedom: int, known: float) -> None:
    assert student_quantile(chance, freedom) == pytest.approx(known, abs=0.0005)


def test_student_nears_the_normal_distribution() -> None:
    assert student_quantile(0.975, 2000) == pytest.approx(1.960, abs=0.002)


@pytest.mark.parametrize("freedom", [1, 2, 3, 8, 25])
def test_the_distribution_is_symmetric_and_undone_by_its_quantile(freedom: int) -> None:
    assert student_cdf(0, freedom) == 0.5
    for value in (0.1, 1.0, 5.0):
        assert student_cdf(value, freedom) + student_cdf(-value, freedom) == pytest.approx(1)
        assert student_quantile(student_cdf(value, freedom), freedom) == pytest.approx(value)


def test_one_degree_of_freedom_is_a_cauchy_distribution() -> None:
    assert student_cdf(1, 1) == pytest.approx(0.75)
    assert student_cdf(-math.sqrt(3), 1) == pytest.approx(1 / 6)


# One sample: every block counts.


def excluding_0(count: int, level: float) -> float:
    """Share of all patterns of signs whose interval excludes no change."""
    # Powers of two: no two sums of them are equal but of opposite sign.
    blocks = [2.0**rank / 2**count for rank in range(count)]
    patterns = list(product((1, -1), repeat=count))
    return sum(
        of_one_sample([sign * size for sign, size in zip(signs, blocks, strict=True)], level).excludes_1 for signs in patterns
    ) / len(patterns)


@pytest.mark.parametrize(
    ("count", "level", "share"),
    [(6, LEVEL, 2 / 64), (7, LEVEL, 6 / 128), (8, LEVEL, 10 / 256), (9, LEVEL, 20 / 512), (7, LEVEL / 3, 2 / 128), (8, OF_FOUR, 2 / 256),
     (9, OF_FOUR, 6 / 512)],
)  # fmt: skip
def test_of_all_patterns_of_signs_as_many_show_a_difference_as_the_level_allows(count: int, level: float, share: float) -> None:
    """By hand: 1 pattern has the sum of ranks 0, 1 the sum 1, 1 the sum 2, 2 the sum 3, 2 the sum 4, 3 the sum 5."""
    assert share <= level
    assert excluding_0(count, level) == pytest.approx(share)


@pytest.mark.parametrize(
    ("family", "fewest"), [(1, 6), (3, 7), (4, 8), (10, 9)], ids=["end-to-end", "token timings", "stages", "choices of a ladder"]
)
def test_the_fewest_blocks_of_a_signed_rank_interval_are_those_whose_agreement_is_rare_enough(family: int, fewest: int) -> None:
    level = level_of_each(family)
    assert [blocks for blocks in range(1, 20) if has_signed_rank(blocks, level)] == list(range(fewest, 20))
    assert 2 / 2**fewest <= level < 2 / 2 ** (fewest - 1)


def test_six_blocks_have_students_interval_for_each_of_four_stages() -> None:
    # The mean of 0.01 to 0.06 is 0.035, its standard error 0.0187083 / sqrt(6), the quantile of Bonferroni's table for 5 and 4 is 3.810.
    reach = 3.810 * 0.0187083 / math.sqrt(6)
    interval = of_one_sample([0.01, 0.02, 0.03, 0.04, 0.05, 0.06], OF_FOUR)
    assert logs(interval) == pytest.approx((0.035, 0.035 - reach, 0.035 + reach), abs=1e-5)
    assert interval.confidence == pytest.approx(0.9875)
    assert logs(of_one_sample([0.01] * 6, OF_FOUR)) == pytest.approx((0.01,) * 3)


def test_the_interval_of_one_of_several_is_no_narrower_than_over_samples_or_invocations_at_its_level() -> None:
    # Student's quantiles for three means: 4.303 for 5 %, and 8.860 for a quarter of it.
    means = [0.01, 0.02, 0.03]
    invocations = {number: [mean] * 4 for number, mean in enumerate(means)}
    for level, quantile in ((LEVEL, 4.303), (OF_FOUR, 8.860)):
        reach = quantile * 0.01 / math.sqrt(3)
        assert logs(of_samples(means, level)) == pytest.approx((0.02, 0.02 - reach, 0.02 + reach), abs=1e-5)
        of_blocks = of_one_sample([mean for mean in means for _ in range(4)], level)
        assert logs(over_invocations(of_blocks, invocations, level)) == pytest.approx((0.02, 0.02 - reach, 0.02 + reach), abs=1e-5)


@pytest.mark.parametrize("count", [2, 6, 12, 40])
def test_the_more_intervals_have_to_hold_together_the_wider_is_each(count: int) -> None:
    chooser = random.Random(count)
    blocks = [chooser.gauss(0.02, 0.01) for _ in range(count)]
    for make in (of_samples, of_one_sample) if count >= FEWEST_BLOCKS else (of_samples,):
        each = [make(blocks, level_of_each(family)) for family in (4, 8, 16)]
        assert [one.half_width for one in each] == sorted(one.half_width for one in each)
        assert each[-1].half_width > each[0].half_width > make(blocks).half_width


def test_the_interval_of_six_blocks_is_from_the_least_to_the_most() -> None:
    # Of their 21 averages in pairs, the middle one is that of 0.03 and 0.04.
    assert logs(of_one_sample([0.011, 0.02, 0.03, 0.04, 0.05, 0.067])) == pytest.approx((0.035, 0.011, 0.067))


@pytest.mark.parametrize(("count", "critical"), [(6, 0), (7, 2), (8, 3), (9, 5), (10, 8), (12, 13), (15, 25), (20, 52), (25, 89)])
def test_the_interval_leaves_out_as_many_averages_as_the_printed_table_says(count: int, critical: int) -> None:
    chooser = random.Random(count)
    blocks = [chooser.gauss(0.02, 0.01) for _ in range(count)]
    averages = sorted((blocks[first] + blocks[second]) / 2 for first in range(count) for second in range(first + 1))
    assert logs(of_one_sample(blocks)) == pytest.approx((np.median(averages), averages[critical], averages[-1 - critical]))


def test_the_interval_contains_the_truth_as_often_as_promised() -> None:
    chooser = random.Random(2)
    intervals = [of_one_sample([chooser.gauss(0.02, 0.01) for _ in range(10)]) for _ in range(1000)]
    assert 0.93 <= sum(interval.low <= math.exp(0.02) <= interval.high for interval in intervals) / 1000 <= 0.97


def test_changing_sides_turns_the_ratio_over() -> None:
    blocks = [0.03, -0.01, 0.02, 0.05, 0.01, 0.04, 0.025]
    one, other = of_one_sample(blocks), of_one_sample([-block for block in blocks])
    assert (other.ratio, other.low, other.high) == pytest.approx((1 / one.ratio, 1 / one.high, 1 / one.low))


def test_one_outlier_hardly_moves_the_estimate() -> None:
    blocks = [0.02, 0.021, 0.019, 0.022, 0.018, 0.0205, 0.0195, 0.0215, 0.0185]
    assert math.log(of_one_sample([*blocks, 5.0]).ratio) == pytest.approx(0.02, abs=0.001)


def test_half_of_the_width_is_relative_to_the_ratio() -> None:
    assert Interval(2.0, 1.9, 2.3, 0.95).half_width == pytest.approx(0.1)


@pytest.mark.parametrize("count", range(FEWEST_BLOCKS))
def test_five_blocks_have_no_interval(count: int) -> None:
    assert estimate({0: [0.01] * count}) is None


# Several samples: each counts once.


def test_three_samples_have_students_interval() -> None:
    # Mean 0.02, standard error 0.01 / sqrt(3), quantile 4.303.
    interval = of_samples([0.01, 0.02, 0.03])
    assert logs(interval) == pytest.approx((0.02, 0.02 - 0.02484, 0.02 + 0.02484), abs=1e-5)


def test_a_sample_counts_once_however_many_blocks_it_has() -> None:
    averaged = estimate({0: [0.0, 0.02], 1: [0.02] * 9, 2: [0.01, 0.03, 0.05]})
    assert averaged is not None
    assert logs(averaged) == pytest.approx(logs(of_samples([0.01, 0.02, 0.03])))


def test_many_samples_have_an_interval_that_is_no_narrower_than_students_and_longer_where_the_tail_is() -> None:
    means = [0.01, 0.02, 0.015, 0.03, 0.012, 0.05, 0.011, 0.02]
    assert len(means) >= FEWEST_SAMPLES
    reach = 2.36462 * float(np.std(means, ddof=1)) / math.sqrt(8)
    location, low, high = logs(of_samples(means))
    assert location == pytest.approx(np.mean(means))
    assert location - low == pytest.approx(reach, rel=1e-4)
    assert 1.1 * reach < high - location < 4 * reach
    location, low, high = logs(of_samples([-mean for mean in means]))
    assert high - location == pytest.approx(reach, rel=1e-4)
    assert 1.1 * reach < location - low < 4 * reach


def test_without_any_difference_between_samples_the_interval_is_a_point() -> None:
    for count in (2, FEWEST_SAMPLES):
        interval = of_samples([0.0] * count)
        assert (interval.ratio, interval.low, interval.high, interval.excludes_1) == (1.0, 1.0, 1.0, False)


def test_nothing_and_samples_without_a_second_have_no_interval() -> None:
    assert estimate({}) is None
    assert estimate({3: [0.01] * 5}) is None


# The order of blocks and samples.


def test_the_order_of_blocks_does_not_matter() -> None:
    chooser = random.Random(3)
    blocks = [chooser.gauss(0.01, 0.02) for _ in range(15)]
    shuffled = chooser.sample(blocks, len(blocks))
    assert shuffled != blocks
    assert estimate({0: shuffled}) == estimate({0: blocks})
    assert median_interval(shuffled) == median_interval(blocks)
    assert (tail(shuffled, 0.8), outliers(shuffled), deviation(shuffled)) == (tail(blocks, 0.8), outliers(blocks), deviation(blocks))


def test_the_order_of_samples_does_not_matter() -> None:
    chooser = random.Random(4)
    for count, tolerance in ((4, 1e-12), (12, 0.001)):
        means = [chooser.gauss(0.01, 0.02) for _ in range(count)]
        one, other = of_samples(means), of_samples(means[::-1])
        # Many samples are drawn again by their number, which tells as much as chance does.
        assert logs(other) == pytest.approx(logs(one), abs=tolerance)


def test_the_same_numbers_give_the_same_interval_every_time() -> None:
    means = [0.01, 0.02, 0.015, 0.03, 0.012, 0.05]
    assert of_samples(means) == of_samples(list(means))


# What can be seen.


def test_the_smallest_effect_of_ten_blocks() -> None:
    # The interval leaves out 8 averages at either end, and misses the truth in 50 of 1024 cases. Quantiles of nine degrees of freedom:
    # 2.2767 for these, and 0.8834.
    by_hand = math.exp((2.2767 + 0.8834) * 0.01 / math.sqrt(10 * 3 / math.pi)) - 1
    assert minimum_detectable_effect(0.01, 10) == pytest.approx(by_hand, rel=1e-4)


def test_the_smallest_effect_of_a_stage() -> None:
    # Of one of four stages. Six blocks have Student's interval, with quantiles of five degrees of freedom: 3.8100 and 0.9195. Ten have the
    # signed rank's, which leaves out 3 averages and misses the truth in 10 of 1024 cases: 3.2647 and 0.8834 of nine.
    assert minimum_detectable_effect(0.01, 6, family=4) == pytest.approx(math.exp((3.8100 + 0.9195) * 0.01 / math.sqrt(6)) - 1, rel=1e-3)
    by_hand = math.exp((3.2647 + 0.8834) * 0.01 / math.sqrt(10 * 3 / math.pi)) - 1
    assert minimum_detectable_effect(0.01, 10, family=4) == pytest.approx(by_hand, rel=1e-3)


@pytest.mark.parametrize("level", [0.05, 0.0125])
def test_rank_sums_of_many_blocks_are_as_those_that_are_counted(level: float, monkeypatch: pytest.MonkeyPatch) -> None:
    # Both cache by the number of blocks, so each number is asked for in one way only.
    normal = estimate({0: list(np.linspace(-1, 2, 301))}, level)
    monkeypatch.setattr("evbench.verdict.statistics.MOST_EXACT", 1000)
    counted = estimate({0: list(np.linspace(-1, 2, 300))}, level)
    assert normal is not None and counted is not None
    assert math.log(normal.ratio) == pytest.approx(0.5)
    assert normal.half_width == pytest.approx(counted.half_width, rel=0.01)


def test_the_smallest_effect_of_as_many_blocks_as_can_be_asked_for() -> None:
    by_hand = math.exp((1.960 + 0.8416) * 0.01 / math.sqrt(10_000 * 3 / math.pi)) - 1
    assert minimum_detectable_effect(0.01, 10_000) == pytest.approx(by_hand, rel=1e-3)


@pytest.mark.parametrize("blocks", range(FEWEST_BLOCKS))
def test_fewer_than_six_blocks_see_nothing(blocks: int) -> None:
    assert minimum_detectable_effect(0.01, blocks) is None


def test_more_blocks_and_less_noise_see_more() -> None:
    seen = [minimum_detectable_effect(0.01, blocks) or math.nan for blocks in (6, 7, 10, 20, 80)]
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] < seen[0] / 3
    assert (minimum_detectable_effect(0.02, 10) or 0) > 1.9 * (minimum_detectable_effect(0.01, 10) or math.inf)
    assert minimum_detectable_effect(0.0, 6) == 0


def test_as_many_blocks_as_promised_see_the_effect() -> None:
    chooser = random.Random(5)
    blocks = 10
    effect = minimum_detectable_effect(0.01, blocks)
    assert effect is not None
    intervals = [of_one_sample([chooser.gauss(math.log1p(effect), 0.01) for _ in range(blocks)]) for _ in range(1000)]
    assert 0.75 <= sum(interval.low > 1 for interval in intervals) / 1000 <= 0.87


# How values are spread.


def test_the_median_deviation_by_hand() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 100.0]
    assert deviation(values) == 1


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0], 0),
        ([9.0, 10.0, 11.0, 10.0, 9.0, 11.0, 15.25], 1),
        ([9.0, 10.0, 11.0, 10.0, 9.0, 11.0, 15.15], 0),
        ([9.0, 10.0, 11.0, 10.0, 9.0, 11.0, 10.0, 30.0, 1.0], 2),
        ([1.0] * 5, 0),
        ([1.0], 0),
    ],
    ids=["none", "one above the bound of 5.19 deviations", "one below it", "on both sides", "all equal", "a single one"],
)
def test_outliers_are_counted(values: list[float], count: int) -> None:
    assert outliers(values) == count


@pytest.mark.parametrize(("chance", "fewest"), [(0.9, 29), (0.95, 59), (0.99, 299)])
def test_a_tail_is_given_only_if_enough_was_seen(chance: float, fewest: int) -> None:
    values = [float(value) for value in range(fewest)]
    assert tail(values[:-1], chance) is None
    assert tail(values, chance) == pytest.approx(chance * (fewest - 1))
    assert tail([], chance) is None


@pytest.mark.parametrize(("count", "left_out"), [(6, 0), (8, 0), (9, 1), (11, 1), (12, 2), (15, 3), (20, 5), (25, 7)])
def test_the_interval_of_a_median_leaves_out_as_many_as_the_sign_test_says(count: int, left_out: int) -> None:
    values = [float(value) for value in range(count)]
    assert median_interval(values) == (left_out, count - 1 - left_out)


@pytest.mark.parametrize("count", range(6))
def test_five_values_have_no_interval_of_their_median(count: int) -> None:
    assert median_interval([1.0] * count) is None


# A warm-up.


@pytest.mark.parametrize(
    ("values", "reasons"),
    [
        ([1.0] * 5, []),
        ([1.0, 1.01, 0.99, 1.0, 1.02], []),
        ([1.06, 1.0, 1.0, 1.0, 1.0], ["the first of them took 1.06x the median"]),
        ([1.04, 1.0, 1.0, 1.0, 1.0], []),
        ([1.075, 1.0, 1.02, 1.0, 1.02], ["the first of them took 1.05x the median"]),
        ([1.14, 1.0, 1.06, 1.0, 1.06], []),
        ([1.0, 1.3, 1.15, 1.3, 1.0], ["they vary by 13%"]),
        ([1.0, 1.03, 1.06, 1.09, 1.12], ["times moved by +9%"]),
        ([1.12, 1.09, 1.06, 1.03, 1.0], ["times moved by -8%"]),
        ([2.0, 1.0, 1.0, 1.0, 1.0], ["the first of them took 2.00x the median", "times moved by -33%"]),
    ],
    ids=[
        "equal",
        "steady",
        "first",
        "first but little",
        "first of some that scatter little",
        "first of some that scatter as much",
        "scatter",
        "slower",
        "faster",
        "first and moved",
    ],
)
def test_each_reason_against_a_warm_up_is_named(values: list[float], reasons: list[str]) -> None:
    assert unsteady_times(values) == reasons


# Paying back.


@pytest.mark.parametrize(
    ("extra", "gain", "samples"),
    [(10.0, 1.0, 10), (10.0, 3.0, 4), (0.1, 1.0, 1), (0.0, 1.0, 0), (-10.0, 1.0, 0)],
    ids=["exactly", "rounded up", "with the first", "as long a preparation", "a shorter preparation"],
)
def test_a_preparation_is_paid_back_by_so_many_samples(extra: float, gain: float, samples: int) -> None:
    assert break_even(extra, {0: [gain] * 8}) == BreakEven(samples, samples, samples)


@pytest.mark.parametrize("gains", [[-1.0] * 8, [0.0] * 8, [1.0, -1.0] * 4], ids=["a loss", "nothing", "nothing for certain"])
def test_what_gains_nothing_for_certain_never_pays_back(gains: list[float]) -> None:
    assert break_even(10.0, {0: gains}) == BreakEven(None, None, None)


def test_the_interval_of_paying_back_lies_around_it_within_the_extremes() -> None:
    found = break_even(100.0, {0: [0.8, 0.9, 1.0, 1.0, 1.1, 1.2]})
    assert found.samples == 100
    assert found.low is not None
    assert found.high is not None
    assert 100 / 1.2 < found.low < 100 < found.high < 100 / 0.8


def test_several_samples_count_once_each() -> None:
    assert break_even(10.0, {0: [1.0, 3.0], 1: [2.0], 2: [2.0] * 7}) == BreakEven(5, 5, 5)


def test_the_order_of_gains_does_not_matter() -> None:
    gains = [0.8, 0.9, 1.0, 1.05, 1.1, 1.2, 0.7, 1.3]
    one, other = break_even(100.0, {0: gains}), break_even(100.0, {0: gains[::-1]})
    assert one.samples == other.samples
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1)


def test_five_alike_and_one_apart_do_not_make_an_interval_without_bounds() -> None:
    """Draws without the one apart vary by almost nothing."""
    for values in ([0.1, 0.1, 0.1, 0.1, 0.1, 0.2], [0.1001, 0.1, 0.1002, 0.0999, 0.1, 0.2]):
        interval = estimate({index: [value] for index, value in enumerate(values)})
        assert interval is not None
        assert 1 < interval.low < interval.ratio < interval.high < 1.5
