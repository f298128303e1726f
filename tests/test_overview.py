"""What evbench draws above all other tracks."""

from __future__ import annotations

import re

import pytest

from evbench.traces.overview import PINNED, Bar, draw


def drawn(*bars: Bar) -> list[tuple[str, str, float]]:
    return [(event["ph"], event["name"], event["ts"]) for event in draw({"track": bars}, 1)]


def test_a_track_is_named_by_a_first_slice_without_length() -> None:
    assert drawn(Bar("load", 5000, 9000))[:3] == [("b", "track", 5), ("e", "track", 5), ("b", "load", 5)]


def test_at_the_same_moment_what_ends_stands_in_front_of_what_begins() -> None:
    found = drawn(Bar("generate", 0, 9000), Bar("prefill", 0, 4000), Bar("decode", 4000, 9000))[2:]
    assert found == [
        ("b", "generate", 0),
        ("b", "prefill", 0),
        ("e", "prefill", 4),
        ("b", "decode", 4),
        ("e", "decode", 9),
        ("e", "generate", 9),
    ]


def test_what_reaches_a_nanosecond_too_far_is_cut() -> None:
    """Of rounded times, a part may end after the whole or after the next part begins: it is no part of that."""
    found = drawn(Bar("generate", 0, 9000), Bar("prefill", 0, 4001), Bar("decode", 4000, 9001))[2:]
    assert found[2:] == [("e", "prefill", 4), ("b", "decode", 4), ("e", "decode", 9), ("e", "generate", 9)]


@pytest.mark.parametrize("name", ["thread 7 (stages)", "A baseline CPU: stages 1000000", "evbench stages 9999999", "my ruler", "stages 12"])
def test_no_track_of_others_is_pinned(name: str) -> None:
    assert not any(re.search(pinned, name) for pinned in PINNED)
