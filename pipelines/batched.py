"""Samples that go through the stages together: each loaded and preprocessed, then one call of tower and language model for all."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from evbench.errors import UserError
from evbench.results import Work, Workload
from evbench.stages import Generation, Sampler


@dataclass(frozen=True)
class Rows:
    """What a stage made of each sample of a batch. Its values are those of the samples, along the first axis."""

    each: tuple[Any, ...]
    """Evbench's output of that stage, for a sample by itself."""

    def values(self) -> Any:
        values = [one.values() for one in self.each]
        return torch.cat(values) if isinstance(values[0], torch.Tensor) else np.concatenate(values)

    def holding(self, values: Any) -> Self:
        counts = [len(one.values()) for one in self.each]
        ends = np.cumsum(counts).tolist()
        parts = [values[end - count : end] for count, end in zip(counts, ends, strict=True)]
        return dataclasses.replace(self, each=tuple(one.holding(part) for one, part in zip(self.each, parts, strict=True)))


@dataclass(frozen=True)
class Inputs(Rows):
    """What preprocessing hands over."""

    pixels: torch.Tensor
    """Of all samples: [batch, frames, 3, height, width], or [batch x images, 3, height, width]."""

    def values(self) -> torch.Tensor:
        return self.pixels.flatten(0, -4)

    def holding(self, values: torch.Tensor) -> Self:
        return dataclasses.replace(self, pixels=values.view(self.pixels.shape))

    def prompt(self) -> tuple[int, ...]:
        return tuple(token for one in self.each for token in one.prompt())


class Batched:
    """A pipeline for a batch of samples: see evbench.stages.Pipeline."""

    def __init__(self, pipeline: Any, workload: Workload) -> None:
        """`pipeline`: an evbench.pipelines.clip_llama.ClipLlama, for one sample at a time."""
        self._pipeline = pipeline
        self._batch = workload.batch
        self._paths = {Path(one.path): [Path(row.path) for row in one.rows()] for one in workload.samples}
        # Along the first axis are those of the first sample, then those of the second; of generate the first of each, then the second.
        self.axes = {stage: (f"{first} of the batch", *others) for stage, (first, *others) in pipeline.axes.items()}
        self.model, self.tower, self.decoder = pipeline.model, pipeline.tower, pipeline.decoder
        self.used_layers, self.tower_layers, self.decoder_layers = pipeline.used_layers, pipeline.tower_layers, pipeline.decoder_layers
        self.image_processor, self.tokenizer, self.quantum = pipeline.image_processor, pipeline.tokenizer, pipeline.quantum
        self.parameters, self.weights_fingerprint = pipeline.parameters, pipeline.weights_fingerprint
        decodes_many = self._pipeline.load_many is not None
        self.load_many: Callable[[Sequence[Path]], list[tuple[Rows, Work]]] | None = self._load_batches if decodes_many else None

    def load(self, path: Path, /) -> tuple[Rows, Work]:
        """The batch whose first sample this is; of a file that is none, so many times itself. Raises UserError for a wrong file."""
        paths = self._rows(path)
        return _loaded(paths, [self._pipeline.load(one) for one in paths])

    def _load_batches(self, paths: Sequence[Path], /) -> list[tuple[Rows, Work]]:
        of_each = [self._rows(path) for path in paths]
        found = iter(self._pipeline.load_many([one for rows in of_each for one in rows]))
        return [_loaded(rows, [next(found) for _ in rows]) for rows in of_each]

    def _rows(self, path: Path) -> list[Path]:
        return self._paths.get(path, [path] * self._batch)

    @torch.inference_mode()
    def preprocess(self, loaded: Rows, /) -> tuple[Inputs, Work]:
        made, copies = [], []
        for one in loaded.each:
            inputs, work = self._pipeline.preprocess(one)
            made.append(inputs)
            copies.append(inputs.pixels.clone())  # a choice may write the next sample's into the same memory
        pixels = torch.cat(copies)
        return Inputs(tuple(made), pixels), dataclasses.replace(work, pixel_shape=tuple(pixels.shape))

    @torch.inference_mode()
    def vision(self, inputs: Inputs, /) -> tuple[Rows, Work]:
        visual, work = self._pipeline.encode(inputs.pixels)
        pairs = zip(inputs.each, visual.chunk(self._batch), strict=True)
        return Rows(tuple(one.features(part) for one, part in pairs)), work

    @torch.inference_mode()
    def generate(self, features: Rows, new_tokens: int, sampler: Sampler, /) -> tuple[Generation, Work]:
        embeddings = torch.cat([self._pipeline.embeddings(one) for one in features.each])
        answer: tuple[Generation, Work] = self._pipeline.answer(features.each[0], embeddings, new_tokens, sampler)
        return answer


def _loaded(paths: Sequence[Path], found: Sequence[tuple[Any, Work]]) -> tuple[Rows, Work]:
    works = [work for _, work in found]
    _require_one_size(paths, works)
    return Rows(tuple(loaded for loaded, _ in found)), functools.reduce(_together, works)


def _require_one_size(paths: Sequence[Path], works: Sequence[Work]) -> None:
    """Raises UserError if images of a batch are not all of one size, as they are compared as one array."""
    sizes = [(work.frame_width, work.frame_height) for work in works]
    if other := next((place for place, size in enumerate(sizes) if size != sizes[0]), None):
        held = [f"{paths[place]} has images of {sizes[place][0]}x{sizes[place][1]}" for place in (0, other)]
        raise UserError(f"{' and '.join(held)}; give a batch samples of one size (raw events: --event-size sensor)")


def _together(one: Work, other: Work) -> Work:
    """Of two samples in a batch."""

    def both(name: str) -> Any:
        ours, theirs = getattr(one, name), getattr(other, name)
        return None if ours is None or theirs is None else ours + theirs

    longest = max(one.events_microseconds or 0, other.events_microseconds or 0) or None
    joined = {name: both(name) for name in ("frame_indices", "frame_seconds", "events")}
    return dataclasses.replace(one, **joined, events_microseconds=longest)
