"""A head that drafts: one decoder layer over what the language model's own head read last, and over the token that was said then.

    joined = A hidden + B rms(embedding of the token behind it)         of each place of the answer
    drafted = norm(layer(joined))                                       for what the model's head will read one place further
    token = most likely by the model's own head

What it drafted stands in for the hidden state of the next place, and so on. It remembers the answer alone: a hidden state holds what the
model has seen.

Source: EAGLE, Li et al., ICML 2024, arXiv 2401.15077. It is trained as it is used, on what it drafted itself: HASS, Zhang et al.,
ICLR 2025, arXiv 2408.15766.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import embedding, rms_norm, silu
from torch.profiler import record_function

from evbench.errors import UserError, first_line
from evbench.kernels.rotated_heads import rotated
from evbench.pipelines.checkpoints.checkpoint import refuse_mismatch, require_finite
from evbench.pipelines.compute import cuda_graph
from evbench.pipelines.generate.language import LanguageModel
from evbench.pipelines.generate.speculative import Target

FILE = Path("draft_head", "model.safetensors")
"""In the folder of the checkpoint that it drafts for."""


class DraftHead(nn.Module):
    """Its weights, named as in a layer of LLaMA, and what they compute but for attention."""

    def __init__(self, config: Any) -> None:
        """
        Args:
            config: of the language model that it drafts for: hidden size, heads and hidden units are the same.
        """
        super().__init__()
        hidden, units, self.epsilon = config.hidden_size, config.intermediate_size, config.rms_norm_eps
        self.size = getattr(config, "head_dim", None) or hidden // config.num_attention_heads
        queries, keys = config.num_attention_heads * self.size, config.num_key_value_heads * self.size
        self.from_hidden, self.from_token = _matrix(hidden, hidden), _matrix(hidden, hidden)
        self.token_norm, self.input_layernorm, self.post_attention_layernorm = (_Gain(hidden) for _ in range(3))
        self.self_attn = nn.ModuleDict({
            "q_proj": _matrix(hidden, queries), "k_proj": _matrix(hidden, keys),
            "v_proj": _matrix(hidden, keys), "o_proj": _matrix(queries, hidden),
        })  # fmt: skip
        self.mlp = nn.ModuleDict({
            "gate_proj": _matrix(hidden, units), "up_proj": _matrix(hidden, units), "down_proj": _matrix(units, hidden),
        })  # fmt: skip

    def projected(
        self, hidden: torch.Tensor, embedded: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """What goes on through the layer, [batch, rows, hidden], and its queries, keys and values, [batch, heads, rows, size].

        Args:
            hidden: what the model's head reads of each place, [batch, rows, hidden], or what was drafted for it.
            embedded: the tokens that were said there, by the model's embedding, [batch, rows, hidden].
            cosine, sine: of the places, [rows, size / 2].
        """
        joined = self.from_hidden(hidden) + self.from_token(self._normed(embedded, self.token_norm))
        normed = self._normed(joined, self.input_layernorm)
        query, key, value = (self._heads(self.self_attn[name](normed)) for name in ("q_proj", "k_proj", "v_proj"))
        return torch.as_tensor(joined), rotated(query, cosine, sine), rotated(key, cosine, sine), value

    def attended(self, joined: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """The end of the layer, behind attention, [batch, heads, rows, size]: what the model's last norm is to take."""
        hidden = joined + self.self_attn["o_proj"](mixed.transpose(1, 2).flatten(2))
        normed = self._normed(hidden, self.post_attention_layernorm)
        return torch.as_tensor(hidden + self.mlp["down_proj"](silu(self.mlp["gate_proj"](normed)) * self.mlp["up_proj"](normed)))

    def _heads(self, projected: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(projected.view(*projected.shape[:2], -1, self.size).transpose(1, 2))

    def _normed(self, hidden: torch.Tensor, gain: _Gain) -> torch.Tensor:
        return torch.as_tensor(rms_norm(hidden, gain.weight.shape, gain.weight, self.epsilon))


class _Gain(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(count))


def _matrix(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def tables(language: LanguageModel, places: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of the model's rotary embedding at the places from 0 on, [places, size / 2] each.

    Only how far places are from each other matters: the first one of an answer is 0.
    """
    positions = torch.arange(places, device=language.decoder.device)[None]
    found = language.decoder.rotary_emb(torch.empty(0, device=positions.device), position_ids=positions)
    cosine, sine = (table[0, :, : table.shape[-1] // 2].float() for table in found)
    return cosine, sine


class HeadDrafter:
    """Drafts of the head along one answer after the other. The host looks once, for the tokens of a block."""

    def __init__(self, language: LanguageModel, head: DraftHead, target: Target, gamma: int, *, captured: bool) -> None:
        """
        Args:
            language: whose embedding, last norm and head it drafts with.
            target: its passes, of which the hidden states are.
            gamma: tokens that it drafts.
            captured: whether a block is drafted in a CUDA graph.
        """
        self._language, self._head, self._target, self._gamma, self._captured = language, head, target, gamma, captured
        self._state: DraftState | None = None
        self._held = 0  # places of the answer whose true hidden state it remembers

    def begin(self, new_tokens: int) -> None:
        """For an answer of so many tokens at most: nothing is remembered."""
        capacity, self._held = new_tokens + 2 * self._gamma + 1, 0  # the last rows, and drafts behind them, may be for nothing
        if self._state is None or self._state.capacity < capacity:
            self._state = DraftState(self._language, self._head, self._gamma, capacity, captured=self._captured)

    def __call__(self, answer: Sequence[int], count: int) -> list[int]:
        """How the answer may go on, behind the target's last pass, which said what has been added since the call before.

        Raises:
            ValueError: more has been added than that pass can have said.
        """
        assert self._state is not None, "behind begin"
        added = answer[self._held :]
        if len(added) > len(self._target.hidden):
            raise ValueError(f"{len(added)} tokens have been added, and the last pass says {len(self._target.hidden)} at most")
        with record_function("draft of the head"):
            self._state.feed(self._target.hidden[: len(added)], added, self._held)
            self._state.draft()
            self._held = len(answer)
            return self._state.drafts[:count].tolist()


def drafts_along(language: LanguageModel, head: DraftHead, prompt: torch.Tensor, answer: Sequence[int], count: int) -> list[list[int]]:
    """Behind each token of an answer, how the head would go on: so many tokens.

    Args:
        prompt: its embeddings, [1, prompt, hidden].
    """
    fed = torch.tensor([list(answer[:-1])], dtype=torch.long, device=prompt.device)
    whole = torch.cat([prompt, language.decoder.get_input_embeddings()(fed).to(prompt.dtype)], dim=1)
    hidden = language.decoder(inputs_embeds=whole, use_cache=False).last_hidden_state[0, prompt.shape[1] - 1 :]
    state, found = DraftState(language, head, count, len(answer) + 2 * count + 1, captured=False), list[list[int]]()
    for place, token in enumerate(answer):
        state.feed(hidden[place : place + 1], [token], place)
        state.draft()
        found.append(state.drafts.tolist())
    return found


class DraftState:
    """Memory for answers up to a length, and the work that drafts a block in it."""

    def __init__(self, language: LanguageModel, head: DraftHead, gamma: int, capacity: int, *, captured: bool) -> None:
        self.capacity = capacity
        self._language, self._head, self._gamma = language, head, gamma
        weight = head.from_hidden.weight
        heads = [head.self_attn[name].out_features // head.size for name in ("q_proj", "k_proj")]
        self._groups = heads[0] // heads[1]
        self._keys, self._values = (weight.new_zeros((1, heads[1], capacity, head.size)) for _ in range(2))
        self._cosine, self._sine = tables(language, capacity)
        self._places = torch.arange(capacity, device=weight.device)
        # A block always takes as many rows as a pass can add: those behind the last are written over, and never read.
        self._hidden = weight.new_zeros((1, gamma + 1, len(weight)))
        self._tokens = torch.zeros(gamma + 1, dtype=torch.long, device=weight.device)
        self._first, self._last = (torch.zeros(1, dtype=torch.long, device=weight.device) for _ in range(2))
        self.drafts = torch.zeros(gamma, dtype=torch.long, device=weight.device)
        """Of the last block."""
        self.draft = cuda_graph.captured(self._block) if captured else self._block

    def feed(self, hidden: torch.Tensor, tokens: Sequence[int], place: int) -> None:
        """What the next block takes: what the model's head read at each place from this one on, [rows, hidden], and the token it said."""
        self._hidden[0, : len(tokens)] = hidden
        self._tokens[: len(tokens)] = torch.tensor(tokens)
        self._first.fill_(place)
        self._last.fill_(len(tokens) - 1)

    def _block(self) -> None:
        drafted = self._layer(self._hidden, self._tokens, self._first + self._places[: self._gamma + 1]).index_select(1, self._last)
        for place in range(self._gamma):
            token = self._language.head(drafted)[0].argmax(dim=-1)
            self.drafts[place : place + 1] = token
            if place < self._gamma - 1:
                drafted = self._layer(drafted, token, self._first + self._last + (place + 1))

    def _layer(self, hidden: torch.Tensor, tokens: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """[1, rows, hidden], tokens and places [rows] -> what is drafted, as the model's head is to read it, [1, rows, hidden]."""
        embedded = embedding(tokens, self._language.decoder.embed_tokens.weight)[None]
        joined, query, key, value = self._head.projected(hidden, embedded, self._cosine[places], self._sine[places])
        self._keys.index_copy_(2, places, key)
        self._values.index_copy_(2, places, value)
        # Written out, whatever the variant's attention is: an answer is short, and what is seen differs from row to row.
        keys, values = (slots.repeat_interleave(self._groups, dim=1) for slots in (self._keys, self._values))
        scores = query @ keys.transpose(-1, -2) * self._head.size**-0.5
        unseen = self._places > places[:, None]
        mixed = scores.masked_fill(unseen, -torch.inf).softmax(dim=-1) @ values
        return torch.as_tensor(self._language.decoder.norm(self._head.attended(joined, mixed)))


def load(file: Path, config: Any, device: str, dtype: torch.dtype) -> DraftHead:
    """A stored head, for a language model of this configuration. Raises UserError if it is damaged or of another one."""
    with torch.device("meta"):
        head = DraftHead(config)
    try:
        stored = load_file(file)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is damaged or no safetensors ({first_line(error)}); copy it again") from error
    expected = head.state_dict()
    shapes = [(name, stored[name].shape, weight.shape) for name, weight in expected.items() if name in stored]
    mismatched = [found for found in shapes if found[1] != found[2]]
    refuse_mismatch(file.parent, sorted(expected.keys() - stored), sorted(stored.keys() - expected), mismatched)
    head.load_state_dict({name: weight.to(device, dtype) for name, weight in stored.items()}, assign=True)
    require_finite(file.parent, head)
    return head.requires_grad_(False)


def save(head: DraftHead, file: Path) -> None:
    """In the type that its weights have."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: weight.contiguous() for name, weight in head.state_dict().items()}, file)
