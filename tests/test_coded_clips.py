"""Every decoder, held against a plain decode of the whole clip: torture clips, twenty others, and some that went wrong."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from evbench.errors import UserError
from evbench.inputs import decoders as inputs_decoders
from evbench.inputs import torture
from evbench.inputs.torture import change_box, inside, read_bar_code
from evbench.pipelines.load import samples
from evbench.pipelines.load.dali import decode_request
from evbench.pipelines.load.streams import STRICT, is_whole_avi
from evbench.pipelines.load.video import POLICIES, Decoder, decode_plain, decode_threaded, probe
from evbench.results import Sample
from tests import coded_clips
from tests.cases import CASES
from tests.examples import described, make_result, make_side
from tests.test_torture import NAMES, REFUSED

DECODERS = {"plain": decode_plain, "threaded": decode_threaded}
PICKED = [0, 5, 11, 16, 22, 27, 33, 39]
Pixels = npt.NDArray[np.uint8]


@cache
def whole(path: Path) -> Pixels:
    """[frames, height, width, 3]: all that FFmpeg decodes of a file, one after the other, in one thread."""
    with av.open(str(path)) as container:
        stream = container.streams[probe(path).stream]
        assert isinstance(stream, av.VideoStream)
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        if stream.codec_context.name == "h264":
            stream.codec_context.options = STRICT
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])


def require_equal(path: Path, decode: Decoder, policy: str) -> None:
    every = whole(path)
    frames = decode(path, min(8, len(every)), policy)
    assert frames.indices == tuple(POLICIES[policy](len(every), min(8, len(every))))
    assert np.array_equal(np.asarray(frames.pixels), every[list(frames.indices)])


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("coded")
    for clip in coded_clips.CLIPS:
        coded_clips.write(clip, made)
    return made


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", [clip.name for clip in coded_clips.CLIPS])
def test_each_decoder_equals_a_decode_of_the_whole_clip(name: str, decoder: str, policy: str, folder: Path) -> None:
    assert [read_bar_code(picture) for picture in whole(folder / name)] == list(range(coded_clips.FRAMES))
    require_equal(folder / name, DECODERS[decoder], policy)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", sorted(set(NAMES) - REFUSED.keys()))
def test_each_decoder_equals_a_decode_of_the_whole_torture_clip(name: str, decoder: str, policy: str, torture_clips: Path) -> None:
    require_equal(torture_clips / name, DECODERS[decoder], policy)


def test_the_clips_are_what_they_are_called(folder: Path) -> None:
    """FFmpeg as it comes loses a frame of those that reorder later and do not say so."""
    assert len(coded_clips.CLIPS) == 20
    lost, keys = {}, {}
    for clip in coded_clips.CLIPS:
        with av.open(str(folder / clip.name), options={"skip_frame": "all"}) as container:
            lost[clip.name] = coded_clips.FRAMES - sum(1 for _ in container.decode(video=0))
        keys[clip.name] = probe(folder / clip.name)
    named = [f"unsaid-{kind}" for kind in ("pyramid.ts", "pyramid.mkv", "open-gop.ts", "open-gop.mkv", "late.ts", "late.mkv")]
    assert {name for name, count in lost.items() if count} == set(named)
    assert {clip.codec for clip in keys.values()} == {"h264", "hevc", "vp8", "vp9", "libdav1d", "mpeg2video", "mpeg4"}


@pytest.mark.parametrize("name", [clip.name for clip in coded_clips.CLIPS])
def test_what_dali_is_given_has_the_same_frames(name: str, folder: Path) -> None:
    """Decoded by FFmpeg: without a GPU there is no DALI."""
    request = decode_request(folder / name, 8, "inclusive")
    with av.open(io.BytesIO(request.encoded.tobytes()), "r") as container:
        (stream,) = container.streams.video
        if stream.codec_context.name == "h264":
            stream.codec_context.options = STRICT
        every = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert [read_bar_code(every[place]) for place in request.positions] == PICKED


CLIPS = ("reorder_unsaid.ts", "reorder_unsaid_gop10.mkv", "two_preview1.mp4", "webm_pic_first.webm", "cover_last.mp4", "avi_dropped.avi",
         "empty_samples.mp4")  # fmt: skip


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", CLIPS)
def test_clips_that_went_wrong_are_read_rightly(name: str, decoder: str) -> None:
    frames = DECODERS[decoder](CASES / name, 8, "inclusive")
    assert list(frames.indices) == [read_bar_code(picture) for picture in np.asarray(frames.pixels)] == PICKED
    require_equal(CASES / name, DECODERS[decoder], "stride")


def cover_first(folder: Path) -> Path:
    """The cover in front of the clip: of an MP4, its metadata in front of its tracks."""
    content = (CASES / "cover_last.mp4").read_bytes()
    held = sorted(torture.boxes(inside(content, [b"moov"])), key=lambda one: (one[0] != b"mvhd", one[0] != b"udta"))
    path = folder / "cover-first.mp4"
    path.write_bytes(change_box(content, [b"moov"], lambda _: b"".join(torture.box(*one) for one in held)))
    return path


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_cover_in_front_of_the_clip_is_not_taken_for_it(decoder: str, tmp_path: Path) -> None:
    path = cover_first(tmp_path)
    with av.open(str(path)) as container:
        assert [stream.codec_context.name for stream in container.streams.video] == ["mjpeg", "h264"]
    frames = DECODERS[decoder](path, 8, "inclusive")
    assert [read_bar_code(picture) for picture in np.asarray(frames.pixels)] == PICKED


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_stream_that_begins_in_the_middle_is_left_out(decoder: str, tmp_path: Path) -> None:
    """PyAV, which knows those that were there when the file was opened, fails at its end."""
    (clip,) = (clip for clip in coded_clips.CLIPS if clip.name == "mpeg2.ts")
    path = coded_clips.write(clip, tmp_path)
    content = bytearray(path.read_bytes())
    last = max(place for place in range(0, len(content), 188) if content[place + 1 : place + 3] == b"\x41\x00")
    content[last + 1] = 0x43  # the number of its stream
    path.write_bytes(content)
    assert len(probe(path).seconds) == coded_clips.FRAMES - 1
    assert DECODERS[decoder](path, 8, "inclusive").indices == tuple(POLICIES["inclusive"](coded_clips.FRAMES - 1, 8))


def test_of_several_video_streams_dali_is_given_the_clip_alone() -> None:
    for name in ("two_preview1.mp4", "cover_last.mp4"):
        request = decode_request(CASES / name, 8, "inclusive")
        with av.open(io.BytesIO(request.encoded.tobytes()), "r") as container:
            (stream,) = container.streams.video
            assert len(container.streams) == 1
            every = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert [read_bar_code(every[place]) for place in request.positions] == PICKED


def test_a_codec_that_cannot_be_given_to_dali_alone_is_refused() -> None:
    with pytest.raises(UserError, match=r"FFmpeg cannot write its video alone .*use decode=threaded"):
        decode_request(CASES / "webm_pic_first.webm", 8, "inclusive")


@pytest.mark.parametrize(
    ("name", "fact", "told"),
    [
        ("two_preview1.mp4", "Stream", "number 1 of the file, FFmpeg's choice of 2 with video"),
        ("cover_last.mp4", "Stream", "number 0 of the file, FFmpeg's choice of 2"),
        ("avi_dropped.avi", "Empty", "2 frames that the header counts hold no picture"),
        ("empty_samples.mp4", "Empty", "3 frames that the header counts"),
    ],
)
def test_a_word_is_said_of_it(name: str, fact: str, told: str) -> None:
    found = inputs_decoders.compare(CASES / name, 8, "inclusive", ["plain", "threaded"])
    assert found.exit_code == 0
    assert told in {row[0]: row[1] for row in found.facts.rows}[fact]
    usual = {row[0] for row in inputs_decoders.compare(CASES / "reorder_unsaid.ts", 8, "inclusive", ["plain"]).facts.rows}
    assert not usual & {"Stream", "Empty"}


def test_a_report_says_that_there_are_several_streams() -> None:
    found = samples.probe_video(CASES / "two_preview1.mp4", 8, "inclusive", None)
    assert (found.images, found.streams) == (8, 2)
    side = make_side(samples=(Sample("a.mp4", "00", 4, 6, None, found.streams),))
    assert "a.mp4, 2 video streams in the file, of which FFmpeg's choice, 2 frames" in described(make_result(side, side)).facts["Input"]
    assert "video streams" not in described(make_result()).facts["Input"]


@pytest.mark.parametrize("name", ["avi_dropped.avi", "empty_samples.mp4"])
@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_with_empty_chunks_it_is_still_seen_that_a_file_is_cut_off(name: str, share: float, tmp_path: Path) -> None:
    content = (CASES / name).read_bytes()
    if name.endswith(".mp4"):  # the index in front, or a part of the file could not be read at all
        with av.open(io.BytesIO(content)) as container:
            assert container.streams.video[0].frames == 43
        content = faststart(content)
    path = tmp_path / name
    path.write_bytes(content[: int(len(content) * share)])
    assert not is_whole_avi(path)
    with pytest.raises(UserError, match=r"is cut off: its header promises 4[23] frames and it holds \d+; copy it again"):
        probe(path)


def faststart(content: bytes) -> bytes:
    """The MP4 with its index in front of the pictures, whose places are moved (`stco`)."""
    held = dict(torture.boxes(content))
    moved = len(held[b"moov"]) + 8
    place = [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stco"]

    def move(table: bytes) -> bytes:
        places = np.frombuffer(table, ">u4", offset=8) + moved
        return table[:8] + places.astype(">u4").tobytes()

    changed = change_box(content, place, move)
    found = dict(torture.boxes(changed))
    order = sorted(found, key=lambda name: (name != b"ftyp", name != b"moov"))
    return b"".join(torture.box(name, found[name]) for name in order)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("repro_codec.mp4", "cannot be decoded: its video is of a codec that PyAV does not know, or has no decoder for; encode it again"),
        (
            "repro_utf8.mp4",
            "has metadata that is not UTF-8; write it anew without: ffmpeg -i repro_utf8.mp4 -map_metadata -1 -c copy new.mp4",
        ),
    ],
)
@pytest.mark.parametrize("decoder", DECODERS)
def test_what_cannot_be_read_is_refused_in_one_line(name: str, told: str, decoder: str) -> None:
    with pytest.raises(UserError) as caught:
        DECODERS[decoder](CASES / name, 8, "inclusive")
    assert str(caught.value).startswith(f"{CASES / name} {told}")


OTHERS = {
    "a.gif": ("is a GIF, and videos in mov, mp4, ", "encode it again: ffmpeg -i a.gif new.mp4"),
    "a.jpg": ("is a picture (JPEG), and videos in ", "encode it again"),
    "a.webp": ("is of another format, and videos in mov, mp4, ", "encode it again"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_pictures_are_not_told_to_be_damaged(name: str, tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (64, 48), (20 * place, 0, 0)) for place in range(10)]
    if name == "a.gif":
        pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:])
    else:
        pictures[0].save(tmp_path / name)
    with pytest.raises(UserError) as caught:
        probe(tmp_path / name)
    assert all(part in str(caught.value) for part in OTHERS[name])


@pytest.mark.parametrize(("container", "codec"), [("nut", "ffv1"), ("ivf", "libvpx"), ("m4v", "mpeg4")])
def test_whole_clips_in_containers_that_are_not_taken_are_not_told_to_be_damaged(container: str, codec: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"  # its name does not decide
    with av.open(str(path), "w", format=container) as made:
        stream: Any = made.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(10):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * number, np.uint8), format="rgb24")
            made.mux(stream.encode(picture))
        made.mux(stream.encode())
    with pytest.raises(UserError) as caught:
        probe(path)
    assert f"{path} is of another format, and videos in mov, mp4, " in str(caught.value)
    assert str(caught.value).endswith("are taken; encode it again: ffmpeg -i clip.mp4 new.mp4")
