"""Which of a file's video streams is the clip, and whether the file holds all of it."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from evbench.errors import UserError

STRICT = {"strict": "1"}
"""Option of FFmpeg's H.264 decoder. Where a stream does not say over how many frames it is reordered, the decoder begins with what it saw
when the file was opened, and loses frames once there are more. So it waits for as many as the stream's level allows. Where the stream
says it, this changes nothing."""

OTHER_KINDS = {
    b"GIF8": "a GIF",
    b"\x89PNG": "a picture (PNG)",
    b"\xff\xd8\xff": "a picture (JPEG)",
    b"YUV4MPEG2": "raw video (Y4M)",
    b"#EXTM3U": "a playlist",
    b"ffconcat": "a playlist",
    b"\x00\x00\x00\x01": "a stream of H.264 or H.265 without a container, which holds no times",
}
"""First bytes of a file -> what it is."""


@dataclass(frozen=True)
class Demuxed:
    """The clip among the streams of a file."""

    stream: VideoStream
    packets: Sequence[av.Packet[Any]]
    """In order of decoding, without empty ones."""
    streams: int
    """Video streams of the file, covers and previews among them."""


def packets_of(container: InputContainer, *streams: VideoStream) -> Iterator[av.Packet[Any]]:
    """Packets of streams that were there when the file was opened, and an empty one of each at the end.

    Another stream may begin in the middle of a file, such as MPEG-TS. It is left out. PyAV may look for it among those that it knows, once
    it has given all that is asked for here.
    """
    with contextlib.suppress(IndexError):
        yield from container.demux(*streams)


def clip_stream(path: Path, container: InputContainer) -> Demuxed:
    """Read all packets, and choose the stream that FFmpeg chooses.

    FFmpeg looks at the beginning of a file only, where it may have seen one frame of a clip and one picture, and know no better. So what
    turns out to be a single picture is not taken where another stream is none.

    Raises:
        UserError: there is no codec for any.
    """
    packets: dict[int, list[av.Packet[Any]]] = {stream.index: [] for stream in container.streams.video}
    for packet in packets_of(container, *container.streams.video):
        if packet.size:
            packets[packet.stream.index].append(packet)
    decodable = [stream for stream in container.streams.video if getattr(stream, "codec_context", None) is not None]
    if not decodable:
        unknown = "its video is of a codec that PyAV does not know, or has no decoder for"
        raise UserError(f"{path} cannot be decoded: {unknown}; encode it again as H.264 in MP4")
    best = next((stream for stream in decodable if stream is container.streams.best("video")), decodable[0])
    if len(packets[best.index]) == 1:
        best = max(decodable, key=lambda stream: min(len(packets[stream.index]), 2))  # of several the first
    return Demuxed(best, packets[best.index], len(packets))


def video_stream(container: InputContainer, index: int) -> VideoStream:
    """The stream that `clip_stream` chose, in the file opened again, to be decoded."""
    stream = container.streams[index]
    assert isinstance(stream, VideoStream)
    if stream.codec_context.name == "h264":
        stream.codec_context.options = STRICT
    return stream


def headers(stream: VideoStream) -> bytes:
    """The codec's headers (extradata). Empty if the packets carry them."""
    return bytes(stream.codec_context.extradata or b"")


def other_kind(path: Path) -> str | None:
    """What a file is that FFmpeg could read, and that is none of the videos that are taken. None if that is not known."""
    with path.open("rb") as file:
        top = file.read(16)
    return next((kind for begin, kind in OTHER_KINDS.items() if top.startswith(begin)), None)


def empty_chunks(stream: VideoStream) -> int:
    """How many of a stream's chunks hold no picture, by the container's index: a capture writes such for frames that it dropped."""
    return sum(entry.size == 0 for entry in stream.index_entries)


def is_whole_avi(path: Path) -> bool:
    """Whether it is an AVI whose parts are all as long as they say. Its header counts frames that were dropped, and its index may not."""
    size = path.stat().st_size
    with path.open("rb") as file:
        place = 0
        while place + 12 <= size:
            file.seek(place)
            name, length, kind = struct.unpack("<4sI4s", file.read(12))
            if name != b"RIFF" or kind not in (b"AVI ", b"AVIX"):
                break
            place += 8 + length + length % 2
    return 0 < place <= size + 1


def stream_kinds(container: InputContainer) -> str:
    """For a refusal: what a file holds."""
    return ", ".join(stream.type for stream in container.streams) or "none"


def encode_again(path: Path) -> str:
    """For a refusal: what helps."""
    return f"encode it again: ffmpeg -i {path.name} new.mp4"
