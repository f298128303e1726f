from __future__ import annotations

from itertools import pairwise

import pytest

from evbench.scenes.world import COLOURS_OF, FAST, JITTER, KINDS, MOVERS, ROWS_OF, SLOTS, SLOW, VEHICLES, imagine

SCENES = [imagine(7, index) for index in range(300)]


def test_the_same_numbers_give_the_same_scene() -> None:
    assert imagine(7, 5) == SCENES[5]
    assert imagine(8, 5) != SCENES[5] != imagine(7, 6)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_occurs_in_each_of_its_colours_and_rows(kind: str) -> None:
    actors = [actor for scene in SCENES for actor in scene.actors if actor.kind == kind]
    assert {actor.colour for actor in actors} == set(COLOURS_OF[kind])  # type: ignore[index]
    assert {actor.row for actor in actors} == set(ROWS_OF[kind])  # type: ignore[index]


def test_actors_stand_apart_from_left_to_right_and_something_moves() -> None:
    assert {len(scene.actors) for scene in SCENES} == {2, 3, 4}
    for scene in SCENES:
        assert any(actor.moves for actor in scene.actors)
        assert all(one.slot < other.slot for one, other in pairwise(scene.actors))
        assert all(abs(actor.x - SLOTS[actor.slot]) <= JITTER for actor in scene.actors)
        lanes = [actor.row for actor in scene.actors if actor.kind in VEHICLES]
        assert len(set(lanes)) == len(lanes), "two vehicles in one lane would drive through each other"


def test_what_moves_looks_where_it_goes_slowly_or_fast() -> None:
    for actor in (actor for scene in SCENES for actor in scene.actors):
        assert actor.moves == (actor.kind in MOVERS)
        if actor.moves:
            assert (actor.velocity > 0) == (actor.faces > 0)
            low, high = FAST if actor.fast else SLOW
            assert low <= abs(actor.velocity) <= high
