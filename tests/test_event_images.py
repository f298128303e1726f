"""Every renderer against the original's loop."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
import torch

from evbench.kernels.paint import paint
from evbench.pipelines.load import event_painter
from evbench.pipelines.load.choices import RENDER
from evbench.pipelines.load.decoders import renderer
from evbench.pipelines.load.event_images import EventImages, PictureSize, loop
from evbench.pipelines.load.event_painter import EventMaps, EventPainter, copied
from evbench.pipelines.load.event_stream import EventStream
from tests.devices import DEVICE
from tests.random_events import events


def stream(count: int, rows: int, columns: int, seed: int = 0) -> EventStream:
    x, y, polarity = (part.cpu().numpy() for part in events(count, rows, columns, seed))
    return EventStream(x, y, np.arange(count), polarity, (rows, columns))


def of_original(of: EventStream) -> list[np.ndarray]:
    """Written out from the description of common/common.py: five slices of equal count, the last takes the rest."""
    each, made = len(of.x) // 5, []
    for part in range(5):
        start, end = part * each, len(of.x) if part == 4 else (part + 1) * each
        picture = np.ones((int(of.y[start:end].max()) + 1, int(of.x[start:end].max()) + 1, 3), np.uint8) * 255
        for event in range(start, end):
            picture[of.y[event], of.x[event]] = (0, 0, 255) if of.p[event] == 0 else (255, 0, 0)
        made.append(picture)
    return made


def rendered(choice: str, of: EventStream, size: PictureSize) -> list[np.ndarray]:
    return [np.asarray(torch.as_tensor(picture).cpu()) for picture in renderer(choice, DEVICE)(of, size).pixels]


SENSORS = [(5, 1, 1), (9, 3, 4), (523, 40, 61), (4099, 60, 80)]
"""Events, rows, columns: one event a slice, and all in one pixel; five slices of odd sizes; most pixels hit, and hit again."""


@pytest.mark.device
@pytest.mark.parametrize("choice", RENDER.choices)
@pytest.mark.parametrize("shape", SENSORS)
def test_every_renderer_makes_the_pictures_of_the_original(choice: str, shape: tuple[int, int, int]) -> None:
    of = stream(*shape)
    expected = of_original(of)
    for sensor in (of.sensor, None):
        for one, other in zip(rendered(choice, replace(of, sensor=sensor), "own"), expected, strict=True):
            assert np.array_equal(one, other)
    for one, other in zip(rendered(choice, of, "sensor"), expected, strict=True):
        height, width = other.shape[:2]
        assert one.shape == (*shape[1:], 3)
        assert np.array_equal(one[:height, :width], other)
        assert (one[height:] == 255).all()
        assert (one[:, width:] == 255).all()


@pytest.mark.device
@pytest.mark.parametrize("choice", RENDER.choices)
def test_a_stream_that_cannot_be_rendered_is_refused(choice: str) -> None:
    render = renderer(choice, DEVICE)
    with pytest.raises(ValueError, match="4 events cannot be made into 5"):
        render(stream(4, 3, 3), "own")
    with pytest.raises(ValueError, match="not known"):
        render(replace(stream(9, 3, 3), sensor=None), "sensor")
    for size in get_args(PictureSize):
        with pytest.raises(ValueError, match=r"outside of a sensor of 4x3 pixels: they need \[\(3, 9\)"):
            render(replace(stream(99, 3, 9), sensor=(3, 4)), size)


@pytest.mark.device
@pytest.mark.parametrize("choice", RENDER.choices)
def test_pictures_of_several_sizes_are_judged_as_one_array_and_cut_back(choice: str) -> None:
    images = renderer(choice, DEVICE)(stream(40, 9, 11), "own")
    sizes = {tuple(picture.shape) for picture in images.pixels}
    assert len(sizes) > 1
    values = torch.as_tensor(images.values())
    height, width = images.largest()
    assert values.shape == (len(images), height, width, 3) == (5, height, width, 3)
    assert values.is_contiguous()
    for place, picture in zip(values, images.pixels, strict=True):
        assert torch.equal(place[: picture.shape[0], : picture.shape[1]], torch.as_tensor(picture))
        assert (place[picture.shape[0] :] == 255).all()
        assert (place[:, picture.shape[1] :] == 255).all()
    held = images.holding(images.values())
    assert all(torch.equal(torch.as_tensor(one), torch.as_tensor(other)) for one, other in zip(held.pixels, images.pixels, strict=True))


@pytest.mark.device
@pytest.mark.parametrize("size", get_args(PictureSize))
def test_no_picture_is_painted_before_somebody_asks(size: PictureSize, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []

    def painting(last: torch.Tensor) -> torch.Tensor:
        asked.append(tuple(last.shape))
        return paint(last)

    monkeypatch.setattr(event_painter, "paint", painting)
    images = EventPainter(DEVICE)(stream(40, 9, 11), size)
    runs = [batch for batch, _ in images.raw_batches()]
    assert [tuple(shape) for run in runs for shape in [run.shape[1:]] * len(run)] == list(images.sizes)
    assert all(one.shape[1:] != other.shape[1:] for one, other in pairwise(runs))
    assert len(runs) == 1 or size == "own"
    assert all(run.untyped_storage().data_ptr() == images.last.untyped_storage().data_ptr() for run in runs), "nothing is copied"
    assert images.largest() == (9, 11)
    assert not asked
    first, again = images.values(), images.pixels
    assert all(torch.equal(place[: one.shape[0], : one.shape[1]], one) for place, one in zip(first, again, strict=True))
    assert asked == [(5, 9, 11)], "once"


@pytest.mark.device
@pytest.mark.parametrize("size", get_args(PictureSize))
def test_the_pictures_of_another_renderer_are_held_as_last_events(size: PictureSize) -> None:
    images = EventPainter(DEVICE)(stream(60, 9, 11), size)
    others = loop(stream(60, 9, 11, seed=1), size)
    theirs = loop(stream(60, 9, 11), size).values()
    for values in (theirs, torch.as_tensor(theirs).to(DEVICE)):
        held = images.holding(values)
        assert isinstance(held, EventMaps)
        assert all(torch.equal(one, other) for one, other in zip(held.pixels, images.pixels, strict=True))
    if size == "sensor":
        held = images.holding(others.values())
        assert isinstance(held, EventMaps)
        assert np.array_equal(held.values().cpu(), others.values())


@pytest.mark.device
@pytest.mark.parametrize("size", get_args(PictureSize))
def test_pictures_of_other_colours_are_held_as_they_are(size: PictureSize) -> None:
    images = EventPainter(DEVICE)(stream(60, 9, 11), size)
    swapped = 255 - images.values()
    held = images.holding(swapped.cpu().numpy())
    assert isinstance(held, EventImages)
    assert held.decoder == images.decoder
    assert [tuple(picture.shape[:2]) for picture in held.pixels] == list(images.sizes)
    for one, other in zip(held.pixels, images.pixels, strict=True):
        assert torch.equal(torch.as_tensor(one), 255 - other)


@pytest.mark.filterwarnings("error")
def test_columns_that_cannot_be_written_to_are_taken_without_a_word() -> None:
    """Out of a pickle they are pieces of the file."""
    place, polarity = np.arange(6, dtype=np.uint16), np.arange(6, dtype=np.uint8) % 2
    place.flags.writeable = polarity.flags.writeable = False
    x, y, p = copied(EventStream(place, place, np.arange(6), polarity, None), DEVICE)
    assert (x.tolist(), y.tolist(), p.tolist()) == (place.tolist(), place.tolist(), polarity.tolist())
