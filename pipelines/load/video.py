"""MP4 -> the frames that a model gets. All decoders have one signature, and return equal frames."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.stream import VideoStream

from evbench.colours import Affine
from evbench.errors import UserError, nearest
from evbench.machine import cores
from evbench.pipelines.load.streams import (
    Demuxed,
    clip_stream,
    empty_chunks,
    encode_again,
    is_whole_avi,
    other_kind,
    packets_of,
    stream_kinds,
    video_stream,
)  # fmt: skip

if TYPE_CHECKING:
    import torch

Pixels = npt.NDArray[np.uint8]

CONTAINERS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg"
"""Demuxers a file may select. Others (playlists, image lists) make FFmpeg open more files, named by the first one."""
MOST_BYTES = 2**32
"""Of the frames that are picked of a clip, decoded: eight of 8192x4320 take a fifth."""
SKIM = {"skip_frame": "all"}
"""Option for opening a file: otherwise FFmpeg decodes the first frame to find its pixel format, which takes most of the time."""


def inclusive(total: int, count: int) -> list[int]:
    """`count` evenly spaced frames from the first to the last: 0 2 5 8 10 13 16 19 of 20."""
    return [index * (total - 1) // (count - 1) if count > 1 else 0 for index in range(count)]


def stride(total: int, count: int) -> list[int]:
    """Every (total/count)-th frame, never the last: 0 2 5 7 10 12 15 17 of 20.

    As transformers' Video-LLaVA example does it: np.arange(0, total, total / count).
    """
    return [index * total // count for index in range(count)]


POLICIES: dict[str, Callable[[int, int], list[int]]] = {"inclusive": inclusive, "stride": stride}


def require_policy(policy: str) -> None:
    """Raises UserError if there is no such frame policy."""
    if policy not in POLICIES:
        raise UserError(f"unknown --frame-policy {policy!r}; {nearest(policy, list(POLICIES))}")


@dataclass(frozen=True)
class Frames:
    """Decoded frames, in the order of the policy."""

    pixels: Pixels | torch.Tensor
    """[frames, height, width, 3] RGB, uint8; a tensor where the GPU decoded."""
    indices: tuple[int, ...]
    seconds: tuple[float, ...]
    decoder: str
    repair: Affine | None = None
    """RGB of the pixels -> as PyAV converts it, where the decoder converts in another way. None: they are right."""
    beside: Any = None
    """What a drafting model of another kind of input was loaded in the same stage: see evbench.pipelines.event_drafts. None without one."""

    def __len__(self) -> int:
        return len(self.indices)

    def values(self) -> Pixels | torch.Tensor:
        return self.pixels if self.repair is None else mixed(self.pixels, self.repair)

    def each(self) -> tuple[Pixels | torch.Tensor, ...]:
        """Every frame, [height, width, 3] uint8."""
        return tuple(self.values())

    def batches(self) -> Iterator[Pixels | torch.Tensor]:
        """All frames at once, which are of one size: see evbench.pipelines.preprocess.preprocessors.Images."""
        yield self.values()

    def raw_batches(self) -> Iterator[tuple[Pixels | torch.Tensor, Affine | None]]:
        """All frames at once as they were decoded, and the repair of their colours."""
        yield self.pixels, self.repair

    def holding(self, values: Pixels) -> Frames:
        return dataclasses.replace(self, pixels=values, repair=None)


def mixed(pixels: Pixels | torch.Tensor, repair: Affine) -> torch.Tensor:
    """Colours repaired and rounded: [..., 3] uint8 -> [..., 3] uint8."""
    import torch

    colours = torch.as_tensor(pixels)
    affine = torch.from_numpy(repair).to(colours.device, torch.float32)
    repaired: torch.Tensor = colours.float() @ affine[:, :3].T + affine[:, 3]
    return repaired.round_().clamp_(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class Clip:
    """What the container says about a video, without decoding it."""

    seconds: tuple[float, ...]
    """Presentation time of every frame that is shown, ascending."""
    ticks: tuple[int, ...]
    """These times in the stream's time base, as the decoder reports them."""
    keys: tuple[bool, ...]
    """Which of them are key frames."""
    hidden: int
    """Coded frames that are not shown: an edit list leaves them out."""
    leading: int
    """Frames that are shown before the first coded one: what they refer to is not in the file."""
    codec: str
    colorspace: int
    """Matrix coefficients as in ITU-T H.273: 1 is BT.709, 2 unspecified, 5 and 6 BT.601."""
    height: int
    width: int
    stream: int
    """Place of the video among the file's streams."""
    streams: int
    """Video streams of the file, of which it is the one that FFmpeg chooses."""
    empty: int
    """Frames that the header counts and that hold no picture."""

    def choose(self, path: Path, count: int, policy: str) -> list[int]:
        """Indices of the frames that the model gets. Raises UserError if there are too few, or they are too large."""
        if len(self.seconds) < count:
            raise UserError(f"{path} has {len(self.seconds)} frames and the model is given {count}; give a longer clip, or fewer --frames")
        if (size := 3 * count * self.height * self.width) > MOST_BYTES:
            pictures = f"{count} frames of {self.width}x{self.height} pixels take {size / 2**30:.1f} GiB, more than {MOST_BYTES // 2**30}"
            raise UserError(f"{path}: {pictures}; give fewer, or a smaller clip")
        return POLICIES[policy](len(self.seconds), count)


