from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from evbench.errors import UserError
from evbench.inputs import sample, torture
from evbench.pipelines.load import video
from evbench.pipelines.load.video import Decoder, decode_plain, decode_threaded, probe
from evbench.worker.evidence import Calls
from tests.conftest import MakeClip

DECODERS = [decode_plain, decode_threaded]


@pytest.mark.parametrize("total", [8, 9, 19, 20, 21, 200, 1999])
@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_policies_pick_ascending_frames_that_exist(total: int, count: int) -> None:
    for policy in video.POLICIES.values():
        picked = policy(total, count)
        assert len(picked) == count == len(set(picked))
        assert picked == sorted(picked)
        assert picked[0] == 0
        assert picked[-1] < total
    assert count == 1 or video.inclusive(total, count)[-1] == total - 1
    assert video.stride(total, count) == [int(index) for index in np.arange(0, total, total / count)][:count]


def test_policies_of_one_second() -> None:
    assert video.inclusive(20, 8) == [0, 2, 5, 8, 10, 13, 16, 19]
    assert video.stride(20, 8) == [0, 2, 5, 7, 10, 12, 15, 17]


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("policy", video.POLICIES)
def test_each_decoder_returns_the_frames_that_the_policy_picked(decode: Decoder, policy: str, make_clip: MakeClip) -> None:
    frames = decode(make_clip(), 8, policy)
    assert frames.indices == tuple(video.POLICIES[policy](20, 8))
    assert isinstance(frames.pixels, np.ndarray)
    assert frames.pixels.shape == (8, 48, 64, 3)
    levels = frames.pixels.mean(axis=(1, 2, 3))
    assert np.abs(levels - [40 + 5 * index for index in frames.indices]).max() < 2
    assert frames.seconds == pytest.approx([index / 20 for index in frames.indices])


