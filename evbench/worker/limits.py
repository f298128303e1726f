"""What physical floors of times are computed from: the rates of the device, measured in a second, and the shape of the network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from evbench.pipelines.checkpoints.checkpoint import dtype_name
from evbench.pipelines.checkpoints.network_shape import network_shape
from evbench.results import Ceilings, Limits, NetworkShape
from evbench.stages import Pipeline
from evbench.worker.measure import Instruments

READ_BYTES = {"cpu": (2**20, 2**24), "cuda": (2**24, 2**28, 2**30, 2**31)}
"""What is read. On a CPU the caches are fastest, and the weights of a small model stay there; on a GPU small reads wait for a launch."""
MOST_COPIED = 2**30
"""What is larger is read only, so that no more memory stays with PyTorch."""
SHARE_OF_FREE = 4
"""A GPU's memory has to have so many times as much free as is read, but for the smallest."""
EDGES = {"cpu": (768,), "cuda": (4096, 8192)}
"""Of the matrices that are multiplied: large enough for the rate to be the device's."""
CALLS = {"cpu": 1, "cuda": 4}
"""Between two synchronizations, which would else count as a part of the read."""
DTYPES = (torch.float32, torch.bfloat16)
"""A variant may compute in either. On a CPU without instructions for it, bfloat16 is the slower one by far."""
SECONDS = 0.1
"""For which each measurement is repeated. Its best counts: a rate that is too low would make floors that are too high."""


def measure_limits(pipeline: Pipeline[Any, Any, Any], device: str, using: Instruments) -> Limits:
    """On `cpu` or `cuda`."""
    return Limits(measure_ceilings(device, using.clock, using.synchronize).rates(), shape_of(pipeline))


def shape_of(pipeline: Pipeline[Any, Any, Any]) -> NetworkShape | None:
    """By the configs of the tower and of the language model. None if they are no CLIP and no LLaMA, for which floors are known."""
    vision, text = (getattr(part, "config", None) for part in (pipeline.tower, pipeline.decoder))
    if vision is None or text is None:
        return None
    from transformers import CLIPVisionConfig, LlamaConfig  # takes seconds to import, and a pipeline of one's own may need none of it

    if not isinstance(vision, CLIPVisionConfig) or not isinstance(text, LlamaConfig):
        return None
    return network_shape(vision, text, pipeline.used_layers, next(pipeline.decoder.parameters()).element_size())


@torch.inference_mode()
def measure_ceilings(device: str, clock: Callable[[], int], synchronize: Callable[[], None]) -> Ceilings:
    """On `cpu` or `cuda`.

    Args:
        clock: in nanoseconds.
        synchronize: waits until the device is idle.
    """
    best = partial(_best, clock=clock, synchronize=synchronize, calls=CALLS[device])
    reads, copies = list[float](), list[float]()
    for size in READ_BYTES[device]:
        if reads and device == "cuda" and torch.cuda.mem_get_info()[0] < SHARE_OF_FREE * size:
            continue
        source = torch.ones(size // 4, dtype=torch.float32, device=device)
        reads.append(size / best(_sum(source)))
        if size <= MOST_COPIED:
            copies.append(2 * size / best(partial(torch.empty_like(source).copy_, source)))
    products = {}
    for dtype in DTYPES:
        rates = []
        for edge in EDGES[device]:
            left = torch.ones(edge, edge, dtype=dtype, device=device)
            rates.append(2 * edge**3 / best(partial(torch.matmul, left, left)))
        products[dtype_name(dtype)] = max(rates)
    return Ceilings(max(reads), max(copies), products)


def _sum(source: torch.Tensor) -> Callable[[], object]:
    """Reads all of it, as fast as is known."""
    if source.device.type == "cpu":
        return source.sum
    from evbench.kernels.block_sums import block_sums  # without a GPU nothing here needs Triton

    return partial(block_sums, source)


def _best(work: Callable[[], object], clock: Callable[[], int], synchronize: Callable[[], None], calls: int) -> float:
    """Shortest time of a call in seconds, the first one left out.

    Args:
        calls: so many in a row, of which each is told as long as the others.
    """
    work()
    synchronize()
    begin, best = clock(), float("inf")
    while True:
        start = clock()
        for _ in range(calls):
            work()
        synchronize()
        end = clock()
        best = min(best, max(1, end - start) / 1e9 / calls)
        if (end - begin) / 1e9 > SECONDS:
            return best
