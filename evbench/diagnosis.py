"""Two sets of frames that differ -> what was probably done to them. Pure. A hint for a reader, never a verdict."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from evbench.colours import BT601, BT709, conversion

Array = npt.NDArray[np.floating]
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


def _converted(to: tuple[float, float], of: tuple[float, float]) -> Callable[[Array], Array]:
    """RGB that one matrix made, as the other one makes it."""
    change = conversion(to, of)
    return lambda frames: np.asarray(frames @ change.T)


CHANGES: dict[str, Callable[[Array], Array]] = {
    "red and blue exchanged": lambda frames: frames[..., ::-1],
    "BT.601 taken for BT.709": _converted(BT709, BT601),
    "BT.709 taken for BT.601": _converted(BT601, BT709),
    "limited range taken for full": lambda frames: frames * (219 / 255) + 16,
    "full range taken for limited": lambda frames: (frames - 16) * (255 / 219),
}
