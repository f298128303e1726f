"""What a network computes and moves at the least: held against torch's own counter, and against the released models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from evbench.api.options import Options
from evbench.choices import resolve
from evbench.pipelines.build import build
from evbench.pipelines.registry import MODELS
from evbench.results import NetworkShape, Rates, Work
from evbench.stages import Sampler
from evbench.variants.named import parse
from evbench.verdict import costs
from evbench.verdict.blocks import PREFILL, TPOT
from evbench.verdict.costs import VISION, Cost
from evbench.worker.limits import shape_of

NEEDED_ONLY = {
    "video-llava": "baseline+attention=eager+vision=batched",
    "eventgpt": "baseline+attention=eager+vision=batched+pooling=first",
}
"""Model -> a variant whose tower and projector compute nothing that the features do not need. Attention is written out, as torch's counter
does not count the fused one on a CPU."""
EXACT = 1e-9
"""Products are whole numbers, counted one by one: torch's counter and the formula may differ by the rounding of a float alone."""


def counted(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        work()
    return int(counter.get_total_flops())


PLANNED = [name for name, model in MODELS.items() if model.planned]


@pytest.mark.parametrize("preset", ["tiny", "small"])
@pytest.mark.parametrize("model", PLANNED)
def test_operations_are_those_that_torch_counts(model: str, preset: str) -> None:
    """And the work of a run, which follows from configs and tokenizer alone, is what its stages report."""
    workload = Options(model=model, preset=preset, device="cpu", new_tokens=8).workload()
    network, work = resolve(MODELS[model].planned)(workload)
    pipeline = build(parse(NEEDED_ONLY[model]), workload)
    assert shape_of(pipeline) == network
    loaded, _ = pipeline.load(Path(workload.samples[0].path))
    inputs, preprocessed = pipeline.preprocess(loaded)
    features, seen = pipeline.vision(inputs)
    reported = preprocessed.pixel_shape, preprocessed.prompt_tokens, seen.visual_tokens, seen.dtype
    assert reported == (work.pixel_shape, work.prompt_tokens, work.visual_tokens, work.dtype)

    expected = costs.of_work(network, work)
    assert counted(lambda: pipeline.vision(inputs)) == pytest.approx(expected[VISION].operations, rel=EXACT)
    first, second = (counted(lambda tokens=tokens: pipeline.generate(features, tokens, Sampler())) for tokens in (1, 2))  # type: ignore[misc]
    assert work.prompt_tokens
    more = masked_half(network, work.prompt_tokens) + last_layer(network, work.prompt_tokens)
    assert first == pytest.approx(expected[PREFILL].operations + more, rel=EXACT)
    step = costs.decode_step(network, work.prompt_tokens + 1)
    assert second - first == pytest.approx(step.operations, rel=EXACT)


def masked_half(network: NetworkShape, prompt: int) -> int:
    """The half of attention that a causal mask throws away, in all layers: transformers computes it where attention is written out."""
    return network.layers * 2 * prompt**2 * network.heads * network.head_size


def last_layer(network: NetworkShape, prompt: int) -> int:
    """What transformers computes of a prompt in the last layer, beyond keys and values: only its last position is asked for."""
    width = network.heads * network.head_size
    return prompt * (4 * network.hidden * width + 6 * network.hidden * network.intermediate) + 2 * prompt**2 * width


def test_all_decode_steps_of_an_answer_cost_as_much_as_the_one_in_its_middle() -> None:
    network, work = of_preset("eventgpt", new_tokens=9)
    middle = costs.of_work(network, work)[TPOT]
    assert work.prompt_tokens
    steps = [costs.decode_step(network, work.prompt_tokens + step) for step in range(1, 9)]
    assert sum(step.operations for step in steps) == 8 * middle.operations
    assert sum(step.bytes for step in steps) == 8 * middle.bytes


def of_preset(model: str, preset: str = "7b", new_tokens: int = 72) -> tuple[NetworkShape, Work]:
    workload = Options(model=model, preset=preset, dtype="bfloat16", device="cpu", new_tokens=new_tokens).workload()
    network, work = resolve(MODELS[model].planned)(workload)
    return network, work


# The released models in bfloat16, for five event images of 336 pixels and a prompt of 641 tokens, and for eight frames of 224 pixels and a
# prompt of 2076, at 4.3 TB/s and 790 TFLOP/s. These figures were computed apart from this code, and checked there with FlopCounterMode:
#
#   EventGPT     tower 1909.6 GFLOP, 0.616 GB; projector and adaptor 43.7 GFLOP (pooled first), 0.086 GB;
#                prefill 8,410 GFLOP, 13.56 GB; one token at context 641 13.6 GFLOP, 13.55 GB, 3.152 ms
#   Video-LLaVA  tower 1296.2 GFLOP, 0.613 GB, of all its 24 layers; projector 86.2 GFLOP, 0.063 GB;
#                prefill 28,018 GFLOP, 14.32 GB; one token at context 2076 14.3 GFLOP, 14.31 GB, 3.327 ms
ADAPTOR = 2 * 4096**2
"""Bytes of its matrix, which is one with the matrix before it if pooling comes first."""
ROUNDED = 0.005
"""The figures have three digits or four, and some count biases and normalisations."""
H200 = Rates(4.3e12, 790e12)


def test_vision_of_the_released_models() -> None:
    """What the figures write behind the tower and read in front of the projector need not leave the caches, and is not counted."""
    network, work = of_preset("eventgpt")
    assert (work.pixel_shape, work.visual_tokens) == ((5, 3, 336, 336), 582)
    cost, between = costs.vision(network, 5, 582), 2 * 2 * 5 * 577 * 1024
    assert cost.operations == pytest.approx((1909.6 + 43.7) * 1e9, rel=ROUNDED)
    assert cost.bytes == pytest.approx((0.616 + 0.086) * 1e9 - ADAPTOR - between, rel=ROUNDED)

    network, work = of_preset("video-llava")
    assert (work.pixel_shape, work.visual_tokens) == ((1, 8, 3, 224, 224), 2056)
    assert network.vision_layers == 23, "the features are the output of the last layer but one"
    cost, between = costs.vision(dataclasses.replace(network, vision_layers=24), 8, 2056), 2 * 2 * 8 * 257 * 1024
    assert cost.operations == pytest.approx((1296.2 + 86.2) * 1e9, rel=ROUNDED)
    assert cost.bytes == pytest.approx((0.613 + 0.063) * 1e9 - between, rel=ROUNDED)


@pytest.mark.parametrize(
    ("model", "prompt", "prefill", "step", "milliseconds"),
    [("eventgpt", 641, (8410, 13.56), (13.6, 13.55), 3.152), ("video-llava", 2076, (28018, 14.32), (14.3, 14.31), 3.327)],
)
def test_the_language_model_of_the_released_models(
    model: str, prompt: int, prefill: tuple[float, float], step: tuple[float, float], milliseconds: float
) -> None:
    network, _ = of_preset(model)
    whole = costs.prefill(network, prompt)
    assert whole.operations + last_layer(network, prompt) == pytest.approx(prefill[0] * 1e9, rel=ROUNDED)
    assert whole.bytes == pytest.approx(prefill[1] * 1e9, rel=ROUNDED)
    one = costs.decode_step(network, prompt)
    assert (one.operations, one.bytes) == pytest.approx((step[0] * 1e9, step[1] * 1e9), rel=ROUNDED)
    assert one.seconds(H200) == pytest.approx(milliseconds / 1e3, rel=ROUNDED)


def test_presets_of_equal_shape_cost_the_same_for_equal_prompts() -> None:
    for model in PLANNED:
        (grown, of_grown), (random, of_random) = (of_preset(model, preset) for preset in ("7b", "7b-random"))
        assert grown == random
        assert of_grown.pixel_shape == of_random.pixel_shape


def test_only_what_is_known_of_a_run_has_a_cost() -> None:
    network, work = of_preset("eventgpt")
    assert set(costs.of_work(network, dataclasses.replace(work, prompt_tokens=None))) == {VISION}
    assert set(costs.of_work(network, dataclasses.replace(work, visual_tokens=None))) == {PREFILL, TPOT}


def test_a_cost_takes_as_long_as_the_slower_of_computing_and_moving() -> None:
    cost = Cost(2e12, 1e9)
    assert cost.seconds(Rates(read=1e9, product=1e12)) == 2
    assert cost.seconds(Rates(read=1e8, product=1e12)) == 10
