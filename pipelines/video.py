"""MP4 -> the frames a model is given. Every decoder has the same signature and returns the same frames."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer

from evbench.errors import UserError

if TYPE_CHECKING:
    import torch

Pixels = npt.NDArray[np.uint8]

CONTAINERS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg"
"""Demuxers a file may select. Others (playlists, image lists) make FFmpeg open further files by what the first one says."""


def inclusive(total: int, count: int) -> list[int]:
    """`count` evenly spaced frames from the first to the last: 0 2 5 8 10 13 16 19 of 20."""
    return [index * (total - 1) // (count - 1) if count > 1 else 0 for index in range(count)]


def stride(total: int, count: int) -> list[int]:
    """Every (total/count)-th frame, never the last: 0 2 5 7 10 12 15 17 of 20.

    As transformers' Video-LLaVA example does it: np.arange(0, total, total / count).
    """
    return [index * total // count for index in range(count)]


POLICIES: dict[str, Callable[[int, int], list[int]]] = {"inclusive": inclusive, "stride": stride}


@dataclass(frozen=True)
class Frames:
    """Decoded frames, in the order of the policy."""

    pixels: Pixels | torch.Tensor
    """[frames, height, width, 3] RGB, uint8; a tensor where the GPU decoded."""
    indices: tuple[int, ...]
    seconds: tuple[float, ...]
    decoder: str

    def values(self) -> Pixels | torch.Tensor:
        return self.pixels

    def holding(self, values: Pixels) -> Frames:
        return dataclasses.replace(self, pixels=values)


@dataclass(frozen=True)
class Clip:
    """What the container says of a video, without decoding it."""

    seconds: tuple[float, ...]
    """Presentation time of every frame, ascending."""
    colorspace: int
    """Matrix coefficients as in ITU-T H.273: 1 is BT.709, 2 unspecified, 5 and 6 BT.601."""
    height: int
    width: int

    def choose(self, path: Path, count: int, policy: str) -> list[int]:
        """Indices of the frames that the model is given. Raises UserError if there are too few."""
        if len(self.seconds) < count:
            raise UserError(f"{path} has {len(self.seconds)} frames and the model is given {count}; give a longer clip")
        return POLICIES[policy](len(self.seconds), count)


Decoder = Callable[[Path, int, str], Frames]
"""(file, number of frames, policy) -> Frames."""


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """Open a video file. Raises UserError if it is none, or cannot be decoded inside the `with` block."""
    if not path.exists():
        raise UserError(f"{path}: no such file; give a video, such as an MP4")
    if not path.is_file():
        raise UserError(f"{path} is a folder or device; give a video file, such as an MP4")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty; give a video, such as an MP4")
    try:
        # "file:" keeps a colon in the name from being read as a protocol.
        with av.open(f"file:{path}", options={"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}) as container:
            if not container.streams.video:
                raise UserError(f"{path} has no video stream, only {_streams(container)}; give a video, such as an MP4")
            yield container
    except av.error.FFmpegError as error:
        raise UserError(f"{path} is damaged or no video ({error.strerror}); give a video that plays, such as an MP4") from error


def probe(path: Path) -> Clip:
    """Read the container's packets, without decoding.

    Raises:
        UserError: not a video, or it ends before the frames that its header promises.
    """
    with opened(path) as container:
        stream = container.streams.video[0]
        base = float(stream.time_base or 1)
        packets = [packet for packet in container.demux(stream) if packet.size]
        times = sorted((packet.pts or 0) * base for packet in packets if not packet.is_discard)
        # An edit list (a clip that was trimmed without encoding it again) hides frames that the header still counts.
        trimmed = len(times) < len(packets) or bool(times and times[0] < 0)
        if len(times) < stream.frames and not trimmed:
            raise UserError(f"{path} is cut off: its header promises {stream.frames} frames and it holds {len(times)}; copy it again")
        return Clip(tuple(times), int(stream.codec_context.colorspace), stream.codec_context.height, stream.codec_context.width)


def decode_plain(path: Path, count: int, policy: str) -> Frames:
    """PyAV with its default settings: decode the whole clip, then convert the chosen frames."""
    clip = probe(path)
    indices = clip.choose(path, count, policy)
    with opened(path) as container:
        decoded = list(container.decode(video=0))
    _check_complete(path, clip, len(decoded))
    chosen = [decoded[index] for index in indices]
    pixels: Pixels = np.stack([frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False) for frame in chosen])
    return Frames(pixels, tuple(indices), tuple(clip.seconds[index] for index in indices), _decoder())


def decode_threaded(path: Path, count: int, policy: str) -> Frames:
    """PyAV on all cores up to the last frame needed; each chosen frame is converted into place while the next are decoded."""
    clip = probe(path)
    indices = clip.choose(path, count, policy)
    pixels: Pixels | None = None
    conversions: list[Future[None]] = []
    decoded = 0
    with opened(path) as container, ThreadPoolExecutor(os.cpu_count()) as pool:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            if pixels is None:
                pixels = np.empty((count, frame.height, frame.width, 3), np.uint8)
            conversions += [pool.submit(_convert, frame, pixels[slot]) for slot, index in enumerate(indices) if index == decoded]
            decoded += 1
            if decoded > indices[-1]:
                break
        for conversion in conversions:
            conversion.result()
    if pixels is None or decoded <= indices[-1]:
        _check_complete(path, clip, decoded)
    assert pixels is not None
    return Frames(pixels, tuple(indices), tuple(clip.seconds[index] for index in indices), _decoder())


def _convert(frame: av.VideoFrame, target: Pixels) -> None:
    target[:] = frame.to_ndarray(format="rgb24")


def _check_complete(path: Path, clip: Clip, decoded: int) -> None:
    if decoded != len(clip.seconds):
        raise UserError(f"{path} holds {len(clip.seconds)} frames and {decoded} of them can be decoded; give a clip that is whole")


def _decoder() -> str:
    return f"PyAV {importlib.metadata.version('av')}"


def _streams(container: InputContainer) -> str:
    return ", ".join(stream.type for stream in container.streams) or "none"