Decoder = Callable[[Path, int, str], Frames]
"""(file, number of frames, policy) -> Frames."""
DecodeMany = Callable[[Sequence[Path], int, str], list[Frames]]
"""(files, number of frames, policy) -> Frames of each, in one call: method `many` of a decoder that can."""


@contextmanager
def opened(path: Path, **options: str) -> Iterator[InputContainer]:
    """Open a video file. Raises UserError if it is none, or cannot be decoded inside the `with` block.

    Args:
        options: of FFmpeg's demuxer, and of its decoders for what they decode while the file is opened.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file; give a video, such as an MP4")
    if not path.is_file():
        raise UserError(f"{path} is a folder or device; give a video file, such as an MP4")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty; give a video, such as an MP4")
    is_open = False
    try:
        # "file:" keeps a colon in the name from being read as a protocol.
        limits = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
        with av.open(f"file:{path}", options=limits | options) as container:
            is_open = True
            if not container.streams.video:
                raise UserError(f"{path} has no video stream, only {stream_kinds(container)}; give a video, such as an MP4")
            yield container
    except UnicodeDecodeError as error:
        renewed = f"ffmpeg -i {path.name} -map_metadata -1 -c copy new.mp4"
        raise UserError(f"{path} has metadata that is not UTF-8; write it anew without: {renewed}") from error
    except av.error.FFmpegError as error:
        # FFmpeg says "invalid argument" where it knows the format, and may not read it.
        unlisted = "of another format" if isinstance(error, av.error.ArgumentError) and not is_open else None
        if (kind := other_kind(path) or unlisted) is not None:
            raise UserError(f"{path} is {kind}, and videos in {CONTAINERS.replace(',', ', ')} are taken; {encode_again(path)}") from error
        raise UserError(f"{path} is damaged or no video ({error.strerror}); give a video that plays, such as an MP4") from error


def probe(path: Path) -> Clip:
    """Read the container's packets, without decoding.

    Raises:
        UserError: not a video, or it ends before the frames that its header promises, or it does not say when its frames are shown.
    """
    with opened(path, **SKIM) as container:
        return describe(path, clip_stream(path, container))


def describe(path: Path, demuxed: Demuxed) -> Clip:
    """What container and packets say. Raises as `probe` does."""
    stream, packets = demuxed.stream, demuxed.packets
    base = float(stream.time_base or 1)
    shown = sorted((_time(path, packet), packet.is_keyframe) for packet in packets if not packet.is_discard)
    ticks = tuple(tick for tick, _ in shown)
    # An edit list (a clip that was trimmed without encoding it again) hides frames that the header still counts.
    plain = len(packets) == len(shown) and stream.frames in (0, len(packets))  # 0: the container has no such header
    held, empty = (len(packets), 0) if plain else _coded_frames(path, stream)
    if held + empty < stream.frames:
        raise UserError(f"{path} is cut off: its header promises {stream.frames} frames and it holds {held}; copy it again")
    if len(set(ticks)) < len(ticks):
        raise UserError(f"{path} shows several frames at the same time; {encode_again(path)}")
    return Clip(
        seconds=tuple(tick * base for tick in ticks),
        ticks=ticks,
        keys=tuple(key for _, key in shown),
        hidden=max(0, held - len(shown)) or len(packets) - len(shown),
        leading=sum(tick < _time(path, packets[0]) for tick in ticks) if packets and not packets[0].is_discard else 0,
        codec=stream.codec_context.name,
        colorspace=int(stream.codec_context.colorspace),
        height=stream.codec_context.height,
        width=stream.codec_context.width,
        stream=stream.index,
        streams=demuxed.streams,
        empty=empty,
    )


def _coded_frames(path: Path, stream: VideoStream) -> tuple[int, int]:
    """How many frames the file holds, whatever its edit list says, and how many of those that its header counts are empty."""
    with opened(path, ignore_editlist="1", **SKIM) as container:
        again = container.streams[stream.index]
        assert isinstance(again, VideoStream)
        held = sum(packet.size > 0 for packet in packets_of(container, again))
        if is_whole_avi(path):
            return held, max(0, stream.frames - held)
        return held, empty_chunks(again)


def _time(path: Path, packet: av.Packet[Any]) -> int:
    if packet.pts is None:
        raise UserError(f"{path} does not say when each frame is shown; {encode_again(path)}")
    return packet.pts


def shown_frames(path: Path, clip: Clip, container: InputContainer) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode, and yield index and frame as a player shows them.

    Raises:
        UserError: a frame that should be shown cannot be decoded, or is not at the time that the container says, or is of another
            size than the first.
    """
    stream = video_stream(container, clip.stream)
    base = float(stream.time_base or 1)
    index = -1
    for index, frame in enumerate(frame for packet in packets_of(container, stream) for frame in packet.decode()):
        if index == len(clip.ticks) or frame.pts != clip.ticks[index] or frame.is_corrupt:
            wanted = f"frame {index} at {clip.seconds[index]:.3f} s" if index < len(clip.ticks) else "the end"
            got = (
                "one that is damaged"
                if frame.is_corrupt
                else "one without a time"
                if frame.pts is None
                else f"one at {frame.pts * base:.3f} s"
            )
            raise UserError(f"{path}: {wanted} does not come out of the decoder, which gives {got}; {encode_again(path)}")
        if (frame.height, frame.width) != (clip.height, clip.width):
            size = f"frame {index} is of {frame.width}x{frame.height} pixels and the clip of {clip.width}x{clip.height}"
            raise UserError(f"{path}: {size}; {encode_again(path)}")
        yield index, frame
    if index + 1 < len(clip.ticks):
        raise UserError(f"{path} holds {len(clip.ticks)} frames and {index + 1} of them can be decoded; give a clip that is whole")


