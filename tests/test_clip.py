"""The fused vision tower against transformers'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from evbench.errors import UserError
from evbench.inputs import sample
from evbench.kernels import tower_attention
from evbench.pipelines.build import build
from evbench.pipelines.checkpoints.checkpoint import seeded
from evbench.pipelines.checkpoints.presets import vision_config
from evbench.pipelines.compute import attention, cuda_graph
from evbench.pipelines.compute.attention import attend
from evbench.pipelines.compute.cuda_graph import Replayed
from evbench.pipelines.vision.clip import FusedClip, Steps, kernel_steps, torch_steps
from evbench.results import InputKind, Workload
from evbench.variants.named import parse
from tests.checkpoints import least
from tests.devices import DEVICE
from tests.examples import NOWHERE
from tests.reference_kernels import uncaptured

pytestmark = pytest.mark.device


def tower(image: int = 56) -> CLIPVisionModel:
    with seeded(0, DEVICE, torch.float32):
        config = CLIPVisionConfig(**vision_config(image, hidden=64, layers=3, heads=4, intermediate=96), initializer_range=0.2)
        return CLIPVisionModel._from_config(config, attn_implementation="sdpa").eval()


STEPS: dict[str, Callable[[Any], Steps]] = {
    "torch": lambda tower: torch_steps(tower, attend("sdpa"), compiled=False),
    "compiled": lambda tower: torch_steps(tower, attend("sdpa")),
    "kernels": kernel_steps,
}


@pytest.mark.parametrize(
    ("steps", "layers"),
    [
        ("torch", 1),
        ("torch", 3),
        pytest.param("compiled", 2, marks=pytest.mark.long),
        *(pytest.param(name, layers, marks=pytest.mark.slow) for name, layers in (("kernels", 1), ("kernels", 3))),
    ],
)
@torch.inference_mode()
def test_hidden_states_are_those_of_transformers(steps: str, layers: int) -> None:
    model = tower()
    pixels = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    expected = model(pixel_values=pixels, output_hidden_states=True).hidden_states[layers]
    made = FusedClip(model, layers, STEPS[steps](model))
    for _ in range(2):  # what is written over is its own
        hidden = made(pixels)
        assert hidden.shape == (2, 17, 64)
        assert (hidden - expected).abs().max() < 1e-4 * expected.abs().max()


def test_an_activation_without_a_kernel_is_refused() -> None:
    model = tower()
    model.config.hidden_act = "gelu"
    with pytest.raises(UserError, match="vision=fused has no kernel for the activation 'gelu'; use vision=graph"):
        kernel_steps(model)


def test_a_replayed_function_is_recorded_once_for_each_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = []

    def captured(work: cuda_graph.Work) -> cuda_graph.Work:
        recorded.append(work)
        work()
        return work

    monkeypatch.setattr(cuda_graph, "captured", captured)
    double = Replayed(lambda given: given * 2)
    results = [double(torch.full((size,), float(value))) for size, value in ((3, 1), (3, 2), (4, 3), (3, 4))]
    assert [result.tolist() for result in results] == [[2.0] * 3, [4.0] * 3, [6.0] * 4, [8.0] * 3], "each has memory of its own"
    assert len(recorded) == 2


@pytest.mark.gpu
@pytest.mark.parametrize("steps", ["compiled", "kernels"])
@torch.inference_mode()
def test_a_graph_gives_what_the_function_gives(steps: str) -> None:
    model = tower()
    function = FusedClip(model, 2, STEPS[steps](model))
    replayed = Replayed(function)
    for seed in range(3):
        pixels = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(seed)).to(DEVICE)
        assert torch.allclose(replayed(pixels), function(pixels), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "path", "frames", "layers"), [("video-llava", sample.CLIP, 8, 2), ("eventgpt", sample.EVENTS, 5, 3)], ids=["video", "events"]
)
def test_the_tower_of_either_model_has_the_kernel_if_it_is_asked_for(
    model: str, path: Any, frames: int, layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []

    def counted(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float) -> torch.Tensor:
        ran.append(queries.shape[1])
        return really(queries, keys, values, scale)

    really = tower_attention.tower_attention
    monkeypatch.setattr(attention, "tower_attention", counted)
    if DEVICE == "cpu":
        uncaptured(monkeypatch)
    kind: InputKind = "video" if model == "video-llava" else "event-images"
    policy = "inclusive" if kind == "video" else "all"
    weights = str(least(model))
    workload = Workload(model, None, weights, (NOWHERE,), frames, policy, "What is it?", 2, False, DEVICE, "float32", None, kind=kind)
    baseline, fused = (build(parse(name), workload) for name in ("baseline", "baseline+vision=fused"))
    assert len(ran) == 1, "once for all its heads, before anything runs"
    inputs, _ = baseline.preprocess(baseline.load(path)[0])
    expected, made = (pipeline.vision(inputs)[0].values() for pipeline in (baseline, fused))
    assert (made - expected).abs().max() < 1e-4 * expected.abs().max()
    assert set(ran[1:]) == {17}
    assert (len(ran) - 1) % layers == 0
