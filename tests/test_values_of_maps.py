"""The kernel against its reference, and against the values of painted pictures."""

from __future__ import annotations

import pytest
import torch

from evbench.kernels import pixel_values
from evbench.kernels import values_of_maps as kernel
from evbench.kernels.paint import paint
from evbench.kernels.pixel_values import PixelValues
from evbench.kernels.values_of_maps import ValuesOfMaps, reference
from tests.devices import DEVICE
from tests.operators import require_operator
from tests.resizing import MEAN, SIZES, STD, last_events, lines, noise, recipe, require_levels, values

pytestmark = [pytest.mark.device, pytest.mark.slow]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("taken", "edges"), [((kernel.ROWS, kernel.PIXELS), (23, 40)), ((16, 16), (40, 17))], ids=["as they are", "several steps"]
)
@pytest.mark.parametrize("size", [size if size in SIZES[::2] else pytest.param(size, marks=pytest.mark.long) for size in SIZES])
def test_values_of_last_events_are_those_of_their_pictures(
    size: tuple[int, int], taken: tuple[int, int], edges: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "ROWS", taken[0])
    monkeypatch.setattr(kernel, "PIXELS", taken[1])
    height, width = size
    last, of = last_events(height, width), recipe(edges)
    parts = lines(*size, of)
    operation, painted = ValuesOfMaps(*parts, MEAN, STD, DEVICE), PixelValues(*parts, MEAN, STD, None, DEVICE)
    # Each map begins elsewhere: at a multiple of 16 bytes, or not.
    for maps in (last[:, :height, :width], last[:, 5:, 3:], last[1:, 5:, 3:].contiguous()):
        made, pictures = values(operation, maps, of), paint(maps.contiguous())
        assert not made.isnan().any()
        require_levels(made, values(painted, pictures, of))
        require_levels(made, reference(maps, *parts, MEAN, STD))
        require_levels(made, pixel_values.reference(pictures, *parts, MEAN, STD, None))


@pytest.mark.parametrize(("event", "colour"), [(-1, (255, 255, 255)), (6, (0, 0, 255)), (7, (255, 0, 0))])
def test_one_colour_everywhere_is_that_colour(event: int, colour: tuple[int, int, int]) -> None:
    of = recipe()
    made = values(ValuesOfMaps(*lines(48, 64, of), MEAN, STD, DEVICE), torch.full((1, 48, 64), event, device=DEVICE).int(), of)
    expected = (torch.tensor(colour) / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    assert torch.allclose(made, expected.to(DEVICE).view(3, 1, 1).expand_as(made), atol=1e-5)


def test_maps_of_another_kind_are_refused() -> None:
    of = recipe()
    operation = ValuesOfMaps(*lines(48, 64, of), MEAN, STD, DEVICE)
    frames, maps = noise(48, 64), last_events(48, 64)[:, :48, :64]
    for wrong in (frames, frames.int(), frames[..., 0], maps.long(), maps.transpose(1, 2)):
        with pytest.raises(ValueError, match="maps must be rows of last events"):
            values(operation, wrong, of)
    few, wide, apart = (torch.empty(shape, device=DEVICE) for shape in ((1, 3, 40, 40), (2, 3, 40, 41), (2, 3, 40, 80)))
    for room in (few, wide, apart[..., ::2]):
        with pytest.raises(ValueError, match="values of 2 pictures are"):
            operation(maps, room)


@pytest.mark.parametrize("offset", [0, 1, 4])
def test_what_is_launched_again_is_for_the_maps_that_it_is_given(offset: int) -> None:
    """On a GPU the compiled kernel is kept. What it was compiled for must be so each time: where a row begins, sizes, type."""
    of = recipe()
    parts = lines(48, 64, of)
    operation = ValuesOfMaps(*parts, MEAN, STD, DEVICE)
    for images, dtype in [(2, torch.float32), (2, torch.float32), (3, torch.float32), (2, torch.bfloat16)]:
        maps = last_events(48, 64, images)[:, :48, offset : 64 + offset] if offset < 4 else last_events(44, 61, images)[:, 1:, :]
        made = values(operation, maps, of, dtype)
        assert torch.allclose(made.double(), reference(maps, *parts, MEAN, STD), atol=0.02, rtol=0.01)


def test_the_operator_tells_what_it_does_without_running() -> None:
    of = recipe((17, 19), 20)
    operation = ValuesOfMaps(*lines(23, 29, of), MEAN, STD, DEVICE)
    tables = operation._tables

    def run(maps: torch.Tensor, into: torch.Tensor, *given: torch.Tensor) -> None:
        operation._tables = given
        operation(maps, into)

    require_operator("values_of_maps", run, last_events(23, 29)[:, :23, :29], torch.zeros(2, 3, 17, 19, device=DEVICE), *tables)
