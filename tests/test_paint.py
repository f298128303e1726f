"""The kernel against its reference."""

from __future__ import annotations

import pytest
import torch

from evbench.kernels.last_events import last_events
from evbench.kernels.paint import paint, reference, unpainted
from tests.devices import DEVICE
from tests.operators import require_operator
from tests.random_events import events

pytestmark = pytest.mark.device


def random(*shape: int) -> torch.Tensor:
    """[...] int32: some of each polarity, some without an event."""
    return torch.randint(-20, 40, shape, dtype=torch.int32, generator=torch.Generator().manual_seed(0)).clamp(min=-1).to(DEVICE)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (5, 33, 47), (2, 1, 300), (2, 2, 16, 16)], ids=str)
def test_the_kernel_equals_its_reference(shape: tuple[int, ...]) -> None:
    last = random(*shape)
    pictures = paint(last)
    assert pictures.dtype == torch.uint8
    assert pictures.shape == (*shape, 3)
    assert torch.equal(pictures, reference(last))


def test_a_picture_is_blue_where_it_got_darker_and_red_where_brighter() -> None:
    last = torch.tensor([[-1, 0, 1, 2**31 - 2, 2**31 - 1]], dtype=torch.int32, device=DEVICE)
    white, blue, red = [255, 255, 255], [0, 0, 255], [255, 0, 0]
    assert paint(last).tolist() == [[white, blue, red, blue, red]]


def test_pictures_go_back_to_last_events_if_no_other_colour_is_in_them() -> None:
    last, _ = last_events(*events(300, 20, 31), 2, (20, 31))
    pictures = paint(last)
    back = unpainted(pictures)
    assert back is not None
    assert torch.equal(back, torch.where(last < 0, -1, last & 1))
    assert torch.equal(paint(back), pictures)
    for colour in ((255, 0, 255), (0, 0, 0), (255, 255, 254), (0, 0, 254)):
        pictures[1, 19, 30] = torch.tensor(colour, dtype=torch.uint8, device=DEVICE)
        assert unpainted(pictures) is None


def test_last_events_of_another_kind_are_refused() -> None:
    for wrong in (random(3, 4).long(), random(3, 4).T):
        with pytest.raises(ValueError, match="last events must be contiguous int32"):
            paint(wrong)


def test_the_operator_tells_what_it_does_without_running() -> None:
    require_operator("paint", paint, random(2, 5, 7))
