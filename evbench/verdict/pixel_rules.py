"""Rules for frames and pixel values: what another decoder or resize may change, and what not. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from evbench.results import Grade, Mode
from evbench.verdict.diagnosis import explain_frames
from evbench.verdict.findings import Array, Axes, Finding, SideOutputs, locate

MOST_LEVELS = 2.0
"""Maximum 8-bit levels between the frames of two decoders (meta-pytorch/torchcodec:test/utils.py)."""
MOST_BEYOND_ONE = 0.01
LEAST_DECIBELS = 40.0
"""Of a frame that is not equal and still passes with a warning."""
MOST_QUANTA = 2.0
NEARLY_ALL_QUANTA = 6.0
"""8-bit levels within which 99.9 % of pixel values must lie for a warning instead of a failure. Another decoder: 3.8. Another colour
matrix: 17."""
MOST_SHIFT = 0.1
"""Maximum 8-bit levels between the means of a channel: rounding shifts no mean."""
SHIFT_RULE = "mean shift (8-bit levels)"
"""It never warns: beyond its threshold it fails."""
OWN = 1.5
"""Factor on the baseline's own largest error, where that is beyond MOST_QUANTA: two roundings of hard edges came to 1.01."""
MODEL_EDGE = 224
"""Frames are compared at the size at which the model sees them: at hard edges decoders interpolate colour differently."""


def compare_frames(mode: Mode, ours: SideOutputs, theirs: SideOutputs) -> list[Finding]:
    expected, actual = ours.arrays["load"], theirs.arrays["load"]
    if expected.shape != actual.shape:
        return [Finding("load", mode, "shape", "fail", 1.0, 0.0, "", f"{list(expected.shape)} and {list(actual.shape)}")]
    if ours.work.frame_seconds is None:
        return [_identical(ours.axes["load"], mode, expected, actual)]
    # The share and the mean are of the frames as the model sees them, each difference is a mean over few pixels.
    one, other = at_model_size(expected), at_model_size(actual)
    difference = np.abs(one - other)
    most, mean = float(difference.max()), float(difference.mean())
    beyond = float((difference > 1).mean(axis=(1, 2, 3)).max())
    power = float(np.mean(difference**2, axis=(1, 2, 3)).max())
    decibels = float("inf") if power == 0 else 10 * float(np.log10(255**2 / power))
    if most <= MOST_LEVELS and beyond <= MOST_BEYOND_ONE:
        grade: Grade = "pass"
    else:
        grade = "warn" if decibels >= LEAST_DECIBELS else "fail"
    detail = f"mean {mean:.2f}, {beyond:.1%} beyond 1 level, PSNR {decibels:.1f} dB in the worst frame"
    if grade == "fail":
        detail = f"{detail}; {explain_frames(one, other)}"
    location = locate(ours.axes["load"], np.unravel_index(int(difference.argmax()), difference.shape)) if most else ""
    return [Finding("load", mode, "max abs difference (8-bit levels)", grade, most, MOST_LEVELS, location, detail if most else "")]


def _identical(axes: Axes, mode: Mode, expected: npt.NDArray[np.generic], actual: npt.NDArray[np.generic]) -> Finding:
    """Event images are lossless, and have one correct rendering: each pixel is that of its last event."""
    differing = (expected != actual).any(axis=-1)  # [images, height, width]
    count = int(differing.sum())
    if not count:
        return Finding("load", mode, "differing pixels", "pass", 0.0, 0.0)
    detail = f"{differing.mean():.2%} of all; {explain_frames(at_model_size(expected), at_model_size(actual))}"
    location = locate(axes, np.unravel_index(int(differing.argmax()), differing.shape))
    return Finding("load", mode, "differing pixels", "fail", float(count), 0.0, location, detail)


def at_model_size(frames: npt.NDArray[np.generic]) -> Array:
    # frames: [frames, height, width, 3] -> means over squares, about 224 pixels high
    count, height, width, channels = frames.shape
    edge = max(1, min(height, width) // MODEL_EDGE)
    rows, columns = -(-height // edge), -(-width // edge)
    margin = ((0, 0), (0, rows * edge - height), (0, columns * edge - width), (0, 0))
    whole = np.pad(frames.astype(np.float32), margin, mode="edge")
    # One axis after the other, in a third of the time that both at once take. Sums of levels are exact in float32.
    sums = whole.reshape(count, rows, edge, columns * edge * channels).sum(axis=2)
    return np.asarray(sums.reshape(count, rows, columns, edge, channels).sum(axis=3) / np.float32(edge**2))


def max_difference(axes: Axes, mode: Mode, expected: Array, actual: Array, quantum: float, own: float) -> Finding:
    """`own` is the largest error that the baseline has itself: it rounds twice, and so may another implementation."""
    threshold = max(MOST_QUANTA, OWN * own / quantum)
    difference = np.abs(actual - expected) / quantum
    most, nearly_all = float(difference.max()), float(np.quantile(difference, 0.999))
    grade: Grade = "pass" if most <= threshold + 1e-3 else "warn" if nearly_all <= NEARLY_ALL_QUANTA else "fail"
    location = locate(axes, np.unravel_index(int(difference.argmax()), difference.shape)) if most else ""
    detail = f"99.9 % within {nearly_all:.2f}" if most else ""
    return Finding("preprocess", mode, "max abs difference (8-bit levels)", grade, most, threshold, location, detail)


def mean_shift(axes: Axes, mode: Mode, expected: Array, actual: Array, quantum: float) -> Finding:
    shifts = np.abs((actual - expected).mean(axis=(2, 3))) / quantum
    worst, most = np.unravel_index(int(shifts.argmax()), shifts.shape), float(shifts.max())
    grade: Grade = "pass" if most <= MOST_SHIFT else "fail"
    return Finding("preprocess", mode, SHIFT_RULE, grade, most, MOST_SHIFT, locate(axes, worst))
