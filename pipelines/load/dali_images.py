"""Event images decoded by NVIDIA DALI (nvImageCodec)."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evbench.errors import UserError
from evbench.pipelines.load import png
from evbench.pipelines.load.dali import DALI, Copies, copied, reason
from evbench.pipelines.load.event_images import EventImages

THREADS = 5
"""One for each image: PNG is unpacked by the CPU, also where its pixels end on the GPU."""
DEPTH, KIND, PALETTE = 24, 25, 3
"""Offsets of bit depth and colour type in a PNG's header, and the type with a palette (PNG specification, 11.2.1)."""


class DaliImages:
    """All images of a sample in one batch. Keeps one DALI pipeline for each number of images.

    On a GPU the pixels are handed over there, and the host does not copy them. Any thread may call it, one at a time.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._pipelines: dict[int, Any] = {}
        self._copies: Copies | None = None
        self._version = f"{DALI} nvImageCodec {importlib.metadata.version('nvidia-nvimgcodec-cu13')}"

    def __call__(self, path: Path) -> EventImages:
        """Raises UserError as png.read_plain does."""
        files = png.find(path)
        sizes = [png.size(file) for file in files]
        encoded = [np.frombuffer(bytearray(file.read_bytes()), np.uint8) for file in files]
        for file, content in zip(files, encoded, strict=True):
            if content[KIND] == PALETTE and content[DEPTH] < 8:  # on a GPU such a picture was seen to come out as another one
                raise UserError(f"{file} has a palette of {content[DEPTH]} bits, and DALI gets such wrong on a GPU; use decode=threaded")
        if self._copies is None and self._device == "cuda":
            self._copies = Copies()
        if self._copies is not None:
            self._copies.wait()  # DALI reuses its buffers
        if len(files) not in self._pipelines:
            self._pipelines[len(files)] = _build(len(files), self._device)
        try:
            (output,) = self._pipelines[len(files)].run(encoded=encoded)
        except RuntimeError as error:
            del self._pipelines[len(files)]  # DALI refuses to run a pipeline again that has failed
            png.read_plain(path)  # DALI does not say which image it is. PIL names one that is damaged
            if len(files) > 1:
                for file in files:
                    self(file)  # alone, one that only DALI refuses is refused by its name
            raise UserError(f"{path}: DALI cannot decode it ({reason(error)}); use decode=threaded") from error
        pixels = copied(output, sizes) if self._copies is None else self._copies.take(output, sizes)
        return EventImages(tuple(pixels), self._version)


def _build(count: int, device: str) -> Any:
    from nvidia.dali import fn, pipeline_def, types

    device_id = torch.cuda.current_device() if device == "cuda" else None

    @pipeline_def(batch_size=count, num_threads=THREADS, device_id=device_id, prefetch_queue_depth=1)  # type: ignore[untyped-decorator]
    def decode() -> Any:
        encoded = fn.external_source(name="encoded", dtype=types.UINT8, ndim=1)
        # PIL does not rotate images either, whatever orientation a camera has written into them.
        return fn.decoders.image(encoded, device="mixed" if device == "cuda" else "cpu", output_type=types.RGB, adjust_orientation=False)

    pipeline = decode()
    pipeline.build()
    return pipeline
