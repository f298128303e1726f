"""How long each product of a decode step takes by itself, against its physical floor: reading its weights once.

    python -m evbench.microbenchmarks.products --preset 7b --quantization fp8

The products of a matrix are a captured chain over more copies of it than the second-level cache holds, all of the same vectors.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from evbench.cli.script import require_writable, run, write_json
from evbench.errors import UserError, nearest
from evbench.machine import machine as this_machine
from evbench.microbenchmarks.decoding import MOST
from evbench.pipelines.generate.choices import QUANTIZATION
from evbench.pipelines.registry import MODELS
from evbench.report.units import format_seconds
from evbench.results import Machine
from evbench.worker.measure import CudaStream, Stream

if TYPE_CHECKING:
    import torch

    from evbench.kernels.matvec import Matrix

CHAIN_BYTES = 2_000_000_000
"""Of all copies together, at least: many times the cache of any GPU."""
REPLAYS, WARM_UPS = 30, 3
TYPES = {"none": None, "int8": "int8", "fp8": "float8_e4m3fn"}
"""Choice of `quantization` -> torch's name of the type. None: that of activations."""


@dataclass(frozen=True)
class Shape:
    """Of a product in a layer."""

    name: str
    rows: int
    columns: int
    normal: bool
    """Whether a norm stands in front of it. If not, a residual is added behind it."""
    gated: bool = False


@dataclass(frozen=True)
class Timed:
    """One product."""

    shape: Shape
    seconds: float
    """Median over replays of their mean."""
    least_seconds: float
    """Physical floor: reading its weights."""


@dataclass(frozen=True)
class Products:
    """All that was measured, and of what."""

    machine: Machine
    preset: str
    quantization: str
    vectors: int
    read_bytes_per_second: float
    products: tuple[Timed, ...]


def shapes(preset: str) -> tuple[Shape, ...]:
    """Of the language model of a preset of Video-LLaVA. Raises UserError if it has none of that name."""
    known = MODELS["video-llava"].presets
    if preset not in known:
        raise UserError(f"unknown --preset {preset!r}; {nearest(preset, list(known))}")
    from transformers import LlamaConfig

    config = LlamaConfig(**known[preset].text)
    hidden, wide = config.hidden_size, config.intermediate_size
    width, key_width = (heads * config.head_dim for heads in (config.num_attention_heads, config.num_key_value_heads))
    return (
        Shape("query, key, value", width + 2 * key_width, hidden, normal=True),
        Shape("output", hidden, width, normal=False),
        Shape("gate, up", 2 * wide, hidden, normal=True, gated=True),
        Shape("down", hidden, wide, normal=False),
    )


def measure(
    shape: Shape, vectors: int, quantization: str, read_bytes_per_second: float, device: str, dtype: torch.dtype, stream: Stream
) -> Timed:
    """Time the products with copies of a random matrix.

    Args:
        dtype: of the vectors, and of the weights if they are not quantized.
    """
    import torch

    from evbench.kernels.matvec import Norm, Quantized, matvec
    from evbench.pipelines.compute import cuda_graph
    from evbench.pipelines.generate.quantized import quantize

    full = torch.randn(shape.rows, shape.columns, device=device, dtype=dtype) / math.sqrt(shape.columns)
    stored = TYPES[quantization]
    weight: Matrix = full if stored is None else Quantized(*quantize(full, getattr(torch, stored)))
    copies = [_copied(weight) for _ in range(math.ceil(CHAIN_BYTES / weight.nbytes))]
    x = torch.randn(vectors, shape.columns, device=device, dtype=dtype)
    norm = Norm(torch.ones(shape.columns, device=device, dtype=dtype), 1e-5) if shape.normal else None
    residual = None if shape.normal else torch.randn(vectors, shape.rows, device=device, dtype=dtype)

    def chain() -> None:
        for copy in copies:
            matvec(x, copy, norm, shape.gated, residual)

    replay = cuda_graph.captured(chain)
    for _ in range(WARM_UPS):
        replay()
    moments = [stream.moment()]
    for _ in range(REPLAYS):
        replay()
        moments.append(stream.moment())
    if stream.on_gpu:
        torch.cuda.synchronize()
    seconds = float(np.median([stream.seconds(*pair) for pair in pairwise(moments)])) / len(copies)
    return Timed(shape, seconds, weight.nbytes / read_bytes_per_second)


def _copied(weight: Matrix) -> Matrix:
    from evbench.kernels.matvec import Quantized

    return Quantized(weight.values.clone(), weight.scales.clone()) if isinstance(weight, Quantized) else weight.clone()


def lines(found: Sequence[Timed]) -> list[str]:
    """One for each product, and one for the layer."""
    told = [(one.shape.name, one.seconds, one.least_seconds) for one in found]
    told.append(("a layer", sum(one.seconds for one in found), sum(one.least_seconds for one in found)))
    return [
        f"  {name}: {format_seconds(seconds)}; physical floor {format_seconds(least)}, {least / seconds:.0%} of it"
        for name, seconds, least in told
    ]


def main(
    preset: Annotated[str, typer.Option(help="Of Video-LLaVA, whose language model's shapes are taken.")] = "7b",
    quantization: Annotated[str, typer.Option(help="How the weights are stored: none, int8 or fp8.")] = "none",
    vectors: Annotated[int, typer.Option(min=1, max=MOST, help="That are multiplied at once.")] = 1,
    out: Annotated[Path | None, typer.Option(help="File for the result, as JSON.")] = None,
) -> None:
    """Time the products of a decode step with one layer's matrices, on a GPU."""
    if quantization not in (offered := QUANTIZATION.choices):
        raise UserError(f"unknown --quantization {quantization!r}; {nearest(quantization, list(offered))}")
    taken = shapes(preset)
    import torch

    from evbench.worker.limits import measure_ceilings

    require_writable(out)
    this_machine.choose_device("cuda")
    with torch.inference_mode():
        rate = measure_ceilings("cuda", time.perf_counter_ns, torch.cuda.synchronize).read
        found = tuple(measure(shape, vectors, quantization, rate, "cuda", torch.bfloat16, CudaStream()) for shape in taken)
    typer.echo(f"{preset}, quantization={quantization}, vectors: {vectors}; read at {rate / 1e12:.2f} TB/s")
    for line in lines(found):
        typer.echo(line)
    write_json(out, Products(this_machine.read("cuda"), preset, quantization, vectors, rate, found))


if __name__ == "__main__":
    run(main)
