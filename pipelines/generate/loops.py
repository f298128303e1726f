"""Prefill and decoding of a language model, by each choice of `generate`. All but transformers' own take a LLaMA-shaped one only."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from transformers import DynamicCache, GenerationConfig, LogitsProcessor, LogitsProcessorList, StaticCache

from evbench.choices import Variant
from evbench.pipelines.compute.attention import attend
from evbench.pipelines.generate.choices import GENERATE, PARALLEL, PREFILL
from evbench.pipelines.generate.fixed_cache import FixedCache
from evbench.pipelines.generate.graph_loop import GraphLoop, MakePrefill, MakeState
from evbench.pipelines.generate.language import LanguageModel
from evbench.pipelines.generate.llama import FusedLlama
from evbench.stages import Sampler, in_turn


class Generate(Protocol):
    """Prefill and decoding of a prompt."""

    def __call__(self, prompt: Any, new_tokens: int, sampler: Sampler, /) -> list[int]:
        """Embeddings [batch, prompt, hidden], or what the language model takes instead -> the new tokens, which the sampler chose.

        Of a batch as `evbench.stages.Generation` has them.
        """


class SampledLogits(LogitsProcessor):  # type: ignore[misc]
    """Lets the sampler choose in transformers' generate, which hands over the logits as soon as their kernels are launched."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        # scores: [batch, vocabulary]
        forced = self._sampler.of_batch(scores)
        if forced is None:
            return scores
        only = torch.full_like(scores, -torch.inf)
        for row, token in enumerate(forced):
            only[row, token] = 0
        return only


class TransformersLoop:
    """transformers' generate."""

    def __init__(self, language: LanguageModel, cache: str | None, compiled: bool = True) -> None:
        """
        Args:
            cache: transformers' name for an implementation of it; None for the one that grows.
            compiled: whether transformers may compile the steps, as it does over a cache of fixed size on a GPU.
        """
        self._language = language
        # What is left open, generate reads from the configuration of the checkpoint: sampling, beams, penalties, an end token. Here all
        # choices decode alike, and greedily.
        language.whole.generation_config = GenerationConfig(
            do_sample=False,
            cache_implementation=cache,
            disable_compile=not compiled,
            pad_token_id=0,
            eos_token_id=language.end_token if language.stop_at_end else None,
        )

    def __call__(self, prompt: Any, new_tokens: int, sampler: Sampler, /) -> list[int]:
        inputs = self._language.inputs(prompt)
        tokens = self._language.whole.generate(
            **inputs, max_new_tokens=new_tokens, logits_processor=LogitsProcessorList([SampledLogits(sampler)])
        )
        # Given embeddings alone, generate returns the new tokens without the prompt.
        repeated = inputs["input_ids"].shape[1] if "input_ids" in inputs else 0
        return in_turn(tokens[:, repeated:].tolist())


class StaticLoop:
    """Prefill, then one step per token over a cache of fixed size, which a compiled step can write in place.

    Token and position stay on the device, and the host waits for neither, unless an end token may stop the loop.
    """

    def __init__(self, language: LanguageModel, compile_step: bool) -> None:
        self._language = language
        self._step = torch.compile(self._decode, fullgraph=True, dynamic=False) if compile_step else self._decode
        self._fixed = FixedCache(language)

    def __call__(self, embeddings: torch.Tensor, new_tokens: int, sampler: Sampler) -> list[int]:
        prompt = embeddings.shape[1]
        positions = torch.arange(prompt, device=embeddings.device)[None]
        grown = DynamicCache(config=self._language.decoder.config)
        tokens = [_chosen(*self._next(embeddings, positions, grown), sampler)]
        cache = self._fixed.filled(grown, prompt + new_tokens)
        position = positions[:, -1:] + 1
        while len(tokens) < new_tokens and not self._language.ends(tokens[-1]):
            tokens.append(_chosen(*self._step(tokens[-1], position, cache), sampler))
            position = position + 1
        return in_turn(torch.cat(tokens, dim=1).tolist())

    def _decode(self, token: torch.Tensor, position: torch.Tensor, cache: StaticCache) -> tuple[torch.Tensor, torch.Tensor]:
        # token: [batch, 1] int64; position: [1, 1]
        embeddings = self._language.decoder.get_input_embeddings()(token)
        return self._next(embeddings, position, cache)

    def _next(self, embeddings: torch.Tensor, positions: torch.Tensor, cache: Any) -> tuple[torch.Tensor, torch.Tensor]:
        # embeddings: [batch, length, hidden]; positions: [1, length]. Returns the last logits, [batch, 1, vocabulary], and the likeliest
        # tokens.
        logits = self._language.next_logits(embeddings, positions, cache)
        return logits, logits.argmax(dim=-1)


def _chosen(logits: torch.Tensor, likeliest: torch.Tensor, sampler: Sampler) -> torch.Tensor:
    """The tokens to feed, [batch, 1], in memory that no later step writes to."""
    forced, fed = sampler.of_batch(logits), likeliest.clone()
    for row, token in enumerate(forced or ()):
        fed[row] = token
    return fed


class AtOnce:
    """Prompt and answer in one pass without any cache: nothing but the network itself. For the reference, which only follows others."""

    def __init__(self, language: LanguageModel) -> None:
        self._language = language

    def __call__(self, prompt: Any, new_tokens: int, sampler: Sampler, /) -> list[int]:
        if sampler.forced is not None:
            # The prompts of a batch go one after the other, in the memory of one. What is no embeddings, but another model's, is of one.
            prompts = torch.split(prompt, 1) if isinstance(prompt, torch.Tensor) else (prompt,)
            tokens = list(sampler.forced[: new_tokens * len(prompts)])
            answers = (tokens[row :: len(prompts)] for row in range(len(prompts)))
            rows = [self._language.logits_at_once(one, answer[:-1]) for one, answer in zip(prompts, answers, strict=True)]
            for logits in torch.cat(rows, dim=1):
                sampler.of_batch(logits[:, None])
            return tokens
        tokens = []
        while len(tokens) < new_tokens and not (tokens and self._language.ends(tokens[-1])):
            logits = self._language.logits_at_once(prompt, tokens)[-1]
            sampler(logits)
            tokens.append(int(logits.argmax()))
        return tokens


def generator(language: LanguageModel, variant: Variant) -> Generate:
    """Prefill and decode as the variant chooses them. Raises UserError if the choice does not know such a language model."""
    generate: Generate = GENERATE.implementation(variant["generate"])(language, variant)
    return generate


def dynamic(language: LanguageModel, variant: Variant) -> Generate:
    return TransformersLoop(language, None)


def transformers_static(language: LanguageModel, variant: Variant) -> Generate:
    return TransformersLoop(language, "static")


def static_generate(language: LanguageModel, variant: Variant) -> Generate:
    return TransformersLoop(language, "static", compiled=False)


def static(language: LanguageModel, variant: Variant) -> Generate:
    return StaticLoop(language, compile_step=False)


def static_compile(language: LanguageModel, variant: Variant) -> Generate:
    return StaticLoop(language, compile_step=True)


def graph(language: LanguageModel, variant: Variant) -> Generate:
    llama = FusedLlama(language.decoder, language.head, attend(variant["attention"]))
    prefill: MakePrefill = PREFILL.implementation(variant["prefill"])
    make_state: MakeState = PARALLEL.implementation(variant["parallel"])(language, llama, prefill)
    return GraphLoop(language, llama, make_state)


def at_once(language: LanguageModel, variant: Variant) -> Generate:
    return AtOnce(language)
