"""Frames on the GPU -> pixel values, by an NVIDIA DALI pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evbench.pipelines.preprocess.pixels import Recipe

Images = npt.NDArray[np.uint8] | torch.Tensor | Sequence[npt.NDArray[np.uint8] | torch.Tensor]


class DaliValues:
    """Resize, crop and normalisation as operators of DALI. Keeps one pipeline for each number of images."""

    def __init__(self, recipe: Recipe, device: str, dtype: torch.dtype) -> None:
        self._recipe, self._device, self._dtype = recipe, device, dtype
        self._pipelines: dict[int, Any] = {}
        self._held: Any = None

    def __call__(self, frames: Images) -> torch.Tensor:
        """Each [height, width, 3] uint8, of one size or of several -> [frames, 3, crop, crop]."""
        raw = [torch.as_tensor(frame).to(self._device).contiguous() for frame in frames]
        sizes = [np.array(self._recipe.resized(*frame.shape[:2]), np.float32) for frame in raw]
        if len(raw) not in self._pipelines:
            self._pipelines[len(raw)] = self._build(len(raw))
        (output,) = self._pipelines[len(raw)].run(images=[frame if frame.is_cuda else frame.numpy() for frame in raw], sizes=sizes)
        self._held = output  # until the next call: without it DALI could give the memory away while it is still copied
        pixels = torch.utils.dlpack.from_dlpack(output.as_tensor())
        return pixels.to(self._dtype, copy=True)  # DALI reuses its buffer

    def _build(self, count: int) -> Any:
        from nvidia.dali import fn, pipeline_def, types

        recipe, place = self._recipe, "gpu" if self._device == "cuda" else "cpu"
        device_id = torch.cuda.current_device() if place == "gpu" else None

        @pipeline_def(batch_size=count, num_threads=2, device_id=device_id, prefetch_queue_depth=1)  # type: ignore[untyped-decorator]
        def preprocess() -> Any:
            images = fn.external_source(name="images", device=place, dtype=types.UINT8, ndim=3, layout="HWC")
            size = fn.external_source(name="sizes", dtype=types.FLOAT, ndim=1)
            resized = fn.resize(images, size=size, interp_type=types.INTERP_CUBIC, antialias=True)
            return fn.crop_mirror_normalize(
                resized,
                crop=recipe.crop,
                rounding="truncate",  # of the corner, as transformers does it
                mean=[value * 255 for value in recipe.mean],
                std=[value * 255 for value in recipe.std],
                output_layout="CHW",
                dtype=types.FLOAT,
            )

        pipeline = preprocess()
        pipeline.build()
        return pipeline
