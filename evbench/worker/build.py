"""Builds the pipeline of a worker, and plants into it what a self-test asks for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import torch

from evbench.errors import UserError
from evbench.pipelines.build import build
from evbench.pipelines.registry import OWN
from evbench.plugins.apply import apply, without
from evbench.plugins.own import build_own
from evbench.plugins.use import enter
from evbench.results import Build
from evbench.worker.compile_counts import cached_files
from evbench.worker.instruments import synchronizer
from evbench.worker.messages import BuildRequest
from evbench.worker.planting import plant_delay


def build_pipeline(request: BuildRequest, start: float) -> tuple[Any, Build]:
    """The pipeline, and what is known of it.

    Args:
        start: when the request came, by `time.perf_counter`: importing libraries is part of building.

    Raises:
        UserError: the device, the weights or the input cannot be used.
    """
    workload = request.workload
    synchronize = synchronizer(workload.device)
    if workload.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "the driver shows a GPU, but this PyTorch cannot use it; install a build that fits the driver, or run with --device cpu"
        )
    cached = cached_files()
    if request.dtype is not None:
        # Else a GPU multiplies float32 matrices with ten bits of mantissa.
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
    for file in request.variant.plugins:
        enter(file)
    pipeline = _pipeline(request)
    synchronize()
    seconds = time.perf_counter() - start
    built = Build(seconds, pipeline.parameters, pipeline.weights_fingerprint, torch.get_num_threads(), _libraries(), cached)
    _plant(request, pipeline, synchronize)
    return pipeline, built


def _plant(request: BuildRequest, pipeline: Any, synchronize: Callable[[], None]) -> None:
    if request.delay is not None:
        plant_delay(request.delay, pipeline, synchronize)
    if request.mutant is not None:
        from evbench.worker.mutants import MUTANTS  # brings all language models of transformers, and only a self-test asks for it

        MUTANTS[request.mutant].plant(pipeline, [Path(sample.path) for sample in request.workload.samples])


def _pipeline(request: BuildRequest) -> Any:
    if (own := request.variant.choices().get(OWN)) is not None:
        return build_own(own, request.workload, request.dtype)
    pipeline = build(without(request.variant), request.workload, request.dtype)
    apply(request.variant, pipeline)
    return pipeline


def _libraries() -> dict[str, str | None]:
    """Versions of what torch and PyAV were built with."""
    cudnn = torch.backends.cudnn.version() if torch.cuda.is_available() else None  # type: ignore[no-untyped-call]
    codec = ".".join(map(str, av.library_versions["libavcodec"]))
    return {"cuda": torch.version.cuda, "cudnn": None if cudnn is None else str(cudnn), "libavcodec": codec}
