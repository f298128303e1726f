"""Twenty small clips that differ in how frames are coded, reordered and stored, each frame with its number as a bar code."""

from __future__ import annotations

import io
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.frame import PictureType

from evbench.inputs.torture import draw

FRAMES, EDGE, RATE = 40, 64, 20
PYRAMID = "bframes=3:b-adapt=0:b-pyramid=normal:ref=4"
"""B-frames that other B-frames refer to: reordered over two frames."""


@dataclass(frozen=True)
class CodedClip:
    name: str
    encoder: str = "libx264"
    options: dict[str, str] = field(default_factory=dict)
    unsaid: bool = False
    """Of H.264: the stream does not say over how many frames it is reordered."""
    without_b: int = 0
    """Frames at the beginning that are no B-frames."""


def _x264(parameters: str) -> dict[str, str]:
    return {"preset": "veryfast", "crf": "18", "x264-params": f"keyint=16:scenecut=0:{parameters}"}


_QUIET_X265 = "log-level=none:pools=none:frame-threads=1"
CLIPS = (
    *(CodedClip(f"unsaid-pyramid.{kind}", options=_x264(PYRAMID), unsaid=True) for kind in ("ts", "mkv", "mp4", "mov", "flv")),
    CodedClip("unsaid-open-gop.ts", options=_x264(f"{PYRAMID}:open-gop=1:keyint=10"), unsaid=True),
    CodedClip("unsaid-open-gop.mkv", options=_x264(f"{PYRAMID}:open-gop=1:keyint=10"), unsaid=True),
    CodedClip("unsaid-late.ts", options=_x264(PYRAMID), unsaid=True, without_b=24),
    CodedClip("unsaid-late.mkv", options=_x264(PYRAMID), unsaid=True, without_b=24),
    CodedClip("unsaid-one.mp4", options=_x264("bframes=1:b-adapt=0"), unsaid=True),
    CodedClip("unsaid-none.ts", options=_x264("bframes=0"), unsaid=True),
    CodedClip("said-pyramid.ts", options=_x264(PYRAMID)),
    CodedClip("said-open-gop.mkv", options=_x264(f"{PYRAMID}:open-gop=1:keyint=10")),
    CodedClip("said-late.mp4", options=_x264(PYRAMID), without_b=24),
    CodedClip(
        "hevc-pyramid.ts",
        "libx265",
        {"preset": "ultrafast", "crf": "18", "x265-params": f"{_QUIET_X265}:keyint=10:bframes=4:b-adapt=0:open-gop=1"},
    ),
    CodedClip("vp9-hidden.mkv", "libvpx-vp9", {"crf": "30", "b": "0", "auto-alt-ref": "1", "lag-in-frames": "12", "cpu-used": "5"}),
    CodedClip("vp8-hidden.webm", "libvpx", {"crf": "20", "b": "200k", "auto-alt-ref": "1", "lag-in-frames": "12", "cpu-used": "5"}),
    CodedClip("av1.mp4", "libsvtav1", {"preset": "12", "crf": "30", "svtav1-params": "lp=1:keyint=16"}),
    CodedClip("mpeg2.ts", "mpeg2video", {"bf": "2", "g": "12", "q": "3"}),
    CodedClip("mpeg4.mkv", "mpeg4", {"bf": "2", "g": "12", "q": "3"}),
)  # fmt: skip


def write(clip: CodedClip, folder: Path) -> Path:
    # In a thread that ends: SVT-AV1 gives the one that calls it the highest priority of real time, if it may, and all that is started
    # from there has it, too.
    with ThreadPoolExecutor(1) as thread:
        content = thread.submit(_encoded, clip).result()
    path = folder / clip.name
    path.write_bytes(without_depth(content) if clip.unsaid else content)
    return path


def _encoded(clip: CodedClip) -> bytes:
    output = io.BytesIO()
    with av.open(output, "w", format={"mkv": "matroska", "ts": "mpegts"}.get(kind := clip.name.split(".")[1], kind)) as container:
        stream: Any = container.add_stream(clip.encoder, rate=RATE, options=clip.options)
        stream.width = stream.height = EDGE
        stream.pix_fmt, stream.codec_context.thread_count = "yuv420p", 1
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(draw(number, EDGE, EDGE), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            if number < clip.without_b:
                frame.pict_type = PictureType.P
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return output.getvalue()


def without_depth(content: bytes) -> bytes:
    """The file, whose H.264 headers no longer say over how many frames the video is reordered (max_num_reorder_frames).

    That stands at their end, in `bitstream_restriction` (ITU-T H.264, E.1.1). Headers keep their length: zeros follow.
    """
    with av.open(io.BytesIO(content)) as container:
        extradata = bytes(container.streams.video[0].codec_context.extradata or b"")
    start = 8 if extradata[:1] == b"\1" else extradata.index(b"\0\0\1\x67") + 3
    end = start + int.from_bytes(extradata[6:8], "big") if start == 8 else extradata.index(b"\0\0\1", start)
    header = extradata[start:end].rstrip(b"\0")
    raw = header.replace(b"\0\0\3", b"\0\0")
    bits = "".join(f"{byte:08b}" for byte in raw).rstrip("0")[:-1]
    numbers = [f"{value:b}".zfill(2 * value.bit_length() - 1) for value in range(1, 20)]  # Exp-Golomb codes of 0 to 18
    ends = (f"1111{motion * 2}{depth}{buffered}" for motion in numbers for depth in numbers[:5] for buffered in numbers)
    (tail,) = filter(bits.endswith, ends)
    bits = bits.removesuffix(tail) + "0" + "1"
    changed = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    escaped = re.sub(rb"\0\0(?=[\0-\3])", lambda _: b"\0\0\3", changed)  # so that nothing looks like the beginning of a unit (7.4.1)
    assert len(escaped) <= len(header) and content.count(header)
    return content.replace(header, escaped.ljust(len(header), b"\0"))
