"""The load of a clip, divided into the video decoder's part and set-up."""

from __future__ import annotations

import io
import json
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from evbench.cli.script import run
from evbench.doctor import nvdec
from evbench.encoding import from_json
from evbench.errors import UserError
from evbench.inputs import sample
from evbench.machine import machine as this_machine
from evbench.microbenchmarks import loading, long_clips
from evbench.microbenchmarks.decoded_frames import Count, necessary, up_to_last, whole
from evbench.microbenchmarks.loading import LOADS, WAYS, Loadings, Question, Watch
from evbench.microbenchmarks.long_clips import CODINGS, LIKE_THE_CLIP, WITHOUT_B_FRAMES
from evbench.pipelines.load import decoders
from evbench.pipelines.load.choices import DECODE
from evbench.pipelines.load.dali import decode_request
from evbench.pipelines.load.video import Decoder, Frames, decode_plain, probe
from evbench.stages import BATCH
from evbench.verdict.lines import Bounded
from tests.conftest import MakeClip
from tests.test_dali import FakePipelines

NO_FRAMES = Frames(np.empty((0, 2, 2, 3), np.uint8), (), (), "fake")


def packets(source: Path | bytes) -> list[av.Packet[Any]]:
    with av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source), "r") as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def small_clips(folder: Path, lengths: tuple[int, ...] = (10, 40, 160)) -> dict[str, dict[int, Path]]:
    pictures = long_clips.pictures_of(sample.CLIP)[:3]
    return long_clips.make(folder, [picture.reformat(64, 48) for picture in pictures], lengths)


