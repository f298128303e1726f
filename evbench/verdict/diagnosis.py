"""Frames that differ -> a known change of colour or order that explains it. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from evbench.colours import CHANGES

Array = npt.NDArray[np.floating]
CLEARLY = 1 / 3
"""Share of the difference that an explanation may leave unexplained."""


def explain_frames(ours: Array, theirs: Array) -> str:
    """What turns the one into the other, if it is a known change.

    Args:
        ours, theirs: [frames, height, width, 3], levels of 255.
    """
    unexplained = float(np.abs(ours - theirs).mean())
    order = _order(ours, theirs)
    if order:
        return order
    left = {name: float(np.abs(np.clip(change(ours), 0, 255) - theirs).mean()) for name, change in CHANGES.items()}
    best = min(left, key=lambda name: left[name])
    return f"it looks like {best}" if left[best] < CLEARLY * unexplained else "no known change of colour or order explains it"


def _order(ours: Array, theirs: Array) -> str:
    """Whether the frames are the same in another order."""
    # Small frames are enough to distinguish them.
    one, other = ours[:, ::4, ::4].astype(np.float32), theirs[:, ::4, ::4].astype(np.float32)
    apart = np.array([[np.abs(frame - candidate).mean() for candidate in one] for frame in other])
    nearest = apart.argmin(axis=1)
    own = np.arange(len(ours))
    if (nearest == own).all() or apart.min(axis=1).mean() > CLEARLY * apart[own, own].mean():
        return ""
    return f"its frames look like the baseline's {' '.join(map(str, nearest))}"
