"""What a decoder has to return of a torture clip."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from evbench.inputs.torture import SWATCHES, Picture, TortureClip, read_bar_code, swatch_edges
from evbench.pipelines.load.video import POLICIES, Frames

COLOUR_ERROR = 4.0
"""Levels of 255. PyAV rounds down, up to 3 levels of them; the wrong matrix or range makes more than 8."""


def picked(clip: TortureClip, policy: str) -> list[int]:
    """Eight frames, or all if there are fewer."""
    return POLICIES[policy](len(clip.seconds), min(8, len(clip.seconds)))


def require_right_frames(frames: Frames, pixels: Picture, clip: TortureClip, policy: str) -> None:
    """Fails unless the pictures [frames, height, width, 3] are those that the policy picks, at their times."""
    expected = picked(clip, policy)
    assert pixels.shape == (len(expected), clip.height, clip.width, 3)
    assert [read_bar_code(picture) for picture in pixels] == expected
    assert list(frames.indices) == expected
    assert frames.seconds == pytest.approx([clip.seconds[index] for index in expected], abs=1e-3)


def colour_error(pixels: Picture) -> float:
    """The largest difference of a colour field from what was drawn, in levels, away from the edges."""
    height, width = pixels.shape[1:3]
    edges = list(pairwise(swatch_edges(width)))
    shown = [pixels[:, height // 16 : height // 6, left + 8 : right - 8].mean(axis=(0, 1, 2)) for left, right in edges]
    return float(np.abs(np.array(shown) - SWATCHES).max())