class Clock:
    """Goes on by what the decoder beside it takes for a clip."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, set_up: int, each: int, taken: int = 0, count: Count = whole) -> None:
        """Nanoseconds of a load, of each frame that is decoded, and of each that is asked for; and how many are decoded."""
        self.now, self._lock, self.loads = 0, threading.Lock(), 0

        def decode(path: Path, frames: int, policy: str) -> Frames:
            with self._lock:
                self.loads += 1
                self.now += set_up + each * count(path, frames, policy) + taken * frames
            return NO_FRAMES

        def decoder(name: str) -> Decoder:
            assert name == "plain"
            return decode

        monkeypatch.setattr(decoders, "decoder", decoder)

    def question(self, threads: tuple[int, ...] = ()) -> Question:
        return Question(sample.CLIP, 8, "inclusive", Watch(lambda: None, lambda: self.now, lambda: None), 9, threads)


def test_every_decoder_has_its_way() -> None:
    assert list(WAYS) == list(DECODE.choices)


def test_the_frames_that_are_decoded_are_counted(torture_clips: Path) -> None:
    assert [count(sample.CLIP, 8, "inclusive") for count in (whole, up_to_last, necessary)] == [20, 20, 12]
    assert len(packets(decode_request(sample.CLIP, 8, "inclusive").encoded.tobytes())) == 12
    assert up_to_last(sample.CLIP, 8, "stride") == 19, "frame 17 is the last, and needs the one that is shown at the end"
    assert up_to_last(sample.CLIP, 1, "inclusive") == necessary(sample.CLIP, 1, "inclusive") == 1
    # Key frames at 0, 12, 24 and 36, and no B-frames: the first frame, and four of the last group.
    assert [count(torture_clips / "constant.mp4", 2, "inclusive") for count in (whole, up_to_last, necessary)] == [40, 40, 5]


def test_long_clips_show_the_pictures_forwards_and_backwards_in_one_group(make_clip: MakeClip, tmp_path: Path) -> None:
    short = make_clip(frames=8)
    pictures = long_clips.pictures_of(short)
    for coding, options in CODINGS.items():
        long_clips.write_long(path := tmp_path / "long.mp4", pictures, 300, options)
        clip = probe(path)
        assert (clip.codec, clip.height, clip.width, len(clip.seconds)) == ("h264", 48, 64, 300)
        assert [index for index, key in enumerate(clip.keys) if key] == [0], coding
        shown = [packet.pts or 0 for packet in packets(path)]
        assert (shown == sorted(shown)) == (coding == WITHOUT_B_FRAMES)
        levels = np.asarray(decode_plain(path, 300, "inclusive").pixels).mean(axis=(1, 2, 3))
        once = [40 + 5 * place for place in (*range(8), *range(6, 0, -1))]
        assert np.abs(levels - np.resize(once, 300)).max() < 4
    assert necessary(path, 8, "inclusive") == 300, "each refers to the one before"
    long_clips.write_long(tmp_path / "still.mp4", pictures[:1], 9, {})
    assert len(probe(tmp_path / "still.mp4").seconds) == 9


def test_what_grows_with_the_frames_is_the_engines_part_and_the_rest_is_set_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WAYS, "plain", replace(WAYS["plain"], engines=lambda: 2))
    clock, long = Clock(monkeypatch, set_up=6_000_000, each=2_000_000, taken=500_000), small_clips(tmp_path)
    found = loading.measure("plain", clock.question((1, 3)), long)
    assert found.seconds.value == pytest.approx(0.05)
    assert (found.decoded, found.engines, found.prepare_seconds) == (20, 2, None)
    for rate, coding in zip(found.rates, CODINGS, strict=True):
        assert (rate.coding, rate.lengths, rate.decoded) == (coding, (10, 40, 160), (10, 40, 160))
        assert list(rate.seconds) == pytest.approx([0.03, 0.09, 0.33])
        assert [rate.frame_seconds.value, rate.set_up_seconds.value] == pytest.approx([0.002, 0.01])
        assert rate.farthest == pytest.approx(0, abs=1e-9)
    assert [found.engine_seconds.value, found.set_up_seconds] == pytest.approx([0.04, 0.01])
    assert found.ratio.value == pytest.approx(1.25)
    assert [found.taken_seconds.value, found.taken_seconds.low] == pytest.approx([0.0005, 0.0005])
    assert found.ratio.low is not None and found.ratio.high is not None
    # The clock of the fake runs for one load at a time: three threads are no faster than one. Two engines would give 50 clips a second.
    assert [(some.threads, some.batch) for some in found.at_once] == [(1, 1), (3, 1)]
    assert [some.clips_per_second.value for some in found.at_once] == [pytest.approx(20)] * 2
    assert [some.engines_clips_per_second for some in found.at_once] == [pytest.approx(25), pytest.approx(50)]
    told = loading.lines(Loadings(this_machine.read("cpu"), "cpu", "a.mp4", "h264", 1080, 1440, 20, 8, "inclusive", (found,)))
    parts, verdict = told[4].split("; ")
    assert parts == "  engine's part 40.0 ms (95 % CI 40.0 - 40.0 ms), set-up 10.0 ms, of it 4.00 ms for 8 pictures that are taken out"
    assert verdict == "load over engine's part 1.25x, within the aim of 1.30x"
    assert told[-1] == "  3 at once: 20.0 clips/s, 40% of what 2 of 2 engines give 50.0"


def test_frames_that_are_left_out_do_not_count_and_each_kind_of_clip_has_its_own_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WAYS, "plain", replace(WAYS["plain"], decoded=necessary))
    long = small_clips(tmp_path)

    def twice_without_b_frames(path: Path, frames: int, policy: str) -> int:
        return necessary(path, frames, policy) * (2 if path in long[WITHOUT_B_FRAMES].values() else 1)

    clock = Clock(monkeypatch, set_up=10_000_000, each=2_000_000, count=twice_without_b_frames)
    found = loading.measure("plain", clock.question(), long)
    assert {rate.coding: rate.frame_seconds.value for rate in found.rates} == pytest.approx({LIKE_THE_CLIP: 0.002, WITHOUT_B_FRAMES: 0.004})
    assert found.rates[0].decoded[2] < 160 == found.rates[1].decoded[2]
    assert [found.decoded, found.engine_seconds.value, found.set_up_seconds] == pytest.approx([12, 0.024, 0.01])


def test_each_thread_makes_all_of_its_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, set_up=1000, each=0)
    assert len(list(loading.at_once("plain", clock.question((4,)), 1.0, 1))) == 1
    assert clock.loads == 4 + 4 * LOADS * (loading.WARM_UPS + loading.ROUNDS)


def test_clips_that_take_equally_long_tell_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, set_up=10_000_000, each=0)
    with pytest.raises(UserError, match=r"clips of 10 and 40 frames take equally long, .*; give --length farther apart"):
        loading.measure("plain", clock.question(), small_clips(tmp_path, (10, 40)))


def test_of_dali_the_hosts_part_and_several_clips_in_one_call_are_timed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU FFmpeg decodes what DALI would."""
    monkeypatch.setitem(WAYS, "dali", replace(WAYS["dali"], engines=lambda: 7))
    fake, long = FakePipelines(monkeypatch), small_clips(tmp_path, (10, 20, 400))
    clip = long[LIKE_THE_CLIP].pop(20)
    del long[WITHOUT_B_FRAMES][20]
    found = loading.measure("dali", Question(clip, 8, "inclusive", Watch(lambda: None, collect=lambda: None), 6, (2,)), long)
    assert fake.runs[0] == (1, [found.decoded]) and 8 <= found.decoded < 20
    assert found.prepare_seconds is not None and 0 < found.prepare_seconds.value < found.seconds.value
    given = {count for _, (count, *_) in fake.runs}
    assert given == {found.decoded, *(decoded for rate in found.rates for decoded in rate.decoded)}
    assert all(decoded <= length for rate in found.rates for decoded, length in zip(rate.decoded, rate.lengths, strict=True))
    assert found.rates[0].decoded[1] < 400 == found.rates[1].decoded[1], "B-frames that nothing refers to are left out"
    assert [(some.threads, some.batch) for some in found.at_once] == [(2, 1), (1, BATCH)]
    assert found.at_once[1].engines_clips_per_second == pytest.approx(7 / found.engine_seconds.value)
    assert fake.runs[-1] == (BATCH, [found.decoded] * BATCH)


