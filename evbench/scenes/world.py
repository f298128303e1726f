"""What a scene is: actors on a street, and the camera. Drawn from a seed; knows nothing of pixels or words.

Lengths are in heights of the frame, from its centre to the right and from its top down. Both models are given the square in the
middle of the frame, so everything happens there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Kind = Literal["car", "truck", "person", "cyclist", "sign", "tree"]
Colour = Literal["red", "blue", "green", "yellow", "white", "black"]
Backdrop = Literal["houses", "hills", "forest"]
Row = Literal["far pavement", "far lane", "near lane", "near pavement"]

KINDS: tuple[Kind, ...] = get_args(Kind)
COLOURS: tuple[Colour, ...] = get_args(Colour)
BACKDROPS: tuple[Backdrop, ...] = get_args(Backdrop)
ROWS: tuple[Row, ...] = get_args(Row)
"""From far to near, which is the order they are painted in."""

VEHICLES = ("car", "truck", "cyclist")
MOVERS = (*VEHICLES, "person")
COLOURS_OF: dict[Kind, tuple[Colour, ...]] = {
    "car": COLOURS,
    "truck": COLOURS,
    "person": COLOURS,
    "cyclist": COLOURS,
    "sign": ("red", "blue", "green", "yellow", "white"),
    "tree": ("green", "yellow", "red"),
}
ROWS_OF: dict[Kind, tuple[Row, ...]] = {
    "car": ("far lane", "near lane"),
    "truck": ("far lane", "near lane"),
    "person": ("far pavement", "near pavement"),
    "cyclist": ("far lane", "near lane"),
    "sign": ("far pavement", "near pavement"),
    "tree": ("far pavement",),
}
SLOTS = (-0.4, -0.4 / 3, 0.4 / 3, 0.4)
"""Where an actor can be in the middle of the clip; no two share a slot, so that left to right is an order."""
JITTER = 0.05
SLOW, FAST = (0.12, 0.20), (0.34, 0.48)
"""Speed, in frame heights per second. The gap keeps the two apart for the eye."""
MOST_PAN, MOST_APPROACH = 0.1, 0.1
"""Of the camera, per second: frame heights, and growth."""


@dataclass(frozen=True)
class Actor:
    """One thing in the street."""

    kind: Kind
    colour: Colour
    row: Row
    slot: int
    """Index into SLOTS: the place in the middle of the clip."""
    x: float
    """Exact place in the middle of the clip: the slot's, with jitter."""
    velocity: float
    """To the right; 0 for what stands."""
    faces: Literal[-1, 1]
    """-1 left, 1 right. What moves looks where it goes."""
    size: float
    """Factor on the size that its row gives it."""
    phase: float
    """Of the step or the pedals, in turns."""

    @property
    def moves(self) -> bool:
        return self.velocity != 0

    @property
    def fast(self) -> bool:
        return abs(self.velocity) >= FAST[0]


@dataclass(frozen=True)
class Scene:
    """Everything that a frame of it needs."""

    name: str
    dusk: bool
    backdrop: Backdrop
    actors: tuple[Actor, ...]
    """From left to right in the middle of the clip."""
    pan: float
    """How fast the camera turns to the right, in frame heights per second at the backdrop."""
    approach: float
    """How fast the backdrop grows, per second: the camera drives forward."""
    tint: tuple[float, float, float]
    """Factors on the colours of sky, backdrop and ground."""
    shift: float
    """Where along the street the camera is."""
    heights: tuple[float, ...]
    """Sixteen numbers in [0, 1) that shape the backdrop."""


def imagine(seed: int, index: int) -> Scene:
    """The scene `index` of the series `seed`. It depends on these two numbers alone."""
    random = np.random.default_rng((seed, index))
    actors = _actors(random)
    while not any(actor.moves for actor in actors):
        actors = _actors(random)
    return Scene(
        name=f"scene-{seed}-{index:06d}",
        dusk=bool(random.random() < 0.5),
        backdrop=BACKDROPS[random.integers(len(BACKDROPS))],
        actors=actors,
        pan=float(random.uniform(-MOST_PAN, MOST_PAN)),
        approach=float(random.uniform(0, MOST_APPROACH)),
        tint=(float(random.uniform(0.9, 1.06)), float(random.uniform(0.9, 1.06)), float(random.uniform(0.9, 1.06))),
        shift=float(random.uniform(0, 10)),
        heights=tuple(float(value) for value in random.random(16)),
    )


def _actors(random: np.random.Generator) -> tuple[Actor, ...]:
    slots = sorted(random.permutation(len(SLOTS))[: random.integers(2, 5)])
    free_lanes = {"far lane", "near lane"}  # a lane holds one vehicle, so that none drives through another
    actors = []
    for slot in slots:
        kinds = [kind for kind in KINDS if kind not in VEHICLES or free_lanes]
        kind = kinds[random.integers(len(kinds))]
        rows = [row for row in ROWS_OF[kind] if kind not in VEHICLES or row in free_lanes]
        row = rows[random.integers(len(rows))]
        free_lanes.discard(row)
        colours = COLOURS_OF[kind]
        faces: Literal[-1, 1] = 1 if random.random() < 0.5 else -1
        speed = random.uniform(*(FAST if random.random() < 0.5 else SLOW))
        actors.append(
            Actor(
                kind=kind,
                colour=colours[random.integers(len(colours))],
                row=row,
                slot=int(slot),
                x=SLOTS[slot] + float(random.uniform(-JITTER, JITTER)),
                velocity=float(speed * faces) if kind in MOVERS else 0.0,
                faces=faces,
                size=float(random.uniform(0.9, 1.1)),
                phase=float(random.random()),
            )
        )
    return tuple(actors)
