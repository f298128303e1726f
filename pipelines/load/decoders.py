"""What decodes or renders a sample by a variant's choice. Stands above all decoders, which do not know each other."""

from __future__ import annotations

from typing import Any

from evbench.pipelines.load.choices import DECODE, RENDER
from evbench.pipelines.load.event_images import Renderer
from evbench.pipelines.load.png import Reader
from evbench.pipelines.load.video import Decoder


def decoder(choice: str) -> Decoder:
    """The decoder of videos by a choice of `decode`."""
    found: Any = DECODE.implementation(choice, "video")
    decode: Decoder = found() if isinstance(found, type) else found
    return decode


def reader(choice: str, device: str) -> Reader:
    """What reads event images by a choice of `decode`."""
    found: Any = DECODE.implementation(choice, "event-images")
    read: Reader = found(device) if isinstance(found, type) else found
    return read


def renderer(choice: str, device: str) -> Renderer:
    """What makes event images of raw events by a choice of `render`."""
    found: Any = RENDER.implementation(choice)
    render: Renderer = found(device) if isinstance(found, type) else found
    return render
