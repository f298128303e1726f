"""A toy model of the same four stages: mean colours of the frames in, tokens out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from evbench.choices import Variant
from evbench.pipelines.checkpoints import checkpoint
from evbench.pipelines.load.decoders import decoder
from evbench.pipelines.load.video import Frames
from evbench.results import Work, Workload
from evbench.stages import Generation, Sampler

VOCABULARY, HIDDEN = 64, 16


@dataclass(frozen=True)
class Values:
    """What preprocessing and vision return."""

    array: torch.Tensor
    """[frames, 3] mean colours, or [frames, HIDDEN] features."""

    def values(self) -> torch.Tensor:
        return self.array

    def holding(self, values: torch.Tensor) -> Values:
        return dataclasses.replace(self, array=values)

    def prompt(self) -> tuple[int, ...]:
        return (1,)


class Toy:
    """An `evbench.stages.Pipeline`."""

    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "load": ("frame", "row", "column", "channel"),
        "preprocess": ("frame", "channel", "row", "column"),
        "vision": ("frame", "feature"),
        "generate": ("position", "token"),
    }
    quantum = 1 / 255
    load_many: Callable[[Sequence[Path]], list[tuple[Frames, Work]]] | None = None
    image_processor: Any = None
    used_layers = tower_layers = decoder_layers = 1

    def __init__(self, variant: Variant, workload: Workload, dtype: str | None = None) -> None:
        self._workload = dataclasses.replace(workload, dtype=dtype or workload.dtype)
        with checkpoint.seeded(workload.seed or 0, workload.device, getattr(torch, workload.dtype)):
            tower, embedding, head = nn.Linear(3, HIDDEN), nn.Embedding(VOCABULARY, HIDDEN), nn.Linear(HIDDEN, VOCABULARY)
            self.model = nn.ModuleDict({"tower": tower, "embedding": embedding, "head": head})
        self.parameters, self.weights_fingerprint = checkpoint.parameter_count(self.model), checkpoint.fingerprint(self.model)
        self.model.to(getattr(torch, self._workload.dtype))
        self.tower, self.decoder = self.model["tower"], self.model["embedding"]
        self._decode = decoder(variant["decode"])

    def load(self, path: Path, /) -> tuple[Frames, Work]:
        frames = self._decode(path, self._workload.frames, self._workload.frame_policy)
        height, width = frames.pixels.shape[1:3]
        work = Work(frame_indices=frames.indices, frame_seconds=frames.seconds, frame_height=height, frame_width=width)
        return frames, dataclasses.replace(work, decoder=frames.decoder)

    @torch.inference_mode()
    def preprocess(self, loaded: Frames, /) -> tuple[Values, Work]:
        frames = torch.as_tensor(loaded.values()).to(self._workload.device, getattr(torch, self._workload.dtype))
        colours = frames.mean(dim=(1, 2)) / 255
        return Values(colours[:, :, None, None]), Work(pixel_shape=(len(colours), 3, 1, 1), prompt_tokens=len(colours) + 1)

    @torch.inference_mode()
    def vision(self, inputs: Values, /) -> tuple[Values, Work]:
        features = self.model["tower"](inputs.array[:, :, 0, 0])
        return Values(features), Work(visual_tokens=len(features), dtype=self._workload.dtype)

    @torch.inference_mode()
    def generate(self, features: Values, new_tokens: int, sampler: Sampler, /) -> tuple[Generation, Work]:
        tokens: list[int] = []
        for _ in range(new_tokens):
            logits = self._logits(features, tokens[-1:])[None]
            forced = sampler(logits)
            tokens.append(int(logits.argmax()) if forced is None else forced)
        return Generation(tuple(tokens), " ".join(map(str, tokens))), Work(new_tokens=new_tokens, stop="length")

    def _logits(self, features: Values, last: Sequence[int]) -> torch.Tensor:
        # features: [frames, HIDDEN]; last: the token before, if there is one
        hidden = features.array.mean(dim=0)
        for token in last:
            hidden = hidden + torch.as_tensor(self.model["embedding"].weight)[token]
        return torch.as_tensor(self.model["head"](hidden))
