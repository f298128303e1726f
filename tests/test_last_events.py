"""The kernel against its reference."""

from __future__ import annotations

import pytest
import torch

from evbench.kernels import event_slices
from evbench.kernels.event_slices import EVENTS, MOST_EVENTS, PROGRAMS
from evbench.kernels.extents import as_sizes, sizes
from evbench.kernels.last_events import last_events, reference
from evbench.kernels.paint import PALETTE, paint
from tests.devices import DEVICE
from tests.operators import require_operator
from tests.random_events import SHAPES, events

pytestmark = [pytest.mark.device, pytest.mark.slow]

Columns = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""x, y, polarity."""


def require_last_events(columns: Columns, slices: int, canvas: tuple[int, int]) -> torch.Tensor:
    last, extents = last_events(*columns, slices, canvas)
    expected = reference(*columns, slices, canvas)
    for found, right in zip((last, extents), expected, strict=True):
        assert found.dtype == torch.int32
        assert found.device.type == DEVICE
        assert torch.equal(found, right)
    return last


@pytest.mark.parametrize("taken", [(EVENTS, PROGRAMS), (256, 3)], ids=["as they are", "few programs, several turns"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_equals_its_reference(shape: tuple[int, int, int, int], taken: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_slices, "EVENTS", taken[0])
    monkeypatch.setattr(event_slices, "PROGRAMS", taken[1])
    count, rows, columns, slices = shape
    given = events(count, rows, columns)
    require_last_events(given, slices, (rows, columns))
    require_last_events(given, slices, (rows + 3, columns + 1))


def test_events_outside_are_left_out_and_told() -> None:
    given = events(3000, 40, 50)
    for canvas in ((39, 50), (40, 49), (7, 11), (1, 1)):
        require_last_events(given, 5, canvas)
        assert as_sizes(last_events(*given, 5, canvas)[1]) == sizes(given[0], given[1], 5)


@pytest.mark.parametrize("slices", [1, 5])
def test_of_many_events_in_one_pixel_the_last_of_the_slice_wins(slices: int) -> None:
    count = 3000 + slices - 1
    _, _, polarity = events(count, 1, 1)
    x, y = (torch.full((count,), place, dtype=torch.uint16, device=DEVICE) for place in (6, 4))
    last = require_last_events((x, y, polarity), slices, (5, 7))
    for part, of_slice in enumerate(last, 1):
        final = part * (count // slices) - 1 if part < slices else count - 1
        assert of_slice[4, 6] == 2 * final + int(polarity[final])
        assert (of_slice >= 0).sum() == 1
        picture = paint(of_slice)
        assert tuple(picture[4, 6].tolist()) == PALETTE[int(polarity[final])]
        assert (picture.reshape(-1, 3) != 255).any(dim=1).sum() == 1


def test_any_polarity_but_0_is_brighter() -> None:
    x, y, polarity = events(400, 9, 9)
    last, expected = (last_events(x, y, of, 1, (9, 9))[0] for of in (polarity * 255, polarity))
    assert torch.equal(last, expected)


def test_events_of_another_kind_are_refused() -> None:
    x, y, polarity = events(40, 9, 9)
    with pytest.raises(ValueError, match="contiguous uint16, uint16 and uint8"):
        last_events(x.int(), y, polarity, 1, (9, 9))
    with pytest.raises(ValueError, match="of one length"):
        last_events(x, y[:-1], polarity, 1, (9, 9))
    with pytest.raises(ValueError, match="4 events cannot be made into 5 slices"):
        last_events(x[:4], y[:4], polarity[:4], 5, (9, 9))
    places, polarities = (torch.empty(MOST_EVENTS + 1, dtype=dtype, device="meta") for dtype in (torch.uint16, torch.uint8))
    with pytest.raises(ValueError, match="1073741824 at most"):
        last_events(places, places, polarities, 5, (9, 9))


def test_the_operator_tells_what_it_does_without_running() -> None:
    require_operator("last_events", last_events, *events(40, 9, 11), 3, (9, 11))
