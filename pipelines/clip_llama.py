"""What models have in common that put a CLIP tower in front of a LLaMA-shaped language model: all stages but loading."""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import nn

from evbench.choices import Variant
from evbench.errors import UserError
from evbench.pipelines import draft_heads
from evbench.pipelines.checkpoints import checkpoint
from evbench.pipelines.compute import attention
from evbench.pipelines.generate.choices import CACHE, DRAFT, QUANTIZATION
from evbench.pipelines.generate.draft_head import DraftHead, drafts_along
from evbench.pipelines.generate.drafts import Answer, Asked, Prompted
from evbench.pipelines.generate.language import LanguageModel
from evbench.pipelines.preprocess.pixels import quantum
from evbench.pipelines.preprocess.preprocessors import Tokenized, preprocessor
from evbench.pipelines.vision.encoders import VisionModel, encoder
from evbench.results import Work, Workload
from evbench.stages import Generation, Sampler


class Features(Asked, Protocol):
    """The input of the language model."""

    @property
    def visual(self) -> torch.Tensor: ...

    def values(self) -> torch.Tensor: ...

    def holding(self, values: torch.Tensor, /) -> Self: ...


class Inputs(Prompted, Protocol):
    """What preprocessing returns."""

    @property
    def pixels(self) -> torch.Tensor: ...

    def values(self) -> torch.Tensor: ...

    def holding(self, values: torch.Tensor, /) -> Self: ...

    def features(self, visual: torch.Tensor, /) -> Any:
        """The features, with what the language model needs of the question."""


@dataclass(frozen=True)
class Network:
    """A model in memory, by its parts."""

    model: nn.Module
    """All of it."""
    vision: VisionModel
    used_layers: int
    """Of the tower, counted from its first, by its config."""
    preprocessing: Tokenized
    language: Any
    """The part with transformers' `generate`."""
    decoder: Any
    """LlamaModel."""
    head: nn.Module
    """Hidden state -> logits."""
    tokenizer: Any
    vision_config: Any
    text_config: Any


@dataclass(frozen=True)
class Weights:
    """What was counted of them before their type was changed."""

    parameters: int
    fingerprint: str


def converted(model: nn.Module, workload: Workload, dtype: str | None) -> tuple[Weights, Workload]:
    """Count the weights, and change their type to `dtype` if it is not None; with the workload in that type."""
    weights = Weights(checkpoint.parameter_count(model), checkpoint.fingerprint(model))
    if dtype is None:
        return weights, workload
    model.to(getattr(torch, dtype))
    return weights, dataclasses.replace(workload, dtype=dtype)


