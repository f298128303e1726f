"""CUDA graphs: work that is captured once and replayed with one launch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import cache

import torch

Work = Callable[[], None]
"""What it reads and writes stays at the addresses that it had when the graph was captured."""
AHEAD = 4
"""Launches of a decode step that the host may be ahead of the GPU. NVDEC, which decodes the next sample meanwhile, waits several times for
a clip until all has ended that was launched before: behind a queue of a whole answer it would decode nothing until the answer is there
(profiles/h200/floor/log.md)."""
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
    with torch.cuda.graph(graph, stream=_capture_stream(torch.cuda.current_device()), capture_error_mode="thread_local"):
        work()
    return graph.replay


def paced(launch: Work) -> Work:
    """A launch on the current stream, which waits first for the one that is AHEAD in front of it."""
    launched: deque[torch.cuda.Event] = deque()  # what is recorded behind each of the last ones

    def launch_paced() -> None:
        event = launched.popleft() if len(launched) == AHEAD else torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.synchronize()
        launch()
        event.record()
        launched.append(event)

    return launch_paced


@cache
def _capture_stream(device: int) -> torch.cuda.Stream:
    """One for each GPU. torch has one for all, of the GPU that something was captured on first."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class Replayed:
    """A function of one tensor as a CUDA graph for each shape of it."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._function = function
        self._known: dict[tuple[int, ...], tuple[torch.Tensor, list[torch.Tensor], Work]] = {}

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """What the function returns for x, in new memory."""
        self.prepare(x)
        static_input, output, replay = self._known[tuple(x.shape)]
        static_input.copy_(x)
        replay()
        return output[0].clone()

    def prepare(self, x: torch.Tensor) -> None:
        """Capture it for the shape of x, unless that is known."""
        if (shape := tuple(x.shape)) not in self._known:
            self._known[shape] = self._capture(x)

    def _capture(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor], Work]:
        static_input, output = x.clone(), [x]

        def work() -> None:
            output[0] = self._function(static_input)

        return static_input, output, captured(work)
