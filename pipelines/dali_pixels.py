"""Frames on the GPU -> pixel values, by an NVIDIA DALI pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evbench.pipelines.pixels import Recipe


class DaliValues:
    """Resize, crop and normalisation as operators of DALI. Keeps one pipeline for each number and size of pictures."""

    def __init__(self, recipe: Recipe, device: str, dtype: torch.dtype) -> None:
        self._recipe, self._device, self._dtype = recipe, device, dtype
        self._pipelines: dict[tuple[int, ...], Any] = {}
        self._held: Any = None

    def __call__(self, frames: npt.NDArray[np.uint8] | torch.Tensor) -> torch.Tensor:
        """[frames, height, width, 3] uint8 -> [frames, 3, crop, crop]."""
        raw = torch.as_tensor(frames).to(self._device)
        shape = tuple(raw.shape)
        if shape not in self._pipelines:
            self._pipelines[shape] = self._build(*shape[:3])
        (output,) = self._pipelines[shape].run(pictures=list(raw if raw.is_cuda else raw.numpy()))
        self._held = output  # until the next call: without it DALI could give the memory away while it is still copied
        made = torch.utils.dlpack.from_dlpack(output.as_tensor())
        return made.to(self._dtype, copy=True)  # DALI reuses its buffer

    def _build(self, count: int, height: int, width: int) -> Any:
        from nvidia.dali import fn, pipeline_def, types

        recipe, place = self._recipe, "gpu" if self._device == "cuda" else "cpu"
        device_id = torch.cuda.current_device() if place == "gpu" else None

        @pipeline_def(batch_size=count, num_threads=2, device_id=device_id, prefetch_queue_depth=1)  # type: ignore[untyped-decorator]
        def make() -> Any:
            pictures = fn.external_source(name="pictures", device=place, dtype=types.UINT8, ndim=3, layout="HWC")
            resized = fn.resize(pictures, size=recipe.resized(height, width), interp_type=types.INTERP_CUBIC, antialias=True)
            return fn.crop_mirror_normalize(
                resized,
                crop=recipe.crop,
                rounding="truncate",  # of the corner, as transformers does it
                mean=[value * 255 for value in recipe.mean],
                std=[value * 255 for value in recipe.std],
                output_layout="CHW",
                dtype=types.FLOAT,
            )

        pipeline = make()
        pipeline.build()
        return pipeline