@pytest.mark.parametrize("cores", [1, 2])
def test_frames_are_decoded_in_threads_on_one_core_too(cores: int, monkeypatch: pytest.MonkeyPatch, make_clip: MakeClip) -> None:
    """FFmpeg by itself would make none there. On more than one it knows best."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    with Calls() as calls, calls.during("load"):
        decode_threaded(make_clip(), 8, "inclusive")
    (threads,) = [int(name.split()[1]) for name in calls.names()["load"] if name.startswith("decoder:h264")]
    assert (threads == 2) == (cores == 1)


def test_decoders_return_equal_bytes_on_the_sample() -> None:
    plain, threaded = (decode(sample.CLIP, 8, "inclusive") for decode in DECODERS)
    assert (plain.indices, plain.seconds, plain.decoder) == (threaded.indices, threaded.seconds, threaded.decoder)
    assert np.array_equal(plain.pixels, threaded.pixels)
    assert plain.pixels.shape == (8, 1080, 1440, 3)


def choose_without_decoding(path: Path, count: int, policy: str) -> object:
    return probe(path).choose(path, count, policy)


@pytest.mark.parametrize("read", [choose_without_decoding, *DECODERS])
def test_a_broken_clip_is_refused_in_one_line(read: Callable[[Path, int, str], object], broken_clip: tuple[Path, str]) -> None:
    path, told = broken_clip
    with pytest.raises(UserError) as caught:
        read(path, 8, "inclusive")
    message = str(caught.value)
    assert told in message
    assert path.name in message
    assert "\n" not in message
    assert ";" in message, "says what to do"


@pytest.mark.parametrize("decode", DECODERS)
def test_a_clip_with_damaged_pictures_is_refused(decode: Decoder, tmp_path: Path) -> None:
    content = bytearray(sample.CLIP.read_bytes())
    content[-30000:-20000] = bytes(10000)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"damaged\.mp4"):
        decode(path, 8, "inclusive")


@pytest.mark.parametrize("name", ["mit Leerzeichen.mp4", "ünïcödé 视频.mp4", "a:b.mp4", "-dash.mp4", "100%.mp4"])
@pytest.mark.parametrize("decode", DECODERS)
def test_any_file_name_will_do(decode: Decoder, name: str, make_clip: MakeClip) -> None:
    assert len(decode(make_clip(name), 8, "inclusive").indices) == 8


def test_odd_sizes_and_exactly_enough_frames(make_clip: MakeClip) -> None:
    clip = make_clip(frames=8, width=50, height=34)
    plain, threaded = (decode(clip, 8, "inclusive") for decode in DECODERS)
    assert plain.indices == tuple(range(8))
    assert np.array_equal(plain.pixels, threaded.pixels)


@pytest.mark.parametrize("read", [choose_without_decoding, *DECODERS])
def test_frames_that_would_take_all_memory_are_refused_before_they_are_decoded(
    read: Callable[[Path, int, str], object], make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip()
    monkeypatch.setattr(video, "MOST_BYTES", 20 * 48 * 64 * 3)
    read(clip, 20, "inclusive")
    monkeypatch.setattr(video, "MOST_BYTES", 20 * 48 * 64 * 3 - 1)
    with pytest.raises(UserError, match=r"clip\.mp4: 20 frames of 64x48 pixels take 0\.0 GiB, more than 0; give fewer, or a smaller clip"):
        read(clip, 20, "inclusive")


@pytest.mark.parametrize("shift", [0.1, 0.25])
def test_a_clip_that_was_trimmed_without_encoding_is_whole(shift: float, tmp_path: Path) -> None:
    """An edit list hides its first frames; the header counts them, the packets are there, the decoder does not show them."""
    path = tmp_path / "trimmed.mp4"
    trim(path, shift)
    hidden = round(shift * 20)
    plain, threaded = (decode(path, 8, "inclusive") for decode in DECODERS)
    assert np.array_equal(plain.pixels, threaded.pixels)
    assert plain.indices == tuple(video.inclusive(20 - hidden, 8))
    with av.open(str(sample.CLIP)) as source:
        every = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    assert np.array_equal(plain.pixels, np.stack([every[hidden + index] for index in plain.indices]))


def trim(target: Path, start: float = 0.25, **options: str) -> None:
    """The sample without its first `start` seconds, not encoded again."""
    with av.open(str(sample.CLIP)) as source, av.open(target, "w", options=options) as container:
        stream = source.streams.video[0]
        copy = container.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size and packet.pts is not None and packet.dts is not None:
                ticks = int(start / float(stream.time_base or 1))
                packet.pts, packet.dts, packet.stream = packet.pts - ticks, packet.dts - ticks, copy
                container.mux(packet)


@pytest.mark.parametrize("read", [choose_without_decoding, *DECODERS])
def test_a_trimmed_clip_that_is_cut_off_is_refused(read: Callable[[Path, int, str], object], tmp_path: Path) -> None:
    """Both have fewer frames than the header promises; the missing ones must not pass for hidden ones."""
    whole, path = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    trim(whole, movflags="faststart")
    assert len(probe(whole).seconds) == 15
    content = whole.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(UserError, match=r"cut\.mp4 is cut off: its header promises 20 frames and it holds 1"):
        read(path, 8, "inclusive")


@pytest.mark.parametrize("kind", ["mkv", "mov", "ts", "flv"])
@pytest.mark.parametrize("decode", DECODERS)
def test_other_containers_give_the_same_frames(decode: Decoder, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"clip.{kind}"
    trim(path, 0.0)
    frames, expected = decode(path, 8, "inclusive"), decode_plain(sample.CLIP, 8, "inclusive")
    assert frames.indices == expected.indices
    assert np.array_equal(frames.pixels, expected.pixels)
    begin = frames.seconds[0]
    assert [second - begin for second in frames.seconds] == pytest.approx(expected.seconds, abs=2e-3)


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(
    ("kind", "told"), [("mpg", "does not say when each frame is shown; "), ("avi", "does not come out of the decoder, which gives one at ")]
)
def test_a_container_without_times_is_refused(kind: str, told: str, decode: Decoder, tmp_path: Path) -> None:
    """These hold no presentation times for H.264, and with B-frames nobody knows them; FFmpeg guesses, wrongly in AVI."""
    path = tmp_path / f"clip.{kind}"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 256, 192, "yuv420p"
        for number in range(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(torture.draw(number, 192, 256), format="rgb24")))
        container.mux(stream.encode())
    with pytest.raises(UserError, match=told) as caught:
        decode(path, 8, "inclusive")
    assert f"; encode it again: ffmpeg -i clip.{kind} new.mp4" in str(caught.value)
