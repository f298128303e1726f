"""What a model says of scenes by itself, greedily, and what its head read for each token: what a head that drafts for it is trained on."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from evbench.scenes.captions import QUESTIONS, Register
from evbench.training.batches import Batch
from evbench.training.fit import END
from evbench.training.learners import Learner

ROUNDS = 16
"""Passes over a guessed answer at most, each of which gets one token more right at least."""


@dataclass(frozen=True)
class Answers:
    """To one question, about some scenes."""

    register: Register
    tokens: torch.Tensor
    """[scenes, tokens]: the most likely ones, as far as they are known; what is behind the first end token is quiet."""
    hidden: torch.Tensor
    """[scenes, tokens, hidden]: of which the model's head says each, in float16."""
    known: torch.Tensor
    """[scenes]: how many tokens of each answer are the model's own."""

    def ends(self) -> torch.Tensor:
        """How many tokens of each are up to the first end token, and known: [scenes]."""
        said = (self.tokens == END).long().cumsum(1) == 0
        return torch.minimum(said.sum(1) + 1, self.known)


@torch.no_grad()
def answers(learner: Learner, batch: Batch) -> Iterator[Answers]:
    """Of a batch on the learner's device, to each question.

    No step per token: the caption is the first guess, and one pass over a guess says where the model would go on in another way. An answer
    is known up to there, and that guess is the next one.
    """
    visual, _ = learner.see(learner.draw(batch))
    embed, scenes = learner.llama.get_input_embeddings(), len(visual)

    def embedded(ids: list[int]) -> torch.Tensor:
        return torch.as_tensor(embed(torch.tensor([ids], device=visual.device).expand(scenes, -1)))

    parts = {register: learner.prompt(question) for register, question in QUESTIONS.items()}
    before, _ = next(iter(parts.values()))  # of all questions: the visual tokens stand in front of them
    seen = DynamicCache(config=learner.llama.config)
    learner.llama(inputs_embeds=torch.cat([embedded(before), visual], dim=1), past_key_values=seen, use_cache=True)
    for register, (_, after) in parts.items():
        tokens = batch.answers[register]
        for _ in range(ROUNDS):
            fed = torch.cat([embedded(after), embed(tokens[:, :-1])], dim=1)
            found = learner.llama(inputs_embeds=fed, past_key_values=copy.deepcopy(seen), use_cache=True)
            hidden = found.last_hidden_state[:, len(after) - 1 :]
            said = learner.head(hidden).argmax(dim=-1)
            known = (said == tokens).long().cumprod(1).sum(1)
            if bool((known == tokens.shape[1]).all()):
                break
            tokens = said
        yield Answers(register, tokens, hidden.half(), known)
