"""Which decoder a variant's choice names. Above all decoders, which do not know each other."""

from __future__ import annotations

from collections.abc import Callable

from evbench.pipelines.load.event_images import Renderer, loop, vectorised
from evbench.pipelines.load.png import Reader, read_plain, read_threaded
from evbench.pipelines.load.video import Decoder, decode_plain, decode_threaded


def _on_gpu(device: str) -> Renderer:
    from evbench.pipelines.load.event_painter import EventPainter  # torch and Triton are of the workers only

    return EventPainter(device)


RENDERERS: dict[str, Callable[[str], Renderer]] = {
    "loop": lambda device: loop,
    "vectorised": lambda device: vectorised,
    "triton": _on_gpu,
}
"""Choice -> function of the device."""


def reader(choice: str, device: str) -> Reader:
    """What reads event images by a variant's choice `decode`: plain, threaded or dali."""
    if choice == "dali":
        from evbench.pipelines.load.dali_images import DaliImages

        return DaliImages(device)
    return {"plain": read_plain, "threaded": read_threaded}[choice]


def decoder(choice: str) -> Decoder:
    """The decoder of a variant's choice `decode`: plain, threaded or dali."""
    if choice == "dali":
        from evbench.pipelines.load.dali import DaliDecoder

        return DaliDecoder()
    return {"plain": decode_plain, "threaded": decode_threaded}[choice]
