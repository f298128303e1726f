"""Frames that nothing refers to and nobody asked for are left out, and the others come out the same."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from evbench import torture
from evbench.pipelines.needed import first_bytes, may_be_referred_to, needed
from evbench.pipelines.uncropped import coded_picture, uncropped
from evbench.pipelines.video import POLICIES, SKIM, describe, opened, probe, video_packets
from evbench.sample import CLIP

UNREAD = ("edit-list", "open-gop")
"""Clips with frames that are not shown, or before their start, which DALI is not asked to decode."""
H264 = [recipe.name for recipe in torture.recipes() if recipe.encoder == torture.X264 and not recipe.name.startswith(UNREAD)]
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


def test_a_frame_is_left_out_only_if_none_of_its_slices_may_be_referred_to() -> None:
    assert list(first_bytes(unit(6, 0) + unit(5, 3), 4)) == [6, 3 << 5 | 5]
    assert may_be_referred_to(unit(6, 0) + unit(5, 3), 4)
    assert not may_be_referred_to(unit(9, 0) + unit(6, 0) + unit(1, 0) + unit(1, 0), 4)
    assert may_be_referred_to(unit(1, 0) + unit(1, 2), 4), "two fields, of which one is referred to"
    assert not may_be_referred_to(unit(7, 3) + unit(1, 0), 4), "headers are no part of a picture"
    for unread in (b"", b"\0\0", unit(6, 0), unit(9, 0)[:4]):
        assert may_be_referred_to(unread, 4)


def test_what_is_wanted_stays_and_what_cannot_be_told_too() -> None:
    packets = [Coded(0, unit(5, 3)), Coded(2, unit(1, 2)), Coded(1, unit(1, 0)), Coded(3, unit(1, 0))]
    assert needed("h264", AVCC, packets, [0, 3]) == [packets[0], packets[1], packets[3]]
    assert needed("h264", AVCC, packets, [0, 1, 2, 3]) == packets
    for codec, headers in (("hevc", AVCC), ("vp9", b""), ("h264", b""), ("h264", b"\0\0\0\1g"), ("h264", AVCC[:3])):
        assert needed(codec, headers, packets, [0]) == packets


def decoded(file: Path | io.BytesIO) -> dict[float, np.ndarray]:
    """Seconds -> luma."""
    with av.open(file if isinstance(file, io.BytesIO) else str(file), "r") as container:
        frames = container.decode(video=0)
        return {round(float(frame.time or 0), 3): frame.to_ndarray(format="gray") for frame in frames}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", ["scene", *H264])
def test_wanted_frames_come_out_the_same_without_the_others(name: str, policy: str, torture_clips: Path) -> None:
    path = CLIP if name == "scene" else torture_clips / name
    clip = probe(path)
    wanted = [clip.ticks[index] for index in clip.choose(path, min(8, len(clip.ticks)), policy)]
    with opened(path, **SKIM) as container:
        stream = container.streams.video[0]
        packets = video_packets(container)
        assert describe(path, container, packets) == clip
        kept = needed(clip.codec, bytes(stream.codec_context.extradata or b""), packets, wanted)
        places = sorted(packet.pts for packet in kept if packet.pts is not None)
        thinned = uncropped(container, kept, coded_picture(path, stream))
    whole, thin = decoded(path), decoded(io.BytesIO(thinned))
    assert len(thin) == len(places) == len(kept)
    for tick in wanted:
        made = list(thin.values())[places.index(tick)]
        assert np.array_equal(made[: clip.height, : clip.width], list(whole.values())[clip.ticks.index(tick)])


def test_of_the_sample_a_third_is_not_decoded() -> None:
    """Its B-frames, but for those that are wanted."""
    with av.open(str(CLIP), "r") as container:
        kinds = [frame.pict_type for frame in container.decode(video=0)]
    with opened(CLIP, **SKIM) as container:
        packets = video_packets(container)
        headers = bytes(container.streams.video[0].codec_context.extradata or b"")
        clip = describe(CLIP, container, packets)
        kept = needed("h264", headers, packets, [clip.ticks[index] for index in clip.choose(CLIP, 8, "inclusive")])
    left_out = set(range(20)) - {clip.ticks.index(packet.pts) for packet in kept if packet.pts is not None}
    assert sorted(left_out) == [1, 3, 7, 9, 11, 15, 18]
    assert {kinds[index] for index in left_out} == {PictureType.B}
