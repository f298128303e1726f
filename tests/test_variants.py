from __future__ import annotations

from itertools import pairwise
from typing import get_args, get_type_hints

import pytest

from evbench.errors import UserError
from evbench.machine import machine
from evbench.results import Workload
from evbench.variants import choices as known
from evbench.variants.choices import (
    CHOICES,
    CONFLICTS,
    EFFECT,
    KINDS,
    REFERENCE,
    TAKES,
    VARIANTS,
    Conflict,
    Variant,
    change,
    conflict,
    effective,
    parse,
)


def test_every_choice_of_the_type_has_a_meaning_and_the_reverse() -> None:
    hints = get_type_hints(Variant)
    for part, choices in CHOICES.items():
        assert set(get_args(hints[part])) == {*choices, getattr(REFERENCE, part)}


def test_every_need_can_be_checked() -> None:
    needs = {need for choices in CHOICES.values() for choice in choices.values() for need in choice.needs}
    assert needs == set(machine.NEEDS)


@pytest.mark.parametrize("kind", KINDS)
def test_each_variant_changes_one_part_of_the_one_above(kind: str) -> None:
    """Of what one sample by itself goes through: `feed` has no effect on it."""
    for above, below in pairwise(list(VARIANTS.values())[:-2]):
        changed = [part for part, choice in effective(above, kind).items() if part != "feed" and below.choices()[part] != choice]
        assert len(changed) == 1, (above.name, below.name)


def test_every_part_has_an_effect_on_some_input_and_every_input_is_some_model_s() -> None:
    assert set(EFFECT) == set(CHOICES)
    assert all(kinds and set(kinds) <= set(KINDS) for kinds in EFFECT.values())
    assert sorted(kind for kinds in TAKES.values() for kind in kinds) == sorted(KINDS)
    assert set(KINDS) == set(get_args(get_type_hints(Workload.kind.fget)["return"]))  # type: ignore[attr-defined]
    for part, choices in CHOICES.items():
        for name, choice in choices.items():
            assert set(choice.kinds) & set(EFFECT[part]), (part, name)


def test_what_has_no_effect_is_left_out() -> None:
    parts = {kind: set(CHOICES) - set(effective(parse("baseline"), kind)) for kind in KINDS}
    assert parts == {"video": {"render", "pooling"}, "event-images": {"render"}, "events": {"decode"}}


def test_choices_can_be_changed_by_name() -> None:
    changed = parse("baseline+attention=eager+generate=static")
    assert changed.name == "baseline+attention=eager+generate=static"
    assert changed.choices() == VARIANTS["baseline"].choices() | {"attention": "eager", "generate": "static"}


def test_choices_that_do_not_go_together_are_refused_whatever_their_order() -> None:
    for text in ("optimized+feed=ahead-in-batches", "optimized-gpu+feed=ahead-in-batches+decode=threaded"):
        with pytest.raises(UserError) as caught:
            parse(text)
        assert str(caught.value) == (
            f"{text}: feed=ahead-in-batches cannot be with decode=threaded, because that decoder takes one file at a time, and "
            "decode=dali several; choose another of the two. See: evbench variants"
        )
    assert parse("baseline+feed=ahead-in-batches+decode=dali").feed == "ahead-in-batches"


def test_what_is_advised_where_a_variant_cannot_run_can_be_made() -> None:
    for kind, device in (("video", "cpu"), ("event-images", "cpu"), ("event-images", "cuda"), ("events", "cuda")):
        with pytest.raises(UserError) as caught:
            machine.require(parse("optimized-gpu+feed=ahead-in-batches"), kind, device)
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


def test_a_changed_variant_is_the_one_that_its_name_says() -> None:
    changed = change(VARIANTS["baseline"], {"decode": "threaded", "vision": "batched"})
    assert changed.name == "baseline+decode=threaded+vision=batched"
    assert changed == parse(changed.name)


def test_choices_that_cannot_be_together_are_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    apart = Conflict("vision", ("batched", "compile"), "decode", ("plain",), "it is so here")
    monkeypatch.setattr(known, "CONFLICTS", (apart,))
    with pytest.raises(UserError) as caught:
        parse("baseline+vision=batched")
    assert str(caught.value).startswith("baseline+vision=batched: vision=batched cannot be with decode=plain, because it is so here; ")
    assert conflict(parse("baseline+vision=batched+decode=threaded")) is None, "only the whole is looked at, not what it is changed from"
    assert conflict(parse("baseline+vision=batched+vision=eager")) is None


def test_what_is_said_to_conflict_exists_and_no_named_variant_has_it() -> None:
    for found in CONFLICTS:
        assert {*found.choices} <= {*CHOICES[found.part]}
        assert {*found.other_choices} <= {*CHOICES[found.other]}
        assert found.part != found.other
    assert not [name for name, variant in VARIANTS.items() if conflict(variant)]
