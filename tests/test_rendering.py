"""The ways to make event images, timed; and that a wrong one is not timed in silence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from evbench.kernels.last_events import last_events
from evbench.microbenchmarks import rendering
from evbench.pipelines.load import event_images, event_painter
from evbench.pipelines.load.event_images import loop
from evbench.pipelines.load.event_stream import EventStream
from tests.devices import DEVICE

pytestmark = pytest.mark.slow


def test_values_are_nearly_equal_if_few_are_a_level_off() -> None:
    """In bfloat16 too, where a level of 1/70 is less than the step between two numbers above 2."""
    for dtype, off in ((torch.float32, 1.05), (torch.bfloat16, 3.0)):
        expected = torch.linspace(-2, 2.1, 4000).to(dtype)
        for count, levels, is_near in ((4, 1.0, True), (5, 1.0, False), (1, off, False), (1, torch.nan, False)):
            made = expected.clone()
            made[-count:] = (expected[-count:].float() + levels / 70).to(dtype)
            if is_near:
                rendering.require_nearly_equal("these", made, expected, 1 / 70)
                continue
            with pytest.raises(ValueError, match="these: not equal to what the loop renders, but for rounding"):
                rendering.require_nearly_equal("these", made, expected, 1 / 70)


def test_the_ways_to_render_are_timed_and_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    of = rendering.random_stream(3000, seed=0)
    found = rendering.measure(of, "cpu", calls=2)
    assert [timing.name for timing in found.timings] == ["loop", "vectorised"]
    assert found.event_bytes == 3000 * 5
    assert all(timing.seconds > 0 for timing in found.timings)
    monkeypatch.setattr(event_images, "vectorised", lambda stream, size: loop(replace(stream, p=1 - stream.p), size))
    with pytest.raises(ValueError, match="vectorised: not equal to what the loop renders"):
        rendering.measure(of, "cpu", calls=2)


def small_stream() -> EventStream:
    """On few pixels, since the interpreter takes its time; no two slices of one size."""
    random = np.random.default_rng(0)
    x, y = (random.normal(edge / 2, edge / 6, 300).clip(0, edge - 1).astype(np.uint16) for edge in (60, 44))
    return EventStream(x, y, np.arange(300), random.integers(0, 2, 300, np.uint8), (44, 60))


def once(names: list[str]) -> rendering.Add:
    def add(name: str, call: Callable[[], Any]) -> Any:
        names.append(name)
        return call()

    return add


@pytest.mark.device
def test_both_ways_to_the_models_input_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "EDGE", 32)
    of, names = small_stream(), list[str]()
    expected = loop(of, "own").pixels
    prepared = rendering.with_triton(of, DEVICE, expected, once(names))
    assert names == [
        "triton, painted",
        "of it, copying the events",
        "of it, finding the last events",
        "of it, painting",
        "events on the device to model input",
        "events on the device to model input, through images",
    ]
    monkeypatch.setattr(rendering, "_on_stream", lambda call, calls: call())
    ways: dict[str, Any] = dict(rendering.on_stream(prepared, 1))
    last, values = ways.values()
    assert torch.equal(last, prepared.maps.last) and torch.equal(values, prepared.values(prepared.maps))
    with pytest.raises(ValueError, match="triton: not equal to what the loop renders"):
        rendering.with_triton(of, DEVICE, loop(replace(of, p=1 - of.p), "own").pixels, once([]))


@pytest.mark.device
def test_another_input_of_the_model_is_not_timed_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A faster search that is wrong only where nobody paints."""
    monkeypatch.setattr(rendering, "EDGE", 32)
    of = small_stream()
    expected = loop(of, "own").pixels
    right, wrong = last_events, list[bool]()

    def darker(*given: Any) -> tuple[torch.Tensor, torch.Tensor]:
        last, extents = right(*given)
        return (last & ~1 if wrong else last), extents

    def add(name: str, call: Callable[[], Any]) -> Any:
        wrong[:] = [True] if name == "events on the device to model input" else []
        return call()

    monkeypatch.setattr(event_painter, "last_events", darker)
    with pytest.raises(ValueError, match="model input from last events: not equal"):
        rendering.with_triton(of, DEVICE, expected, add)
