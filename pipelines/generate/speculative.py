"""Speculative decoding, greedy and lossless: one pass of the model over several drafted tokens, of which those stay that it says itself.

Source: Leviathan, Kalman, Matias, ICML 2023, arXiv 2211.17192; for greedy decoding, whose sampling is the most likely token, a draft is
accepted if it is that one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.profiler import record_function
from transformers import DynamicCache, StaticCache

from evbench.pipelines.generate.fixed_cache import FixedCache
from evbench.pipelines.generate.language import LanguageModel
from evbench.stages import Sampler

Propose = Callable[[Sequence[int], int], Sequence[int]]
"""(all tokens of the answer so far, count) -> how it may go on, `count` tokens at most."""


class SpeculativeLoop:
    """Prefill, then passes over the newest token and the drafts behind it, over a cache of fixed size that is cut back to what was kept.

    The host looks at each pass once, for the tokens that the model would have chosen at its places.
    """

    def __init__(self, language: LanguageModel, gamma: int) -> None:
        """`gamma`: drafted tokens in a pass, at most."""
        self._language, self._gamma = language, gamma
        self._fixed = FixedCache(language)

    def __call__(self, embeddings: torch.Tensor, new_tokens: int, sampler: Sampler, propose: Propose) -> list[int]:
        """[1, prompt, hidden] -> the new tokens, which the sampler chose."""
        prompt = embeddings.shape[1]
        grown = DynamicCache(config=self._language.decoder.config)
        logits = self._language.next_logits(embeddings, torch.arange(prompt, device=embeddings.device)[None], grown)
        tokens = self._chosen((), logits, sampler)
        cache = self._fixed.filled(grown, prompt + new_tokens)
        while len(tokens) < new_tokens and not self._language.ends(tokens[-1]):
            # A pass gives one token more than it accepts: no more are drafted than are left less one.
            most = min(self._gamma, new_tokens - len(tokens) - 1)
            drafts = list(propose(tokens, most))[:most] if most else []
            logits = self._verified([tokens[-1], *drafts], prompt + len(tokens) - 1, cache)
            tokens += self._chosen(drafts, logits, sampler)
            self._cut_back(cache, prompt + len(tokens) - 1)
        return tokens

    def _verified(self, fed: Sequence[int], position: int, cache: StaticCache) -> torch.Tensor:
        """Tokens, of which the first stands at the position -> logits behind each, [1, tokens, vocabulary]. Adds all to the cache."""
        with record_function(f"verify {self._gamma} drafts at most"):
            device = self._language.decoder.device
            embeddings = self._language.decoder.get_input_embeddings()(torch.tensor([fed], device=device))
            positions = torch.arange(position, position + len(fed), device=device)[None]
            hidden = self._language.decoder(inputs_embeds=embeddings, position_ids=positions, past_key_values=cache, use_cache=True)
            return torch.as_tensor(self._language.head(hidden.last_hidden_state))

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

    def _cut_back(self, cache: StaticCache, length: int) -> None:
        """Behind so many tokens the next pass writes over what is there, and nothing is read."""
        for layer in cache.layers:
            layer.cumulative_length.fill_(length)
