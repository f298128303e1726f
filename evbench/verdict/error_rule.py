"""The error rule: how far outputs may be from a reference of higher precision. Pure.

A side that declares that it rounds what it computes to a coarse format, such as keys and values to fp8, has more room. A number near the
middle between two of the format's, which are a step D apart, is rounded up by one computation and down by another that is as exact. Numbers
that are off by e (RMS) go the other way in a share of 0.8 e / D, and are then off by D: sqrt(0.8 e D). The step is sqrt(12) times what
rounding loses, l, and so that is 1.7 sqrt(e l). Two roundings that have nothing in common are no further apart than sqrt(2) l. Layers carry
what is lost and what is off to the outputs alike: there e is the error of the baseline, and l what the references differ by. Where e is so
small that hardly a number goes the other way, it is a matter of chance which ones do: a few of them are allowed always.
"""

from __future__ import annotations

import numpy as np

from evbench.results import Grade, Mode
from evbench.verdict.findings import Array, Axes, Finding, locate

WHOLE = {"float32": 2.0, "bfloat16": 3.0}
"""Factor on the baseline's own error that the RMS error of the whole may reach. Equal computations came to 1.0 and 2.1: in bfloat16,
attention that is written out rounds its probabilities, and a fused one does not."""
ROW = {"float32": 4.0, "bfloat16": 6.0}
"""Factor for one row: of thousands, some are by chance as far away (2.8 and 4.6 seen)."""
ELEMENT = 10.0
"""Factor for the max abs error in a row: means and products that are exchanged came to 3.2, attention that is written out once to 6.3,
where the baseline's largest error in the row was small by chance; planted faults to hundreds."""
TOLERANCES = {"float32": 1e-5, "bfloat16": 1e-3}
"""Added to each, relative to the RMS of the reference: where the baseline has no error at all, last bits are allowed."""
RULES = ("RMS error", "RMS error, worst row", "max abs error")
"""Of the whole, of a row, of an element. None of them warns: beyond its threshold each fails."""
OWN_ERROR = "relative error against the reference"
"""The rule for the baseline alone."""
MOST_OWN = 0.3
"""Maximum of the baseline's own error, relative to the RMS of the reference. Random weights amplify the rounding of pixels."""


EITHER_WAY, APART = 2.76, 2.0
"""Squares of the two factors: 0.8 sqrt(12), and 2."""
COARSE = "bfloat16"
"""Type whose factors hold for it: by chance such errors came to 2.2 times what is reckoned, in bfloat16 and float32."""
FEW = 4e-4
"""Least, in the square of what is lost. One of N numbers makes 12 / N of it: 3e-4 of the 40,000 keys and values of the smallest models."""


def rounded_either_way(own: Array | float, lost: Array | float) -> Array:
    """Square of the error by roundings that go either way, in what is in the unit of a square (such as KL divergence) as it is.

    Args:
        own: of the baseline, the square of its error, or its divergence.
        lost: what the declared format loses, in the same unit.
    """
    own, lost = np.maximum(own, 0.0), np.maximum(lost, 0.0)  # a divergence of nearly nothing may come out below
    return np.asarray(np.clip(EITHER_WAY * np.sqrt(own * lost), FEW * lost, APART * lost))


