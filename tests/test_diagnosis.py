from __future__ import annotations

import numpy as np
import pytest

from evbench.colours import CHANGES
from evbench.inputs import sample
from evbench.pipelines.load.video import decode_plain
from evbench.verdict.diagnosis import Array, explain_frames


@pytest.fixture(scope="module")
def frames() -> Array:
    """[8, 270, 360, 3] of a street."""
    pixels = np.asarray(decode_plain(sample.CLIP, 8, "inclusive").pixels)
    return pixels[:, ::4, ::4].astype(np.float64)


def quantised(values: Array) -> Array:
    return np.clip(np.rint(values), 0, 255)


@pytest.mark.parametrize("change", CHANGES)
def test_a_known_change_of_colour_is_recognised(frames: Array, change: str) -> None:
    assert explain_frames(frames, quantised(CHANGES[change](frames))) == f"it looks like {change}"


def test_another_order_is_recognised(frames: Array) -> None:
    assert explain_frames(frames, frames[::-1]) == "its frames look like the baseline's 7 6 5 4 3 2 1 0"
    assert explain_frames(frames, frames[[0, 1, 2, 2, 4, 5, 6, 7]]) == "its frames look like the baseline's 0 1 2 2 4 5 6 7"


def test_nothing_is_said_of_what_is_not_known(frames: Array) -> None:
    noise = np.random.default_rng(0).normal(scale=20, size=frames.shape)
    assert explain_frames(frames, quantised(frames + noise)) == "no known change of colour or order explains it"
