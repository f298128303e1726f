"""Video decode on the GPU through NVIDIA DALI (NVDEC)."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evbench.errors import UserError, first_line
from evbench.pipelines.video import Frames, probe

BT709, UNSPECIFIED, BT470BG, SMPTE170M = 1, 2, 5, 6
"""Matrix coefficients, ITU-T H.273 table 4."""
LUMA = {BT709: (0.2126, 0.0722), BT470BG: (0.299, 0.114)}
"""Weights of red and blue in luma."""


class DaliDecoder:
    """Keeps one DALI pipeline for each choice of frames: building one costs more than decoding a clip."""

    def __init__(self) -> None:
        self._pipelines: dict[tuple[int, ...], Any] = {}

    def __call__(self, path: Path, count: int, policy: str) -> Frames:
        clip = probe(path)
        indices = tuple(clip.choose(path, count, policy))
        if clip.colorspace not in (BT709, UNSPECIFIED, BT470BG, SMPTE170M):
            raise UserError(f"{path} has colour matrix {clip.colorspace}, and decode=dali knows BT.601 and BT.709; use decode=threaded")
        if indices not in self._pipelines:
            self._pipelines[indices] = _build(indices)
        try:
            (output,) = self._pipelines[indices].run(encoded=[np.fromfile(path, np.uint8)])
        except RuntimeError as error:
            raise UserError(f"{path}: DALI cannot decode it ({first_line(error)}); use decode=threaded") from error
        pixels = torch.utils.dlpack.from_dlpack(output[0]).clone()  # DALI reuses its buffer  # [frames, height, width, 3] uint8
        if clip.colorspace == BT709:
            pixels = repair_bt709(pixels)
        seconds = tuple(clip.seconds[index] for index in indices)
        return Frames(pixels, indices, seconds, f"DALI {importlib.metadata.version('nvidia-dali-cuda130')} NVDEC")


def repair_bt709(pixels: torch.Tensor) -> torch.Tensor:
    """RGB as it should be, from RGB that was converted with the BT.601 matrix out of BT.709 video.

    DALI 2.4 uses BT.601 whatever the stream says. Both conversions are linear and share the scaling of limited range, so
    M709 . inverse(M601) maps one onto the other; only colours that were clipped stay wrong.

    Args:
        pixels: [..., 3] uint8.
    """
    repair = _to_rgb(*LUMA[BT709]) @ torch.linalg.inv(_to_rgb(*LUMA[BT470BG]))
    mended: torch.Tensor = pixels.float() @ repair.T.to(pixels.device, torch.float32)
    return mended.round_().clamp_(0, 255).to(torch.uint8)


def _to_rgb(red: float, blue: float) -> torch.Tensor:
    """Matrix of (Y, Cb, Cr) -> (R, G, B), full scale. ITU-R BT.601 and BT.709, section 3."""
    green = 1 - red - blue
    return torch.tensor(
        [
            [1, 0, 2 * (1 - red)],
            [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
            [1, 2 * (1 - blue), 0],
        ],
        dtype=torch.float64,
    )


def _build(indices: tuple[int, ...]) -> Any:
    from nvidia.dali import fn, pipeline_def, types

    # A deeper queue would ask for the next clip before it is known, and end the pipeline for want of one.
    @pipeline_def(batch_size=1, num_threads=2, device_id=torch.cuda.current_device(), prefetch_queue_depth=1)  # type: ignore[untyped-decorator]
    def decode() -> Any:
        encoded = fn.external_source(name="encoded", dtype=types.UINT8, ndim=1)
        return fn.decoders.video(encoded, device="mixed", frames=list(indices))

    pipeline = decode()
    pipeline.build()
    return pipeline
