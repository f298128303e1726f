"""How actors are built: each kind is a short list of boxes and ellipses. Data only.

Lengths are in frame heights for an actor of size 1 that faces right: x forward from its middle, y up from the ground.
"""

from __future__ import annotations

from dataclasses import dataclass

from evbench.scenes.world import Colour, Kind, Row

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Shape:
    """A box, or an ellipse. Later ones are painted over earlier ones."""

    x: float
    y: float
    """Of its middle."""
    width: float
    height: float
    """Half of each: from the middle to the edge."""
    rgb: Rgb | None = None
    """Its colour; None for the actor's."""
    shade: float = 1.0
    """Factor on the actor's colour."""
    round: bool = False
    taper: float = 0.0
    """How much narrower the top is, as a share."""
    slant: float = 0.0
    """How far the top leans forward, for each length up."""
    swing: float = 0.0
    """How far the slant swings to and fro while the actor moves."""
    ring: float = 0.0
    """Half the thickness of the line, if only the outline is drawn."""
    shines: bool = False
    """Whether it is as bright at dusk as by day."""


RGB: dict[Colour, Rgb] = {
    "red": (205, 35, 35),
    "blue": (40, 80, 215),
    "green": (35, 150, 60),
    "yellow": (240, 205, 40),
    "white": (240, 240, 240),
    "black": (22, 22, 24),
}
_DARK, _GLASS, _METAL, _SKIN, _CLOTH = (30, 30, 33), (95, 120, 140), (150, 150, 155), (225, 175, 145), (55, 55, 75)
_LAMP, _REAR, _BAG, _TRUNK = (255, 250, 200), (255, 40, 30), (215, 125, 45), (100, 70, 45)


def _wheel(x: float, radius: float) -> tuple[Shape, ...]:
    return (
        Shape(x, radius, radius, radius, _DARK, round=True),
        Shape(x, radius, radius * 0.45, radius * 0.45, _METAL, round=True),
    )


SHAPES: dict[Kind, tuple[Shape, ...]] = {
    "car": (
        Shape(-0.02, 0.098, 0.088, 0.03, shade=0.85, taper=0.35),
        Shape(0.022, 0.097, 0.03, 0.021, _GLASS, taper=0.3, slant=-0.35),
        Shape(-0.062, 0.097, 0.026, 0.021, _GLASS, taper=0.3, slant=0.35),
        Shape(0.0, 0.05, 0.15, 0.028),
        *_wheel(0.09, 0.028),
        *_wheel(-0.09, 0.028),
        Shape(0.143, 0.06, 0.011, 0.011, _LAMP, round=True, shines=True),
        Shape(-0.144, 0.06, 0.008, 0.012, _REAR, shines=True),
    ),
    "truck": (
        Shape(-0.055, 0.14, 0.145, 0.09),
        Shape(-0.055, 0.145, 0.145, 0.006, shade=0.75),
        Shape(0.145, 0.105, 0.05, 0.062, shade=0.8, taper=0.15, slant=-0.08),
        Shape(0.158, 0.13, 0.026, 0.024, _GLASS, slant=-0.1),
        Shape(0.0, 0.045, 0.19, 0.012, _DARK),
        *_wheel(0.14, 0.031),
        *_wheel(-0.135, 0.031),
        Shape(0.192, 0.062, 0.01, 0.012, _LAMP, round=True, shines=True),
        Shape(-0.195, 0.062, 0.008, 0.014, _REAR, shines=True),
    ),
    "person": (
        Shape(0.0, 0.052, 0.012, 0.052, _CLOTH, swing=0.32),
        Shape(0.0, 0.052, 0.012, 0.052, _CLOTH, swing=-0.32),
        Shape(-0.036, 0.15, 0.017, 0.034, _BAG),
        Shape(0.0, 0.142, 0.026, 0.046, taper=-0.15),
        Shape(0.012, 0.14, 0.007, 0.036, shade=0.7, swing=-0.45),
        Shape(0.004, 0.214, 0.021, 0.025, _SKIN, round=True),
    ),
    "cyclist": (
        Shape(0.066, 0.042, 0.039, 0.039, _DARK, round=True, ring=0.006),
        Shape(-0.066, 0.042, 0.039, 0.039, _DARK, round=True, ring=0.006),
        Shape(0.0, 0.062, 0.05, 0.005, _METAL),
        Shape(0.056, 0.075, 0.005, 0.033, _METAL, slant=-0.3),
        Shape(-0.016, 0.07, 0.01, 0.042, _CLOTH, swing=0.4),
        Shape(0.002, 0.148, 0.024, 0.044, slant=0.55),
        Shape(0.042, 0.135, 0.026, 0.006, shade=0.7),
        Shape(0.037, 0.205, 0.019, 0.022, _SKIN, round=True),
    ),
    "sign": (
        Shape(0.0, 0.09, 0.007, 0.09, _METAL),
        Shape(0.0, 0.215, 0.052, 0.052, (250, 250, 250), round=True),
        Shape(0.0, 0.215, 0.044, 0.044, round=True),
        Shape(0.0, 0.215, 0.026, 0.009, (30, 30, 30)),
    ),
    "tree": (
        Shape(0.0, 0.07, 0.014, 0.07, _TRUNK, taper=0.3),
        Shape(-0.045, 0.18, 0.062, 0.062, shade=0.8, round=True),
        Shape(0.045, 0.185, 0.062, 0.062, shade=0.9, round=True),
        Shape(0.0, 0.25, 0.066, 0.07, round=True),
    ),
}
GROUND: dict[Row, float] = {"far pavement": 0.58, "far lane": 0.69, "near lane": 0.86, "near pavement": 0.975}
"""Where the feet stand, down from the top of the frame."""
SCALE: dict[Row, float] = {"far pavement": 0.85, "far lane": 0.85, "near lane": 1.05, "near pavement": 1.15}
HALF_LENGTH: dict[Kind, float] = {"car": 0.165, "truck": 0.215, "person": 0.075, "cyclist": 0.115, "sign": 0.06, "tree": 0.115}
HEIGHT: dict[Kind, float] = {"car": 0.135, "truck": 0.24, "person": 0.25, "cyclist": 0.24, "sign": 0.275, "tree": 0.33}
"""What the shapes of a kind stay inside of."""
