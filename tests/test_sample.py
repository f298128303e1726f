from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from evbench.inputs import sample
from evbench.pipelines.load import png, video
from evbench.scenes.dataset import write_event_images
from evbench.scenes.event_camera import watch
from evbench.scenes.world import imagine
from tests.examples import drawn_sample


def test_the_sample_is_as_described() -> None:
    assert sample.CLIP.stat().st_size < 1_000_000
    with av.open(str(sample.CLIP)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (1440, 1080, 20)
        assert stream.average_rate == 20
        assert stream.codec_context.name == "h264"
        assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (1, 1), "BT.709, limited range"
    assert png.probe(sample.EVENTS) == (5, 480, 640)


def test_the_sample_is_the_scene_that_it_is_said_to_be(tmp_path: Path) -> None:
    frames = video.decode_plain(sample.CLIP, 8, "inclusive")
    drawn = drawn_sample(frames.seconds)
    difference = np.abs(np.subtract(frames.pixels, drawn, dtype=np.int16)).mean()
    assert difference < 2
    later = drawn_sample(tuple(seconds + 0.05 for seconds in frames.seconds))
    assert np.abs(np.subtract(frames.pixels, later, dtype=np.int16)).mean() > 1.5 * difference, "the next frame is another picture"


@pytest.mark.slow
def test_the_event_images_are_those_of_the_same_scene(tmp_path: Path) -> None:
    seen = watch(imagine(sample.SEED, sample.INDEX), 1.0, (sample.SEED, sample.INDEX, 1))
    write_event_images(tmp_path, seen)
    for file in png.find(sample.EVENTS):
        shipped, again = np.array(Image.open(file)), np.array(Image.open(tmp_path / file.name))
        # Another processor rounds a few logarithms the other way.
        assert (shipped != again).any(-1).mean() < 0.001
