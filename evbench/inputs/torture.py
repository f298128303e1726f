"""Torture clips: small videos, each of which does one thing that decoders get wrong.

    python -m evbench.inputs.torture FOLDER

writes them all, and an index, torture.json, that says of each what is special and at which second each frame is shown. Each frame
carries its own number as a bar code, counted from the first frame that a player shows, so that a decoder can be asked which frame it
returned. The numbers of frames that an edit list hides begin at 60000: such a frame must never come out.
"""

from __future__ import annotations

import binascii
import io
import json
import platform
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from evbench.encoding import from_json, to_json, write_whole
from evbench.errors import UserError

Picture = npt.NDArray[np.uint8]
"""[height, width, 3] RGB."""

INDEX = "torture.json"
HIDDEN = 60_000
"""Number of the first frame that is hidden."""

ROWS, COLUMNS = 4, 8
"""Cells of the bar code: 16 bits of the number, then 16 bits of its check sum, row by row; white is 1."""
BAND = (0.25, 0.75)
"""The bar code's upper and lower edge, as shares of the height. It is as wide as the picture."""
BLACK, WHITE = 96, 160
"""A cell darker than the first is 0, one brighter than the second is 1, and one between them is not read."""
SWATCHES = ((176, 64, 64), (64, 176, 64), (64, 64, 176), (176, 160, 64), (64, 160, 176), (112, 112, 112))
"""Colours of the fields above the bar code, from left to right. All lie inside the limited range of BT.601 and BT.709."""


@dataclass(frozen=True)
class TortureClip:
    """What the index says of a clip."""

    file: str
    special: str
    height: int
    width: int
    seconds: tuple[float, ...]
    """When each frame is shown, ascending. Frames that are hidden are not among them."""


def bar_code(number: int) -> npt.NDArray[np.bool_]:
    """The cells [4, 8] of a number from 0 to 65535.

    The check sum is CRC-16-CCITT (ITU-T V.41, begun with all ones): it finds every error of one, two or three bits and every burst of
    up to 16. All black and all white are no valid codes.
    """
    content = number.to_bytes(2, "big")
    bits = np.frombuffer(content + binascii.crc_hqx(content, 0xFFFF).to_bytes(2, "big"), np.uint8)
    return np.unpackbits(bits).astype(bool).reshape(ROWS, COLUMNS)


def read_bar_code(picture: Picture) -> int | None:
    """The number that a picture [height, width, 3] carries, or None if it carries none, or one that is not certain.

    Only brightness is looked at, in the middle of each cell: chroma subsampling, ten bits, the wrong range or matrix, and a resize do
    not disturb it. Turned pictures are not read.
    """
    height, width = picture.shape[:2]
    if height < 8 * ROWS or width < 4 * COLUMNS:
        return None
    edges = _rows(height), _columns(width)
    cells = np.empty((ROWS, COLUMNS))
    for row, (top, bottom) in enumerate(pairwise(edges[0])):
        for column, (left, right) in enumerate(pairwise(edges[1])):
            below, aside = (bottom - top) // 4, (right - left) // 4
            cells[row, column] = picture[top + below : bottom - below, left + aside : right - aside].mean()
    if ((cells >= BLACK) & (cells <= WHITE)).any():
        return None
    number = int.from_bytes(np.packbits(cells > WHITE)[:2].tobytes(), "big")
    return number if np.array_equal(bar_code(number), cells > WHITE) else None


