"""How drafts are verified, by each choice of `generate` that can."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from transformers import DynamicCache, StaticCache

from evbench.choices import Variant
from evbench.errors import UserError
from evbench.kernels.block_attention import BlockAttention
from evbench.pipelines.compute import cuda_graph
from evbench.pipelines.compute.attention import attend
from evbench.pipelines.generate.choices import PREFILL
from evbench.pipelines.generate.fixed_cache import FixedCache
from evbench.pipelines.generate.graph_loop import Prefill
from evbench.pipelines.generate.language import LanguageModel
from evbench.pipelines.generate.llama import FusedLlama
from evbench.pipelines.generate.speculative import Target


class StaticTarget:
    """transformers' layers over its cache of fixed size. A pass takes as many tokens as there are."""

    def __init__(self, language: LanguageModel) -> None:
        self._language, self._fixed = language, FixedCache(language)
        self._cache: StaticCache | None = None
        self.hidden = torch.empty(0)

    def prefill(self, embeddings: torch.Tensor, new_tokens: int, /) -> torch.Tensor:
        prompt = embeddings.shape[1]
        grown = DynamicCache(config=self._language.decoder.config)
        hidden = self._language.hidden(embeddings, torch.arange(prompt, device=embeddings.device)[None], grown)
        self._cache = self._fixed.filled(grown, prompt + new_tokens)
        return self._said(hidden[:, -1:])

    def verify(self, fed: Sequence[int], position: int, /) -> torch.Tensor:
        assert self._cache is not None, "behind a prefill"
        for layer in self._cache.layers:
            layer.cumulative_length.fill_(position)  # what stands behind it is written over, and never read
        decoder = self._language.decoder
        embeddings = decoder.get_input_embeddings()(torch.tensor([fed], device=decoder.device))
        positions = torch.arange(position, position + len(fed), device=decoder.device)[None]
        return self._said(self._language.hidden(embeddings, positions, self._cache))

    def _said(self, hidden: torch.Tensor) -> torch.Tensor:
        self.hidden = hidden[0]
        return torch.as_tensor(self._language.head(hidden))


class GraphTarget:
    """Fused kernels, replayed as a CUDA graph. Each pass takes `gamma` drafts, of which some may stand for none.

    What it says of a token is the same, bit for bit, whatever is drafted behind it: each row of its products and of its attention is
    summed up in the same order, whatever stands in the others.
    """

    def __init__(self, llama: FusedLlama, prefill: Prefill, gamma: int) -> None:
        self._llama, self._prefill, self._count = llama, prefill, gamma + 1
        self._state: VerifyState | None = None
        self.hidden = torch.empty(0)

    def prefill(self, embeddings: torch.Tensor, new_tokens: int, /) -> torch.Tensor:
        capacity = embeddings.shape[1] + new_tokens + self._count  # the last pass may be of one token, and none
        if self._state is None or self._state.capacity < capacity:
            self._state = VerifyState(self._llama, self._prefill, self._count, capacity)
        self.hidden = self._state.prefill(embeddings)
        return self._llama.logits(self.hidden)[:, None]

    def verify(self, fed: Sequence[int], position: int, /) -> torch.Tensor:
        assert self._state is not None, "behind a prefill"
        self._state.feed([*fed, *[0] * (self._count - len(fed))], position)
        self._state.replay()
        self.hidden = self._state.hidden[: len(fed)]
        return self._state.logits[None, : len(fed)]


class VerifyState:
    """Memory for answers up to a length, and the graph of a pass over a fixed number of tokens."""

    def __init__(self, llama: FusedLlama, prefill: Prefill, count: int, capacity: int) -> None:
        """Raises UserError if the model has fewer positions."""
        if capacity > len(llama.cosine):
            cure = "ask for fewer with --new-tokens, or use draft=none"
            raise UserError(f"prompt, answer and drafts take {capacity} positions, and the model has {len(llama.cosine)}; {cure}")
        self.capacity = capacity
        self._llama, device = llama, llama.head.device
        self._kv_cache = llama.new_kv_cache(1, capacity)
        self._attention = BlockAttention(1, count, llama.heads, llama.key_heads, llama.size, capacity, device)
        self._fed = torch.zeros((1, count), dtype=torch.long, device=device)
        self._position = torch.zeros(1, dtype=torch.long, device=device)
        self.logits = llama.head.new_zeros((count, llama.head.shape[0]))
        """After each token of the last pass."""
        self.hidden = llama.head.new_zeros((count, llama.head.shape[1]))
        """What the head read then."""
        self.prefill = prefill(self._kv_cache)
        self.replay = cuda_graph.captured(self._pass)

    def feed(self, tokens: Sequence[int], position: int) -> None:
        """What the next replay takes: the tokens, and where the first of them stands."""
        self._fed.copy_(torch.tensor([tokens]))
        self._position.fill_(position)

    def _pass(self) -> None:
        logits, hidden = self._llama.verify(self._fed, self._position, self._kv_cache, self._attention)
        self.logits.copy_(logits)
        self.hidden.copy_(hidden)


def static(language: LanguageModel, variant: Variant, gamma: int) -> Target:
    return StaticTarget(language)


def graph(language: LanguageModel, variant: Variant, gamma: int) -> Target:
    llama = FusedLlama(language.decoder, language.head, attend(variant["attention"]))
    return GraphTarget(llama, PREFILL.implementation(variant["prefill"])(language, llama), gamma)


TARGETS: dict[str, Callable[[LanguageModel, Variant, int], Target]] = {"static": static, "graph": graph}
"""Choice of `generate` -> the model as it verifies that many drafts at most."""
