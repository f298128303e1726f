"""The stream of an event camera: where, when and which way a pixel's brightness changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class EventStream:
    """In order of time."""

    x: npt.NDArray[np.uint16]
    """[events]: columns, from the left."""
    y: npt.NDArray[np.uint16]
    """[events]: rows, from the top."""
    t: npt.NDArray[np.int64]
    """[events]: microseconds."""
    p: npt.NDArray[np.uint8]
    """[events]: 1 brighter, 0 darker."""
    sensor: tuple[int, int] | None
    """Height and width of the camera, where the file holds them."""
