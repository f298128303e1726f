"""A pipeline of somebody else's, of four methods, as the harness needs one: see docs/your-own.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from evbench.errors import UserError
from evbench.pipelines.checkpoints import checkpoint
from evbench.results import Work, Workload
from evbench.stages import Generation, Sampler

AXES: Mapping[str, Mapping[int, tuple[str, ...]]] = {
    "load": {4: ("frame", "row", "column", "channel")},
    "preprocess": {4: ("frame", "channel", "row", "column")},
    "vision": {2: ("token", "feature"), 3: ("frame", "token", "feature")},
    "generate": {2: ("position", "token")},
}
"""Stage -> number of axes -> their names."""


@dataclass(frozen=True)
class Value:
    """What a method returned, as a `evbench.stages.StageOutput`."""

    given: Any
    """An array or tensor; or an object with `values` and `holding`. Where nothing of it can be seen: whatever it is."""
    seen: bool
    token_ids: tuple[int, ...] = ()
    """Of the question, where they are known."""

    def values(self) -> Any:
        """None where it cannot be seen."""
        if not self.seen:
            return None
        return self.given if isinstance(self.given, np.ndarray | torch.Tensor) else self.given.values()

    def holding(self, values: Any) -> Value:
        plain = isinstance(self.given, np.ndarray | torch.Tensor)
        return dataclasses.replace(self, given=values if plain else self.given.holding(values))

    def prompt(self) -> tuple[int, ...]:
        return self.token_ids


class Chooser:
    """What `generate` of such a pipeline is given: called with the logits after the prompt, and after each token, it chooses the next."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self.chosen: list[int] = []

    def __call__(self, logits: Any) -> int:
        """Args: logits: [vocabulary], or with axes of length 1 in front; a tensor or an array."""
        row = torch.as_tensor(logits).reshape(1, -1)
        forced = self._sampler(row)
        self.chosen.append(int(torch.argmax(row)) if forced is None else forced)
        return self.chosen[-1]

    def unseen(self) -> None:
        """In the place of a call, where a token has come and its logits cannot be seen: it is timed."""
        self._sampler.passed()


class Own:
    """An `evbench.stages.Pipeline` around an object of somebody else's class."""

    def __init__(self, made: Any, workload: Workload, dtype: str | None, unseen: Sequence[str], origin: str) -> None:
        """
        Args:
            made: with the methods load, preprocess, vision and generate.
            dtype: that it computes in, if not the workload's.
            unseen: stages whose output cannot be seen.
            origin: whose it is, for messages.
        """
        self._made, self._workload, self._origin, self.unseen = made, workload, origin, tuple(unseen)
        self.model = made if isinstance(made, nn.Module) else getattr(made, "model", None)
        self.parameters, self.weights_fingerprint = 0, ""
        if isinstance(self.model, nn.Module):
            self.parameters, self.weights_fingerprint = checkpoint.parameter_count(self.model), checkpoint.fingerprint(self.model)
        self.tower = self.decoder = self.image_processor = self.tokenizer = None
        self.used_layers = self.tower_layers = self.decoder_layers = 1
        self.quantum = float(getattr(made, "quantum", 1 / 255))
        self.load_many: Callable[[Sequence[Path]], list[tuple[Any, Work]]] | None = None
        self._axes: dict[str, tuple[str, ...]] = {} if "generate" in unseen else {"generate": AXES["generate"][2]}

    @property
    def axes(self) -> Mapping[str, tuple[str, ...]]:
        """Of the stages that have run by now."""
        return self._axes

    @torch.inference_mode()
    def load(self, path: Path, /) -> tuple[Value, Work]:
        value, work = self._read("load", self._made.load(path))
        values = value.values()
        if getattr(values, "ndim", 0) != 4 or values.shape[-1] != 3 or "uint8" not in str(values.dtype):
            raise self._fault("load", "frames", "frames [count, height, width, 3] of uint8")
        return value, dataclasses.replace(work, frame_height=values.shape[1], frame_width=values.shape[2])

    @torch.inference_mode()
    def preprocess(self, loaded: Value, /) -> tuple[Value, Work]:
        value, work = self._read("preprocess", self._made.preprocess(loaded.given))
        ids = tuple(int(token) for token in getattr(self._made, "prompt_token_ids", ()))
        told = Work(pixel_shape=tuple(value.values().shape)) if value.seen else Work()
        return dataclasses.replace(value, token_ids=ids), told.merged(work)

    @torch.inference_mode()
    def vision(self, inputs: Value, /) -> tuple[Value, Work]:
        value, work = self._read("vision", self._made.vision(inputs.given))
        if not value.seen:
            return value, work
        values = value.values()
        told = Work(visual_tokens=int(np.prod(values.shape[:-1])), dtype=str(values.dtype).removeprefix("torch."))
        return value, told.merged(work)

    @torch.inference_mode()
    def generate(self, features: Value, new_tokens: int, sampler: Sampler, /) -> tuple[Generation, Work]:
        chooser = Chooser(sampler)
        returned = self._made.generate(features.given, new_tokens, chooser)
        tokens, text, work = self._answer(returned)
        if "generate" not in self.unseen and list(tokens) != chooser.chosen[: len(tokens)]:
            place = next((i for i, pair in enumerate(zip(tokens, chooser.chosen, strict=False)) if pair[0] != pair[1]), len(chooser.chosen))
            raise UserError(f"{self._origin}: generate returned a token {place} that it did not get of choose; return those that it chose")
        done = Work(new_tokens=len(tokens), stop="length" if len(tokens) == new_tokens else "end")
        return Generation(tokens, text), done.merged(work)

    def _answer(self, returned: Any) -> tuple[tuple[int, ...], str, Work]:
        """Token ids; with text; with text and Work."""
        parts = returned if isinstance(returned, tuple) and returned and not isinstance(returned[0], int) else (returned,)
        tokens, text, work = (*parts, "", Work())[:3] if len(parts) == 1 else (*parts, Work())[:3]
        if not isinstance(tokens, Sequence) or isinstance(tokens, str) or not all(isinstance(token, int) for token in tokens):
            raise self._fault("generate", "the tokens", "a list of whole numbers, or (tokens, text)")
        if not tokens or not isinstance(text, str) or not isinstance(work, Work):
            raise self._fault("generate", "the answer", "(tokens, text) of one token at least, or (tokens, text, evbench.Work)")
        return tuple(tokens), text or " ".join(map(str, tokens)), work

    def _read(self, stage: str, returned: Any) -> tuple[Value, Work]:
        """The output alone, or with Work."""
        output, work = (
            returned if isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], Work) else (returned, Work())
        )
        seen = stage not in self.unseen
        if seen and not (isinstance(output, np.ndarray | torch.Tensor) or (hasattr(output, "values") and hasattr(output, "holding"))):
            raise self._fault(stage, type(output).__name__, "an array, a tensor, or an object with values() and holding()")
        value = Value(output, seen)
        if seen:
            axes = len(value.values().shape)
            self._axes[stage] = AXES[stage].get(axes) or tuple(f"axis {number}" for number in range(axes))
        return value, work

    def _fault(self, stage: str, what: str, expected: str) -> UserError:
        return UserError(f"{self._origin}: {stage} returned {what}, where {expected} is expected; mend it")
