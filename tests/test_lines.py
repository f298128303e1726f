"""Straight lines through times: what they find, and how often their intervals contain the truth."""

from __future__ import annotations

import math
import random

import pytest

from evbench.verdict.lines import fit


def test_points_on_a_line_give_the_line() -> None:
    line = fit([(4, 0.014), (8, 0.018), (16, 0.026)])
    assert line is not None
    assert line.slope.value == pytest.approx(0.001) and line.intercept.value == pytest.approx(0.01)
    assert line.farthest == pytest.approx(0, abs=1e-9) and line.points == 3
    assert line.at(100) == pytest.approx(0.11)
    for found in (line.slope, line.intercept):
        assert found.low is not None and found.high is not None and found.low <= found.value <= found.high


def test_a_line_through_two_points_has_no_interval() -> None:
    line = fit([(4, 0.014), (8, 0.018)])
    assert line is not None
    assert line.slope.value == pytest.approx(0.001)
    assert [line.slope.low, line.slope.high, line.intercept.low] == [None] * 3 and line.farthest == 0.0


@pytest.mark.parametrize("points", [[], [(4, 0.1)], [(4, 0.1), (4, 0.2)], [(4, 0.0), (8, 0.1)]])
def test_what_has_no_line(points: list[tuple[float, float]]) -> None:
    assert fit(points) is None


def test_what_does_not_lie_on_a_line_is_told_and_widens_the_interval() -> None:
    straight, bent = fit([(1, 1.0), (2, 2.01), (3, 2.99), (4, 4.0)]), fit([(1, 1.0), (2, 4.0), (3, 9.0), (4, 16.0)])
    assert straight is not None and bent is not None
    assert straight.farthest < 0.01 < 0.2 < bent.farthest
    widths = [(line.slope.high or 0) - (line.slope.low or 0) for line in (straight, bent)]
    assert widths[1] > 100 * widths[0]


@pytest.mark.parametrize(("amounts", "intercept", "slope"), [((4, 8, 16), 0.01, 0.001), ((16, 32, 64, 128), 0.0, 0.02), ((1, 2, 4), 1, 0)])
def test_intervals_contain_the_truth_as_often_as_they_promise(amounts: tuple[int, ...], intercept: float, slope: float) -> None:
    """Noise is relative, of one per cent."""
    draws, inside = random.Random(1), [0, 0]
    for _ in range(2000):
        line = fit([(amount, (intercept + slope * amount) * math.exp(draws.gauss(0, 0.01))) for amount in amounts])
        assert line is not None
        for place, (found, truth) in enumerate(((line.slope, slope), (line.intercept, intercept))):
            assert found.low is not None and found.high is not None
            inside[place] += found.low <= truth <= found.high
    assert all(0.935 <= count / 2000 <= 0.965 for count in inside), inside