def script(monkeypatch: pytest.MonkeyPatch, *options: object) -> int | str | None:
    """Exit code."""
    monkeypatch.setattr(sys, "argv", ["loading", *map(str, options)])
    with pytest.raises(SystemExit) as ended:
        run(loading.main)
    return ended.value.code


def test_as_a_script_it_divides_the_load_of_a_clip_by_pyav(
    make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, clip = tmp_path / "found.json", make_clip(width=256, height=192)
    lengths = [option for length in (9, 80, 800) for option in ("--length", length)]
    assert script(monkeypatch, "--input", clip, "--decoder", "plain", *lengths, "--threads", 2, "--calls", 6, "--out", out) in (0, None)
    found = from_json(Loadings, json.loads(out.read_text(encoding="utf-8")), "found.json")
    (one,) = found.loadings
    assert (found.clip, found.clip_frames, found.frames, one.decoder, one.decoded) == ("clip.mp4", 20, 8, "plain", 20)
    for rate in one.rates:
        assert rate.decoded == (9, 80, 800)
        assert rate.frame_seconds.value > 0
        assert rate.seconds[0] < rate.seconds[2]
    assert one.engine_seconds.value == pytest.approx(20 * one.rates[0].frame_seconds.value)
    assert one.set_up_seconds == pytest.approx(one.seconds.value - one.engine_seconds.value)
    assert one.ratio.value == pytest.approx(one.seconds.value / one.engine_seconds.value)
    told = capsys.readouterr().out
    assert "clip.mp4: h264, 256x192, 8 of 20 frames, on " in told and "load over engine's part" in told and "2 at once: " in told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--decoder nvdec", "unknown --decoder 'nvdec'; "),
        ("--frame-policy last", "unknown --frame-policy 'last'; "),
        ("--length 64", "--length 64: give two at least, all above the 8 frames that the model gets"),
        ("--length 64 --length 64", "--length 64: give two at least"),
        ("--length 8 --length 64", "--length 8 64: give two at least"),
        ("--frames 30 --decoder plain", "scene.mp4 has 20 frames and the model is given 30; "),
        ("--input {hevc} --decoder plain", "hevc.mp4 is hevc, and the long clips that a frame's time is taken from are H.264; give"),
        ("--out nowhere/found.json", "--out nowhere/found.json: there is no folder nowhere; "),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(
    options: str, told: str, torture_clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script(monkeypatch, *options.format(hevc=torture_clips / "hevc.mp4").split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and told in error


def test_a_broken_clip_is_refused(
    broken_clip: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, told = broken_clip
    assert script(monkeypatch, "--input", path, "--decoder", "plain") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and told in error


def test_without_a_gpu_dali_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(this_machine, "find_gpu", lambda: None)
    assert script(monkeypatch, "--decoder", "dali") == 2
    assert capsys.readouterr().err.startswith("evbench: --decoder dali cannot run here: ")


def test_decoders_of_the_gpu_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvdec, "load", lambda: None)
    monkeypatch.setattr(nvdec, "decoders", lambda library: {"H.264": 7, "AV1": 7})
    assert WAYS["dali"].engines() == 7
    monkeypatch.setattr(nvdec, "decoders", lambda library: {"AV1": 7})
    with pytest.raises(UserError, match=r"no video decoder of this GPU \(NVDEC\) takes H\.264; give --decoder threaded"):
        WAYS["dali"].engines()

    def missing() -> None:
        raise OSError("libnvcuvid.so.1: cannot open shared object file")

    monkeypatch.setattr(nvdec, "load", missing)
    with pytest.raises(UserError, match=r"NVDEC\) cannot be asked: libnvcuvid\.so\.1: cannot open .*; evbench doctor says more"):
        WAYS["dali"].engines()


def test_what_is_computed_without_bounds_has_none() -> None:
    one = Bounded(6.0, 5.0, 7.0)
    assert one.over(Bounded(2.0)) == Bounded(3.0)
    assert one.over(Bounded(2.0, 1.0, 4.0)) == Bounded(3.0, 1.25, 7.0)
    assert one.over(Bounded(2.0, -1.0, 4.0)) == Bounded(3.0), "a bound of 0 or less divides nothing"
    assert one.minus(Bounded(2.0)) == Bounded(4.0)
    assert one.minus(Bounded(2.0, 1.0, 4.0)) == Bounded(4.0, 1.0, 6.0)
    assert one.times(3) == Bounded(18.0, 15.0, 21.0)
