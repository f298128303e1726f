from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from PIL import Image

from evbench import sample
from evbench.pipelines import events, video


def test_the_sample_is_as_described() -> None:
    assert sample.CLIP.stat().st_size < 1_000_000
    with av.open(str(sample.CLIP)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (1440, 1080, 20)
        assert stream.average_rate == 20
        assert stream.codec_context.name == "h264"
        assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (1, 1), "BT.709, limited range"
    assert events.probe(sample.EVENTS) == 5


def test_the_script_draws_the_sample_that_is_shipped(tmp_path: Path) -> None:
    """Frames, not bytes: another version of the encoder may write other bytes."""
    sample.write_clip(tmp_path / "again.mp4")
    shipped, again = (video.decode_threaded(path, 8, "inclusive") for path in (sample.CLIP, tmp_path / "again.mp4"))
    assert np.abs(np.subtract(shipped.pixels, again.pixels, dtype=np.int16)).mean() < 0.5
    sample.write_event_images(tmp_path / "events")
    for file in events.find(sample.EVENTS):
        assert np.array_equal(np.array(Image.open(file)), np.array(Image.open(tmp_path / "events" / file.name)))


def test_the_clip_shows_what_was_drawn() -> None:
    frames = video.decode_plain(sample.CLIP, 8, "inclusive")
    for pixels, seconds in zip(frames.pixels, frames.seconds, strict=True):
        drawn = sample.draw(seconds, 1440, 1080)
        assert np.abs(np.subtract(pixels, drawn, dtype=np.int16)).mean() < 2
        later = sample.draw(seconds + 0.05, 1440, 1080)
        assert np.abs(np.subtract(pixels, later, dtype=np.int16)).mean() > 3, "the scene moves: the next frame is another picture"


def test_events_are_split_by_count_and_coloured_by_polarity() -> None:
    seen = sample.watch_events(64, 48)
    assert seen[:, 0].max() < 64
    assert seen[:, 1].max() < 48
    assert set(seen[:, 2]) == {0, 1}
    colours = {tuple(colour) for image in events.read_plain(sample.EVENTS).pixels for colour in np.unique(image.reshape(-1, 3), axis=0)}
    assert colours == {(255, 255, 255), (255, 0, 0), (0, 0, 255)}
