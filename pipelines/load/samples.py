"""What a sample of each kind of input is, before anything of it is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from evbench.pipelines.load import event_files, png, video
from evbench.results import EventWindow


class Probed(NamedTuple):
    """The images that a model gets of a sample."""

    images: int
    height: int
    width: int
    streams: int = 1
    """Video streams of the file."""


def is_any(path: Path) -> bool:
    """For the only kind of an option: what a file or folder holds is seen when it is probed."""
    return True


def probe_video(path: Path, frames: int | None, policy: str, window: EventWindow | None) -> Probed:
    """Raises UserError if it is no video, or too short for so many frames."""
    assert frames is not None, "a model that takes videos says how many frames of them"
    clip = video.probe(path)
    clip.choose(path, frames, policy)
    return Probed(frames, clip.height, clip.width, clip.streams)


def probe_images(path: Path, frames: int | None, policy: str, window: EventWindow | None) -> Probed:
    """Raises UserError if an image cannot be read."""
    return Probed(*png.probe(path))


def probe_events(path: Path, frames: int | None, policy: str, window: EventWindow | None) -> Probed:
    """Raises UserError if the file cannot be read, or not so much of it."""
    assert window is not None, "raw events are read in a window"
    return Probed(*event_files.probe(path, window))
