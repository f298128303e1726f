"""The fused vision tower against transformers'."""

from __future__ import annotations

import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from evbench.pipelines import capture
from evbench.pipelines.attention import ATTEND, TOWER, Attend
from evbench.pipelines.capture import Replayed
from evbench.pipelines.checkpoint import seeded
from evbench.pipelines.clip import FusedClip
from evbench.pipelines.presets import vision_config
from tests.devices import DEVICE

pytestmark = pytest.mark.device


def tower(image: int = 56) -> CLIPVisionModel:
    with seeded(0, DEVICE, torch.float32):
        config = CLIPVisionConfig(**vision_config(image, hidden=64, layers=3, heads=4, intermediate=96), initializer_range=0.2)
        return CLIPVisionModel._from_config(config, attn_implementation="sdpa").eval()


@pytest.mark.parametrize("attend", [ATTEND["sdpa"], TOWER], ids=["sdpa", "fused"])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
@torch.inference_mode()
def test_hidden_states_are_those_of_transformers(layers: int, compiled: bool, attend: Attend) -> None:
    model = tower()
    pixels = torch.randn(3, 3, 56, 56, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    expected = model(pixel_values=pixels, output_hidden_states=True).hidden_states[layers]
    made = FusedClip(model, layers, attend, compiled=compiled)(pixels)
    assert made.shape == (3, 17, 64)
    assert (made - expected).abs().max() < 1e-4 * expected.abs().max()


def test_a_replayed_function_is_recorded_once_for_each_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = []

    def captured(work: capture.Work) -> capture.Work:
        recorded.append(work)
        work()
        return work

    monkeypatch.setattr(capture, "captured", captured)
    double = Replayed(lambda given: given * 2)
    results = [double(torch.full((size,), float(value))) for size, value in ((3, 1), (3, 2), (4, 3), (3, 4))]
    assert [result.tolist() for result in results] == [[2.0] * 3, [4.0] * 3, [6.0] * 4, [8.0] * 3], "each has memory of its own"
    assert len(recorded) == 2


@pytest.mark.gpu
@pytest.mark.parametrize("attend", [ATTEND["sdpa"], TOWER], ids=["sdpa", "fused"])
@torch.inference_mode()
def test_a_graph_gives_what_the_function_gives(attend: Attend) -> None:
    function = FusedClip(tower(), 2, attend, compiled=True)
    replayed = Replayed(function)
    for seed in range(3):
        pixels = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(seed)).to(DEVICE)
        assert torch.allclose(replayed(pixels), function(pixels), atol=1e-5)
