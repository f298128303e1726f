"""Preprocessing that is captured: a graph reads what lies at its address then, and nothing else is replayed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from evbench.pipelines.compute import cuda_graph
from evbench.pipelines.preprocess import replayed
from evbench.pipelines.preprocess.image_processor import image_processor
from evbench.pipelines.preprocess.pixels import FusedValues, Recipe
from evbench.pipelines.preprocess.replayed import Batch, FusedImages
from tests.devices import DEVICE

pytestmark = pytest.mark.device

RECIPE = Recipe.of(image_processor(16))
REPAIR = np.eye(3, 4) * 0.9


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8).to(DEVICE)


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every graph that is captured. Without a GPU the work itself stands for it, and memory of the host for that of a decoder."""
    found: list[object] = []
    right = cuda_graph.captured if DEVICE == "cuda" else lambda work: work

    def captured(work: Callable[[], None]) -> Callable[[], None]:
        found.append(work)
        return right(work)

    monkeypatch.setattr(cuda_graph, "captured", captured)
    if DEVICE == "cpu":
        places = replayed._places
        monkeypatch.setattr(torch.Tensor, "is_cuda", True)
        monkeypatch.setattr(replayed, "_places", lambda batches: places(batches) if isinstance(batches[0][0], torch.Tensor) else None)
    return found


def made() -> FusedImages:
    return FusedImages(RECIPE, DEVICE, torch.float32, replays=True)


def directly(batches: list[Batch]) -> torch.Tensor:
    values = FusedValues(RECIPE, DEVICE, torch.float32)
    return torch.cat([values(images, repair) for images, repair in batches])


def test_other_images_at_the_same_address_give_their_own_values(captures: list[object]) -> None:
    fused, one, other = made(), noise(0, 3, 40, 56, 3), noise(1, 2, 20, 24, 3)
    for run in range(4):
        one.copy_(noise(10 + run, *one.shape))
        other.copy_(noise(20 + run, *other.shape))
        batches: list[Batch] = [(one, None), (other, REPAIR)]
        assert torch.equal(fused(5, batches), directly(batches))
        assert len(captures) == min(run, 1), "captured when it comes again"


def test_what_differs_in_place_shape_layout_or_repair_is_another_graph(captures: list[object]) -> None:
    fused, memory = made(), noise(0, 2, 40, 40, 3)
    asked: list[list[Batch]] = [
        [(memory, None)],
        [(memory, REPAIR)],
        [(memory[1:], None)],
        [(memory[:, :20], None)],
        [(memory.view(2, 20, 80, 3), None)],
        [(memory.transpose(1, 2), None)],
    ]
    for run in range(3):
        memory.copy_(noise(run, *memory.shape))
        for batches in asked:
            assert torch.equal(fused(len(batches[0][0]), batches), directly(batches))
    assert len(captures) == len(asked)


def test_images_on_the_host_are_not_captured(captures: list[object]) -> None:
    fused, images = made(), noise(0, 2, 30, 30, 3).cpu().numpy()
    for _ in range(3):
        assert torch.equal(fused(2, [(images, None)]), directly([(images, None)]))
    assert captures == []


def test_no_more_places_are_kept_than_a_few(captures: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    kept = 4
    monkeypatch.setattr(replayed, "KEPT", kept)
    fused, memory = made(), noise(0, kept + 3, 20, 20, 3)
    for _ in range(2):
        for place in range(len(memory)):
            batches: list[Batch] = [(memory[place : place + 1], None)]
            assert torch.equal(fused(1, batches), directly(batches))
    assert len(fused._known) == kept
