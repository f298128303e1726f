"""Frames -> pixel values, as the CLIP image processors do it, without their copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms.v2 import functional

from evbench.colours import Affine
from evbench.errors import UserError
from evbench.kernels import pixel_values as kernel
from evbench.kernels.antialiased_cubic import taps
from evbench.kernels.values_of_maps import ValuesOfMaps


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

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width in front of the crop, as transformers rounds them."""
        longer = int(self.shortest_edge * max(height, width) / min(height, width))
        return (self.shortest_edge, longer) if height <= width else (longer, self.shortest_edge)

    def corner(self, height: int, width: int) -> tuple[int, int]:
        """Top and left of the crop in a resized picture. transformers rounds down, torchvision's center_crop to even."""
        return (height - self.crop[0]) // 2, (width - self.crop[1]) // 2


def quantum(processor: Any) -> float:
    """What one 8-bit level is in pixel values, in the channel where it is most."""
    return float(processor.rescale_factor / min(processor.image_std))


Pixels = npt.NDArray[np.uint8] | torch.Tensor
PixelValues = Callable[[Pixels, Recipe, str, torch.dtype], torch.Tensor]
"""(frames [frames, height, width, 3] uint8, recipe, device, dtype) -> [frames, 3, crop, crop]."""


def pixel_values(
    frames: Pixels,  # [frames, height, width, 3] uint8
    recipe: Recipe,
    device: str,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Resize, crop and normalise all frames at once.

    The frames stay in the decoder's memory, [height, width, channel]: for that layout torch has a vectorised uint8 resize on the
    CPU, and none of the 4.7 MB frames is copied to be permuted first. Rounding is that of transformers' processors.

    Returns:
        [frames, 3, crop, crop] on `device`.
    """
    raw = torch.from_numpy(frames) if isinstance(frames, np.ndarray) else frames
    images = _resized(raw.to(device).permute(0, 3, 1, 2), recipe)
    return _normalised(images.float(), recipe).to(dtype)


def exact_values(
    frames: Pixels,  # [frames, height, width, 3] uint8
    recipe: Recipe,
    device: str,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Resize, crop and normalise in double precision, with no rounding between the steps: what `pixel_values` is measured against.

    Returns:
        [frames, 3, crop, crop] on `device`.
    """
    raw = torch.as_tensor(frames).to(device, torch.float64).permute(0, 3, 1, 2)
    # A bicubic filter overshoots at edges. An 8-bit image holds no such value.
    return _normalised(_resized(raw, recipe).clamp(0, 255), recipe).to(dtype)


Operation = kernel.PixelValues | ValuesOfMaps
SIZES = 64
"""For which tables are kept: the event images of raw events may all differ in size, and the tables of one size need up to a MiB."""


class FusedValues:
    """Resize, crop and normalise in one kernel, on the GPU: see evbench.kernels.pixel_values. Keeps its tables for the last sizes.

    Event images need not be painted for it: there is one for each pixel's last event as well, evbench.kernels.values_of_maps.
    """

    def __init__(self, recipe: Recipe, device: str, dtype: torch.dtype) -> None:
        self._recipe, self._device, self._dtype = recipe, device, dtype
        self._known: dict[tuple[int, int, bool, bytes], Operation] = {}

    def __call__(self, frames: Pixels, repair: Affine | None = None, into: torch.Tensor | None = None) -> torch.Tensor:
        """[frames, height, width, 3] uint8, or the last events [frames, height, width] int32 -> [frames, 3, crop, crop].

        Args:
            repair: RGB as the frames have it -> as it should be.
            into: what is written and returned. None for new memory.

        Raises:
            ValueError: a repair of last events.
        """
        raw = torch.as_tensor(frames).to(self._device)
        if raw.dtype == torch.uint8:
            raw = raw.contiguous()
        if into is None:
            into = self.allocate(len(raw))
        self.operation(raw, repair)(raw, into)
        return into

    def operation(self, frames: torch.Tensor, repair: Affine | None = None) -> Operation:
        """What is launched for frames of that size, with its tables. Arguments and errors are those of a call."""
        height, width = frames.shape[1:3]
        of_maps = frames.dtype == torch.int32
        if of_maps and repair is not None:
            raise ValueError("last events have no colours to repair")
        key = height, width, of_maps, b"" if repair is None else repair.tobytes()
        if key not in self._known:
            if len(self._known) == SIZES:
                del self._known[next(iter(self._known))]
            self._known[key] = self._operation(height, width, of_maps, repair)
        return self._known[key]

    def allocate(self, frames: int) -> torch.Tensor:
        """Memory for the values of so many frames: [frames, 3, crop, crop]."""
        return torch.empty((frames, 3, *self._recipe.crop), dtype=self._dtype, device=self._device)

    def _operation(self, height: int, width: int, of_maps: bool, repair: Affine | None) -> Operation:
        recipe = self._recipe
        size = recipe.resized(height, width)
        edges = zip((height, width), size, recipe.corner(*size), recipe.crop, strict=True)
        rows, columns = (taps(*edge) for edge in edges)
        if of_maps:
            return ValuesOfMaps(rows, columns, recipe.mean, recipe.std, self._device)
        return kernel.PixelValues(rows, columns, recipe.mean, recipe.std, repair, self._device)


def _resized(images: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    # images: [frames, 3, height, width]
    size = recipe.resized(*images.shape[2:])
    images = functional.resize(images, list(size), interpolation=functional.InterpolationMode.BICUBIC, antialias=True)
    top, left = recipe.corner(*size)
    return images[:, :, top : top + recipe.crop[0], left : left + recipe.crop[1]].contiguous()


def _normalised(images: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    mean, std = (torch.tensor(value, device=images.device, dtype=images.dtype).view(3, 1, 1) * 255 for value in (recipe.mean, recipe.std))
    return (images - mean) / std
