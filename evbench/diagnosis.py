"""Two sets of frames that differ -> what was probably done to them. Pure. A hint for a reader, never a verdict."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
BT601, BT709 = (0.299, 0.114), (0.2126, 0.0722)
"""Weights of red and blue in luma, ITU-R BT.601 and BT.709."""
CLEARLY = 1 / 3
"""Share of the difference that may be left for an explanation to be told."""


def explain_frames(ours: Array, theirs: Array) -> str:
    """What turns the one into the other, if it is something known.

    Args:
        ours, theirs: [frames, height, width, 3], levels of 255.
    """
    usual = float(np.abs(ours - theirs).mean())
    order = _order(ours, theirs)
    if order:
        return order
    left = {name: float(np.abs(np.clip(change(ours), 0, 255) - theirs).mean()) for name, change in CHANGES.items()}
    best = min(left, key=lambda name: left[name])
    return f"it looks like {best}" if left[best] < CLEARLY * usual else "no known change of colour or order explains it"


def _order(ours: Array, theirs: Array) -> str:
    """Whether the frames are others of the same."""
    # Small pictures tell frames apart well enough.
    one, other = ours[:, ::4, ::4].astype(np.float32), theirs[:, ::4, ::4].astype(np.float32)
    apart = np.array([[np.abs(frame - candidate).mean() for candidate in one] for frame in other])
    nearest = apart.argmin(axis=1)
    own = np.arange(len(ours))
    if (nearest == own).all() or apart.min(axis=1).mean() > CLEARLY * apart[own, own].mean():
        return ""
    return f"its frames look like the baseline's {' '.join(map(str, nearest))}"


def _matrix(red: float, blue: float) -> Array:
    """(Y, Cb, Cr) -> (R, G, B), full scale."""
    green = 1 - red - blue
    return np.array(
        [
            [1, 0, 2 * (1 - red)],
            [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
            [1, 2 * (1 - blue), 0],
        ]
    )


def _converted(made: tuple[float, float], meant: tuple[float, float]) -> Callable[[Array], Array]:
    """RGB that was meant by one matrix, as the other one makes it."""
    change = _matrix(*made) @ np.linalg.inv(_matrix(*meant))
    return lambda frames: np.asarray(frames @ change.T)


CHANGES: dict[str, Callable[[Array], Array]] = {
    "red and blue exchanged": lambda frames: frames[..., ::-1],
    "BT.601 taken for BT.709": _converted(BT709, BT601),
    "BT.709 taken for BT.601": _converted(BT601, BT709),
    "limited range taken for full": lambda frames: frames * (219 / 255) + 16,
    "full range taken for limited": lambda frames: (frames - 16) * (255 / 219),
}
