"""EventGPT drafts for Video-LLaVA: it sees the events of the moment that the clip shows.

What it needs is done where the target does the same: its event images are loaded in `load`, its pixel values and features are made in
`preprocess` and `vision`, its prefill is in `generate`. So drafting is timed whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.profiler import record_function

from evbench.choices import Variant
from evbench.errors import UserError
from evbench.pipelines import weights
from evbench.pipelines.eventgpt import EventGPT
from evbench.pipelines.generate.drafts import Answer, alone, model_drafter, speculative_loop
from evbench.pipelines.generate.vocabulary import require_one_vocabulary, words
from evbench.pipelines.load.beside import events_of
from evbench.results import Work, Workload
from evbench.stages import Sampler


def eventgpt(model: Any, variant: Variant, workload: Workload) -> Answer:
    """By EventGPT of the same preset: see `_drafted`."""
    return _drafted(model, variant, workload, "EventGPT")


def small_eventgpt(model: Any, variant: Variant, workload: Workload) -> Answer:
    """By EventGPT at its preset `small`: see `_drafted`."""
    return _drafted(model, variant, workload, "the small EventGPT")


def _drafted(model: Any, variant: Variant, workload: Workload, name: str) -> Answer:
    """Each stage of the drafting model as the variant chooses it. Takes the place of the target's first three stages.

    Args:
        model: the target, a pipeline of Video-LLaVA. What its stages return has a field `beside`.
        name: of the drafting model in traces.

    Raises:
        UserError: its vocabulary is another one, there is no checkpoint of it, or a sample has no event images beside it.
    """
    drafting = drafting_model(variant, workload)
    placeholders = model.model.config.image_token_id, model.model.config.video_token_id  # no answer has them, nor what may follow them
    shared = require_one_vocabulary(words(model.tokenizer)[: min(placeholders)], words(drafting.tokenizer))
    loop, drafter = speculative_loop(model, variant), model_drafter(drafting, variant, shared, name)
    stages = Beside(model, drafting, name)
    model.load, model.preprocess, model.vision = stages.load, stages.preprocess, stages.vision
    if model.load_many is not None:
        model.load_many = stages._load_many

    def answer(asked: Any, embeddings: torch.Tensor, new_tokens: int, sampler: Sampler, /) -> list[int]:
        return loop(embeddings, new_tokens, sampler, drafter.begin(made_beside(asked), new_tokens))

    return answer


def drafting_model(variant: Variant, workload: Workload) -> EventGPT:
    """Raises UserError as `_drafted` does."""
    asked = weights.drafting(variant.choices(), workload)
    assert asked is not None, "this choice of draft names a model"
    return EventGPT(alone(variant), asked)


class Beside:
    """The stages of a target in front of `generate`, each of which does the same for a drafting model.

    Methods have the names by which runs show that a sample is loaded: see evbench.pipelines.load.choices.
    """

    def __init__(self, target: Any, drafting: EventGPT, name: str) -> None:
        self._load, self._many, self._preprocess, self._vision = target.load, target.load_many, target.preprocess, target.vision
        self._drafting, self._name = drafting, name

    def load(self, path: Path, /) -> tuple[Any, Work]:
        return self._with_events(path, self._load(path))

    def _load_many(self, paths: Sequence[Path], /) -> list[tuple[Any, Work]]:
        return [self._with_events(path, loaded) for path, loaded in zip(paths, self._many(paths), strict=True)]

    def preprocess(self, loaded: Any, /) -> tuple[Any, Work]:
        inputs, work = self._preprocess(loaded)
        with record_function(f"preprocess for {self._name}"):
            beside, _ = self._drafting.preprocess(made_beside(loaded))
        return dataclasses.replace(inputs, beside=beside), work

    def vision(self, inputs: Any, /) -> tuple[Any, Work]:
        features, work = self._vision(inputs)
        with record_function(f"vision of {self._name}"):
            beside, _ = self._drafting.vision(made_beside(inputs))
        return dataclasses.replace(features, beside=beside), work

    def _with_events(self, path: Path, loaded: tuple[Any, Work]) -> tuple[Any, Work]:
        frames, work = loaded
        with record_function(f"load for {self._name}"):
            return dataclasses.replace(frames, beside=self._drafting.event_images(events_of(path))), work


def made_beside(output: Any) -> Any:
    """What a stage made for the drafting model.

    Raises:
        UserError: nothing, as the stage is somebody else's.
    """
    if (found := getattr(output, "beside", None)) is None:
        raise UserError("a stage of a plug-in makes nothing for the model that drafts; leave the plug-in out, or use another draft")
    return found
