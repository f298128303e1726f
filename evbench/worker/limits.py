"""What physical floors of times are computed from: the rates of the device, measured in a second, and the shape of the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import CLIPVisionConfig, LlamaConfig

from evbench.pipelines.checkpoints.checkpoint import tokens_per_image
from evbench.results import Limits, NetworkShape, Rates
from evbench.stages import Pipeline
from evbench.worker.measure import Instruments

READ_BYTES = {"cpu": (2**20, 2**24), "cuda": (2**24, 2**28)}
"""What is read. On a CPU the caches are fastest, and the weights of a small model stay there; on a GPU small reads wait for a launch."""
EDGE = {"cpu": 768, "cuda": 4096}
"""Of the matrices that are multiplied: large enough for the rate to be the device's."""
DTYPES = (torch.float32, torch.bfloat16)
"""A variant may compute in either. On a CPU without instructions for it, bfloat16 is the slower one by far."""
SECONDS = 0.1
"""For which each measurement is repeated. Its best counts: a rate that is too low would make floors that are too high."""


def measure_limits(pipeline: Pipeline[Any, Any, Any], device: str, using: Instruments) -> Limits:
    """On `cpu` or `cuda`."""
    return Limits(Rates(_read_rate(device, using), _product_rate(device, using)), network_shape(pipeline))


def network_shape(pipeline: Pipeline[Any, Any, Any]) -> NetworkShape | None:
    """By the configs of the tower and of the language model. None if they are no CLIP and no LLaMA, for which floors are known."""
    vision, text = (getattr(part, "config", None) for part in (pipeline.tower, pipeline.decoder))
    if not isinstance(vision, CLIPVisionConfig) or not isinstance(text, LlamaConfig):
        return None
    return NetworkShape(
        vision_layers=pipeline.used_layers,
        vision_hidden=vision.hidden_size,
        vision_intermediate=vision.intermediate_size,
        vision_tokens=tokens_per_image(vision),
        patch=vision.patch_size,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        heads=text.num_attention_heads,
        key_heads=text.num_key_value_heads,
        head_size=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
        vocabulary=text.vocab_size,
        weight_bytes=next(pipeline.decoder.parameters()).element_size(),
    )


@torch.inference_mode()
def _read_rate(device: str, using: Instruments) -> float:
    """Bytes per second."""
    rates = []
    for size in READ_BYTES[device]:
        source = torch.ones(size // 4, dtype=torch.float32, device=device)
        target = torch.empty_like(source)
        rates.append(size / _best(source.sum, using))
        rates.append(2 * size / _best(lambda target=target, source=source: target.copy_(source), using))  # type: ignore[misc]
    return max(rates)


@torch.inference_mode()
def _product_rate(device: str, using: Instruments) -> float:
    """Operations per second: a multiplication and an addition are two."""
    edge = EDGE[device]
    rates = []
    for dtype in DTYPES:
        left = torch.ones(edge, edge, dtype=dtype, device=device)
        rates.append(2 * edge**3 / _best(lambda left=left: left @ left, using))  # type: ignore[misc]
    return max(rates)


def _best(work: Callable[[], object], using: Instruments) -> float:
    """Shortest time of a call in seconds, the first one left out."""
    work()
    using.synchronize()
    begin, best = using.clock(), float("inf")
    while True:
        start = using.clock()
        work()
        using.synchronize()
        end = using.clock()
        best = min(best, max(1, end - start) / 1e9)
        if (end - begin) / 1e9 > SECONDS:
            return best
