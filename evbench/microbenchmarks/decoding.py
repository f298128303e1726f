"""How long a decode step takes for one prompt and for a batch, against its physical floor: reading the weights and the KV cache once.

    python -m evbench.microbenchmarks.decoding --preset 7b --batch 1 --batch 4 --gamma 4
    python -m evbench.microbenchmarks.decoding --preset 7b --batch 1 --quantization fp8

All prompts differ. The tokens of each in a batch are compared with its tokens alone. With `--gamma` also how long a pass takes that
verifies so many drafts, with what the host does between two of them; all drafts are wrong, so that each pass gives one token.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np
import typer

from evbench.cli.script import require_writable, run, write_json
from evbench.errors import UserError, nearest
from evbench.machine import machine as this_machine
from evbench.pipelines.generate.choices import CACHE, QUANTIZATION
from evbench.pipelines.registry import MODELS
from evbench.report.units import format_seconds
from evbench.results import Machine
from evbench.stages import Sampler
from evbench.worker.measure import CudaStream, Stream

if TYPE_CHECKING:
    import torch

    from evbench.pipelines.generate.graph_loop import GraphLoop
    from evbench.pipelines.generate.llama import FusedLlama
    from evbench.pipelines.generate.speculative import SpeculativeLoop

MOST = 16
"""Prompts in a batch that the kernels take. Here once more, because the command line is read without torch."""
Answers = TypeVar("Answers")
WARM_UPS = 2
"""Generations before the timed one."""


@dataclass(frozen=True)
class Steps:
    """Decode steps of a batch."""

    batch: int
    """Prompts in it."""
    seconds: float
    """Median of a step, which gives each prompt a token."""
    tokens_per_second: float
    least_seconds: float
    """Physical floor: reading the weights, and the KV cache of all prompts half-way through their answers, once."""
    as_alone: tuple[int, ...]
    """Of each prompt: tokens before the first that differs from those it gets alone."""


@dataclass(frozen=True)
class Passes:
    """Passes over drafts of one prompt."""

    gamma: int
    """Drafts in a pass."""
    seconds: float
    """Median of a pass."""
    steps: float
    """That many decode steps take as long: v of the expected speedup. NaN if there is no batch of one to compare with."""
    as_alone: int
    """Tokens before the first that differs from those of steps without drafts."""


@dataclass(frozen=True)
class Decoding:
    """All that was measured, and of what."""

    machine: Machine
    preset: str
    prompt: int
    new_tokens: int
    weight_bytes: int
    """Of the matrices that a step reads: layers and head."""
    cache_bytes: int
    """Of one position of one prompt."""
    read_bytes_per_second: float
    """At most, as `evbench limits --measure` measures it."""
    steps: tuple[Steps, ...]
    passes: tuple[Passes, ...] = ()
    quantization: str = "none"
    """Choice of that part: how the weights of the layers are stored."""
    cache: str = "full"
    """Choice of that part: how keys and values are."""


def measure(
    loop: GraphLoop,
    prompts: torch.Tensor,  # [prompts, length, hidden]
    new_tokens: int,
    least_seconds: dict[int, float],
    stream: Stream,
) -> tuple[Steps, ...]:
    """Time the decode steps of batches.

    Args:
        least_seconds: Number of prompts, the first of all -> physical floor of their step.
    """
    alone = [loop.generate_batch(prompt[None], new_tokens, Sampler())[0] for prompt in prompts]
    found = []
    for batch, least in least_seconds.items():
        answers, seconds = _timed(partial(loop.generate_batch, prompts[:batch], new_tokens), stream)
        same = tuple(_alike(*pair) for pair in zip(answers, alone[:batch], strict=True))
        found.append(Steps(batch, seconds, batch / seconds, least, same))
    return tuple(found)


def measure_passes(
    loop: GraphLoop,
    speculative: Mapping[int, SpeculativeLoop],
    prompt: torch.Tensor,  # [1, length, hidden]
    new_tokens: int,
    step_seconds: float,
    stream: Stream,
) -> tuple[Passes, ...]:
    """Time the passes over wrong drafts.

    Args:
        speculative: gamma -> its loop over the same model.
        step_seconds: of a decode step; NaN if it was not measured.
    """
    alone, found = loop(prompt, new_tokens, Sampler()), []

    def wrong(answer: Sequence[int], count: int) -> list[int]:
        return [alone[len(answer)] ^ 1] * count

    for gamma, verify in speculative.items():
        answer, seconds = _timed(partial(verify, prompt, new_tokens, propose=wrong), stream)
        found.append(Passes(gamma, seconds, seconds / step_seconds, _alike(answer, alone)))
    return tuple(found)


def _timed(generate: Callable[[Sampler], Answers], stream: Stream) -> tuple[Answers, float]:
    """What it generates, and the median of the seconds between two tokens."""
    for _ in range(WARM_UPS):
        generate(Sampler())
    moments: list[Any] = []
    answers = generate(Sampler(mark=lambda: moments.append(stream.moment())))
    return answers, float(np.median([stream.seconds(*pair) for pair in pairwise(moments)]))


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """Number of tokens before the first that differs."""
    return next((place for place, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]), len(one))


def weight_bytes(llama: FusedLlama) -> int:
    """Bytes of the matrices that a step reads."""
    matrices = [matrix for layer in llama.layers for matrix in (layer.projections, layer.output, layer.gate_up, layer.down)]
    return sum(matrix.nbytes for matrix in (*matrices, llama.head))


def cache_bytes(llama: FusedLlama) -> int:
    """Bytes of the keys and values of one position."""
    return int(2 * len(llama.layers) * llama.key_heads * llama.size * llama.cache_type.itemsize)


def build(
    name: str, preset: str, gammas: Sequence[int] = (), quantization: str = "none", cache: str = "full"
) -> tuple[GraphLoop, FusedLlama, dict[int, SpeculativeLoop]]:
    """Loops over the language model of a preset, with random weights, on the GPU.

    Args:
        gammas: of the loops that verify drafts.
        quantization, cache: choices of these parts.

    Raises:
        UserError: the model or the choice is unknown, or the preset is not of random weights.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from evbench.pipelines.checkpoints.checkpoint import seeded
    from evbench.pipelines.compute.attention import attend
    from evbench.pipelines.generate.graph_loop import GraphLoop, compiled_prefill, on_one_gpu
    from evbench.pipelines.generate.language import LanguageModel
    from evbench.pipelines.generate.llama import FusedLlama
    from evbench.pipelines.generate.speculative import SpeculativeLoop
    from evbench.pipelines.generate.targets import GraphTarget

    if name not in MODELS:
        raise UserError(f"unknown --model {name!r}; {nearest(name, list(MODELS))}")
    known = MODELS[name].presets
    if preset not in known:
        raise UserError(f"--preset {preset!r} has no random weights; give one of {', '.join(known)}")
    for part, choice in ((QUANTIZATION, quantization), (CACHE, cache)):
        if choice not in part.choices:
            raise UserError(f"unknown --{part.name} {choice!r}; {nearest(choice, list(part.choices))}")
    if gammas and cache != "full":
        raise UserError(f"passes over drafts read no cache in {cache}; leave --gamma or --cache out")
    with seeded(0, "cuda", torch.bfloat16):
        model = LlamaForCausalLM._from_config(LlamaConfig(**known[preset].text)).eval()
    QUANTIZATION.implementation(quantization)(model.model)
    CACHE.implementation(cache)(model.model)
    llama = FusedLlama(model.model, model.lm_head, attend("sdpa"))
    language = LanguageModel(model, model.model, model.lm_head, end_token=-1, stop_at_end=False)
    prefill = compiled_prefill(language, llama)
    speculative = {gamma: SpeculativeLoop(language, GraphTarget(llama, prefill, gamma), gamma) for gamma in gammas}
    return GraphLoop(language, llama, on_one_gpu(llama, prefill)), llama, speculative