def draw(number: int, height: int, width: int) -> Picture:
    """A frame: colours above, the bar code in the middle, and below a square that moves over a background that changes."""
    picture = np.empty((height, width, 3), np.uint8)
    top, bottom = _rows(height)[0], _rows(height)[-1]
    for colour, (left, right) in zip(SWATCHES, pairwise(swatch_edges(width)), strict=True):
        picture[:top, left:right] = colour
    for cells, (upper, lower) in zip(bar_code(number), pairwise(_rows(height)), strict=True):
        for white, (left, right) in zip(cells, pairwise(_columns(width)), strict=True):
            picture[upper:lower, left:right] = 235 if white else 20
    picture[bottom:] = 60 + 37 * number % 100
    edge = max(2, (height - bottom) // 2)
    left = 11 * number % (width - edge)
    picture[bottom + edge // 2 : bottom + edge // 2 + edge, left : left + edge] = (200, 200, 40)
    return picture


def swatch_edges(width: int) -> list[int]:
    """Left edges of the colour fields, and the right edge of the last."""
    return [round(width * place / len(SWATCHES)) for place in range(len(SWATCHES) + 1)]


def _rows(height: int) -> list[int]:
    upper, lower = BAND
    return [round(height * (upper + (lower - upper) * place / ROWS)) for place in range(ROWS + 1)]


def _columns(width: int) -> list[int]:
    return [round(width * place / COLUMNS) for place in range(COLUMNS + 1)]


# The encoders. libx264's AVX-512 code (in PyAV 18.1's wheel) writes other bytes from run to run for the same frames.
X264, X265, VP9 = "libx264", "libx265", "libvpx-vp9"
_X264_SAME_BYTES = "asm=SSE4.2" if platform.machine() == "x86_64" else "threads=1"
RATE = 20
FRAMES = 40
TICKS = 1000
"""Ticks of a second in which frames are timed before the container rounds them to its own; all times below are whole ticks."""


def _x264(more: str = "", **options: str) -> dict[str, str]:
    parameters = ":".join(filter(None, (_X264_SAME_BYTES, more)))
    return {"preset": "veryfast", "crf": "16", "x264-params": parameters} | options


def _x265(more: str = "") -> dict[str, str]:
    parameters = ":".join(filter(None, ("log-level=none:pools=none:frame-threads=1", more)))
    return {"preset": "ultrafast", "crf": "16", "x265-params": parameters}


_VP9 = {"crf": "20", "b": "0", "deadline": "realtime", "cpu-used": "6", "g": "12"}
_B_FRAMES = "bframes=3:b-adapt=0:b-pyramid=normal"


@dataclass(frozen=True)
class Recipe:
    """How a clip is encoded."""

    name: str
    special: str
    encoder: str
    options: dict[str, str]
    numbers: tuple[int, ...] = tuple(range(FRAMES))
    """Bar code of each coded frame, in order of presentation."""
    ticks: tuple[int, ...] | None = None
    """When each is shown, in thousandths of a second. None: 20 frames a second."""
    height: int = 192
    width: int = 256
    pixel_format: str = "yuv420p"
    matrix: Colorspace | None = Colorspace.ITU601
    """None: BT.601 is used, and no tag is written."""
    full_range: bool = False
    finish: Callable[[bytes], bytes] | None = None
    """Changes the bytes of the file that was encoded."""
    shown_from: float = 0.0
    """Second at which the first frame is shown."""
    appended: int = 0
    """Frames that `finish` adds at the end, at 20 a second."""

    def presented(self) -> tuple[int, ...]:
        """Ticks of the coded frames."""
        return self.ticks if self.ticks is not None else tuple(TICKS // RATE * place for place in range(len(self.numbers)))

    def clip(self) -> TortureClip:
        """What the index says of it."""
        times = dict(zip(self.numbers, self.presented(), strict=True))
        shown = sorted(number for number in self.numbers if number < HIDDEN)
        if self.appended or len(shown) < len(self.numbers):  # the shown ones follow each other as a player plays them
            seconds = [place / RATE for place in range(len(shown) + self.appended)]
        else:
            seconds = [times[number] / TICKS for number in shown]
        return TortureClip(self.name, self.special, self.height, self.width, tuple(self.shown_from + second for second in seconds))


def _hidden(count: int) -> tuple[int, ...]:
    return tuple(range(HIDDEN, HIDDEN + count))


def _irregular(count: int) -> tuple[int, ...]:
    """Ticks with gaps between 10 and 170 ms."""
    ticks = [0]
    for place in range(count - 1):
        ticks.append(ticks[-1] + (50, 10, 90, 170, 30, 40)[place % 6])
    return tuple(ticks)


def recipes() -> list[Recipe]:
    """All clips but the long one."""
    numbers = tuple(range(FRAMES))
    odd = Recipe("odd-vp9.webm", "odd height and width, 4:2:0", VP9, _VP9, height=191, width=255)
    return [
        Recipe("constant.mp4", "constant frame rate, no B-frames", X264, _x264("bframes=0:keyint=12")),
        Recipe("variable.mp4", "variable frame rate, with B-frames", X264, _x264(_B_FRAMES), ticks=_irregular(FRAMES)),
        Recipe("b-frames.mp4", "B-frames that other B-frames refer to", X264, _x264(f"{_B_FRAMES}:keyint=16")),
        Recipe("open-gop.mp4", "open groups of pictures: B-frames refer across key frames",
               X264, _x264(f"{_B_FRAMES}:keyint=10:open-gop=1")),
        Recipe("open-gop-cut.mp4", "begins inside an open group of pictures: a B-frame before its first key frame cannot be decoded",
               X264, _x264(f"{_B_FRAMES}:keyint=10:open-gop=1"), _hidden(10) + numbers,
               finish=lambda content: cut_before_key_frame(content, 10), shown_from=1 / RATE),
        Recipe("one-key-frame.mp4", "one key frame, the first", X264, _x264("keyint=infinite:scenecut=0:bframes=2")),
        Recipe("edit-list-start.mp4", "an edit list that hides the first 7 frames; the first one shown is no key frame",
               X264, _x264(f"{_B_FRAMES}:keyint=16"), _hidden(7) + numbers, finish=lambda content: edit(content, [(7, 47)])),
        Recipe("edit-list-end.mp4", "an edit list that hides the last 40 frames",
               X264, _x264(f"{_B_FRAMES}:keyint=16"), numbers + _hidden(40), finish=lambda content: edit(content, [(0, 40)])),
        Recipe("edit-list-middle.mp4", "an edit list of two parts, which leaves out 11 frames in the middle",
               X264, _x264(f"{_B_FRAMES}:keyint=16"), numbers[:18] + _hidden(11) + numbers[18:],
               finish=lambda content: edit(content, [(0, 18), (29, 51)])),
        Recipe("edit-list-delay.mp4", "an edit list that shows nothing in the first half second",
               X264, _x264(f"{_B_FRAMES}:keyint=16"), finish=lambda content: edit(content, [(0, 40)], wait=10), shown_from=0.5),
        Recipe("rotated.mp4", "a flag to turn the picture by 90 degrees, which decoders leave to the player",
               X264, _x264(), finish=rotate),
        Recipe("odd-444.mp4", "odd height and width, H.264 in 4:4:4", X264, _x264(), height=191, width=255, pixel_format="yuv444p"),
        odd,
        Recipe("cropped.mp4", "cropped by the stream: coded in whole blocks of 16, shown smaller", X264, _x264(), height=188, width=252),
        Recipe("cropped-width.mp4", "the same, with half a width that is odd", X264, _x264(), height=188, width=250),
        Recipe("cropped-height.mp4", "the same, with half a height that is odd", X264, _x264(), height=186, width=252),
        *(Recipe(f"{name}-{reach}.mp4", f"{title}, {reach} range, tagged as that", X264, _x264(), matrix=matrix, full_range=reach == "full")
          for name, title, matrix in (("bt601", "BT.601", Colorspace.ITU601), ("bt709", "BT.709", Colorspace.ITU709))
          for reach in ("limited", "full")),
        Recipe("untagged.mp4", "no colour tags; the colours are BT.601 in limited range", X264, _x264(), matrix=None),
        Recipe("ten-bit-h264.mp4", "H.264 in 10 bit", X264, _x264(_B_FRAMES), pixel_format="yuv420p10le"),
        Recipe("hevc.mp4", "HEVC, open groups of pictures", X265, _x265("keyint=10:bframes=3:b-adapt=0:open-gop=1")),
        Recipe("ten-bit-hevc.mp4", "HEVC in 10 bit", X265, _x265("keyint=16:bframes=2:open-gop=0"), pixel_format="yuv420p10le"),
        Recipe("vp9.webm", "VP9 with hidden reference frames inside of packets", VP9,
               _VP9 | {"deadline": "good", "auto-alt-ref": "1", "lag-in-frames": "16", "g": "30"}),
        Recipe("vp9.mp4", "VP9 in MP4", VP9, _VP9),
        Recipe("two-sizes.webm", "the size of the picture changes in the middle", VP9, _VP9,
               finish=lambda content: join(content, encode(replace(odd, numbers=tuple(range(FRAMES, 2 * FRAMES))))), appended=FRAMES),
        Recipe("one-frame.mp4", "one frame", X264, _x264(), numbers[:1]),
        Recipe("three-frames.mp4", "three frames", X264, _x264(_B_FRAMES), numbers[:3]),
    ]  # fmt: skip


def long_recipe() -> Recipe:
    """Ten minutes at 10 frames a second."""
    count = 6000
    return Recipe(
        "ten-minutes.mp4",
        "ten minutes, 6000 frames",
        X264,
        _x264("bframes=2:keyint=250", preset="ultrafast"),
        tuple(range(count)),
        tuple(100 * place for place in range(count)),
        height=64,
        width=96,
    )


def make(folder: Path, wanted: Sequence[Recipe]) -> list[TortureClip]:
    """Write clips and their index into a folder, which is created if it is not there.

    Raises:
        UserError: PyAV was built without an encoder that is needed.
        OSError: the folder cannot be written.
    """
    require_encoders({recipe.encoder for recipe in wanted})
    folder.mkdir(parents=True, exist_ok=True)
    for recipe in wanted:
        (folder / recipe.name).write_bytes(encode(recipe))
    clips = [recipe.clip() for recipe in wanted]
    write_whole(folder / INDEX, "[\n" + ",\n".join(map(to_json, clips)) + "\n]\n")
    return clips


def read_index(folder: Path) -> list[TortureClip]:
    """What `make` wrote. Raises OSError or ValueError."""
    entries = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    return [from_json(TortureClip, entry, f"{INDEX}[{place}]") for place, entry in enumerate(entries)]


def require_encoders(names: Iterable[str]) -> None:
    """Raises UserError that names the encoders that are not in PyAV's build."""
    if missing := sorted(name for name in names if name not in av.codecs_available):
        raise UserError(f"PyAV {av.__version__} is built without {', '.join(missing)}; install the wheel of PyPI: pip install av")


def encode(recipe: Recipe) -> bytes:
    """One clip. The same bytes each time with the same versions."""
    output = io.BytesIO()
    with av.open(output, "w", format=Path(recipe.name).suffix[1:], options={"fflags": "+bitexact"}) as container:
        stream: Any = container.add_stream(recipe.encoder, rate=RATE, options=recipe.options)
        stream.width, stream.height, stream.pix_fmt = recipe.width, recipe.height, recipe.pixel_format
        context = stream.codec_context
        context.time_base = Fraction(1, TICKS)
        context.thread_count = 1
        context.flags |= av.codec.context.Flags.bitexact.value
        reach = ColorRange.JPEG if recipe.full_range else ColorRange.MPEG
        if recipe.matrix is not None:
            tag = recipe.matrix is Colorspace.ITU709
            context.colorspace, context.color_range = 1 if tag else 6, reach
            context.color_primaries = ColorPrimaries.BT709 if tag else ColorPrimaries.SMPTE170M
            context.color_trc = ColorTrc.BT709 if tag else ColorTrc.SMPTE170M
        for number, tick in zip(recipe.numbers, recipe.presented(), strict=True):
            rgb = av.VideoFrame.from_ndarray(draw(number, recipe.height, recipe.width), format="rgb24")
            frame = rgb.reformat(format=recipe.pixel_format, dst_colorspace=recipe.matrix or Colorspace.ITU601, dst_color_range=reach)
            if recipe.matrix is None:
                frame.colorspace, frame.color_range = 2, 0
            frame.pts, frame.time_base = tick, Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return output.getvalue() if recipe.finish is None else recipe.finish(output.getvalue())


def cut_before_key_frame(content: bytes, presented: int) -> bytes:
    """The MP4 from its second key frame on, as a cut without encoding makes it: B-frames that refer to what is gone are kept.

    Raises:
        ValueError: that key frame is not the one in place `presented`, counted from 0 in the order of presentation.
    """
    output = io.BytesIO()
    with av.open(io.BytesIO(content), "r") as source, av.open(output, "w", format="mp4", options={"fflags": "+bitexact"}) as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.size]
        times = [packet.pts or 0 for packet in packets]
        start = [place for place, packet in enumerate(packets) if packet.is_keyframe][1]
        if sorted(times).index(times[start]) != presented:
            raise ValueError(f"the second key frame is frame {sorted(times).index(times[start])}, not {presented}")
        for packet in packets[start:]:
            packet.pts, packet.dts = (packet.pts or 0) - min(times[start:]), (packet.dts or 0) - min(times[start:])
            packet.stream = copy
            target.mux(packet)
    return output.getvalue()


def join(*parts: bytes) -> bytes:
    """Clips of one codec, 20 frames a second and no B-frames as one WebM stream."""
    output = io.BytesIO()
    place = 0
    with av.open(output, "w", format="webm", options={"fflags": "+bitexact"}) as target:
        copy: Any = None
        for part in parts:
            with av.open(io.BytesIO(part), "r") as source:
                stream = source.streams.video[0]
                copy = copy or target.add_stream_from_template(stream)
                for packet in source.demux(stream):
                    if packet.size:
                        packet.pts = packet.dts = TICKS // RATE * place
                        packet.time_base, packet.stream = Fraction(1, TICKS), copy
                        target.mux(packet)
                        place += 1
    return output.getvalue()


# MP4: boxes of 4 bytes length, 4 bytes name, and content, some of which holds boxes (ISO/IEC 14496-12). PyAV writes `moov` behind the
# pictures, so it can grow without moving them.


def boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each box."""
    place = 0
    while place < len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        if length < 8:
            raise ValueError(f"box {name!r} of length {length}: only boxes of 32 bit length are read")
        yield name, content[place + 8 : place + length]
        place += length


def box(name: bytes, content: bytes) -> bytes:
    """One box."""
    return struct.pack(">I4s", len(content) + 8, name) + content


def change_box(content: bytes, path: Sequence[bytes], change: Callable[[bytes], bytes]) -> bytes:
    """A copy of the boxes, the one at `path` (outermost name first) with changed content. Raises KeyError if it is not there."""
    if not path:
        return change(content)
    found = list(boxes(content))
    if path[0] not in dict(found):
        raise KeyError(path[0])
    return b"".join(box(name, change_box(held, path[1:], change) if name == path[0] else held) for name, held in found)


def inside(content: bytes, path: Sequence[bytes]) -> bytes:
    """The content of the box at `path`. Raises KeyError if it is not there."""
    for name in path:
        content = dict(boxes(content))[name]
    return content


def edit(content: bytes, parts: Sequence[tuple[int, int]], wait: int = 0) -> bytes:
    """The MP4 with an edit list (`elst`, ISO/IEC 14496-12 section 8.6.6) that shows some of its frames.

    Args:
        parts: first frame, and the one behind the last, of each part that is shown, in the order of presentation.
        wait: so many frames' time goes by before the first.
    """
    movie_ticks = struct.unpack_from(">I", inside(content, [b"moov", b"mvhd"]), 12)[0]
    media_ticks = struct.unpack_from(">I", inside(content, [b"moov", b"trak", b"mdia", b"mdhd"]), 12)[0]
    written = inside(content, [b"moov", b"trak", b"edts", b"elst"])
    begin = struct.unpack_from(">i", written, 12)[0]  # B-frames: the first frame is not at time 0 of the media
    entries = [(wait * movie_ticks // RATE, -1)] if wait else []
    entries += [((end - start) * movie_ticks // RATE, begin + start * media_ticks // RATE) for start, end in parts]
    listed = box(b"elst", struct.pack(">II", 0, len(entries)) + b"".join(struct.pack(">IiI", *entry, 0x10000) for entry in entries))
    duration = struct.pack(">I", sum(length for length, _ in entries))
    content = change_box(content, [b"moov", b"trak", b"edts"], lambda _: listed)
    content = change_box(content, [b"moov", b"trak", b"tkhd"], lambda header: header[:20] + duration + header[24:])
    return change_box(content, [b"moov", b"mvhd"], lambda header: header[:16] + duration + header[20:])


def rotate(content: bytes) -> bytes:
    """The MP4 with a matrix in its track header (`tkhd`) that tells players to turn the picture by 90 degrees clockwise."""
    _, height = struct.unpack_from(">II", inside(content, [b"moov", b"trak", b"tkhd"]), 76)
    one = 1 << 16
    matrix = struct.pack(">9i", 0, one, 0, -one, 0, 0, height, 0, 1 << 30)
    return change_box(content, [b"moov", b"trak", b"tkhd"], lambda header: header[:40] + matrix + header[76:])


def main() -> None:
    """Entry point. Exit code 2 for a wrong folder."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print("usage: python -m evbench.inputs.torture FOLDER", file=sys.stderr)
        raise SystemExit(2)
    folder = Path(sys.argv[1])
    try:
        clips = make(folder, [*recipes(), long_recipe()])
    except UserError as error:
        print(f"evbench: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        print(f"evbench: {error.filename or folder}: {error.strerror}; give a folder that can be written", file=sys.stderr)
        raise SystemExit(2) from None
    print(f"Written to {folder}: {INDEX} and {len(clips)} clips")


if __name__ == "__main__":
    main()
