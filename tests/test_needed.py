"""Frames that nothing refers to and nobody asked for are left out, and the others come out the same."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from evbench.errors import UserError
from evbench.inputs import torture
from evbench.inputs.sample import CLIP
from evbench.pipelines.load import dali
from evbench.pipelines.load.dali import decode_request
from evbench.pipelines.load.needed import HEADERS, may_be_needed, needed, units
from evbench.pipelines.load.streams import clip_stream, headers
from evbench.pipelines.load.video import POLICIES, SKIM, describe, opened, probe
from tests.h264 import encode
from tests.test_dali import OBSTACLES

H264 = [recipe.name for recipe in torture.recipes() if recipe.encoder == torture.X264 and recipe.name not in OBSTACLES]
AVCC = bytes([1, 100, 0, 31, 0xFF])
"""Headers that say: the length of a unit is four bytes."""


def unit(kind: int, importance: int, more: bytes = b"xyz") -> bytes:
    data = bytes([importance << 5 | kind]) + more
    return len(data).to_bytes(4, "big") + data


class Coded:
    def __init__(self, pts: int, data: bytes) -> None:
        self.pts, self.data = pts, data

    def __bytes__(self) -> bytes:
        return self.data


def test_a_frame_is_left_out_only_if_nothing_of_it_may_be_needed() -> None:
    assert list(units(unit(6, 0) + unit(5, 3), 4)) == [(6, 0), (5, 3)]
    assert may_be_needed(unit(6, 0) + unit(5, 3), 4)
    assert not may_be_needed(unit(9, 0) + unit(6, 0) + unit(1, 0) + unit(1, 0), 4)
    assert may_be_needed(unit(1, 0) + unit(1, 2), 4), "two fields, of which one is referred to"
    for header in HEADERS:
        assert may_be_needed(unit(header, 3) + unit(1, 0), 4), "later pictures may be coded by it"
    assert not may_be_needed(b"\0\3\1xy\0\2\1z", 2), "two bytes tell the length"


@pytest.mark.parametrize("unread", [b"", b"\0\0", unit(6, 0), unit(1, 0)[:-1], unit(1, 0) + b"\0", bytes(4) + unit(1, 0)])
def test_what_cannot_be_read_stays(unread: bytes) -> None:
    assert may_be_needed(unread, 4)


def test_what_is_wanted_stays_and_what_cannot_be_told_too() -> None:
    packets = [Coded(0, unit(5, 3)), Coded(2, unit(1, 2)), Coded(1, unit(1, 0)), Coded(3, unit(1, 0))]
    assert needed("h264", AVCC, packets, [0, 3]) == [packets[0], packets[1], packets[3]]
    assert needed("h264", AVCC, packets, [0, 1, 2, 3]) == packets
    for codec, known in (("hevc", AVCC), ("vp9", b""), ("h264", b""), ("h264", b"\0\0\0\1g"), ("h264", AVCC[:3])):
        assert needed(codec, known, packets, [0]) == packets


def test_what_is_decoded_after_the_last_wanted_frame_is_not_needed() -> None:
    """Whatever it is: no earlier frame refers to it."""
    packets = [Coded(0, unit(5, 3)), Coded(4, unit(1, 2)), Coded(2, unit(1, 2)), Coded(1, unit(1, 0)), Coded(8, unit(7, 3) + unit(5, 3))]
    assert needed("h264", AVCC, packets, [0]) == packets[:1]
    assert needed("h264", AVCC, packets, [0, 4]) == packets[:2], "frame 2 is shown earlier, and decoded later"
    assert needed("h264", AVCC, packets, [0, 1]) == packets[:4]
    assert needed("h264", AVCC, packets, [8]) == [*packets[:3], packets[4]]
    assert needed("hevc", AVCC, packets, [0]) == packets


def decoded(file: Path | io.BytesIO) -> list[list[np.ndarray]]:
    """Of each frame its planes: [rows, columns]."""
    with av.open(file if isinstance(file, io.BytesIO) else str(file), "r") as container:
        return [planes(frame) for frame in container.decode(video=0)]


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    kind = np.uint16 if frame.format.name.endswith("10le") else np.uint8
    return [np.frombuffer(bytes(plane), kind).reshape(plane.height, -1)[:, : plane.width].copy() for plane in frame.planes]


CODED = {
    "pyramid.mp4": "bframes=3:b-pyramid=normal",
    "pyramid.mkv": "bframes=3:b-pyramid=normal",
    "pyramid.mov": "bframes=5:b-pyramid=strict",
    "plain.flv": "bframes=2:b-pyramid=none",
    "annex-b.ts": "bframes=3",
    "slices.mp4": "bframes=3:slices=4",
    "headers.mp4": "bframes=3:repeat-headers=1:aud=1:keyint=12",
    "open.mkv": "bframes=3:open-gop=1:keyint=10",
    "fields.mp4": "bframes=3:tff=1",
    "weighted.mp4": "bframes=3:direct=temporal:ref=8",
}
"""Name -> x264's options."""


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", ["scene", *H264, *CODED])
def test_wanted_frames_come_out_the_same_without_the_others(name: str, policy: str, torture_clips: Path, tmp_path: Path) -> None:
    path = encode(tmp_path / name, CODED[name]) if name in CODED else CLIP if name == "scene" else torture_clips / name
    request = decode_request(path, min(8, len(probe(path).ticks)), policy)
    whole, given = decoded(path), decoded(io.BytesIO(bytes(request.encoded)))
    assert len(given) <= len(whole)
    if name in CODED:
        assert (len(given) < len(whole)) == (name != "annex-b.ts"), "there, units do not tell how long they are"
    for index, place in zip(request.indices, request.positions, strict=True):
        for made, expected in zip(given[place], whole[index], strict=True):
            rows, columns = expected.shape
            assert np.array_equal(made[:rows, :columns], expected), "but for what a player leaves out"


def test_a_stream_that_cannot_be_written_anew_is_given_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "a.mp4", "bframes=3")

    def refuse(*arguments: object) -> bytes:
        raise av.InvalidDataError(1, "cannot be written")

    monkeypatch.setattr(dali, "rewritten", refuse)
    request = decode_request(path, 8, "inclusive")
    assert bytes(request.encoded) == path.read_bytes()
    assert tuple(request.positions) == request.indices
    cropped = encode(tmp_path / "cropped.mp4", "bframes=3", width=90, height=70)
    with pytest.raises(UserError, match=r"cropped\.mp4: FFmpeg cannot write its video alone and without the cropping.*use decode=threaded"):
        decode_request(cropped, 8, "inclusive")


def test_of_the_sample_two_fifths_are_not_decoded() -> None:
    """B-frames that are not wanted and that no wanted frame refers to."""
    with av.open(str(CLIP), "r") as container:
        kinds = [frame.pict_type for frame in container.decode(video=0)]
    with opened(CLIP, **SKIM) as container:
        demuxed = clip_stream(CLIP, container)
        packets, clip = demuxed.packets, describe(CLIP, demuxed)
        wanted = [clip.ticks[index] for index in clip.choose(CLIP, 8, "inclusive")]
        kept = needed("h264", headers(container.streams.video[0]), packets, wanted)
    left_out = set(range(20)) - {clip.ticks.index(packet.pts) for packet in kept if packet.pts is not None}
    assert sorted(left_out) == [1, 3, 7, 9, 11, 15, 17, 18]
    assert {kinds[index] for index in left_out} == {PictureType.B}
