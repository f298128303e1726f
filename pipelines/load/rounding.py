"""How far FFmpeg's conversion to RGB is from the standard: it rounds down in several steps, and a picture gets about a level darker."""

from __future__ import annotations

import functools

import av
import numpy as np
import numpy.typing as npt

from evbench.colours import to_rgb

HEIGHT, WIDTH, STRIPE = 64, 512, 16
"""Of the picture that is converted, and of a stripe of one colour difference, in its own samples: not interpolated inside."""
LUMA, CHROMA = (80, 180), (104, 152)
"""In 8 bits. No colour of these is clipped."""


@functools.cache
def rounding(pixel_format: str, matrix: tuple[float, float], colorspace: int, full: bool) -> npt.NDArray[np.float64]:
    """[3], levels of red, green and blue: the mean of what PyAV makes, less what is right.

    Args:
        pixel_format: FFmpeg's name of one with 4:2:0 planes.
        matrix: weights of red and blue in luma.
        colorspace: the same by ITU-T H.273.
        full: whether levels go from 0 to 255, and not from 16 to 235.
    """
    random = np.random.default_rng(0)
    frame = av.VideoFrame(WIDTH, HEIGHT, pixel_format)
    frame.colorspace, frame.color_range = colorspace, 2 if full else 1
    finer = 2 ** (frame.format.components[0].bits - 8)
    luma = random.integers(LUMA[0] * finer, LUMA[1] * finer, (HEIGHT, WIDTH))
    stripes = random.integers(CHROMA[0] * finer, CHROMA[1] * finer, (2, HEIGHT // 2, WIDTH // 2 // STRIPE))
    stripes[:] = stripes[:, :1]  # upright
    chroma = stripes.repeat(STRIPE, axis=2)
    for plane, samples in zip(frame.planes, (luma, *chroma), strict=True):
        kind = np.uint8 if finer == 1 else np.uint16
        filled = np.zeros((plane.height, plane.line_size // np.dtype(kind).itemsize), kind)
        filled[:, : samples.shape[1]] = samples
        plane.update(filled.tobytes())
    converted = frame.to_ndarray(format="rgb24").astype(np.float64)
    black, steps = (0, (255, 255)) if full else (16, (219, 224))
    right = np.stack([(luma / finer - black) * 255 / steps[0], *((chroma / finer - 128) * 255 / steps[1]).repeat(2, 1).repeat(2, 2)], -1)
    return np.asarray((converted - right @ to_rgb(*matrix).T).mean(axis=(0, 1)))
