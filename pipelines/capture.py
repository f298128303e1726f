"""CUDA graphs: work that is recorded once and replayed with one launch."""

from __future__ import annotations

from collections.abc import Callable

import torch

Work = Callable[[], None]
"""What it reads and writes lies where it lay when it was recorded."""
WARM_UPS = 2
"""Runs in front of the recording: kernels are compiled and libraries ready their memory then, which a graph cannot hold."""


def captured(work: Work) -> Work:
    """Record on the current GPU. The work runs a few times in doing so, and once more with each call of what is returned."""
    beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(WARM_UPS):
            work()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    # What other threads ask of CUDA meanwhile, such as a decoder that works ahead, is no part of it and no mistake.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        work()
    return graph.replay


class Replayed:
    """A function of one tensor as a CUDA graph for each shape of it."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._function = function
        self._known: dict[tuple[int, ...], tuple[torch.Tensor, list[torch.Tensor], Work]] = {}

    def __call__(self, given: torch.Tensor) -> torch.Tensor:
        """What the function makes of it, in memory of the caller's own."""
        shape = tuple(given.shape)
        if shape not in self._known:
            self._known[shape] = self._record(given)
        place, made, replay = self._known[shape]
        place.copy_(given)
        replay()
        return made[0].clone()

    def _record(self, given: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor], Work]:
        place, made = given.clone(), [given]

        def work() -> None:
            made[0] = self._function(place)

        return place, made, captured(work)