class ErrorRule:
    """The error rule of one stage: the baseline's own error against the reference, and thresholds relative to it."""

    def __init__(
        self, stage: str, axes: Axes, expected: Array, repeat: Array, reference: Array, dtype: str, rounded: Array | None = None
    ) -> None:
        """`rounded`: what the side to judge loses by a format that it declares to round to what it computes. None: it declares none."""
        self._stage, self._axes, self._reference = stage, axes, reference
        self._size = float(np.sqrt(np.mean(reference**2)))
        tolerance = TOLERANCES[dtype] * self._size
        errors = (expected - reference, repeat - reference)
        own = np.maximum(*(_rms(error, axes) for error in errors))
        largest = np.maximum(*(_max_abs(error, axes) for error in errors))
        self._own = max(float(np.sqrt(np.mean(error**2))) for error in errors)
        # A row in which the baseline happens to be exact would fail everybody else: the median row is its minimum.
        of_row, of_element = np.maximum(own, np.median(own)), np.maximum(largest, np.median(largest))
        whole, row, element = np.asarray(WHOLE[dtype] * self._own), ROW[dtype] * of_row, ELEMENT * of_element
        if rounded is not None:
            lost, most = _rms(rounded, axes), _max_abs(rounded, axes)
            whole = _wider(whole, WHOLE[COARSE], self._own, np.sqrt(np.mean(rounded**2)))
            row = _wider(row, ROW[COARSE], of_row, np.maximum(lost, np.median(lost)))
            element = _wider(element, ELEMENT, of_element, np.maximum(most, np.median(most)))
        self._whole_threshold = float(whole) + tolerance
        self._row_threshold = row + tolerance
        last_bits = float(np.abs(_rounded(_rounded(reference + 0.3, dtype) - 0.3, dtype) - reference).max())
        self._max_threshold = element + 2 * last_bits

    def of_baseline(self) -> Finding:
        """A baseline that is far from the reference would let anything pass."""
        value = self._own / self._size if self._size else 0.0
        grade: Grade = "pass" if value <= MOST_OWN else "fail"
        return Finding(self._stage, "baseline-repeat", OWN_ERROR, grade, value, MOST_OWN)

    def judge(self, mode: Mode, actual: Array) -> list[Finding]:
        error = actual - self._reference
        whole = float(np.sqrt(np.mean(error**2)))
        grade: Grade = "pass" if whole <= self._whole_threshold else "fail"
        of_whole, of_row, of_element = RULES
        return [
            Finding(self._stage, mode, of_whole, grade, whole, self._whole_threshold),
            self._worst(mode, of_row, _rms(error, self._axes), self._row_threshold, None),
            self._worst(mode, of_element, _max_abs(error, self._axes), self._max_threshold, error),
        ]

    def _worst(self, mode: Mode, rule: str, values: Array, thresholds: Array, error: Array | None) -> Finding:
        row = np.unravel_index(int(np.argmax(values / thresholds)), values.shape)
        inside = () if error is None else np.unravel_index(int(np.abs(error[row]).argmax()), error[row].shape)
        beyond = int((~(values <= thresholds)).sum())
        grade: Grade = "fail" if beyond else "pass"
        detail = f"{beyond} of {values.size} rows" if beyond else ""
        location = locate(self._axes, (*row, *inside))
        return Finding(self._stage, mode, rule, grade, float(values[row]), float(thresholds[row]), location, detail)


def _wider(threshold: Array, factor: float, own: Array | float, lost: Array | float) -> Array:
    """With `factor` times the error by roundings that go either way: see `rounded_either_way`."""
    return np.asarray(np.sqrt(threshold**2 + factor**2 * rounded_either_way(np.square(own), np.square(lost))))


def _row_axes(axes: Axes) -> tuple[int, ...]:
    """Axes within a row of what is compared: a frame or event image has three, the vector of a token or position is one."""
    return tuple(range(1, len(axes))) if "row" in axes else (len(axes) - 1,)


def _rms(error: Array, axes: Axes) -> Array:
    return np.asarray(np.sqrt(np.mean(error**2, axis=_row_axes(axes))))


def _max_abs(error: Array, axes: Axes) -> Array:
    return np.asarray(np.abs(error).max(axis=_row_axes(axes)))


def _rounded(values: Array, dtype: str) -> Array:
    """To the nearest value that the type holds; ties in bfloat16 to even."""
    single = values.astype(np.float32)
    if dtype == "bfloat16":
        bits = single.view(np.uint32)
        single = ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).astype(np.uint32).view(np.float32)
    return single.astype(np.float64)
