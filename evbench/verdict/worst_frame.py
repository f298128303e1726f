"""The frame in which two sides differ most, as pictures. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evbench.verdict.pixel_rules import at_model_size

AMPLIFIED = 8
"""Factor on the difference, so that it can be seen."""
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class WorstFrame:
    """The frame of one sample with the largest difference, at about the size at which the model sees it."""

    frame: int
    """Its place among the frames that the model got."""
    levels: float
    """The largest difference, in 8-bit levels."""
    pictures: tuple[Picture, Picture, Picture]
    """Of the baseline, of the optimized side, and their difference times AMPLIFIED: [height, width, 3]."""


def worst_frame(baseline: npt.NDArray[np.generic], optimized: npt.NDArray[np.generic]) -> WorstFrame | None:
    """None where all frames are equal, or cannot be compared.

    Args:
        baseline: [frames, height, width, 3], in 8-bit levels. Those of DALI need not be whole numbers.
        optimized: the same.
    """
    if np.array_equal(baseline, optimized):
        return None
    if baseline.shape != optimized.shape or baseline.ndim != 4 or baseline.shape[-1] != 3:  # a pipeline of its own may load anything
        return None
    ours, theirs = at_model_size(baseline), at_model_size(optimized)
    difference = np.abs(ours - theirs)
    if not difference.any() or not np.isfinite(difference).all():
        return None
    frame = int(difference.max(axis=(1, 2, 3)).argmax())
    pictures = ours[frame], theirs[frame], AMPLIFIED * difference[frame]
    first, second, third = (np.clip(np.rint(one), 0, 255).astype(np.uint8) for one in pictures)
    return WorstFrame(frame, float(difference.max()), (first, second, third))
