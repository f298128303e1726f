"""A scene -> its frame at a moment, at any resolution, on any device: one function, `draw`, vectorised over scenes and moments.

The backdrop is painted once as a canvas a little wider than the view, and the view slides over it as the camera moves. Actors are
painted on top, from far to near, each inside a window that just holds it, so that a large frame costs little more than its sky.
Colours are only ever mixed linearly. So a frame of fewer channels, such as the luminance that an event camera sees, is drawn from
colours that went through `mix` beforehand, and costs a third.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from evbench.scenes.pack import NUMBERS, Packed, Shapes
from evbench.scenes.world import BACKDROPS, MOST_APPROACH, MOST_PAN

HORIZON = 0.45
STEPS_PER_SECOND = 1.8
Blend = Callable[..., torch.Tensor]
"""`blend_shapes`, or a compiled one."""


class Placed(NamedTuple):
    """Where the actors of some scenes are at some moments: each [scenes, moments, actors]."""

    x: torch.Tensor
    ground: torch.Tensor
    scale: torch.Tensor


def draw(packed: Packed, seconds: torch.Tensor, duration: float, height: int, width: int, blend: Blend | None = None) -> torch.Tensor:
    """The frames of all scenes at all moments.

    Args:
        seconds: [moments] or [scenes, moments], from the start of the clip.
        duration: of the clip; what a scene says of places holds in its middle.
        blend: what paints an actor.

    Returns:
        [scenes, channels, moments, height, width] float32, 0 to 255 for the usual mixes. A frame wider or narrower than 4:3
        shows more or less at the sides; nothing changes its size.
    """
    moments = seconds.to(packed.start).reshape(-1, seconds.shape[-1]) - duration / 2
    view = _view(packed, moments, duration, height, width)
    placed = place(packed, moments)
    growth = 1 + MOST_APPROACH * duration / 2  # of what stands, as the camera comes nearer
    for actor in range(len(packed.windows)):
        _paint(view, packed, actor, placed, moments, growth, blend or blend_shapes)
    return view


def place(packed: Packed, moments: torch.Tensor) -> Placed:
    """Where everything stands. `moments` [scenes or 1, moments] count from the middle of the clip."""
    x, ground, scale, velocity = (value[:, None] for value in packed.start.unbind(-1))  # [scenes, 1, actors]
    pan, approach = (value[:, None, None] for value in packed.camera.unbind(-1))
    stands, time = packed.stands[:, None], moments[..., None]
    grown = 1 + stands * approach * time
    return Placed(
        x=x * grown + (velocity - stands * pan) * time,
        ground=HORIZON + (ground - HORIZON) * grown,
        scale=scale * grown,
    )


def _view(packed: Packed, moments: torch.Tensor, duration: float, height: int, width: int) -> torch.Tensor:
    """The backdrop as the camera sees it: [scenes, channels, moments, height, width]."""
    reach = (MOST_PAN + MOST_APPROACH * width / height) * duration / 2 + 2 / height  # to the sides; above, the sky's first row goes on
    canvas_height, canvas_width = height, 2 * math.ceil(width / 2 + reach * height)
    canvas = _canvas(packed, canvas_height, canvas_width)
    pan, approach = (value[:, None] for value in packed.camera.unbind(-1))
    grown = 1 + approach * moments  # [scenes, moments]
    rows = (torch.arange(height, device=canvas.device) + 0.5) / height
    columns = (torch.arange(width, device=canvas.device) + 0.5 - width / 2) / height
    v = HORIZON + (rows - HORIZON) / grown[..., None]  # [scenes, moments, height]
    u = (columns + (pan * moments)[..., None]) / grown[..., None]
    scenes, count = grown.shape
    grid = torch.empty(scenes, count, height, width, 2, device=canvas.device)  # from -1 to 1
    grid[..., 0] = (u * (2 * height / canvas_width))[:, :, None, :]
    grid[..., 1] = (v * 2 - 1)[..., None]
    # The moments lie under each other in one tall frame: no copy of the canvas for each.
    seen = torch.nn.functional.grid_sample(
        canvas, grid.reshape(scenes, count * height, width, 2), mode="bilinear", padding_mode="border", align_corners=False
    )
    return seen.view(scenes, -1, count, height, width)


def _paint(view: torch.Tensor, packed: Packed, actor: int, placed: Placed, moments: torch.Tensor, growth: float, blend: Blend) -> None:
    """Paint one actor of each scene into `view`, inside windows that hold it."""
    scenes, channels, count, height, width = view.shape
    window = packed.windows[actor]
    tall, half = window.height * growth, window.half_length * growth
    window_height, window_width = min(height, math.ceil(tall * height) + 3), min(width, math.ceil(half * 2 * height) + 3)
    x, ground, scale = (value[..., actor].expand(scenes, count) for value in placed)
    left = ((x - half) * height + width / 2).floor().long().sub(1).clamp(0, width - window_width)
    top = ((ground - tall) * height).floor().long().sub(1).clamp(0, height - window_height)
    rows = top[..., None] + torch.arange(window_height, device=view.device)  # [scenes, moments, window height]
    columns = left[..., None] + torch.arange(window_width, device=view.device)
    flat = (rows[..., None] * width + columns[..., None, :]).flatten(2)[:, None].expand(-1, channels, -1, -1)
    pixels = view.view(scenes, channels, count, height * width)
    forward = ((columns + 0.5 - width / 2) / height - x[..., None]) * packed.faces[:, actor, None, None]
    up = ground[..., None] - (rows + 0.5) / height
    turn = torch.sin(2 * math.pi * (moments * STEPS_PER_SECOND + packed.phase[:, actor, None])) * (1 - packed.stands[:, actor, None])
    before = pixels.gather(3, flat).view(scenes, channels, count, window_height, window_width)
    after = blend(before, forward, up, scale, turn, packed.shapes[:, actor], packed.colours[:, actor], height, window.shapes)
    pixels.scatter_(3, flat, after.flatten(3))


def blend_shapes(
    under: torch.Tensor,  # [scenes, channels, moments, rows, columns]
    forward: torch.Tensor,  # [scenes, moments, columns] from the actor's middle, in frame heights
    up: torch.Tensor,  # [scenes, moments, rows]
    scale: torch.Tensor,  # [scenes, moments]; 0 for no actor
    turn: torch.Tensor,  # [scenes, moments] from -1 to 1: where in its step the actor is
    shapes: torch.Tensor,  # [scenes, shapes, numbers]
    colours: torch.Tensor,  # [scenes, shapes, channels]
    height: int,
    possible: tuple[Shapes, ...],
) -> torch.Tensor:
    """Paint the shapes of one actor, with edges one pixel soft."""
    size = scale.clamp(min=1e-6)[..., None, None]
    across = forward[..., None, :] / size  # [scenes, moments, 1, columns]
    above = up[..., None] / size
    sharpness = size * height
    for index, can_be in enumerate(possible):
        number = dict(zip(NUMBERS, (value[:, None, None, None] for value in shapes[:, index].unbind(-1)), strict=True))
        y = above - number["y"]  # [scenes, moments, rows, 1]
        slant = number["slant"] + number["swing"] * turn[..., None, None]
        x = across - (number["x"] + slant * y)
        distance = torch.zeros(())
        if can_be.ellipse:
            ratio = ((x / number["width"]) ** 2 + (y / number["height"]) ** 2).sqrt()
            distance = (ratio - 1) * torch.minimum(number["width"], number["height"])
        if can_be.box:
            box = torch.maximum(x.abs() - number["width"] * (1 - number["taper"] * y / number["height"] / 2), y.abs() - number["height"])
            distance = torch.where(number["round"] > 0, distance, box) if can_be.ellipse else box
        if can_be.ring:
            distance = torch.where(number["ring"] > 0, distance.abs() - number["ring"], distance)
        present = (scale > 0)[..., None, None] * number["present"]
        covered = (0.5 - distance * sharpness).clamp_(0, 1) * present
        under = torch.lerp(under, colours[:, index, :, None, None, None], covered[:, None])
    return under


def _canvas(packed: Packed, height: int, width: int) -> torch.Tensor:
    """Sky, backdrop and street: [scenes, channels, height, width]."""
    device = packed.start.device
    v = ((torch.arange(height, device=device) + 0.5) / height)[None, :, None]
    u = ((torch.arange(width, device=device) + 0.5 - width / 2) / height)[None, None, :] + packed.shift[:, None, None]
    dusk = packed.dusk[:, None, None]
    canvas = torch.zeros(len(packed.dusk), len(packed.mix), height, width, device=device)

    def paint(covered: torch.Tensor, rgb: tuple[float, float, float], shade: torch.Tensor | float = 1.0, shines: bool = False) -> None:
        """Mix in a colour where `covered` [scenes, height, width] is 1."""
        light = packed.tint * (torch.ones_like(packed.ambient) if shines else packed.ambient)
        colour = (torch.tensor(rgb, device=device) * light) @ packed.mix.T  # [scenes, channels]
        target = colour[..., None, None] * (shade if isinstance(shade, float) else shade[:, None])
        canvas.add_(covered[:, None] * (target - canvas))

    def within(distance: torch.Tensor) -> torch.Tensor:
        """1 where a distance in frame heights is negative, with an edge one pixel soft."""
        return (0.5 - distance * height).clamp(0, 1)

    everywhere = torch.ones_like(canvas[:, 0])
    paint(everywhere, (165, 195, 225))
    paint(((v / HORIZON).clamp(0, 1) ** 1.5).expand_as(everywhere), (225, 225, 220))
    cloud = (torch.sin(5 * u + 3) * torch.sin(16 * v + 2 * torch.sin(3 * u)) + 0.5 * torch.sin(13 * u + 40 * v) - 0.75) * 1.5
    paint(cloud.clamp(0, 0.7), (245, 245, 245))

    number = (u * 4).floor().long().remainder(16)  # [scenes, 1, width]: which house or tree
    chosen = packed.heights[:, None].gather(2, number)
    inside = (u * 4).remainder(1)
    shade = 0.7 + 0.35 * packed.heights[:, None].gather(2, (number * 5 + 3).remainder(16))
    is_kind = [(packed.backdrop == index).float()[:, None, None] for index in range(len(BACKDROPS))]
    wall = within(torch.maximum(0.36 - 0.2 * chosen - v, v - 0.55)) * is_kind[BACKDROPS.index("houses")]
    paint(wall, (165, 140, 120), shade.expand_as(everywhere))
    columns, storeys = (inside * 3).remainder(1), (v * 14).remainder(1)
    pane = within(((columns - 0.5).abs() - 0.24) / 12) * within(((storeys - 0.5).abs() - 0.26) / 14)
    lit = (packed.heights[:, None].gather(2, (number * 3 + (inside * 3).long() + 1).remainder(16)) > 0.5).float() * dusk
    paint(wall * pane * (1 - lit), (95, 100, 115))
    paint(wall * pane * lit, (215, 185, 110), shines=True)

    ridge = 0.37 - 0.05 * torch.sin(4 * u) - 0.03 * torch.sin(11 * u + 1)
    hill = within(torch.maximum(ridge - v, v - 0.55)) * is_kind[BACKDROPS.index("hills")]
    paint(hill, (125, 145, 100), 1 + 0.12 * torch.sin(30 * u + 7 * torch.sin(20 * v)) * torch.sin(44 * v))

    tree = (u * 9).remainder(1)
    trunk = packed.heights[:, None].gather(2, (u * 9).floor().long().remainder(16))
    fir = within((0.22 + 0.10 * trunk + 0.5 * (tree - 0.5).abs() - v) / 4) * (v < 0.55) * is_kind[BACKDROPS.index("forest")]
    paint(fir, (60, 95, 70), (0.75 + 0.5 * trunk).expand_as(everywhere))

    def grain(size: float) -> torch.Tensor:
        return torch.sin(size * u + 3 * torch.sin(70 * v)) * torch.sin(size * 1.7 * v + 2 * torch.sin(size * 0.6 * u))

    paint(within(torch.maximum(0.51 - v, v - 0.61)).expand_as(everywhere), (160, 158, 150), 1 + 0.04 * grain(60))
    paint(within(torch.maximum(0.605 - v, v - 0.615)).expand_as(everywhere), (190, 190, 185))
    paint(within(torch.maximum(0.61 - v, v - 0.91)).expand_as(everywhere), (105, 105, 110), 1 + 0.05 * grain(45))
    dash = within(((u * 2.5).remainder(1) - 0.5).abs() / 2.5 - 0.1) * within((v - 0.735).abs() - 0.006)
    paint(dash, (225, 225, 215))
    paint(within(0.905 - v).expand_as(everywhere), (190, 190, 185))
    paint(within(0.918 - v).expand_as(everywhere), (150, 147, 140), 1 + 0.04 * grain(38))
    return canvas
