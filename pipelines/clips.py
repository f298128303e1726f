"""What models have in common that get frames of a video: the stage load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evbench.choices import Variant
from evbench.pipelines.load.decoders import decoder
from evbench.pipelines.load.video import DecodeMany, Frames
from evbench.results import Work, Workload


class Clips:
    """Decoding as the variant chooses it."""

    def __init__(self, variant: Variant, workload: Workload) -> None:
        """Raises UserError if the decoder cannot be used here."""
        self._frames, self._policy = workload.frames, workload.frame_policy
        self._decode = decoder(variant["decode"])
        self._decode_many: DecodeMany | None = getattr(self._decode, "many", None)
        self.load_many: Callable[[Sequence[Path]], list[tuple[Frames, Work]]] | None
        self.load_many = None if self._decode_many is None else self._load_many

    def load(self, path: Path, /) -> tuple[Frames, Work]:
        frames = self._decode(path, self._frames, self._policy)
        return frames, _work(frames)

    def _load_many(self, paths: Sequence[Path], /) -> list[tuple[Frames, Work]]:
        assert self._decode_many is not None
        return [(frames, _work(frames)) for frames in self._decode_many(paths, self._frames, self._policy)]


def _work(frames: Frames) -> Work:
    height, width = frames.pixels.shape[1:3]
    return Work(frame_indices=frames.indices, frame_seconds=frames.seconds, frame_height=height, frame_width=width, decoder=frames.decoder)


def frames_of(path: Path, workload: Workload) -> tuple[Any, Work]:
    """The frames that evbench picks of a clip, decoded as the baseline does: for `load` of a pipeline of one's own.

    Returns:
        [frames, height, width, 3] uint8, and which they are.

    Raises:
        UserError: the clip cannot be decoded.
    """
    frames = decoder("plain")(path, workload.frames, workload.frame_policy)
    return frames.values(), _work(frames)
