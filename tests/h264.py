"""H.264 clips in any container."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np


def write(path: Path, pictures: Sequence[np.ndarray], options: dict[str, str]) -> None:
    """Write a clip of 20 frames a second.

    Args:
        pictures: each [height, width, 3] RGB, uint8, all of one size.
        options: of FFmpeg's libx264.
    """
    with av.open(path, "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=20, options=options)
        (stream.height, stream.width), stream.pix_fmt = pictures[0].shape[:2], "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def encode(path: Path, options: str, *, width: int = 64, height: int = 48, frames: int = 40) -> Path:
    """Write a clip of noise that moves, by x264 with its own options. Each of its pictures needs those that it refers to."""
    noise = np.random.default_rng(0).integers(0, 256, (height + frames, width + frames, 3), np.uint8)
    moved = [noise[place : place + height, place // 2 : place // 2 + width] for place in range(frames)]
    write(path, [np.ascontiguousarray(picture) for picture in moved], {"preset": "veryfast", "x264-params": f"b-adapt=0:{options}"})
    return path
