"""The kernel against its reference, torch's resize and transformers' processor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import VideoLlavaVideoProcessor

from evbench.colours import BT601, BT709, conversion
from evbench.kernels import pixel_values as kernel
from evbench.kernels.event_images import paint
from evbench.kernels.pixel_values import PixelValues, Taps, reference, taps
from evbench.pipelines.preprocess.pixels import FusedValues, Recipe, exact_values, quantum
from tests.devices import DEVICE

pytestmark = pytest.mark.device

SIZES = [(101, 77), (77, 101), (48, 64), (40, 40), (25, 31), (121, 162)]
"""Odd ones; made larger and smaller; higher than wide, wider than high, square."""
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
REPAIRS = [None, np.column_stack([conversion(BT709, BT601), [1.3, -0.7, 0.4]])]


def noise(height: int, width: int, frames: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.randint(0, 256, (frames, height, width, 3), dtype=torch.uint8, generator=generator).to(DEVICE)


def recipe(crop: tuple[int, int] = (40, 40), edge: int = 40) -> Recipe:
    return Recipe(edge, crop, MEAN, STD)


def values(operation: PixelValues, frames: torch.Tensor, of: Recipe, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    made = torch.full((len(frames), 3, *of.crop), torch.nan, dtype=dtype, device=DEVICE)
    operation(frames, made)
    return made


def require_levels(made: torch.Tensor, expected: torch.Tensor) -> None:
    """Sums in another order round to the other level where they lie between two."""
    levels = (made.double() - expected.double()) * 255 * torch.tensor(STD, device=DEVICE).view(3, 1, 1)
    assert levels.abs().max() < 1.001
    assert (levels.abs() > 1e-3).double().mean() < 1e-3


def lines(height: int, width: int, of: Recipe) -> tuple[Taps, Taps]:
    size = of.resized(height, width)
    rows, columns = (taps(*edge) for edge in zip((height, width), size, of.corner(*size), of.crop, strict=True))
    return rows, columns


@pytest.mark.parametrize("repair", REPAIRS, ids=["right", "repaired"])
@pytest.mark.parametrize("size", SIZES)
def test_the_kernel_equals_its_reference(size: tuple[int, int], repair: np.ndarray | None) -> None:
    for of in (recipe((23, 40)), recipe((40, 17))):
        frames, parts = noise(*size), lines(*size, of)
        made = values(PixelValues(*parts, MEAN, STD, repair, DEVICE), frames, of)
        expected = reference(frames, *parts, MEAN, STD, repair)
        assert made.shape == (2, 3, *of.crop)
        require_levels(made, expected)


@pytest.mark.parametrize("size", SIZES)
def test_the_taps_are_those_of_torch(size: tuple[int, int]) -> None:
    height, width = size
    target = recipe().resized(height, width)
    picture = torch.rand(1, 1, height, width, dtype=torch.float64)
    expected = torch.nn.functional.interpolate(picture, size=target, mode="bicubic", antialias=True)[0, 0]
    made = picture[0, 0]
    for axis, (source, edge) in enumerate(zip(size, target, strict=True)):
        line = taps(source, edge, 0, edge)
        weights = torch.zeros(edge, source, dtype=torch.float64)
        for row in range(edge):
            first, needed = line.first[row], min(line.weights.shape[1], source - line.first[row])
            weights[row, first : first + needed] = torch.from_numpy(line.weights[row, :needed])
        made = weights @ made if axis == 0 else made @ weights.T
    assert torch.allclose(made, expected, atol=1e-6)


def test_taps_sum_to_one_and_stay_inside() -> None:
    line = taps(1440, 298, 37, 224)
    assert line.weights.shape == (224, 20)
    assert np.allclose(line.weights.sum(axis=1), 1)
    assert (line.first >= 0).all()
    assert ((line.first[:, None] + np.arange(20))[line.weights != 0] < 1440).all()


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
    for wrong in (frames.float(), frames.transpose(1, 2), frames[..., 0], frames.int(), frames[..., 0].int().transpose(1, 2)):
        with pytest.raises(ValueError, match="contiguous RGB bytes or rows of last events"):
            values(operation, wrong, of)
    few, wide, apart = (torch.empty(shape, device=DEVICE) for shape in ((1, 3, 40, 40), (2, 3, 40, 41), (2, 3, 40, 80)))
    for room in (few, wide, apart[..., ::2]):
        with pytest.raises(ValueError, match="values of 2 frames are"):
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


def last_events(height: int, width: int, images: int = 2) -> torch.Tensor:
    """[images, height + 5, width + 3] int32: some of each polarity, some without an event; larger than what is taken of them."""
    generator = torch.Generator().manual_seed(width)
    return (torch.randint(-20, 40, (images, height + 5, width + 3), dtype=torch.int32, generator=generator)).clamp(min=-1).to(DEVICE)


@pytest.mark.parametrize("taken", [(kernel.MAP_ROWS, kernel.PIXELS), (16, 16)], ids=["as they are", "several steps"])
@pytest.mark.parametrize("size", SIZES)
def test_values_of_last_events_are_those_of_their_pictures(
    size: tuple[int, int], taken: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "MAP_ROWS", taken[0])
    monkeypatch.setattr(kernel, "PIXELS", taken[1])
    height, width = size
    last = last_events(height, width)
    for of in (recipe((23, 40)), recipe((40, 17))):
        parts = lines(*size, of)
        operation = PixelValues(*parts, MEAN, STD, None, DEVICE)
        # Each map begins elsewhere: at a multiple of 16 bytes, or not.
        for maps in (last[:, :height, :width], last[:, 5:, 3:], last[1:, 5:, 3:].contiguous()):
            made, pictures = values(operation, maps, of), paint(maps.contiguous())
            assert not made.isnan().any()
            require_levels(made, values(operation, pictures, of))
            require_levels(made, reference(pictures, *parts, MEAN, STD, None))


@pytest.mark.parametrize(("event", "colour"), [(-1, (255, 255, 255)), (6, (0, 0, 255)), (7, (255, 0, 0))])
def test_one_colour_everywhere_is_that_colour(event: int, colour: tuple[int, int, int]) -> None:
    of = recipe()
    made = values(PixelValues(*lines(48, 64, of), MEAN, STD, None, DEVICE), torch.full((1, 48, 64), event, device=DEVICE).int(), of)
    expected = (torch.tensor(colour) / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    assert torch.allclose(made, expected.to(DEVICE).view(3, 1, 1).expand_as(made), atol=1e-5)


def test_last_events_have_no_colours_to_repair() -> None:
    of = recipe()
    with pytest.raises(ValueError, match="no colours to repair"):
        values(PixelValues(*lines(48, 64, of), MEAN, STD, REPAIRS[1], DEVICE), last_events(48, 64)[:, :48, :64], of)


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
