"""What the decode loops need of a causal language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from evbench.errors import UserError
from evbench.results import Workload


def require_room(positions: int, prompt_tokens: int, workload: Workload) -> None:
    """Raises UserError if prompt and answer are longer than the positions of a model."""
    if prompt_tokens + workload.new_tokens > positions:
        frames = ", fewer --frames" if workload.kind == "video" else ""
        raise UserError(
            f"the prompt has {prompt_tokens} tokens, with {workload.new_tokens} new ones more than the model's {positions}; "
            f"give a shorter --prompt{frames} or fewer --new-tokens"
        )


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

    def require_room(self, prompt_tokens: int, workload: Workload) -> None:
        """Raises UserError if prompt and answer are longer than the model allows."""
        require_room(self.decoder.config.max_position_embeddings, prompt_tokens, workload)

    def hidden(self, embeddings: torch.Tensor, positions: torch.Tensor, cache: Any) -> torch.Tensor:
        """[batch, length, hidden], their positions [1, length] -> what the head reads of each, of this shape. Adds to the cache."""
        found = self.decoder(inputs_embeds=embeddings, position_ids=positions, past_key_values=cache, use_cache=True)
        return torch.as_tensor(found.last_hidden_state)

    def next_logits(self, embeddings: torch.Tensor, positions: torch.Tensor, cache: Any) -> torch.Tensor:
        """[batch, length, hidden], their positions [1, length] -> logits after the last, [batch, 1, vocabulary]. Adds to the cache."""
        return torch.as_tensor(self.head(self.hidden(embeddings, positions, cache)[:, -1:]))

    def inputs(self, prompt: Any) -> Mapping[str, Any]:
        """What transformers' generate gets of a prompt: here of its embeddings, [1, prompt, hidden]."""
        return {"inputs_embeds": prompt, "attention_mask": torch.ones(prompt.shape[:2], dtype=torch.long, device=prompt.device)}

    def logits_at_once(self, prompt: Any, fed: Sequence[int]) -> torch.Tensor:
        """Without any cache: after the prompt, and after each of the tokens that are fed: [1 + fed, 1, vocabulary]."""
        tokens = torch.tensor([fed], device=prompt.device, dtype=torch.long)
        whole = torch.cat([prompt, self.decoder.get_input_embeddings()(tokens).to(prompt.dtype)], dim=1)
        hidden = self.decoder(inputs_embeds=whole, use_cache=False).last_hidden_state
        return torch.as_tensor(self.head(hidden[0, -1 - len(fed) :]))[:, None]

    def ends(self, token: int | torch.Tensor) -> bool:
        """Whether the answer ends with this token. Waits for a token on the GPU only if one may end it."""
        return self.stop_at_end and int(token) == self.end_token

    def stop_reason(self, tokens: list[int]) -> Literal["length", "end"]:
        """Why an answer ended there."""
        return "end" if self.ends(tokens[-1]) else "length"
