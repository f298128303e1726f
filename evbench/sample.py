"""The sample that ships with evbench: one second of a street, as an MP4 and as five event images.

`python -m evbench.sample FOLDER` draws it again. The scene is a function of time and resolution, so that the video (1440x1080)
and the event camera (640x480) watch the same street.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from PIL import Image

Pixels = npt.NDArray[np.uint8]

DATA = Path(__file__).parent / "data"
CLIP = DATA / "street.mp4"
EVENTS = DATA / "street-events"

FRAMES = 20
FRAMES_PER_SECOND = 20
EVENT_IMAGES = 5
EVENT_STEPS = 200
"""Views the event camera takes of the second: one every 5 ms."""
CONTRAST_THRESHOLD = 0.2
"""Change of log intensity that makes an event. Model: Rebecq et al., ESIM, CoRL 2018."""


def draw(seconds: float, width: int, height: int) -> Pixels:
    """The street at a moment. Returns [height, width, 3] RGB."""
    x = np.linspace(0, 4 / 3, width, dtype=np.float32)[None, :]  # the picture is 4/3 wide and 1 high
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = np.array([120, 165, 215]) + y[..., None] * 110  # sky, brighter towards the horizon

    def paint(mask: npt.NDArray[np.bool_], colour: tuple[int, int, int]) -> None:
        picture[np.broadcast_to(mask, (height, width))] = colour

    drift = 0.15 * seconds
    paint(y > 0.42 + 0.05 * np.sin(5 * (x + drift)) + 0.02 * np.sin(17 * (x + drift)), (70, 105, 75))
    windows = ((x + 2 * drift) * 24 % 1 < 0.5) & (y * 26 % 1 < 0.45)
    house = (np.floor((x + 2 * drift) * 2.5) % 2 == 0) & (y > 0.26) & (y < 0.6)
    paint(house, (150, 120, 100))
    paint(house & windows, (60, 65, 80))
    paint(y > 0.6, (85, 85, 90))
    depth = np.maximum(y - 0.6, 1e-3)
    paint((y > 0.6) & (((2.2 * seconds + 0.12 / depth) % 1) < 0.5) & (np.abs(x - 0.67) < 0.05 * depth), (235, 235, 225))

    def vehicle(centre: float, ground: float, size: float, colour: tuple[int, int, int], cabin: tuple[float, float]) -> None:
        paint((np.abs(x - centre) < size) & (y > ground - 0.45 * size) & (y < ground), colour)
        paint(
            (x > centre + cabin[0] * size) & (x < centre + cabin[1] * size) & (y > ground - 0.9 * size) & (y < ground - 0.4 * size), colour
        )
        for side in (-0.55, 0.55):
            paint((x - centre - side * size) ** 2 + (y - ground) ** 2 < (0.19 * size) ** 2, (25, 25, 28))

    vehicle(1.05 - 0.55 * seconds, 0.72, 0.13, (90, 130, 235), (-0.95, -0.2))  # a blue truck drives to the left
    vehicle(0.25 + 0.75 * seconds, 0.86, 0.16, (225, 60, 50), (-0.5, 0.5))  # a red car passes it to the right
    return np.clip(picture, 0, 255).astype(np.uint8)


def write_clip(path: Path, width: int = 1440, height: int = 1080) -> None:
    """Encode the second as H.264, 4:2:0, BT.709 limited range, and tag it as that."""
    with av.open(path, "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"crf": "23", "preset": "slow"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        for index in range(FRAMES):
            rgb = av.VideoFrame.from_ndarray(draw(index / FRAMES_PER_SECOND, width, height), format="rgb24")
            yuv = rgb.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
            yuv.pts = index
            container.mux(stream.encode(yuv))
        container.mux(stream.encode())


def watch_events(width: int = 640, height: int = 480) -> npt.NDArray[np.int64]:
    """What an event camera sees of the second: rows of (x, y, polarity) in order of time, [events, 3]."""

    def log_intensity(step: int) -> npt.NDArray[np.float64]:
        grey = draw(step / EVENT_STEPS, width, height) @ np.array([0.299, 0.587, 0.114])
        return np.asarray(np.log(grey + 10))

    reference = log_intensity(0)
    events = []
    for step in range(1, EVENT_STEPS + 1):
        difference = log_intensity(step) - reference
        steps = np.trunc(difference / CONTRAST_THRESHOLD)
        y, x = np.nonzero(steps)
        events.append(np.stack([x, y, steps[y, x] > 0], axis=1))
        reference += steps * CONTRAST_THRESHOLD
    return np.concatenate(events)


def write_event_images(folder: Path, width: int = 640, height: int = 480) -> None:
    """Render the events in five slices of equal count: white ground, blue darker, red brighter, the last event wins.

    Source: XduSyL/EventGPT:common/common.py.
    """
    events = watch_events(width, height)
    folder.mkdir(parents=True, exist_ok=True)
    bounds = [index * (len(events) // EVENT_IMAGES) for index in range(EVENT_IMAGES)] + [len(events)]
    for index, (start, end) in enumerate(pairwise(bounds)):
        image = np.full((height, width, 3), 255, np.uint8)
        x, y, polarity = events[start:end].T
        image[y, x] = np.array([[0, 0, 255], [255, 0, 0]], np.uint8)[polarity]  # numpy keeps the last of equal indices
        Image.fromarray(image).save(folder / f"{index}.png", optimize=True)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_clip(folder / CLIP.name)
    write_event_images(folder / EVENTS.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
