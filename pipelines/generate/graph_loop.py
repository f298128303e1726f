"""Decoding whose every step is one replay of a CUDA graph, with token, position and cache on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import torch
from transformers import DynamicCache

from evbench.kernels.decode_attention import DecodeAttention
from evbench.kernels.greedy_token import greedy_token
from evbench.kernels.matvec import MOST_INPUTS
from evbench.pipelines.compute import cuda_graph
from evbench.pipelines.generate.language import LanguageModel
from evbench.pipelines.generate.llama import FusedLlama, KVCache
from evbench.stages import Sampler, in_turn

Prefill = Callable[[KVCache], Callable[[torch.Tensor], torch.Tensor]]
"""KV cache -> a function that fills it: prompt [batch, length, hidden] -> what the head reads of its last position, [batch, hidden]."""
MakePrefill = Callable[[LanguageModel, FusedLlama], Prefill]
STRIDE = 16
"""Steps between two checks for the end of text. A check waits for the GPU; what ran too far is cut off."""


def eager_prefill(language: LanguageModel, llama: FusedLlama) -> Prefill:
    """transformers' layers, over a growing cache, which is then copied into the KV cache of fixed size."""

    def fill(kv_cache: KVCache, embeddings: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(embeddings.shape[1], device=embeddings.device)[None]
        grown = DynamicCache(config=language.decoder.config)
        hidden = language.hidden(embeddings, positions, grown)
        for (keys, values), layer in zip(kv_cache, grown.layers, strict=True):
            keys[:, :, : embeddings.shape[1]], values[:, :, : embeddings.shape[1]] = layer.keys, layer.values
        return hidden[:, -1]

    return lambda kv_cache: lambda embeddings: fill(kv_cache, embeddings)


def compiled_prefill(language: LanguageModel, llama: FusedLlama) -> Prefill:
    """Fused projections, each layer a compiled graph, all of it captured for each length of the prompt."""
    prefill = llama.compiled_prefill()
    return lambda kv_cache: cuda_graph.Replayed(lambda embeddings: prefill(embeddings, kv_cache))


class State(Protocol):
    """Memory for answers of a fixed number and length, and what works in it."""

    batch: int
    capacity: int
    tokens: torch.Tensor
    """[batch, capacity] int64, at the position that each has in the whole sequence."""
    logits: torch.Tensor
    """[batch, vocabulary], after the last step."""

    @property
    def prefill(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """Prompt [batch, length, hidden] -> what the head reads of its last position, [batch, hidden]."""

    @property
    def step(self) -> Callable[[], None]:
        """From the token at the position to the logits behind it, and the next token."""

    def reset(self, prompt: int, logits: torch.Tensor) -> None:
        """The first token, from the logits after the prompt."""

    def force(self, position: int, tokens: Sequence[int] | None) -> None:
        """Write a token over the most likely one of each prompt, where the next step reads it. None: they stay, and nothing is launched."""


MakeState = Callable[[int, int], State]
"""For so many prompts of one length, and so many positions."""


def on_one_gpu(llama: FusedLlama, prefill: Prefill) -> MakeState:
    return partial(DecodeState, llama, prefill)


class GraphLoop:
    """Prefill, then replays. For one prompt, or several of one length."""

    def __init__(self, language: LanguageModel, llama: FusedLlama, make_state: MakeState) -> None:
        self._language, self._llama, self._make_state = language, llama, make_state
        self._state: State | None = None

    def __call__(self, embeddings: torch.Tensor, new_tokens: int, sampler: Sampler) -> list[int]:
        return in_turn(self.generate_batch(embeddings, new_tokens, sampler))

    def generate_batch(self, embeddings: torch.Tensor, new_tokens: int, sampler: Sampler) -> list[list[int]]:
        """[batch, prompt, hidden] -> the new tokens of each."""
        prompt = embeddings.shape[1]
        state = self._state_for(embeddings, new_tokens)
        logits = self._llama.logits(state.prefill(embeddings))
        state.reset(prompt, logits)
        state.force(prompt, sampler.of_batch(logits))
        count = 1
        while count < new_tokens and not (count % STRIDE == 0 and self._all_ended(state.tokens[:, prompt : prompt + count])):
            state.step()
            state.force(prompt + count, sampler.of_batch(state.logits))
            count += 1
        return [self._cut(answer) for answer in state.tokens[:, prompt : prompt + count].tolist()]

    def _all_ended(self, tokens: torch.Tensor) -> bool:
        return self._language.stop_at_end and bool((tokens == self._language.end_token).any(dim=1).all())

    def _cut(self, tokens: list[int]) -> list[int]:
        """Without what follows the end of text."""
        if self._language.stop_at_end and self._language.end_token in tokens:
            return tokens[: tokens.index(self._language.end_token) + 1]
        return tokens

    def _state_for(self, embeddings: torch.Tensor, new_tokens: int) -> State:
        batch, capacity = embeddings.shape[0], embeddings.shape[1] + new_tokens
        if self._state is None or self._state.batch != batch or self._state.capacity < capacity:
            # Sized tightly: a longer request allocates a new one.
            self._state = self._make_state(batch, capacity)
        return self._state


class DecodeState:
    """The state of one GPU, and the graph that works in it."""

    def __init__(self, llama: FusedLlama, prefill: Prefill, batch: int, capacity: int) -> None:
        if batch > MOST_INPUTS:
            raise ValueError(f"{MOST_INPUTS} prompts at most, not {batch}")
        capacity = max(capacity, cuda_graph.WARM_UPS + 1)  # before it is captured, the step runs from position 0 on
        self.batch, self.capacity = batch, capacity
        self._llama = llama
        device = llama.head.device
        self._kv_cache = llama.new_kv_cache(batch, capacity)
        self._attention = DecodeAttention(batch, llama.heads, llama.key_heads, llama.size, capacity, device)
        self._position = torch.zeros(1, dtype=torch.long, device=device)
        self.tokens = torch.zeros((batch, capacity), dtype=torch.long, device=device)
        self.logits = llama.head.new_zeros((batch, llama.vocabulary))
        self.prefill = prefill(self._kv_cache)
        step = cuda_graph.captured(self._step)
        self.step = cuda_graph.paced(step) if device.type == "cuda" else step

    def reset(self, prompt: int, logits: torch.Tensor) -> None:
        self.tokens[:, prompt] = logits.argmax(dim=-1)
        self._position.fill_(prompt)

    def force(self, position: int, tokens: Sequence[int] | None) -> None:
        for row, token in enumerate(tokens or ()):
            self.tokens[row, position] = token

    def _step(self) -> None:
        self.logits.copy_(self._llama.step(self.tokens, self._position, self._kv_cache, self._attention))
        greedy_token(self.logits, self.tokens, self._position)
        self._position += 1
