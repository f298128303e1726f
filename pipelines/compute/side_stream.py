"""A CUDA stream other than the model's."""

from __future__ import annotations

from collections.abc import Callable

import torch


class SideStream:
    """For what `load` does on the GPU while the model may still compute for the sample before.

    On the model's stream it would have to wait for all that the model still has to compute.
    """

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def wait(self) -> None:
        """Until all work on it is done."""
        self._stream.synchronize()

    def run(self, work: Callable[[], list[torch.Tensor]]) -> list[torch.Tensor]:
        """Run `work` on this stream; what it returns is ready for all that is launched on the caller's current stream from now on."""
        models = torch.cuda.current_stream()
        with torch.cuda.stream(self._stream):
            tensors = work()
        models.wait_stream(self._stream)
        for tensor in tensors:
            tensor.record_stream(models)  # else its memory could be given to the next sample while the model still reads it
        return tensors
