"""A CUDA stream beside the model's."""

from __future__ import annotations

from collections.abc import Callable

import torch


class SideStream:
    """For what `load` does on the GPU while the model may still compute for the sample before.

    On the model's stream it would stand behind all that the model still has to compute.
    """

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def wait(self) -> None:
        """Until all that was put onto it is done."""
        self._stream.synchronize()

    def make(self, work: Callable[[], list[torch.Tensor]]) -> list[torch.Tensor]:
        """What `work` puts onto the stream and returns, for whatever is put onto the caller's current stream from now on."""
        models = torch.cuda.current_stream()
        with torch.cuda.stream(self._stream):
            made = work()
        models.wait_stream(self._stream)
        for tensor in made:
            tensor.record_stream(models)  # else its memory could be given to the next sample while the model still reads it
        return made
