"""Greedy decoding whose every step is one replay of a CUDA graph, with token, position and cache on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from transformers import DynamicCache

from evbench.kernels.decode_attention import DecodeAttention
from evbench.kernels.matvec import MOST_INPUTS
from evbench.pipelines import capture
from evbench.pipelines.generate.language import LanguageModel
from evbench.pipelines.generate.llama import FusedLlama, Slots
from evbench.stages import Mark, unmarked

Prefill = Callable[[Slots], Callable[[torch.Tensor], torch.Tensor]]
"""Slots -> a function that fills them: prompt [batch, length, hidden] -> logits behind its last position, [batch, vocabulary]."""
STRIDE = 16
"""Steps between two looks for the end of text. Looking waits for the GPU; what ran too far is cut off."""


def eager_prefill(language: LanguageModel) -> Prefill:
    """The model's own layers, over a growing cache, which is then copied into the slots."""

    def fill(slots: Slots, embeddings: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(embeddings.shape[1], device=embeddings.device)[None]
        grown = DynamicCache(config=language.decoder.config)
        logits = language.next_logits(embeddings, positions, grown)
        for (keys, values), layer in zip(slots, grown.layers, strict=True):
            keys[:, :, : embeddings.shape[1]], values[:, :, : embeddings.shape[1]] = layer.keys, layer.values
        return logits[:, 0]

    return lambda slots: lambda embeddings: fill(slots, embeddings)


def compiled_prefill(llama: FusedLlama) -> Prefill:
    """Fused projections, each layer a compiled graph, all of it captured for each length of the prompt."""
    prefill = llama.compiled_prefill()
    return lambda slots: capture.Replayed(lambda embeddings: prefill(embeddings, slots))


class GraphLoop:
    """Prefill, then replays. For one prompt, or a few of the same length."""

    def __init__(self, language: LanguageModel, llama: FusedLlama, prefill: Prefill) -> None:
        self._language, self._llama, self._prefill = language, llama, prefill
        self._place: Place | None = None

    def __call__(self, embeddings: torch.Tensor, new_tokens: int, mark: Mark) -> list[int]:
        (tokens,) = self.answers(embeddings, new_tokens, mark)
        return tokens

    def answers(self, embeddings: torch.Tensor, new_tokens: int, mark: Mark = unmarked) -> list[list[int]]:
        """[batch, prompt, hidden] -> the new tokens of each."""
        prompt = embeddings.shape[1]
        place = self._place_for(embeddings, new_tokens)
        place.begin(prompt, place.prefill(embeddings))
        mark()
        made = 1
        while made < new_tokens and not (made % STRIDE == 0 and self._all_ended(place.tokens[:, prompt : prompt + made])):
            place.step()
            mark()
            made += 1
        return [self._cut(answer) for answer in place.tokens[:, prompt : prompt + made].tolist()]

    def force(self, embeddings: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
        prompt = embeddings.shape[1]
        place = self._place_for(embeddings, len(tokens))
        logits = place.prefill(embeddings)
        kept = [logits]
        place.begin(prompt, logits)
        for index, token in enumerate(tokens[:-1]):
            place.tokens[:, prompt + index] = token
            place.step()
            kept.append(place.logits.clone())
        return torch.cat(kept)

    def _all_ended(self, tokens: torch.Tensor) -> bool:
        return self._language.stop_at_end and bool((tokens == self._language.end_token).any(dim=1).all())

    def _cut(self, tokens: list[int]) -> list[int]:
        """Behind the end of text."""
        if self._language.stop_at_end and self._language.end_token in tokens:
            return tokens[: tokens.index(self._language.end_token) + 1]
        return tokens

    def _place_for(self, embeddings: torch.Tensor, new_tokens: int) -> Place:
        batch, capacity = embeddings.shape[0], embeddings.shape[1] + new_tokens
        if self._place is None or self._place.batch != batch or self._place.capacity < capacity:
            # Sized tightly: a longer request makes a new one.
            self._place = Place(self._llama, self._prefill, batch, capacity)
        return self._place


class Place:
    """Memory for answers of a fixed number and length, and the graph that works in it."""

    def __init__(self, llama: FusedLlama, prefill: Prefill, batch: int, capacity: int) -> None:
        if batch > MOST_INPUTS:
            raise ValueError(f"{MOST_INPUTS} prompts at most, not {batch}")
        capacity = max(capacity, capture.WARM_UPS + 1)  # before it is recorded, the step runs from position 0 on
        self.batch, self.capacity = batch, capacity
        self._llama = llama
        device = llama.head.device
        self._slots = llama.new_slots(batch, capacity)
        self._attention = DecodeAttention(batch, llama.heads, llama.key_heads, llama.size, capacity, device)
        self._position = torch.zeros(1, dtype=torch.long, device=device)
        self.tokens = torch.zeros((batch, capacity), dtype=torch.long, device=device)
        """At the place that each has in the whole sequence."""
        self.logits = llama.head.new_zeros((batch, llama.head.shape[0]))
        """Behind the last step."""
        self.prefill = prefill(self._slots)
        self.step = capture.captured(self._step)

    def begin(self, prompt: int, logits: torch.Tensor) -> None:
        """The first token, from the logits behind the prompt."""
        self.tokens[:, prompt] = logits.argmax(dim=-1)
        self._position.fill_(prompt)

    def _step(self) -> None:
        token = self.tokens.index_select(1, self._position)[:, 0]
        self.logits.copy_(self._llama.step(token, self._position, self._slots, self._attention))
        self._position += 1
        self.tokens.index_copy_(1, self._position, self.logits.argmax(dim=-1, keepdim=True))
