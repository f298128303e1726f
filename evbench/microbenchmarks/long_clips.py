"""Clips as long as one likes, of the pictures of a short one: for what a frame takes where set-up no longer counts."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
from av.video.frame import PictureType

from evbench.errors import UserError
from evbench.pipelines.load.video import opened, probe, shown_frames
from evbench.scenes.dataset import ENCODER, FRAMES_PER_SECOND

CODEC = "h264"
"""FFmpeg's name of what the long clips are coded in."""
LIKE_THE_CLIP, WITHOUT_B_FRAMES = "coded like the clip", "without B-frames"
CODINGS: dict[str, dict[str, str]] = {LIKE_THE_CLIP: {}, WITHOUT_B_FRAMES: {"bf": "0"}}
"""Kind of long clip -> options of the encoder beside those of scenes."""
PICTURES = 32
"""Of the clip that the long ones show, at most."""


def make(folder: Path, pictures: Sequence[av.VideoFrame], lengths: Sequence[int]) -> dict[str, dict[int, Path]]:
    """Kind of CODINGS -> number of frames -> clip in the folder."""
    long = {coding: {length: folder / f"{number}-{length}.mp4" for length in lengths} for number, coding in enumerate(CODINGS)}
    for coding, clips in long.items():
        for length, path in clips.items():
            write_long(path, pictures, length, CODINGS[coding])
    return long


def pictures_of(path: Path) -> list[av.VideoFrame]:
    """The first PICTURES of a clip. Raises UserError if it is of another codec than the long clips are made in."""
    clip = probe(path)
    if clip.codec != CODEC:
        raise UserError(f"{path} is {clip.codec}, and the long clips that a frame's time is taken from are H.264; give a clip of H.264")
    with opened(path) as container:
        return [frame for _, frame in islice(shown_frames(path, clip, container), PICTURES)]


def write_long(path: Path, pictures: Sequence[av.VideoFrame], length: int, options: dict[str, str]) -> None:
    """A clip of so many frames that shows the pictures forwards and backwards, with one key frame."""
    first, last = pictures[0], len(pictures) - 1
    with av.open(path, "w") as container:
        one_group = {"g": str(length), "sc_threshold": "0"}
        stream: Any = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options=ENCODER | one_group | options)
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, first.format.name
        stream.codec_context.colorspace, stream.codec_context.color_range = first.colorspace, first.color_range
        for index in range(length):
            place = index % max(2 * last, 1)
            frame = pictures[min(place, 2 * last - place)]
            frame.pts, frame.time_base = index, Fraction(1, FRAMES_PER_SECOND)
            frame.pict_type = PictureType.NONE  # else the encoder would take over that of the clip
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