def decode_plain(path: Path, count: int, policy: str) -> Frames:
    """PyAV with its default settings, but for streams.STRICT: decode the whole clip, then convert the chosen frames."""
    clip = probe(path)
    indices = clip.choose(path, count, policy)
    wanted = set(indices)
    with opened(path) as container:
        chosen = {index: frame for index, frame in shown_frames(path, clip, container) if index in wanted}
    pixels: Pixels = np.stack([chosen[index].to_ndarray(format="rgb24").astype(np.uint8, copy=False) for index in indices])
    return Frames(pixels, tuple(indices), tuple(clip.seconds[index] for index in indices), _pyav())


def decode_threaded(path: Path, count: int, policy: str) -> Frames:
    """PyAV on all cores up to the last frame needed; each chosen frame is converted into place while the next are decoded."""
    clip = probe(path)
    indices = clip.choose(path, count, policy)
    pixels: Pixels = np.empty((count, clip.height, clip.width, 3), np.uint8)
    conversions: list[Future[None]] = []
    with opened(path, **SKIM) as container, ThreadPoolExecutor(os.cpu_count()) as pool:
        stream = video_stream(container, clip.stream)
        stream.thread_type = "AUTO"
        if not stream.codec_context.thread_count and cores.usable() == 1:
            stream.codec_context.thread_count = 2  # on one core FFmpeg starts no thread by default, and this would be `plain` in disguise
        for decoded, frame in shown_frames(path, clip, container):
            conversions += [pool.submit(_convert, frame, pixels[slot]) for slot, index in enumerate(indices) if index == decoded]
            if decoded == indices[-1]:
                break
        for conversion in conversions:
            conversion.result()
    return Frames(pixels, tuple(indices), tuple(clip.seconds[index] for index in indices), _pyav())


def _convert(frame: av.VideoFrame, target: Pixels) -> None:
    target[:] = frame.to_ndarray(format="rgb24")


def _pyav() -> str:
    return f"PyAV {importlib.metadata.version('av')}"
