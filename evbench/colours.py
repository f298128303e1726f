"""Luma and colour difference to RGB, by the two matrices that video uses. ITU-R BT.601 and BT.709, section 3."""

from __future__ import annotations

from collections.abc import Callable

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


Array = npt.NDArray[np.floating]


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
