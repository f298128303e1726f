"""Frames and numbers of a small processor, for all operations that resize."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from evbench.colours import BT601, BT709, conversion
from evbench.kernels.antialiased_cubic import Taps, taps
from evbench.pipelines.preprocess.pixels import Recipe
from tests.devices import DEVICE

SIZES = [(101, 77), (77, 101), (48, 64), (40, 40), (25, 31), (121, 162)]
"""Odd ones; made larger and smaller; higher than wide, wider than high, square."""
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
REPAIRS = [None, np.column_stack([conversion(BT709, BT601), [1.3, -0.7, 0.4]])]


def noise(height: int, width: int, frames: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.randint(0, 256, (frames, height, width, 3), dtype=torch.uint8, generator=generator).to(DEVICE)


def last_events(height: int, width: int, images: int = 2) -> torch.Tensor:
    """[images, height + 5, width + 3] int32: some of each polarity, some without an event; larger than what is taken of them."""
    generator = torch.Generator().manual_seed(width)
    return (torch.randint(-20, 40, (images, height + 5, width + 3), dtype=torch.int32, generator=generator)).clamp(min=-1).to(DEVICE)


def recipe(crop: tuple[int, int] = (40, 40), edge: int = 40) -> Recipe:
    return Recipe(edge, crop, MEAN, STD)


def lines(height: int, width: int, of: Recipe) -> tuple[Taps, Taps]:
    size = of.resized(height, width)
    rows, columns = (taps(*edge) for edge in zip((height, width), size, of.corner(*size), of.crop, strict=True))
    return rows, columns


def values(operation: Any, frames: torch.Tensor, of: Recipe, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    made = torch.full((len(frames), 3, *of.crop), torch.nan, dtype=dtype, device=DEVICE)
    operation(frames, made)
    return made


def require_levels(made: torch.Tensor, expected: torch.Tensor) -> None:
    """Sums in another order round to the other level where they lie between two."""
    levels = (made.double() - expected.double()) * 255 * torch.tensor(STD, device=DEVICE).view(3, 1, 1)
    assert levels.abs().max() < 1.001
    assert (levels.abs() > 1e-3).double().mean() < 1e-3
