"""The kernels against their reference, and every renderer against the original's loop."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
import torch

from evbench.kernels import event_images as kernel
from evbench.pipelines.load.choices import RENDER
from evbench.pipelines.load.decoders import renderer
from evbench.pipelines.load.event_images import EventImages, PictureSize, loop
from evbench.pipelines.load.event_painter import EventMaps, EventPainter, copied
from evbench.pipelines.load.event_stream import EventStream
from tests.devices import DEVICE

SHAPES = [(1, 1, 1, 1), (7, 5, 3, 5), (5000, 33, 47, 5), (2048, 64, 64, 2), (3333, 1, 300, 3), (12301, 260, 346, 5), (20000, 17, 31, 3)]
"""Events, rows, columns, slices: one event; few of them; no multiple of what a program takes; one; a single row. In one round to three."""


def events(count: int, rows: int, columns: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x, y and polarity. More than one event falls on most pixels."""
    random = np.random.default_rng(seed + count)
    x, y = random.integers(0, columns, count).astype(np.uint16), random.integers(0, rows, count).astype(np.uint16)
    polarity = random.integers(0, 2, count).astype(np.uint8)
    made = torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(polarity)
    return made[0].to(DEVICE), made[1].to(DEVICE), made[2].to(DEVICE)


def painted(last: torch.Tensor) -> torch.Tensor:
    """[..., 3] uint8, by its definition."""
    colours = torch.tensor([*kernel.PALETTE, kernel.GROUND], dtype=torch.uint8, device=last.device)
    return colours[torch.where(last < 0, 2, last & 1).long()]


def require_last_events(given: tuple[torch.Tensor, torch.Tensor, torch.Tensor], slices: int, canvas: tuple[int, int]) -> torch.Tensor:
    made, _ = kernel.last_events(*given, slices, canvas)
    assert made.dtype == torch.int32
    assert made.device.type == DEVICE
    assert torch.equal(made, kernel.reference(*given, slices, canvas))
    pictures = kernel.paint(made)
    assert pictures.dtype == torch.uint8
    assert torch.equal(pictures, painted(made))
    return made


@pytest.mark.device
@pytest.mark.parametrize("taken", [(kernel.EVENTS, kernel.PROGRAMS), (256, 3)], ids=["as they are", "few programs, several turns"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_equals_its_reference(shape: tuple[int, int, int, int], taken: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "EVENTS", taken[0])
    monkeypatch.setattr(kernel, "PROGRAMS", taken[1])
    count, rows, columns, slices = shape
    given = events(count, rows, columns)
    require_last_events(given, slices, (rows, columns))
    require_last_events(given, slices, (rows + 3, columns + 1))
    each = count // slices
    parts = [slice(part * each, count if part == slices - 1 else (part + 1) * each) for part in range(slices)]
    needed = [(int(given[1][part].int().max()) + 1, int(given[0][part].int().max()) + 1) for part in parts]
    assert kernel.sizes(given[0], given[1], slices) == needed
    assert kernel.as_sizes(kernel.last_events(*given, slices, (rows, columns))[1]) == needed


@pytest.mark.device
def test_events_outside_are_left_out_and_told() -> None:
    given = events(3000, 40, 50)
    for canvas in ((39, 50), (40, 49), (7, 11), (1, 1)):
        require_last_events(given, 5, canvas)
        assert kernel.as_sizes(kernel.last_events(*given, 5, canvas)[1]) == kernel.sizes(given[0], given[1], 5)


@pytest.mark.device
@pytest.mark.parametrize("slices", [1, 5])
def test_of_many_events_in_one_pixel_the_last_of_the_slice_wins(slices: int) -> None:
    count = 3000 + slices - 1
    _, _, polarity = events(count, 1, 1)
    x, y = (torch.full((count,), place, dtype=torch.uint16, device=DEVICE) for place in (6, 4))
    made = require_last_events((x, y, polarity), slices, (5, 7))
    for part, picture in enumerate(kernel.paint(made), 1):
        final = part * (count // slices) - 1 if part < slices else count - 1
        assert made[part - 1, 4, 6] == 2 * final + int(polarity[final])
        assert tuple(picture[4, 6].tolist()) == kernel.PALETTE[int(polarity[final])]
        assert (picture.reshape(-1, 3) != 255).any(dim=1).sum() == 1


@pytest.mark.device
def test_pictures_are_as_large_as_their_slices_need() -> None:
    x = torch.tensor([3, 0, 65535, 9, 2], dtype=torch.uint16, device=DEVICE)
    y = torch.tensor([0, 8, 1, 9, 0], dtype=torch.uint16, device=DEVICE)
    assert kernel.sizes(x, y, 2) == [(9, 4), (10, 65536)]
    assert kernel.sizes(x, y, 5) == [(1, 4), (9, 1), (2, 65536), (10, 10), (1, 3)]


@pytest.mark.device
def test_any_polarity_but_0_is_brighter() -> None:
    x, y, polarity = events(400, 9, 9)
    made, expected = (kernel.last_events(x, y, of, 1, (9, 9))[0] for of in (polarity * 255, polarity))
    assert torch.equal(made, expected)


@pytest.mark.device
def test_events_of_another_kind_are_refused() -> None:
    x, y, polarity = events(40, 9, 9)
    with pytest.raises(ValueError, match="contiguous uint16, uint16 and uint8"):
        kernel.last_events(x.int(), y, polarity, 1, (9, 9))
    with pytest.raises(ValueError, match="of one length"):
        kernel.last_events(x, y[:-1], polarity, 1, (9, 9))
    with pytest.raises(ValueError, match="of one length"):
        kernel.sizes(x, y[::2], 1)
    with pytest.raises(ValueError, match="4 events cannot be made into 5 slices"):
        kernel.last_events(x[:4], y[:4], polarity[:4], 5, (9, 9))
    places, polarities = (torch.empty(kernel.MOST_EVENTS + 1, dtype=dtype, device="meta") for dtype in (torch.uint16, torch.uint8))
    with pytest.raises(ValueError, match="1073741824 at most"):
        kernel.last_events(places, places, polarities, 5, (9, 9))


@pytest.mark.device
def test_pictures_go_back_to_last_events_if_no_other_colour_is_in_them() -> None:
    last, _ = kernel.last_events(*events(300, 20, 31), 2, (20, 31))
    pictures = kernel.paint(last)
    back = kernel.unpainted(pictures)
    assert back is not None
    assert torch.equal(back, torch.where(last < 0, -1, last & 1))
    assert torch.equal(kernel.paint(back), pictures)
    for colour in ((255, 0, 255), (0, 0, 0), (255, 255, 254), (0, 0, 254)):
        pictures[1, 19, 30] = torch.tensor(colour, dtype=torch.uint8, device=DEVICE)
        assert kernel.unpainted(pictures) is None


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
    paint = kernel.paint

    def painting(last: torch.Tensor) -> torch.Tensor:
        asked.append(tuple(last.shape))
        return paint(last)

    monkeypatch.setattr(kernel, "paint", painting)
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
