from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from evbench.scenes.draw import blend_shapes, draw
from evbench.scenes.pack import LUMA_MIX, pack
from evbench.scenes.shapes import GROUND, HEIGHT, RGB, SCALE
from evbench.scenes.world import BACKDROPS, KINDS, Actor, Scene, imagine

TIMES = torch.tensor([0.05, 0.5, 0.95])
QUIET = replace(imagine(0, 0), dusk=False, pan=0.0, approach=0.0, tint=(1.0, 1.0, 1.0))


def with_actors(*actors: Actor) -> Scene:
    return replace(QUIET, actors=actors)


def actor(kind: str, x: float = 0.0, velocity: float = 0.0) -> Actor:
    row = "far pavement" if kind == "tree" else "near pavement" if kind in ("person", "sign") else "near lane"
    return Actor(kind, "red", row, 1, x, velocity, 1 if velocity >= 0 else -1, 1.0, 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_an_actor_is_painted_where_it_stands_and_nowhere_else(kind: str) -> None:
    one = actor(kind, x=0.2)
    shown, empty = (draw(pack([scene], "cpu"), TIMES[1:2], 1.0, 240, 320)[0, :, 0] for scene in (with_actors(one), with_actors()))
    rows, columns = ((shown - empty).abs().amax(0) > 3).nonzero().T
    middle = (columns.float().mean() + 0.5 - 160) / 240
    assert middle.item() == pytest.approx(0.2, abs=0.03)
    assert (rows.max().item() + 1) / 240 == pytest.approx(GROUND[one.row], abs=0.02)
    assert (rows.max() + 1 - rows.min()).item() / 240 <= HEIGHT[one.kind] * SCALE[one.row] + 0.02
    red = torch.tensor(RGB["red"])[:, None, None]
    assert ((shown - red).abs().amax(0) < 3).sum() >= 20, "its own colour is to be seen"


def test_what_stands_grows_whole_while_the_camera_comes_nearer() -> None:
    sign, end = actor("sign"), torch.tensor([7.9])
    scenes = [replace(with_actors(*actors), approach=0.1) for actors in ((sign,), ())]
    shown, empty = (draw(pack([scene], "cpu"), end, 8.0, 240, 320)[0, :, 0] for scene in scenes)
    rows, _ = ((shown - empty).abs().amax(0) > 3).nonzero().T
    grown = 1 + 0.1 * 3.9
    ground = 0.45 + (GROUND[sign.row] - 0.45) * grown
    assert rows.min().item() / 240 == pytest.approx(ground - 0.267 * SCALE[sign.row] * grown, abs=0.02)


def test_what_moves_is_in_its_place_in_the_middle_of_the_clip() -> None:
    packed = pack([with_actors(actor("car", x=-0.1, velocity=0.4))], "cpu")
    shown = draw(packed, TIMES, 1.0, 120, 160)[0]
    empty = draw(pack([with_actors()], "cpu"), TIMES, 1.0, 120, 160)[0]
    columns = [((shown - empty).abs().amax(0)[moment] > 20).nonzero()[:, 1].float().mean() for moment in range(3)]
    places = [float(column + 0.5 - 80) / 120 for column in columns]
    assert places == pytest.approx([-0.1 - 0.4 * 0.45, -0.1, -0.1 + 0.4 * 0.45], abs=0.02)


@pytest.mark.parametrize("backdrop", BACKDROPS)
@pytest.mark.parametrize("dusk", [False, True])
def test_the_same_scene_at_another_resolution(backdrop: str, dusk: bool) -> None:
    scene = replace(imagine(3, 1), backdrop=backdrop, dusk=dusk)  # type: ignore[arg-type]
    large, small = (draw(pack([scene], "cpu"), TIMES, 1.0, height, height * 4 // 3)[0] for height in (480, 120))
    reduced = torch.nn.functional.avg_pool2d(large, 4)
    difference = (reduced - small).abs().mean()
    assert difference < 2
    assert (reduced - small.roll(8, -1)).abs().mean() > 3 * difference, "a shifted frame is told apart"


def test_a_wider_picture_shows_more_of_the_same() -> None:
    packed = pack([imagine(3, 1)], "cpu")
    wide, narrow = (draw(packed, TIMES, 1.0, 96, width)[0] for width in (192, 96))
    assert (wide[..., 48:144] - narrow).abs().max() < 0.1


def test_scenes_drawn_together_are_those_drawn_alone() -> None:
    scenes = [imagine(3, index) for index in range(4)]
    drawn_at_once = draw(pack(scenes, "cpu"), TIMES, 1.0, 96, 128)
    for scene, drawn in zip(scenes, drawn_at_once, strict=True):
        assert (draw(pack([scene], "cpu"), TIMES, 1.0, 96, 128)[0] - drawn).abs().max() < 0.01
    assert (draw(pack(scenes, "cpu", tight=False), TIMES, 1.0, 96, 128) - drawn_at_once).abs().max() < 0.01
    parts = torch.cat([draw(part, TIMES, 1.0, 96, 128) for part in pack(scenes, "cpu").split(3)])
    assert torch.equal(parts, drawn_at_once)


def test_luminance_is_that_of_the_picture() -> None:
    scenes = [imagine(3, index) for index in range(2)]
    colour, grey = draw(pack(scenes, "cpu"), TIMES, 1.0, 96, 128), draw(pack(scenes, "cpu", LUMA_MIX), TIMES, 1.0, 96, 128)
    expected = (colour * torch.tensor(LUMA_MIX[0]).view(1, 3, 1, 1, 1)).sum(1, keepdim=True)
    assert (grey - expected).abs().max() < 0.05


def test_dusk_is_darker_and_lamps_are_not() -> None:
    car = actor("car")
    day, dusk = (draw(pack([replace(with_actors(car), dusk=dark)], "cpu"), TIMES[1:2], 1.0, 480, 640)[0, :, 0] for dark in (False, True))
    assert dusk.mean() < 0.65 * day.mean()
    assert dusk.amax() > 240


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
def test_a_gpu_draws_the_same_picture(compiled: bool) -> None:
    scenes = [imagine(3, index) for index in range(4)]
    expected = draw(pack(scenes, "cpu", tight=False), TIMES, 1.0, 240, 322)
    blend = torch.compile(blend_shapes, dynamic=False) if compiled else None
    drawn = draw(pack(scenes, "cuda", tight=False), TIMES.cuda(), 1.0, 240, 322, blend).cpu()
    difference = (drawn - expected).abs()
    assert difference.mean() < 0.05
    assert (difference > 8).float().mean() < 1e-4, "but for an edge that falls between two pixels"
