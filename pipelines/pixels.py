"""Frames -> pixel values, as the CLIP image processors do it, without their copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms.v2 import functional

from evbench.errors import UserError


@dataclass(frozen=True)
class Recipe:
    """The numbers of a processor: shortest edge, centre crop, then (x / 255 - mean) / std."""

    shortest_edge: int
    crop: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, processor: Any) -> Recipe:
        """Read a Hugging Face image or video processor. Raises UserError if it does anything else."""
        steps = {name: getattr(processor, name) for name in ("do_resize", "do_center_crop", "do_rescale", "do_normalize")}
        usual = all(steps.values()) and int(processor.resample) == 3 and abs(processor.rescale_factor * 255 - 1) < 1e-6
        size = dict(processor.size)
        crop = dict(processor.crop_size)
        if not usual or size.get("shortest_edge", 0) < max(crop["height"], crop["width"]):
            does = f"{steps}, resample {processor.resample}, size {size}, crop {crop}"
            raise UserError(f"preprocess=direct cannot do what this checkpoint's processor does ({does}); use preprocess=processor")
        return cls(size["shortest_edge"], (crop["height"], crop["width"]), tuple(processor.image_mean), tuple(processor.image_std))


def quantum(processor: Any) -> float:
    """What one level of an 8-bit picture is in pixel values, in the channel where it is most."""
    return float(processor.rescale_factor / min(processor.image_std))


PixelValues = Callable[[npt.NDArray[np.uint8] | torch.Tensor, Recipe, str, torch.dtype], torch.Tensor]
"""(frames [frames, height, width, 3] uint8, recipe, device, dtype) -> [frames, 3, crop, crop]."""


def pixel_values(
    frames: npt.NDArray[np.uint8] | torch.Tensor,  # [frames, height, width, 3] uint8
    recipe: Recipe,
    device: str,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Resize, crop and normalise all frames at once.

    The frames stay in the decoder's memory, [height, width, channel]: for that layout torch has a vectorised uint8 resize on the
    CPU, and none of the 4.7 MB frames is copied to be turned around first. Same rounding as transformers' processors.

    Returns:
        [frames, 3, crop, crop] on `device`.
    """
    raw = torch.from_numpy(frames) if isinstance(frames, np.ndarray) else frames
    images = _resized(raw.to(device).permute(0, 3, 1, 2), recipe)
    return _normalised(images.float(), recipe).to(dtype)


def exact_values(
    frames: npt.NDArray[np.uint8] | torch.Tensor,  # [frames, height, width, 3] uint8
    recipe: Recipe,
    device: str,
    dtype: torch.dtype,
) -> torch.Tensor:
    """The same in double precision, with no rounding between the steps: what `pixel_values` is measured against.

    Returns:
        [frames, 3, crop, crop] on `device`.
    """
    raw = torch.as_tensor(frames).to(device, torch.float64).permute(0, 3, 1, 2)
    # A bicubic filter overshoots at edges. An 8-bit image holds no such value.
    return _normalised(_resized(raw, recipe).clamp(0, 255), recipe).to(dtype)


def _resized(images: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    # images: [frames, 3, height, width]
    height, width = images.shape[2:]
    shorter, longer = min(height, width), max(height, width)
    edges = recipe.shortest_edge, int(recipe.shortest_edge * longer / shorter)
    size = list(edges if height <= width else reversed(edges))
    images = functional.resize(images, size, interpolation=functional.InterpolationMode.BICUBIC, antialias=True)
    # transformers rounds the corner of the crop down, torchvision's center_crop to even
    top, left = ((edge - crop) // 2 for edge, crop in zip(images.shape[2:], recipe.crop, strict=True))
    return images[:, :, top : top + recipe.crop[0], left : left + recipe.crop[1]].contiguous()


def _normalised(images: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    mean, std = (torch.tensor(value, device=images.device, dtype=images.dtype).view(3, 1, 1) * 255 for value in (recipe.mean, recipe.std))
    return (images - mean) / std
