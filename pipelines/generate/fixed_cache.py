"""A KV cache of fixed size for loops of our own, filled by what a prefill left."""

from __future__ import annotations

from transformers import DynamicCache, StaticCache

from evbench.pipelines.generate.language import LanguageModel


class FixedCache:
    """Memory that is kept from answer to answer.

    A prefill runs over a growing cache, which is then copied: over a cache of fixed size, attention would need a mask for the empty slots,
    and lose its causal kernel.
    """

    def __init__(self, language: LanguageModel) -> None:
        self._language = language
        self.cache: StaticCache | None = None
        self._length = 0

    def filled(self, grown: DynamicCache, length: int) -> StaticCache:
        """With room for so many tokens, holding what the prefill left."""
        if self.cache is None or length > self._length:
            # Sized tightly: attention reads every slot, used or not. A longer request allocates a new one, and compiles anew.
            self.cache, self._length = StaticCache(config=self._language.decoder.config, max_cache_len=length), length
        self.cache.reset()
        for index, layer in enumerate(grown.layers):
            self.cache.update(layer.keys, layer.values, index)
        return self.cache
