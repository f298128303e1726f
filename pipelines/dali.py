"""Video decode on the GPU through NVIDIA DALI (NVDEC)."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evbench import colours
from evbench.errors import UserError, first_line
from evbench.pipelines.video import Clip, Frames, probe

BT709, UNSPECIFIED, BT470BG, SMPTE170M = 1, 2, 5, 6
"""Matrix coefficients, ITU-T H.273 table 4."""
REPAIR = colours.conversion(colours.BT709, colours.BT601)
"""RGB of BT.709 video as DALI 2.4 makes it -> as it should be. It takes the matrix of BT.601 whatever the stream says.

Both conversions are linear and share the scaling of limited range; only colours that were clipped stay wrong.
"""


class DaliDecoder:
    """Keeps one DALI pipeline for each choice of frames: building one costs more than decoding a clip."""

    def __init__(self) -> None:
        self._pipelines: dict[tuple[int, ...], Any] = {}

    def __call__(self, path: Path, count: int, policy: str) -> Frames:
        clip = probe(path)
        indices = tuple(clip.choose(path, count, policy))
        if reason := obstacle(clip):
            raise UserError(f"{path} {reason}; use decode=threaded")
        if indices not in self._pipelines:
            self._pipelines[indices] = _build(indices)
        try:
            (output,) = self._pipelines[indices].run(encoded=[np.fromfile(path, np.uint8)])
        except RuntimeError as error:
            del self._pipelines[indices]  # DALI refuses to run a pipeline again that has failed
            raise UserError(f"{path}: DALI cannot decode it ({_reason(error)}); use decode=threaded") from error
        pixels = torch.utils.dlpack.from_dlpack(output[0]).clone()  # DALI reuses its buffer  # [frames, height, width, 3] uint8
        seconds = tuple(clip.seconds[index] for index in indices)
        version = importlib.metadata.version("nvidia-dali-cuda130")
        return Frames(pixels, indices, seconds, f"DALI {version} NVDEC", REPAIR if clip.colorspace == BT709 else None)


def obstacle(clip: Clip) -> str | None:
    """Why DALI would give other frames or colours than a player shows, or None. Known without decoding.

    From DALI 2.4 (dali/operators/video: frames_decoder_base.cc, frames_decoder_gpu.cc) and NVIDIA's decoder interface (cuviddec.h there).
    """
    if clip.colorspace not in (BT709, UNSPECIFIED, BT470BG, SMPTE170M):
        return f"has colour matrix {clip.colorspace}, and decode=dali knows BT.601 and BT.709"
    if clip.hidden:  # its index holds every packet with a time of 0 or later, whether it is to be shown or not
        return f"hides {clip.hidden} frames by an edit list, and DALI counts hidden frames too"
    if clip.leading:  # NVDEC decodes them against frames that are not there
        return f"begins with {clip.leading} frames that refer to frames before its start, and DALI does not tell that they are damaged"
    if "420" not in clip.pixel_format:  # its conversion to RGB reads NV12
        return f"is {clip.pixel_format}, and DALI reads 4:2:0 only"
    if clip.codec == "h264" and clip.pixel_format not in ("yuv420p", "yuvj420p"):  # bit_depth_luma_minus8 "must be 0"
        return f"is H.264 in {clip.pixel_format}, and NVDEC decodes H.264 in 8 bit only"
    if clip.height % 2 or clip.width % 2:  # ulTargetWidth "should be aligned to 2"
        return f"is of {clip.width}x{clip.height} pixels, and NVDEC writes pictures with even edges only"
    if clip.height % 4:  # seen with DALI 2.4 at 186 rows and not at 188; the width does not matter
        return f"is {clip.height} pixels high, and DALI misplaces the colours where half the height is odd"
    return None


def _reason(error: RuntimeError) -> str:
    """What DALI says is wrong: it stands below the traceback of the pipeline."""
    _, _, below = str(error).partition("encountered:")
    return first_line(RuntimeError(below)) if below.strip() else first_line(error)


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
