from __future__ import annotations

from dataclasses import replace

import pytest

from evbench.scenes.captions import PLACES, QUESTIONS, Register, describe, understand
from evbench.scenes.world import Actor, imagine

SCENES = [imagine(7, index) for index in range(300)]
CAR = Actor("car", "red", "near lane", 0, -0.4, 0.4, 1, 1.0, 0.0)
PERSON = Actor("person", "blue", "far pavement", 2, 0.1, -0.15, -1, 1.0, 0.0)
TREE = Actor("tree", "green", "far pavement", 3, 0.4, 0.0, 1, 1.0, 0.0)


@pytest.mark.parametrize(
    ("register", "colours", "expected"),
    [
        ("concise", True, "A street at dusk with a forest. Far left, a red car speeds to the right; right of the middle, a person in blue "
                          "walks to the left; far right, a green tree stands. The car and the person come towards each other."),
        ("concise", False, "A street with a forest. Far left, a car speeds to the right; right of the middle, a person walks to the left; "
                           "far right, a tree stands. The car and the person come towards each other."),
        ("verbose", False, "The scene shows a street in front of a forest. There are three things to see. At the far left, a car drives "
                           "fast to the right in the near lane. At the right of the middle, a person walks slowly to the left on the far "
                           "pavement. At the far right, a tree stands on the far pavement. The car and the person come towards each "
                           "other, and the left one is nearer."),
    ],
)  # fmt: skip
def test_a_caption_says_what_is_there(register: Register, colours: bool, expected: str) -> None:
    scene = replace(SCENES[0], dusk=True, backdrop="forest", actors=(CAR, PERSON, TREE))
    assert describe(scene, register, colours=colours) == expected


@pytest.mark.parametrize(
    ("actors", "relation"),
    [
        ((CAR, TREE), "Only the car moves."),
        ((replace(CAR, faces=-1), PERSON), "The car and the person go the same way."),
        ((replace(CAR, faces=-1), replace(PERSON, faces=1)), "The car and the person move apart."),
        ((replace(PERSON, faces=1), PERSON), "The two people come towards each other."),
        ((TREE, CAR, replace(CAR, faces=-1), PERSON), "The two cars come towards each other."),
    ],
)
def test_how_they_pass_each_other(actors: tuple[Actor, ...], relation: str) -> None:
    assert describe(replace(SCENES[0], actors=actors), "concise", colours=True).endswith(relation)


@pytest.mark.parametrize("register", list(QUESTIONS))
@pytest.mark.parametrize("colours", [True, False])
def test_a_caption_is_understood_as_it_was_meant(register: Register, colours: bool) -> None:
    for scene in SCENES:
        account = understand(describe(scene, register, colours=colours))
        assert account is not None
        assert (account.backdrop, account.dusk) == (scene.backdrop, scene.dusk if colours else None)
        for described, actor in zip(account.actors, scene.actors, strict=True):
            assert (described.place, described.kind) == (PLACES[actor.slot], actor.kind)
            assert described.colour == (actor.colour if colours else None)
            assert described.row == (actor.row if register == "verbose" else None)
            assert described.side == (None if not actor.moves else "right" if actor.faces > 0 else "left")
            assert described.fast == (actor.fast if actor.moves else None)


@pytest.mark.parametrize("text", ["", "A street.", "No caption at all", "A street with houses. Far left, a cat runs. Only the cat moves."])
def test_other_text_is_not_understood(text: str) -> None:
    account = understand(text)
    assert account is None or not account.actors
