"""H.264 clips of noise that moves, in any container."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def encode(path: Path, options: str, *, width: int = 64, height: int = 48, frames: int = 40) -> Path:
    """Write a clip by x264 with its own options. Each of its pictures needs those that it refers to."""
    noise = np.random.default_rng(0).integers(0, 256, (height + frames, width + frames, 3), np.uint8)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=20, options={"preset": "veryfast", "x264-params": f"b-adapt=0:{options}"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for place in range(frames):
            picture = np.ascontiguousarray(noise[place : place + height, place // 2 : place // 2 + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path
