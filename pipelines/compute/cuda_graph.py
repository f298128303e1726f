"""CUDA graphs: work that is captured once and replayed with one launch."""

from __future__ import annotations

from collections.abc import Callable

import torch

Work = Callable[[], None]
"""What it reads and writes stays at the addresses that it had when the graph was captured."""
WARM_UPS = 2
"""Runs before the capture: kernels are compiled and libraries allocate their memory then, which a graph cannot hold."""


def captured(work: Work) -> Work:
    """Capture on the current GPU. The work runs a few times meanwhile, and once more with each call of what is returned."""
    warm_up_stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    warm_up_stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(warm_up_stream):
        for _ in range(WARM_UPS):
            work()
    torch.cuda.current_stream().wait_stream(warm_up_stream)
    graph = torch.cuda.CUDAGraph()
    # What other threads do with CUDA meanwhile, such as a decoder that prefetches, is no part of it and no error.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        work()
    return graph.replay


class Replayed:
    """A function of one tensor as a CUDA graph for each shape of it."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._function = function
        self._known: dict[tuple[int, ...], tuple[torch.Tensor, list[torch.Tensor], Work]] = {}

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """What the function returns for x, in new memory."""
        shape = tuple(x.shape)
        if shape not in self._known:
            self._known[shape] = self._capture(x)
        static_input, output, replay = self._known[shape]
        static_input.copy_(x)
        replay()
        return output[0].clone()

    def _capture(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor], Work]:
        static_input, output = x.clone(), [x]

        def work() -> None:
            output[0] = self._function(static_input)

        return static_input, output, captured(work)