def main(
    model: Annotated[str, typer.Option(help="Whose language model is timed.")] = next(iter(MODELS)),
    preset: Annotated[str, typer.Option(help="Of that model.")] = "7b",
    batch: Annotated[list[int] | None, typer.Option(min=1, max=MOST, help="Prompts in a batch. May be given several times.")] = None,
    gamma: Annotated[list[int] | None, typer.Option(min=1, max=MOST - 1, help="Drafts in a pass. May be given several times.")] = None,
    quantization: Annotated[str, typer.Option(help="How the weights of the layers are stored: none, int8 or fp8.")] = "none",
    cache: Annotated[str, typer.Option(help="How keys and values are stored: full or fp8.")] = "full",
    prompt: Annotated[int, typer.Option(min=1, max=4096, help="Tokens of each prompt.")] = 2076,
    new_tokens: Annotated[int, typer.Option(min=3, max=1024, help="Tokens of each answer.")] = 102,
    out: Annotated[Path | None, typer.Option(help="File for the result, as JSON.")] = None,
) -> None:
    """Time the decode step of generate=graph for small batches, on a GPU."""
    import torch

    from evbench.worker.limits import measure_ceilings

    require_writable(out)
    this_machine.choose_device("cuda")
    batches = sorted(set(batch or (1, 2, 4, 8)))
    with torch.inference_mode():
        loop, llama, speculative = build(model, preset, sorted(set(gamma or ())), quantization, cache)
        prompts = torch.randn((max(batches), prompt, llama.head.shape[1]), device="cuda", dtype=llama.head.dtype)
        prompts *= llama.embedding.float().std()
        rate = measure_ceilings("cuda", time.perf_counter_ns, torch.cuda.synchronize).read
        weights, kept = weight_bytes(llama), cache_bytes(llama)
        positions = prompt + new_tokens // 2
        least = {size: (weights + size * positions * kept) / rate for size in batches}
        steps = measure(loop, prompts, new_tokens, least, CudaStream())
        one = next((step.seconds for step in steps if step.batch == 1), math.nan)
        passes = measure_passes(loop, speculative, prompts[:1], new_tokens, one, CudaStream())
    here = this_machine.read("cuda")
    found = Decoding(here, preset, prompt, new_tokens, weights, kept, rate, steps, passes, quantization, cache)
    stored = f"quantization={quantization}, cache={cache}"
    typer.echo(f"{preset}, {stored}, {prompt} tokens in each prompt, {new_tokens} new; read at {rate / 1e12:.2f} TB/s")
    for step in steps:
        alone = f"{sum(same == new_tokens for same in step.as_alone)} of {step.batch} answers as alone"
        times = f"{format_seconds(step.seconds)} a step, {step.tokens_per_second:.0f} tokens/s"
        floor = f"physical floor {format_seconds(step.least_seconds)}, {step.least_seconds / step.seconds:.0%} of it"
        typer.echo(f"  batch {step.batch}: {times}; {floor}; {alone}")
    for over in passes:
        alone = f"{over.as_alone} of {new_tokens} tokens as alone"
        typer.echo(f"  {over.gamma} drafts: {format_seconds(over.seconds)} a pass, {over.steps:.2f} steps; {alone}")
    write_json(out, found)


if __name__ == "__main__":
    run(main)