class ClipLlama(ABC):
    """Preprocessing, vision and generation as the variant chooses them. A subclass adds loading, and how features join the prompt."""

    axes: ClassVar[Mapping[str, tuple[str, ...]]]
    """See evbench.stages.Pipeline."""
    context: ClassVar[int | None] = None
    """The longest prompt that the released code keeps whole. None: as long as the language model allows."""

    def __init__(self, variant: Variant, workload: Workload, weights: Weights, network: Network) -> None:
        """Raises UserError if a choice has no kernel for this model or device."""
        self.model: Any = network.model
        self.decoder = network.decoder
        self.parameters, self.weights_fingerprint = weights.parameters, weights.fingerprint
        self._configs = network.vision_config, network.text_config
        self.tower, self.used_layers = network.vision.tower, network.used_layers
        self.tower_layers, self.decoder_layers = (int(config.num_hidden_layers) for config in self._configs)
        self.image_processor = network.preprocessing.image_processor
        self.quantum = quantum(self.image_processor)
        self.workload, self.tokenizer = workload, network.tokenizer
        self._preprocess = preprocessor(network.preprocessing, variant, workload)
        self._preprocessed: dict[tuple[torch.Size, int], Work] = {}
        attention.require(variant["attention"], checkpoint.heads(*self._configs), workload.device, getattr(torch, workload.dtype))
        self._encode = encoder(network.vision, variant)
        for part in (QUANTIZATION, CACHE):
            part.implementation(variant[part.name])(network.decoder)
        end_token = network.tokenizer.eos_token_id
        self.language = LanguageModel(network.language, network.decoder, network.head, end_token, workload.stop_at_end)
        self._answer: Answer = DRAFT.implementation(variant["draft"])(self, variant, workload)

    @functools.cached_property
    def draft_head(self) -> DraftHead:
        """The head that drafts for the language model. Raises UserError if there is none for its weights."""
        return draft_heads.of(self.workload, self._configs[1])

    @torch.inference_mode()
    def drafts_along(self, features: Any, answer: Sequence[int], count: int) -> list[list[int]]:
        """Behind each token of an answer, how its head would go on: so many tokens. Raises UserError if there is no head."""
        return drafts_along(self.language, self.draft_head, self.embeddings(features), answer, count)

    @torch.inference_mode()
    def preprocess(self, loaded: Any, /) -> tuple[Any, Work]:
        inputs: Inputs = self._preprocess(loaded, self.workload.prompt)
        # What was done is the same each time, and to find it takes the host as long as the GPU needs for the pixels.
        key = inputs.pixels.shape, self.prompt_tokens(inputs)
        if key not in self._preprocessed:
            self._preprocessed[key] = self._work_of_preprocessing(*key)
        return inputs, self._preprocessed[key]

    def _work_of_preprocessing(self, shape: torch.Size, prompt: int) -> Work:
        """Raises UserError if the prompt is too long."""
        if self.context is not None and prompt > self.context:
            limit = f"the prompt has {prompt} tokens and {type(self).__name__} takes {self.context}"
            raise UserError(f"{limit}; give a shorter --prompt")
        self.language.require_room(prompt, self.workload)
        return Work(pixel_shape=tuple(shape), prompt_tokens=prompt)

    @torch.inference_mode()
    def vision(self, inputs: Any, /) -> tuple[Any, Work]:
        visual, work = self.encode(inputs.pixels)
        return inputs.features(visual), work

    def encode(self, pixels: torch.Tensor) -> tuple[torch.Tensor, Work]:
        """Pixel values of one sample, or of a batch along the first axis -> visual features, of each sample along the first axis."""
        visual = self._encode(pixels)
        names = checkpoint.dtype_name(visual.dtype), checkpoint.attention_name(*self._configs)
        return visual, Work(visual_tokens=visual.shape[0] * visual.shape[1], dtype=names[0], attention=names[1])

    @torch.inference_mode()
    def generate(self, features: Any, new_tokens: int, sampler: Sampler, /) -> tuple[Generation, Work]:
        return self.answer(features, self.embeddings(features), new_tokens, sampler)

    def answer(self, features: Asked, embeddings: torch.Tensor, new_tokens: int, sampler: Sampler) -> tuple[Generation, Work]:
        """Prompts [batch, prompt, hidden] -> what is said to each."""
        tokens = self._answer(features, embeddings, new_tokens, sampler)
        batch, prompt, _ = embeddings.shape
        answers = [tokens[row::batch] for row in range(batch)]
        texts = [self.tokenizer.decode(answer, skip_special_tokens=True) for answer in answers]
        text = texts[0] if batch == 1 else " ".join(f"[{number}] {one}" for number, one in enumerate(texts, 1))
        work = Work(prompt_tokens=prompt, new_tokens=len(answers[0]), stop=self.language.stop_reason(answers[0]))
        return Generation(tuple(tokens), text), work

    @abstractmethod
    def prompt_tokens(self, inputs: Any) -> int:
        """Length of the prompt, visual tokens included."""

    @abstractmethod
    def embeddings(self, features: Any) -> torch.Tensor:
        """The question's embeddings and the visual features together: [1, prompt, hidden]."""
