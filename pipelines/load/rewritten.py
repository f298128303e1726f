"""The video of a file written anew, without what a decoder does not need. No frame is encoded again.

Without frames: see evbench.pipelines.load.needed. Without cropping: a codec codes whole blocks, 1080 rows as 1088, of which a player
leaves out 8. NVIDIA DALI keeps decoders of NVDEC for the next clip of the same size, but looks for them by the coded size and files them
by the shown one (dali/operators/video/frames_decoder_gpu.cc, NVDECCache): where the two differ it creates a decoder for each clip, which
takes longer than decoding one, and keeps a hundred of them. Without the cropping it finds its decoder again, and the rows are cut off
from its output.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.bitstream import BitStreamFilterContext
from av.video.stream import VideoStream

from evbench.errors import UserError
from evbench.pipelines.load.streams import headers
from evbench.pipelines.load.video import opened

FILTERS = {"h264": "h264_metadata", "hevc": "hevc_metadata"}
"""Codec -> FFmpeg's filter that can leave the cropping out of its headers."""

TAGS = {"h264": "avc1", "hevc": "hvc1"}
"""Of a codec in an MP4. A stream out of another container has a tag of that."""

FULL = 2
"""Of FFmpeg's AVColorRange."""


@dataclass(frozen=True)
class Coded:
    """A picture as it is in the stream."""

    height: int
    width: int
    pixel_format: str
    full: bool
    """Whether levels go from 0 to 255, and not from 16 to 235."""


_known: dict[bytes, Coded] = {}
"""By the headers of a stream: a frame has to be decoded to learn it, once for all clips of one encoder."""


def coded_picture(path: Path, stream: VideoStream) -> Coded:
    """Of a stream that is not read here. Raises UserError if no frame of the file can be decoded."""
    known = headers(stream)
    if known in _known:
        return _known[known]
    # A separate decoder: that of a container reports the container's size.
    decoder = av.VideoCodecContext.create(stream.codec_context.name, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    if known:
        decoder.extradata = known
    with opened(path) as again:
        frame = next((frame for packet in again.demux(again.streams[stream.index]) for frame in decoder.decode(packet)), None)
        if frame is None:
            raise UserError(f"{path}: no frame of it can be decoded; give a clip that is whole")
    found = Coded(decoder.coded_height, decoder.coded_width, decoder.pix_fmt or "unknown", int(frame.color_range) == FULL)
    if known:  # without headers each frame has separate ones
        _known[known] = found
    return found


def rewritten(stream: VideoStream, packets: Sequence[av.Packet[Any]], coded: Coded | None) -> bytes:
    """Some of a video stream's packets as an MP4.

    Args:
        stream: in its container, which is open.
        packets: in order of decoding. They are consumed.
        coded: for frames as large as they are coded, without cropping at the right and at the bottom. None to leave that as it is.

    Raises:
        av.FFmpegError: it cannot be written.
    """
    _add_decode_times(packets)
    output = io.BytesIO()
    with av.open(output, "w", format="mp4") as target:
        copy = target.add_stream_from_template(stream)
        name = "null" if coded is None else f"{FILTERS[stream.codec_context.name]}=crop_right=0:crop_bottom=0"
        changes = BitStreamFilterContext(name, stream, copy)
        if coded is not None:
            copy.codec_context.height, copy.codec_context.width = coded.height, coded.width
        copy.codec_context.codec_tag = TAGS.get(stream.codec_context.name, copy.codec_context.codec_tag)
        for changed in _filtered(changes, packets):
            changed.stream = copy
            target.mux(changed)
    return output.getvalue()


def _add_decode_times(packets: Sequence[av.Packet[Any]]) -> None:
    """Matroska does not: then as late as it can be, each before it is shown."""
    if all(packet.dts is not None for packet in packets):
        return
    shown = [packet.pts for packet in packets if packet.pts is not None]
    in_order = sorted(shown)
    late = max(then - when for then, when in zip(in_order, shown, strict=True))
    for packet, then in zip(packets, in_order, strict=True):
        packet.dts = then - late


def _filtered(changes: BitStreamFilterContext, packets: Sequence[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
    for packet in (*packets, None):
        yield from changes.filter(packet)
