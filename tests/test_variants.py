from __future__ import annotations

from itertools import pairwise
from typing import get_args, get_type_hints

import pytest

from evbench import machine
from evbench.errors import UserError
from evbench.variants import CHOICES, CONFLICTS, REFERENCE, VARIANTS, Variant, conflict, parse


def test_every_choice_of_the_type_has_a_meaning_and_the_reverse() -> None:
    hints = get_type_hints(Variant)
    for part, choices in CHOICES.items():
        assert set(get_args(hints[part])) == {*choices, getattr(REFERENCE, part)}


def test_every_need_can_be_checked() -> None:
    needs = {need for choices in CHOICES.values() for choice in choices.values() for need in choice.needs}
    assert needs == set(machine.NEEDS)


def test_each_variant_changes_one_part_of_the_one_above() -> None:
    """Of what one sample by itself goes through: `feed` has no effect on it."""
    variants = list(VARIANTS.values())
    for above, below in pairwise(variants):
        changed = [part for part in CHOICES if part != "feed" and above.choices()[part] != below.choices()[part]]
        assert len(changed) == 1, (above.name, below.name)


def test_choices_can_be_changed_by_name() -> None:
    changed = parse("baseline+attention=eager+generate=static")
    assert changed.name == "baseline+attention=eager+generate=static"
    assert changed.choices() == VARIANTS["baseline"].choices() | {"attention": "eager", "generate": "static"}


def test_the_choices_that_conflict_exist_and_no_variant_makes_them() -> None:
    for part, choices, other, others, _ in CONFLICTS:
        assert set(choices) <= set(CHOICES[part])
        assert set(others) <= set(CHOICES[other])
    assert [conflict(variant) for variant in (*VARIANTS.values(), REFERENCE)] == [None] * (len(VARIANTS) + 1)


def test_choices_that_do_not_go_together_are_refused_whatever_their_order() -> None:
    for text in ("optimized+feed=ahead-in-batches", "optimized-gpu+feed=ahead-in-batches+decode=threaded"):
        with pytest.raises(UserError) as caught:
            parse(text)
        assert str(caught.value) == (
            f"{text}: feed=ahead-in-batches does not go together with decode=threaded: this decoder takes one file at a time; "
            "choose decode=dali, or feed=ahead"
        )
    assert parse("baseline+feed=ahead-in-batches+decode=dali").feed == "ahead-in-batches"


def test_what_is_advised_where_a_variant_cannot_run_can_be_made() -> None:
    for model, device in (("video-llava", "cpu"), ("eventgpt", "cpu"), ("eventgpt", "cuda")):
        with pytest.raises(UserError) as caught:
            machine.require(parse("optimized-gpu+feed=ahead-in-batches"), model, device)
        parse(str(caught.value).rpartition("Or choose another: ")[2])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("basline", "did you mean 'baseline'?"),
        ("zzz", "there is baseline, fast-decode"),
        ("baseline+atention=eager", "did you mean 'attention'?"),
        ("baseline+attention=sdp", "did you mean 'sdpa'?"),
        ("baseline+attention", "write baseline+part=choice"),
        ("baseline+", "write baseline+part=choice"),
        ("", "unknown variant ''"),
    ],
)
def test_a_wrong_name_is_refused_with_the_nearest(text: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
