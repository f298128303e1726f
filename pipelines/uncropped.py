"""Video whose frames are shown as large as they are coded.

A codec codes whole blocks: 1080 rows are coded as 1088, of which a player leaves out 8. NVIDIA DALI keeps decoders of NVDEC for the next
clip of the same size, but looks for them by the coded size and files them by the shown one (dali/operators/video/frames_decoder_gpu.cc,
NVDECCache): where the two differ it makes a decoder for each clip, which takes longer than decoding one, and keeps a hundred of them.
Without the cropping it finds its decoder again, and the rows are cut off from its output.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.video.stream import VideoStream

from evbench.errors import UserError
from evbench.pipelines.video import opened

FILTERS = {"h264": "h264_metadata", "hevc": "hevc_metadata"}
"""Codec -> FFmpeg's filter that can leave the cropping out of its headers."""

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
    headers = bytes(stream.codec_context.extradata or b"")
    if headers in _known:
        return _known[headers]
    # A decoder of its own: the one of a container takes the container's word for the size.
    decoder = av.VideoCodecContext.create(stream.codec_context.name, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    if headers:
        decoder.extradata = headers
    with opened(path) as again:
        frame = next((frame for packet in again.demux(again.streams.video[0]) for frame in decoder.decode(packet)), None)
        if frame is None:
            raise UserError(f"{path}: no frame of it can be decoded; give a clip that is whole")
    found = Coded(decoder.coded_height, decoder.coded_width, decoder.pix_fmt or "unknown", int(frame.color_range) == FULL)
    if headers:  # else each frame has its own
        _known[headers] = found
    return found


def uncropped(container: InputContainer, packets: Sequence[av.Packet[Any]], coded: Coded) -> bytes:
    """The video stream as an MP4 without cropping at the right and at the bottom. No frame is encoded again.

    Args:
        packets: those of the stream that are kept. They are used up.
    """
    stream = container.streams.video[0]
    made = io.BytesIO()
    with av.open(made, "w", format="mp4") as target:
        copy = target.add_stream_from_template(stream)
        headers = BitStreamFilterContext(f"{FILTERS[stream.codec_context.name]}=crop_right=0:crop_bottom=0", stream, copy)
        copy.codec_context.height, copy.codec_context.width = coded.height, coded.width
        for changed in _filtered(headers, packets):
            changed.stream = copy
            target.mux(changed)
    return made.getvalue()


def _filtered(headers: BitStreamFilterContext, packets: Sequence[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
    for packet in (*packets, None):
        yield from headers.filter(packet)
