"""Cropping is left out of a stream's headers, and nothing else changes; also out of containers other than MP4."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest

from evbench.inputs import sample
from evbench.pipelines.load import rewritten as module
from evbench.pipelines.load.rewritten import Coded, coded_picture, rewritten
from evbench.pipelines.load.streams import clip_stream
from evbench.pipelines.load.video import SKIM, opened
from tests.conftest import MakeClip
from tests.h264 import encode


def uncropped(path: Path) -> tuple[bytes, Coded]:
    with opened(path, **SKIM) as container:
        demuxed = clip_stream(path, container)
        coded = coded_picture(path, demuxed.stream)
        return rewritten(demuxed.stream, demuxed.packets, coded), coded


def pictures(source: Path | io.BytesIO, *, heed_container: bool) -> list[tuple[float, np.ndarray]]:
    """Time in seconds and luma of each frame. FFmpeg crops to the size that a container tells, if it is heeded."""
    made = []
    with av.open(source if isinstance(source, io.BytesIO) else str(source), "r") as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        decoder = stream.codec_context
        if not heed_container:
            decoder = av.VideoCodecContext.create(stream.codec_context.name, "r")  # type: ignore[assignment]
            decoder.extradata = stream.codec_context.extradata
        for packet in container.demux(stream):
            for frame in decoder.decode(packet if packet.size else None):
                assert frame.pts is not None
                made.append((float(frame.pts * stream.time_base), frame.to_ndarray(format="gray")))
    return made


@pytest.fixture
def cropped_clips(torture_clips: Path, make_clip: MakeClip, tmp_path: Path) -> list[Path]:
    names = ("cropped.mp4", "cropped-height.mp4", "cropped-width.mp4")
    others = [encode(tmp_path / f"b-frames.{ending}", "bframes=3", width=90, height=70) for ending in ("mkv", "mov", "flv", "ts")]
    return [sample.CLIP, make_clip(width=90, height=70), *(torture_clips / name for name in names), *others]


def test_frames_are_the_same_with_more_rows_and_columns(cropped_clips: list[Path]) -> None:
    for path in cropped_clips:
        encoded, coded = uncropped(path)
        expected = pictures(path, heed_container=True)
        made = pictures(io.BytesIO(encoded), heed_container=False)
        height, width = expected[0][1].shape
        assert made[0][1].shape == (coded.height, coded.width) != (height, width)
        assert (coded.height % 16, coded.width % 16) == (0, 0)
        assert len(made) == len(expected)
        for (seconds, shown), (when, whole) in zip(expected, made, strict=True):
            assert when == pytest.approx(seconds, abs=1e-3)
            assert np.array_equal(whole[:height, :width], shown)


def test_the_container_says_the_size_as_coded(cropped_clips: list[Path]) -> None:
    """DALI makes room for what the container says, and NVDEC puts out what the stream says."""
    for path in cropped_clips:
        encoded, coded = uncropped(path)
        with av.open(io.BytesIO(encoded)) as container:
            context = container.streams.video[0].codec_context
            assert (context.height, context.width) == (coded.height, coded.width)


def test_a_frame_is_decoded_once_for_all_clips_with_the_same_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_known", {})
    with opened(sample.CLIP) as container:
        first = coded_picture(sample.CLIP, container.streams.video[0])
    assert first == Coded(1088, 1440, "yuv420p", full=False)
    with opened(sample.OTHER_CLIP) as container:
        assert coded_picture(Path("nowhere.mp4"), container.streams.video[0]) is first, "the file is not opened again"
