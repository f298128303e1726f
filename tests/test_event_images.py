"""The kernel against its reference, and every renderer against the original's loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from evbench import rendering
from evbench.kernels import event_images as kernel
from evbench.pipelines.event_images import RENDERERS, PictureSize, loop
from evbench.pipelines.event_stream import EventStream
from tests.devices import DEVICE

SHAPES = [(1, 1, 1, 1), (7, 5, 3, 5), (5000, 33, 47, 5), (2048, 64, 64, 2), (3333, 1, 300, 3), (12301, 260, 346, 5)]
"""Events, rows, columns, slices: one event; a 1x1 picture; neither a multiple of what a program takes; exactly that; one row."""


def events(count: int, rows: int, columns: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x, y and polarity. More than one event falls on most pixels."""
    random = np.random.default_rng(seed + count)
    x, y = random.integers(0, columns, count).astype(np.uint16), random.integers(0, rows, count).astype(np.uint16)
    polarity = random.integers(0, 2, count).astype(np.uint8)
    made = torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(polarity)
    return made[0].to(DEVICE), made[1].to(DEVICE), made[2].to(DEVICE)


def require_equal(made: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for one, other in zip(made, expected, strict=True):
        assert one.dtype == torch.uint8
        assert one.is_contiguous()
        assert one.device.type == DEVICE
        assert torch.equal(one, other)


@pytest.mark.device
@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_equals_its_reference(shape: tuple[int, int, int, int]) -> None:
    count, rows, columns, slices = shape
    x, y, polarity = events(count, rows, columns)
    for pictures in (kernel.sizes(x, y, slices), [(rows, columns)] * slices):
        require_equal(kernel.event_images(x, y, polarity, pictures), kernel.reference(x, y, polarity, pictures))


@pytest.mark.device
@pytest.mark.parametrize("slices", [1, 5])
def test_of_many_events_in_one_pixel_the_last_of_the_slice_wins(slices: int) -> None:
    count = 3000 + slices - 1
    _, _, polarity = events(count, 1, 1)
    x, y = (torch.full((count,), place, dtype=torch.uint16, device=DEVICE) for place in (6, 4))
    made = kernel.event_images(x, y, polarity, [(5, 7)] * slices)
    require_equal(made, kernel.reference(x, y, polarity, [(5, 7)] * slices))
    for part, picture in enumerate(made, 1):
        final = part * (count // slices) - 1 if part < slices else count - 1
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
    pictures = [(9, 9)]
    require_equal(kernel.event_images(x, y, polarity * 255, pictures), kernel.event_images(x, y, polarity, pictures))


@pytest.mark.device
def test_events_of_another_kind_are_refused() -> None:
    x, y, polarity = events(40, 9, 9)
    with pytest.raises(ValueError, match="contiguous uint16, uint16 and uint8"):
        kernel.event_images(x.int(), y, polarity, [(9, 9)])
    with pytest.raises(ValueError, match="of one length"):
        kernel.event_images(x, y[:-1], polarity, [(9, 9)])
    with pytest.raises(ValueError, match="4 events cannot be made into 5 slices"):
        kernel.event_images(x[:4], y[:4], polarity[:4], [(9, 9)] * 5)
    places, polarities = (torch.empty(kernel.MOST_EVENTS + 1, dtype=dtype, device="meta") for dtype in (torch.uint16, torch.uint8))
    with pytest.raises(ValueError, match="1073741824 at most"):
        kernel.event_images(places, places, polarities, [(9, 9)] * 5)


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
    return [np.asarray(torch.as_tensor(picture).cpu()) for picture in RENDERERS[choice](DEVICE)(of, size).pixels]


SENSORS = [(5, 1, 1), (9, 3, 4), (523, 40, 61), (4099, 60, 80)]
"""Events, rows, columns: one event a slice, and all in one pixel; five slices of odd sizes; most pixels hit, and hit again."""


@pytest.mark.device
@pytest.mark.parametrize("choice", RENDERERS)
@pytest.mark.parametrize("shape", SENSORS)
def test_every_renderer_makes_the_pictures_of_the_original(choice: str, shape: tuple[int, int, int]) -> None:
    of = stream(*shape)
    expected = of_original(of)
    for one, other in zip(rendered(choice, of, "own"), expected, strict=True):
        assert np.array_equal(one, other)
    for one, other in zip(rendered(choice, of, "sensor"), expected, strict=True):
        height, width = other.shape[:2]
        assert one.shape == (*shape[1:], 3)
        assert np.array_equal(one[:height, :width], other)
        assert (one[height:] == 255).all()
        assert (one[:, width:] == 255).all()


@pytest.mark.device
@pytest.mark.parametrize("choice", RENDERERS)
def test_a_stream_that_cannot_be_rendered_is_refused(choice: str) -> None:
    render = RENDERERS[choice](DEVICE)
    with pytest.raises(ValueError, match="4 events cannot be made into 5"):
        render(stream(4, 3, 3), "own")
    with pytest.raises(ValueError, match="not known"):
        render(replace(stream(9, 3, 3), sensor=None), "sensor")
    with pytest.raises(ValueError, match="outside of a sensor of 4x3 pixels"):
        render(replace(stream(99, 3, 9), sensor=(3, 4)), "sensor")


@pytest.mark.device
@pytest.mark.parametrize("choice", RENDERERS)
def test_pictures_of_several_sizes_are_judged_as_one_array_and_cut_back(choice: str) -> None:
    images = RENDERERS[choice](DEVICE)(stream(40, 9, 11), "own")
    sizes = {tuple(picture.shape) for picture in images.pixels}
    assert len(sizes) > 1
    values = torch.as_tensor(images.values())
    height, width = images.largest()
    assert values.shape == (5, height, width, 3)
    for place, picture in zip(values, images.pixels, strict=True):
        assert torch.equal(place[: picture.shape[0], : picture.shape[1]], torch.as_tensor(picture))
        assert (place[picture.shape[0] :] == 255).all()
        assert (place[:, picture.shape[1] :] == 255).all()
    held = images.holding(images.values())
    assert all(torch.equal(torch.as_tensor(one), torch.as_tensor(other)) for one, other in zip(held.pixels, images.pixels, strict=True))


def test_the_ways_to_render_are_timed_and_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    of = rendering.random_stream(3000, seed=0)
    found = rendering.measure(of, "cpu", calls=2)
    assert [timing.name for timing in found.timings] == ["loop", "vectorised"]
    assert found.event_bytes == 3000 * 5
    assert all(timing.seconds > 0 for timing in found.timings)
    monkeypatch.setitem(RENDERERS, "vectorised", lambda device: lambda stream, size: loop(replace(stream, p=1 - stream.p), size))
    with pytest.raises(ValueError, match="vectorised makes other pictures than the loop"):
        rendering.measure(of, "cpu", calls=2)
