"""Speculative decoding, greedy and lossless: one pass of the model over several drafted tokens, of which those stay that it says itself.

Source: Leviathan, Kalman, Matias, ICML 2023, arXiv 2211.17192; for greedy decoding, whose sampling is the most likely token, a draft is
accepted if it is that one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Protocol

import torch
from torch.profiler import record_function

from evbench.pipelines.generate.language import LanguageModel
from evbench.stages import Sampler

Propose = Callable[[Sequence[int], int], Sequence[int]]
"""(all tokens of the answer so far, count) -> how it may go on, `count` tokens at most."""


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


class Target(Protocol):
    """The model that verifies drafts, with its KV cache: see evbench.pipelines.generate.targets."""

    hidden: torch.Tensor
    """What the language model's head read in the last call, [rows, hidden], until the next one: behind a prefill a row, of the prompt's
    last position; behind a pass one for each token that was fed."""

    def prefill(self, embeddings: torch.Tensor, new_tokens: int, /) -> torch.Tensor:
        """The prompt, [1, prompt, hidden], in front of so many tokens -> logits behind it, [1, 1, vocabulary]."""

    def verify(self, fed: Sequence[int], position: int, /) -> torch.Tensor:
        """Tokens, of which the first stands at the position -> logits behind each, [1, tokens, vocabulary], until the next call.

        The cache is cut back to what stands in front of the position, and then holds these tokens, too.
        """


class SpeculativeLoop:
    """Prefill, then passes over the newest token and the drafts behind it.

    The host looks at each pass once, for the tokens that the model would have chosen at its places.
    """

    def __init__(self, language: LanguageModel, target: Target, gamma: int) -> None:
        """`gamma`: drafted tokens in a pass, at most."""
        self._language, self.target, self.gamma = language, target, gamma

    def __call__(self, embeddings: torch.Tensor, new_tokens: int, sampler: Sampler, propose: Propose) -> list[int]:
        """[1, prompt, hidden] -> the new tokens, which the sampler chose."""
        prompt = embeddings.shape[1]
        tokens = self._chosen((), self.target.prefill(embeddings, new_tokens), sampler)
        while len(tokens) < new_tokens and not self._language.ends(tokens[-1]):
            # A pass gives one token more than it accepts: no more are drafted than are left less one.
            most = min(self.gamma, new_tokens - len(tokens) - 1)
            with record_function("draft"):
                drafts = list(propose(tokens, most))[:most] if most else []
            sampler.passes.drafted(len(drafts))
            with record_function(f"verify {self.gamma} drafts at most"):
                logits = self.target.verify([tokens[-1], *drafts], self._position(prompt, tokens))
            sampler.passes.verified()
            found = self._chosen(drafts, logits, sampler)
            accepted = common(found, drafts)
            sampler.passes.accepted(accepted)
            with record_function(f"accepted {accepted} of {len(drafts)} drafts"):  # an empty range: a trace shows the name
                tokens += found
        return tokens

    def _position(self, prompt: int, tokens: Sequence[int]) -> int:
        """Of the newest token, which no pass was fed yet: up to there the cache holds what was kept."""
        return prompt + len(tokens) - 1

    def _chosen(self, drafts: Sequence[int], logits: torch.Tensor, sampler: Sampler) -> list[int]:
        """The tokens that the model says: as many drafts as it says itself, and the one behind them.

        Args:
            logits: [1, drafts + 1, vocabulary], behind the token in front of the drafts, and behind each of them.
        """
        found: list[int] = []
        for place, likeliest in enumerate(logits.argmax(dim=-1)[0].tolist()):
            forced = sampler(logits[:, place : place + 1])
            found.append(likeliest if forced is None else forced)
            if found[-1:] != list(drafts[place : place + 1]) or self._language.ends(found[-1]):
                break
        return found
