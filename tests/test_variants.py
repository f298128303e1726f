from __future__ import annotations

from itertools import pairwise
from typing import get_args, get_type_hints

import pytest

from evbench import machine
from evbench.errors import UserError
from evbench.variants import CHOICES, REFERENCE, VARIANTS, Variant, parse


def test_every_choice_of_the_type_has_a_meaning_and_the_reverse() -> None:
    hints = get_type_hints(Variant)
    for part, choices in CHOICES.items():
        assert set(get_args(hints[part])) == {*choices, getattr(REFERENCE, part)}


def test_every_need_can_be_checked() -> None:
    needs = {need for choices in CHOICES.values() for choice in choices.values() for need in choice.needs}
    assert needs == set(machine.NEEDS)


def test_each_variant_changes_one_part_of_the_one_above() -> None:
    variants = list(VARIANTS.values())
    for above, below in pairwise(variants):
        changed = [part for part in CHOICES if above.choices()[part] != below.choices()[part]]
        assert len(changed) == 1, (above.name, below.name)


def test_choices_can_be_changed_by_name() -> None:
    changed = parse("baseline+attention=eager+generate=static")
    assert changed.name == "baseline+attention=eager+generate=static"
    assert changed.choices() == VARIANTS["baseline"].choices() | {"attention": "eager", "generate": "static"}


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
