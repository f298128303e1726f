"""The kernel against its reference, torch's resize and transformers' processor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import VideoLlavaVideoProcessor

from evbench.kernels.antialiased_cubic import GROUP
from evbench.kernels.pixel_values import GROUPS, PixelValues, reference
from evbench.pipelines.preprocess.pixels import FusedValues, Recipe, exact_values, quantum
from tests.devices import DEVICE
from tests.operators import require_operator
from tests.resizing import MEAN, REPAIRS, SIZES, STD, last_events, lines, noise, recipe, require_levels, values

pytestmark = [pytest.mark.device, pytest.mark.slow]


@pytest.mark.parametrize("repair", REPAIRS, ids=["right", "repaired"])
@pytest.mark.parametrize("size", SIZES)
def test_the_kernel_equals_its_reference(size: tuple[int, int], repair: np.ndarray | None) -> None:
    for of in (recipe((23, 40)), recipe((40, 17))):
        frames, parts = noise(*size), lines(*size, of)
        made = values(PixelValues(*parts, MEAN, STD, repair, DEVICE), frames, of)
        expected = reference(frames, *parts, MEAN, STD, repair)
        assert made.shape == (2, 3, *of.crop)
        require_levels(made, expected)


@pytest.mark.parametrize("width", [300, 301])
def test_a_tile_is_made_in_several_steps_along_the_row(width: int) -> None:
    frames, of = noise(260, width), recipe((20, 40))
    parts = lines(260, width, of)
    operation = PixelValues(*parts, MEAN, STD, REPAIRS[1], DEVICE)
    *_, horizontal, _ = operation._tables
    assert horizontal.shape[2] > GROUP * GROUPS
    require_levels(values(operation, frames, of), reference(frames, *parts, MEAN, STD, REPAIRS[1]))


def test_one_level_everywhere_is_that_level() -> None:
    """Also at the edges, where a tile's weights are 0 for what is read a second time."""
    of = recipe()
    operation = PixelValues(*lines(48, 61, of), MEAN, STD, None, DEVICE)
    for level in (0, 1, 127, 255):
        frames = torch.full((1, 48, 61, 3), level, dtype=torch.uint8, device=DEVICE)
        expected = (level / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
        assert torch.allclose(values(operation, frames, of), expected.to(DEVICE).view(3, 1, 1).expand(1, 3, 40, 40), atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_values_are_within_a_level_of_the_processor(size: tuple[int, int]) -> None:
    edge = 40
    processor = VideoLlavaVideoProcessor(size={"shortest_edge": edge}, crop_size={"height": edge, "width": edge})
    frames = noise(*size).cpu()
    expected = processor(frames.permute(0, 3, 1, 2), return_tensors="pt")["pixel_values_videos"][0]
    of = Recipe.of(processor)
    made = FusedValues(of, DEVICE, torch.float32)(frames).cpu()
    exact = exact_values(frames, of, "cpu", torch.float32)
    level = quantum(processor)
    # The processor rounds between the two directions too, and so is further from the truth.
    assert (made - exact).abs().max() < 0.51 * level
    assert (expected - made).abs().max() <= (expected - exact).abs().max() + 0.51 * level


@pytest.mark.parametrize("size", [(101, 77), (48, 64)])
def test_repaired_colours_are_those_of_a_repair_in_front(size: tuple[int, int]) -> None:
    frames, repair = noise(*size) // 2 + 64, REPAIRS[1]
    assert repair is not None
    mended = torch.from_numpy(repair).to(DEVICE)
    inside = (frames.double() @ mended[:, :3].T + mended[:, 3]).round().clamp(0, 255).to(torch.uint8)
    made = FusedValues(recipe(), DEVICE, torch.float32)
    levels = (made(frames, repair) - made(inside)) * 255 * torch.tensor(STD, device=DEVICE).view(3, 1, 1)
    assert levels.abs().max() < 2.1, "rounded once here, twice there"
    assert levels.abs().mean() < 0.5


def test_frames_of_another_kind_are_refused() -> None:
    of = recipe()
    operation = PixelValues(*lines(48, 64, of), MEAN, STD, None, DEVICE)
    frames = noise(48, 64)
    for wrong in (frames.float(), frames.transpose(1, 2), frames[..., 0], frames.int()):
        with pytest.raises(ValueError, match="frames must be contiguous RGB bytes"):
            values(operation, wrong, of)
    few, wide, apart = (torch.empty(shape, device=DEVICE) for shape in ((1, 3, 40, 40), (2, 3, 40, 41), (2, 3, 40, 80)))
    for room in (few, wide, apart[..., ::2]):
        with pytest.raises(ValueError, match="values of 2 pictures are"):
            operation(frames, room)


@pytest.mark.parametrize("offset", [0, 3, 16])
def test_what_is_launched_again_is_for_the_frames_that_it_is_given(offset: int) -> None:
    """On a GPU the compiled kernel is kept. What it was compiled for must be so each time: where a row begins, sizes, type."""
    of = recipe()
    parts = lines(48, 64, of)
    operation = PixelValues(*parts, MEAN, STD, None, DEVICE)
    for seed, (frames, dtype) in enumerate([(2, torch.float32), (2, torch.float32), (3, torch.float32), (2, torch.bfloat16)]):
        whole = torch.randint(0, 256, (offset + frames * 48 * 64 * 3,), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
        shown = whole.to(DEVICE)[offset:].view(frames, 48, 64, 3)
        made = values(operation, shown, of, dtype)
        assert torch.allclose(made.double(), reference(shown, *parts, MEAN, STD, None), atol=0.02, rtol=0.01)


def test_last_events_have_no_colours_to_repair() -> None:
    with pytest.raises(ValueError, match="no colours to repair"):
        FusedValues(recipe(), DEVICE, torch.float32)(last_events(48, 64)[:, :48, :64], REPAIRS[1])


def test_values_are_written_where_they_are_wanted() -> None:
    of = recipe((23, 17))
    fused = FusedValues(of, DEVICE, torch.float32)
    frames, last = noise(48, 64), last_events(48, 64)[:, :48, :64]
    room = fused.allocate(6)
    room.fill_(torch.nan)
    assert fused(frames, into=room[1:3]).data_ptr() == room[1].data_ptr()
    fused(last, into=room[4:])
    assert torch.equal(room[1:3], fused(frames))
    assert torch.equal(room[4:], fused(last))
    assert room[0].isnan().all() and room[3].isnan().all()


def test_the_operator_tells_what_it_does_without_running() -> None:
    of = recipe((17, 19), 20)
    operation = PixelValues(*lines(23, 29, of), MEAN, STD, REPAIRS[1], DEVICE)
    tables = operation._tables

    def run(frames: torch.Tensor, into: torch.Tensor, *given: torch.Tensor) -> None:
        operation._tables = given
        operation(frames, into)

    require_operator("pixel_values", run, noise(23, 29), torch.zeros(2, 3, 17, 19, device=DEVICE), *tables)
