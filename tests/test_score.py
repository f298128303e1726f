from __future__ import annotations

import pytest

from evbench.scenes.captions import describe
from evbench.scenes.world import imagine
from evbench.verdict.captions import Share, score

CAPTION = "A street by day with hills. Far left, a red car drives to the left; far right, a green tree stands. Only the car moves."


def test_the_interval_is_wilsons() -> None:
    low, high = Share(81, 263).interval()  # the example of Newcombe, Statistics in Medicine 17 (1998), table I
    assert (low, high) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert Share(0, 20).interval()[0] == 0
    assert Share(20, 20).interval()[1] == 1


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        (CAPTION, set()),
        (CAPTION.replace("red", "blue"), {"exact", "colour"}),
        (CAPTION.replace("drives to the left", "speeds to the right"), {"exact", "moves to", "speed"}),
        (CAPTION.replace("Far left", "Left of the middle").replace("hills", "houses"), {"exact", "place", "backdrop"}),
        (CAPTION.replace("; far right, a green tree stands", ""), {"exact", "actors", "place", "kind", "colour", "moves to"}),
        (CAPTION.replace("Only the car", "Only the tree").replace("by day", "at dusk"), {"exact", "relation", "day or dusk"}),
        ("Nothing.", {"exact", "actors", "backdrop", "relation", "day or dusk", "place", "kind", "colour", "moves to", "speed"}),
    ],
)
def test_what_was_said_wrongly_is_counted_where_it_is_wrong(said: str, wrong: set[str]) -> None:
    shares = score([CAPTION], [said])
    assert {name for name, share in shares.items() if share.right < share.of} == wrong
    assert shares["colour"].of == 2
    assert shares["speed"].of == 1, "a tree has none"


def test_the_number_that_is_said_counts() -> None:
    caption = describe(imagine(1, 0), "verbose", colours=True)
    number = next(word for word in ("two", "three", "four") if f"are {word} things" in caption)
    shares = score([caption], [caption.replace(f"are {number}", "are two" if number != "two" else "are four")])
    assert {name for name, share in shares.items() if share.right < share.of} == {"exact", "actors"}


def test_nothing_is_asked_that_an_event_camera_cannot_see() -> None:
    captions = [describe(imagine(1, index), "concise", colours=False) for index in range(20)]
    assert not {"colour", "day or dusk", "row"} & set(score(captions, captions))


def test_a_truth_that_is_no_caption_is_refused() -> None:
    with pytest.raises(ValueError, match="no caption"):
        score(["Hello."], [CAPTION])
    with pytest.raises(ValueError, match="shorter"):
        score([CAPTION, CAPTION], [CAPTION])
