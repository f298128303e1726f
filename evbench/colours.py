"""Luma and colour difference to RGB, by the two matrices that video uses. ITU-R BT.601 and BT.709, section 3."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
BT601, BT709 = (0.299, 0.114), (0.2126, 0.0722)
"""Weights of red and blue in luma."""


Affine = npt.NDArray[np.float64]
"""[3, 4]: a matrix, and in the last column what is added."""


def to_rgb(red: float, blue: float) -> Matrix:
    """Matrix of (Y, Cb, Cr) -> (R, G, B), full scale."""
    green = 1 - red - blue
    return np.array(
        [
            [1, 0, 2 * (1 - red)],
            [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
            [1, 2 * (1 - blue), 0],
        ]
    )


def conversion(meant: tuple[float, float], made: tuple[float, float]) -> Matrix:
    """Matrix of RGB as one standard makes it -> as the other makes it, of the same video."""
    return np.asarray(to_rgb(*meant) @ np.linalg.inv(to_rgb(*made)))
