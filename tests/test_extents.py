"""The kernel against its reference."""

from __future__ import annotations

import pytest
import torch

from evbench.kernels import event_slices
from evbench.kernels.event_slices import EVENTS, PROGRAMS
from evbench.kernels.extents import as_sizes, extents, reference, sizes
from tests.devices import DEVICE
from tests.operators import require_operator
from tests.random_events import SHAPES, events

pytestmark = pytest.mark.device


@pytest.mark.parametrize("taken", [(EVENTS, PROGRAMS), (256, 3)], ids=["as they are", "few programs, several turns"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_equals_its_reference(shape: tuple[int, int, int, int], taken: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_slices, "EVENTS", taken[0])
    monkeypatch.setattr(event_slices, "PROGRAMS", taken[1])
    count, rows, columns, slices = shape
    x, y, _ = events(count, rows, columns)
    found, expected = extents(x, y, slices), reference(x, y, slices)
    assert found.dtype == torch.int32
    assert found.device.type == DEVICE
    assert torch.equal(found, expected)
    assert sizes(x, y, slices) == as_sizes(expected)


def test_pictures_are_as_large_as_their_slices_need() -> None:
    x = torch.tensor([3, 0, 65535, 9, 2], dtype=torch.uint16, device=DEVICE)
    y = torch.tensor([0, 8, 1, 9, 0], dtype=torch.uint16, device=DEVICE)
    assert sizes(x, y, 2) == [(9, 4), (10, 65536)]
    assert sizes(x, y, 5) == [(1, 4), (9, 1), (2, 65536), (10, 10), (1, 3)]


def test_events_of_another_kind_are_refused() -> None:
    x, y, _ = events(40, 9, 9)
    with pytest.raises(ValueError, match="contiguous uint16, uint16 and uint8"):
        extents(x.int(), y, 1)
    with pytest.raises(ValueError, match="of one length"):
        extents(x, y[::2], 1)
    with pytest.raises(ValueError, match="4 events cannot be made into 5 slices"):
        extents(x[:4], y[:4], 5)


def test_the_operator_tells_what_it_does_without_running() -> None:
    require_operator("extents", extents, *events(40, 9, 11)[:2], 3)
