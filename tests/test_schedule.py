from __future__ import annotations

import doctest
from collections import Counter

from evbench.results import RunOrder, Side
from evbench.session import schedule
from evbench.session.schedule import pattern, slots

BOTH: tuple[Side, Side] = ("baseline", "optimized")


def test_the_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(schedule).failed == 0


def test_the_pattern_is_drawn_by_lot_and_the_same_for_the_same_seed() -> None:
    drawn = [pattern(BOTH, "interleaved", 1, block) for block in range(400)]
    assert drawn == [pattern(BOTH, "interleaved", 1, block) for block in range(400)]
    assert drawn != [pattern(BOTH, "interleaved", 2, block) for block in range(400)]
    counts = Counter(drawn)
    assert set(counts) == {"ABBA", "BAAB"}
    assert all(160 <= count <= 240 for count in counts.values())


def test_both_sides_have_equally_many_runs_of_either_kind_in_every_pattern() -> None:
    orders: tuple[RunOrder, RunOrder] = ("interleaved", "reload")
    for order in orders:
        for letters in schedule.PATTERNS[order]:
            counts = Counter(slots(letters))
            assert len(counts) == 4
            assert len(set(counts.values())) == 1


def test_neither_kind_of_run_is_always_first_after_the_other_side() -> None:
    first = [stage_sync for (_, stage_sync) in list(slots("ABBA"))[::2]]
    assert first == [False, False, True, True]


def test_one_variant_alone_has_two_slots() -> None:
    assert list(slots(pattern(("baseline",), "interleaved", 0, 0))) == [
        ("baseline", False),
        ("baseline", True),
        ("baseline", True),
        ("baseline", False),
    ]
