from __future__ import annotations

import pytest

from evbench.verdict.reasons import counted


@pytest.mark.parametrize(
    ("reasons", "found"),
    [
        ([], {}),
        (["at the power limit"] * 3, {"at the power limit": 3}),
        (
            [
                "other processes used 70% of the CPU",
                "throttled",
                "other processes used 9% of the CPU",
                "other processes used 41% of the CPU",
            ],
            {"other processes used 9% - 70% of the CPU": 3, "throttled": 1},
        ),
        (
            ["the clock was 1,980 MHz, 1,980 in the warm-up", "the clock was 990.5 MHz, 1,980 in the warm-up"],
            {"the clock was 990.5 - 1,980 MHz, 1,980 in the warm-up": 2},
        ),
        (["used 5 cores", "used 6 cores, 7 threads"], {"used 5 cores": 1, "used 6 cores, 7 threads": 1}),
    ],
)
def test_reasons_that_differ_in_figures_are_one(reasons: list[str], found: dict[str, int]) -> None:
    assert counted(reasons) == found
