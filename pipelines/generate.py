"""Prefill and greedy decoding of a LLaMA-shaped language model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from transformers import DynamicCache, GenerationConfig, LogitsProcessor, LogitsProcessorList, StaticCache

from evbench.errors import UserError
from evbench.stages import Mark


@dataclass(frozen=True)
class LanguageModel:
    """The parts of a causal language model that the loops below need."""

    whole: Any
    """The transformers model with `generate`."""
    decoder: Any
    """LlamaModel: embeddings in, last hidden state out."""
    head: nn.Module
    """Hidden state -> logits."""
    end_token: int
    stop_at_end: bool
    """Whether the end token ends an answer. If not, it is a token like others, and every answer has the asked length."""

    def require_room(self, prompt_tokens: int, new_tokens: int) -> None:
        """Raises UserError if prompt and answer are longer than the model was made for."""
        limit = self.decoder.config.max_position_embeddings
        if prompt_tokens + new_tokens > limit:
            raise UserError(
                f"the prompt has {prompt_tokens} tokens, with {new_tokens} new ones more than the model's {limit}; "
                "give a shorter --prompt or fewer --new-tokens"
            )

    def ends(self, token: int | torch.Tensor) -> bool:
        """Whether the answer ends with this token. Waits for a token on the GPU only if one may end it."""
        return self.stop_at_end and int(token) == self.end_token

    def stop_reason(self, tokens: list[int]) -> Literal["length", "end"]:
        """Why an answer ended there."""
        return "end" if self.ends(tokens[-1]) else "length"


Generate = Callable[[torch.Tensor, int, Mark], list[int]]
"""(prompt embeddings [1, prompt, hidden], number of new tokens, mark) -> the new tokens."""


class Marker(LogitsProcessor):  # type: ignore[misc]
    """Marks each forward pass of transformers' generate, which hands over the logits as soon as their kernels are launched."""

    def __init__(self, mark: Mark) -> None:
        self._mark = mark

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self._mark()
        return scores


def dynamic(language: LanguageModel) -> Generate:
    """transformers' own generate, with the cache that grows."""
    # generate takes what its configuration leaves open from the model's, and would end an answer that is to have a fixed length.
    language.whole.generation_config.eos_token_id = language.end_token if language.stop_at_end else None

    def generate(embeddings: torch.Tensor, new_tokens: int, mark: Mark) -> list[int]:
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=new_tokens,
            pad_token_id=0,
        )
        mask = torch.ones(embeddings.shape[:2], dtype=torch.long, device=embeddings.device)
        # Given embeddings alone, generate returns the new tokens without the prompt.
        tokens = language.whole.generate(
            inputs_embeds=embeddings, attention_mask=mask, generation_config=config, logits_processor=LogitsProcessorList([Marker(mark)])
        )
        return list(tokens[0].tolist())

    return generate


class StaticLoop:
    """Prefill, then one step per token over a cache of fixed size, which a compiled step can write in place.

    Token and position stay on the device, and the host waits for neither, unless an end token may stop the loop. The prefill runs
    over a growing cache, which is then copied: over a cache of fixed size, attention would need a mask for the empty slots, and
    lose its causal kernel.
    """

    def __init__(self, language: LanguageModel, compile_step: bool) -> None:
        self._language = language
        self._step = torch.compile(self._decode, fullgraph=True, dynamic=False) if compile_step else self._decode
        self._cache: StaticCache | None = None
        self._length = 0

    def __call__(self, embeddings: torch.Tensor, new_tokens: int, mark: Mark) -> list[int]:
        prompt = embeddings.shape[1]
        positions = torch.arange(prompt, device=embeddings.device)[None]
        grown = DynamicCache(config=self._language.decoder.config)
        token = self._next(embeddings, positions, grown)
        cache = self._filled_cache(grown, prompt + new_tokens)
        position = positions[:, -1:] + 1
        tokens = [token]
        mark()
        while len(tokens) < new_tokens and not self._language.ends(token):
            token = self._step(token, position, cache).clone()
            tokens.append(token)
            position = position + 1
            mark()
        return [int(value) for value in torch.cat(tokens, dim=1)[0].tolist()]

    def _decode(self, token: torch.Tensor, position: torch.Tensor, cache: StaticCache) -> torch.Tensor:
        # token, position: [1, 1] int64
        embeddings = self._language.decoder.get_input_embeddings()(token)
        return self._next(embeddings, position, cache)

    def _next(self, embeddings: torch.Tensor, positions: torch.Tensor, cache: Any) -> torch.Tensor:
        # embeddings: [1, length, hidden]; positions: [1, length]. Returns the most likely next token, [1, 1].
        hidden = self._language.decoder(inputs_embeds=embeddings, position_ids=positions, past_key_values=cache, use_cache=True)
        logits: torch.Tensor = self._language.head(hidden.last_hidden_state[:, -1:])
        return logits.argmax(dim=-1)

    def _filled_cache(self, grown: DynamicCache, length: int) -> StaticCache:
        """The cache of the loop, holding what the prefill left."""
        if self._cache is None or length > self._length:
            # Sized tightly: attention reads every slot, used or not. A longer request makes a new one, and compiles anew.
            self._cache, self._length = StaticCache(config=self._language.decoder.config, max_cache_len=length), length
        self._cache.reset()
        for index, layer in enumerate(grown.layers):
            self._cache.update(layer.keys, layer.values, index)
        return self._cache


GENERATORS: dict[str, Callable[[LanguageModel], Generate]] = {
    "dynamic": dynamic,
    "static": lambda language: StaticLoop(language, compile_step=False),
    "static-compile": lambda language: StaticLoop(language, compile_step=True),
}
