"""Scenes as tensors, ready to be drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from evbench.scenes.shapes import GROUND, HALF_LENGTH, HEIGHT, RGB, SCALE, SHAPES
from evbench.scenes.world import BACKDROPS, KINDS, ROWS, Actor, Scene

RGB_MIX = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
LUMA_MIX = ((0.2126, 0.7152, 0.0722),)
"""Rec. ITU-R BT.709."""
ACTORS, SHAPES_EACH = 4, max(map(len, SHAPES.values()))
AMBIENT = {False: (1.0, 1.0, 1.0), True: (0.46, 0.47, 0.58)}
"""Light on everything that does not shine, by day and at dusk."""
NUMBERS = ("present", "x", "y", "width", "height", "round", "taper", "slant", "swing", "ring")


@dataclass(frozen=True)
class Shapes:
    """What the shapes at one place of the list can be, among the scenes that are drawn together."""

    box: bool
    ellipse: bool
    ring: bool


@dataclass(frozen=True)
class Window:
    """The part of the frame that one actor of each scene is painted in."""

    height: float
    half_length: float
    shapes: tuple[Shapes, ...]


ANY_ACTOR = Window(
    max(HEIGHT.values()) * max(SCALE.values()) * 1.1,
    max(HALF_LENGTH.values()) * max(SCALE.values()) * 1.1,
    (Shapes(True, True, True),) * SHAPES_EACH,
)


@dataclass(frozen=True)
class Packed:
    """Scenes as tensors. Actors stand from far to near; a place without one has size 0."""

    start: torch.Tensor
    """[scenes, actors, 4]: x, ground, scale, velocity in the middle of the clip."""
    stands: torch.Tensor
    """[scenes, actors]: 1 for what the camera's motion moves."""
    faces: torch.Tensor
    """[scenes, actors]."""
    phase: torch.Tensor
    """[scenes, actors]."""
    shapes: torch.Tensor
    """[scenes, actors, shapes, numbers]."""
    colours: torch.Tensor
    """[scenes, actors, shapes, channels]."""
    camera: torch.Tensor
    """[scenes, 2]: pan, approach."""
    backdrop: torch.Tensor
    """[scenes] index into BACKDROPS."""
    ambient: torch.Tensor
    """[scenes, 3]."""
    dusk: torch.Tensor
    """[scenes] 0 or 1."""
    tint: torch.Tensor
    """[scenes, 3]."""
    shift: torch.Tensor
    """[scenes]."""
    heights: torch.Tensor
    """[scenes, 16]."""
    mix: torch.Tensor
    """[channels, 3]."""
    windows: tuple[Window, ...]
    """For each place in the list of actors that is not empty in all scenes."""

    def to(self, device: str) -> Packed:
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def split(self, scenes: int) -> list[Packed]:
        """Parts of that many scenes."""
        starts = range(0, len(self.start), scenes)
        return [dataclasses.replace(self._each(lambda tensor: tensor[start : start + scenes]), mix=self.mix) for start in starts]  # noqa: B023  called at once

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Packed:
        changed: dict[str, Any] = {name: change(value) for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return dataclasses.replace(self, **changed)


def pack(scenes: Sequence[Scene], device: str, mix: Sequence[Sequence[float]] = RGB_MIX, *, tight: bool = True) -> Packed:
    """Put scenes on a device, ready to be drawn.

    Args:
        mix: rows of weights for red, green and blue; one row for each channel of the frames.
        tight: windows fit the actors of these scenes. If not, they hold any actor, so that every batch has windows of equal size.
    """
    weights = torch.tensor(mix)
    ambient = torch.tensor([AMBIENT[scene.dusk] for scene in scenes])
    start = torch.zeros(len(scenes), ACTORS, 4)
    stands, phase = torch.zeros(len(scenes), ACTORS), torch.zeros(len(scenes), ACTORS)
    faces = torch.ones(len(scenes), ACTORS)
    kinds = torch.zeros(len(scenes), ACTORS, dtype=torch.long)
    own = torch.zeros(len(scenes), ACTORS, 3)
    for index, scene in enumerate(scenes):
        for place, actor in enumerate(from_far_to_near(scene)):
            start[index, place] = torch.tensor([actor.x, GROUND[actor.row], SCALE[actor.row] * actor.size, actor.velocity])
            stands[index, place], phase[index, place], faces[index, place] = float(not actor.moves), actor.phase, actor.faces
            kinds[index, place] = KINDS.index(actor.kind)
            own[index, place] = torch.tensor(RGB[actor.colour])
    tables = _tables()
    rgb = torch.where(tables.own[kinds], own[:, :, None] * tables.shade[kinds], tables.rgb[kinds])
    rgb = rgb * torch.where(tables.shines[kinds], torch.ones(3), ambient[:, None, None])
    queues = [from_far_to_near(scene) for scene in scenes]
    places = [[queue[place] for queue in queues if place < len(queue)] for place in range(ACTORS)]
    packed = Packed(
        start=start,
        stands=stands,
        faces=faces,
        phase=phase,
        shapes=tables.numbers[kinds],
        colours=rgb @ weights.T,
        camera=torch.tensor([[scene.pan, scene.approach] for scene in scenes]),
        backdrop=torch.tensor([BACKDROPS.index(scene.backdrop) for scene in scenes]),
        ambient=ambient,
        dusk=torch.tensor([float(scene.dusk) for scene in scenes]),
        tint=torch.tensor([scene.tint for scene in scenes]),
        shift=torch.tensor([scene.shift for scene in scenes]),
        heights=torch.tensor([scene.heights for scene in scenes]),
        mix=weights,
        windows=tuple(_window(actors) for actors in places if actors) if tight else (ANY_ACTOR,) * ACTORS,
    )
    return packed.to(device)


def from_far_to_near(scene: Scene) -> list[Actor]:
    """In the order they are painted."""
    return sorted(scene.actors, key=lambda actor: ROWS.index(actor.row))


class _Tables(NamedTuple):
    """SHAPES as tensors over [kinds, shapes]."""

    numbers: torch.Tensor
    rgb: torch.Tensor
    shade: torch.Tensor
    own: torch.Tensor
    shines: torch.Tensor


def _tables() -> _Tables:
    tables = _Tables(
        numbers=torch.ones(len(KINDS), SHAPES_EACH, len(NUMBERS)),
        rgb=torch.zeros(len(KINDS), SHAPES_EACH, 3),
        shade=torch.ones(len(KINDS), SHAPES_EACH, 1),
        own=torch.zeros(len(KINDS), SHAPES_EACH, 1, dtype=torch.bool),
        shines=torch.zeros(len(KINDS), SHAPES_EACH, 1, dtype=torch.bool),
    )
    tables.numbers[..., 0] = 0
    for kind, name in enumerate(KINDS):
        tables.numbers[kind, : len(SHAPES[name]), 0] = 1
        for index, shape in enumerate(SHAPES[name]):
            tables.numbers[kind, index, 1:] = torch.tensor([float(getattr(shape, number)) for number in NUMBERS[1:]])
            tables.rgb[kind, index] = torch.tensor(shape.rgb or (0.0, 0.0, 0.0))
            tables.shade[kind, index], tables.own[kind, index], tables.shines[kind, index] = shape.shade, shape.rgb is None, shape.shines
    return tables


def _window(actors: Sequence[Actor]) -> Window:
    """Holds each of these actors, one of each scene."""
    scales = [SCALE[actor.row] * actor.size for actor in actors]
    lists = [SHAPES[actor.kind] for actor in actors]
    return Window(
        height=max(HEIGHT[actor.kind] * scale for actor, scale in zip(actors, scales, strict=True)),
        half_length=max(HALF_LENGTH[actor.kind] * scale for actor, scale in zip(actors, scales, strict=True)),
        shapes=tuple(
            Shapes(
                box=any(not shape.round for shape in shapes),
                ellipse=any(shape.round for shape in shapes),
                ring=any(shape.ring > 0 for shape in shapes),
            )
            for shapes in ([each[index] for each in lists if index < len(each)] for index in range(max(map(len, lists))))
        ),
    )
