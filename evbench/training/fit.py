"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from evbench.scenes.captions import QUESTIONS, Register
from evbench.training.batches import TRAITS, Batch
from evbench.training.learners import Learner

END = 2
"""The end token of this tokenizer and of LLaMA's."""
AFTER_END_WEIGHT = 0.02
"""Weight in the loss of each end token after the first. It is learnt at once, and keeps an answer of fixed length quiet after its end."""


@dataclass(frozen=True)
class Course:
    """How long a network is trained, and how fast."""

    steps: int
    """Optimizer steps at most."""
    seconds: float
    """Time at most. Training ends with whichever comes first."""
    rate: float
    """Peak learning rate."""
    warmup: float = 0.03
    """Share of the course until the peak."""
    decay: float = 0.05
    """Weight decay of the matrices."""
    hint: float = 1.0
    """Weight of the auxiliary loss: naming what each patch shows."""

    def done(self, step: int, seconds: float) -> float:
        """Finished share of the course, from 0 to 1."""
        return min(1.0, max(step / self.steps, seconds / self.seconds))

    def rate_at(self, done: float) -> float:
        """Learning rate at a share of the course: linear warm-up, then a cosine."""
        if done < self.warmup:
            return self.rate * max(0.01, done / self.warmup)
        return self.rate * (0.01 + 0.99 * (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup))) / 2)


@dataclass(frozen=True)
class Progress:
    """Losses and scores after a step."""

    step: int
    seconds: float
    words: float
    """Loss of the answers in nats per token."""
    hint: float
    """Auxiliary loss, of the patches' traits, in nats."""
    exact: dict[Register, float]
    """Share of this batch's answers that greedy decoding gets exactly right."""


def fit(learner: Learner, scenes: Iterator[Batch], course: Course, device: str, every: int) -> Iterator[Progress]:
    """Train `learner.model` in place. Yields its progress after the first step and every `every` steps."""
    traits = [name for name in TRAITS if learner.colours or name != "colour"]
    hints = nn.ModuleDict({name: nn.Linear(learner.llama.config.hidden_size, TRAITS[name]) for name in traits}).to(device)
    parameters = [*learner.model.parameters(), *hints.parameters()]
    matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
    vectors = [parameter for parameter in parameters if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": course.decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=course.rate, betas=(0.9, 0.98), eps=1e-8, fused=device == "cuda")
    learner.model.train()
    start, step, done = time.perf_counter(), 0, 0.0
    while done < 1:
        batch = next(scenes).to(device)
        for group in optimizer.param_groups:
            group["lr"] = course.rate_at(done)
        with torch.no_grad():
            pixels, shown = learner.draw(batch), learner.shown(batch)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            visual, patches = learner.see(pixels)
            hint = torch.stack([
                functional.cross_entropy(hints[name](patches).float().flatten(0, 2), shown[..., list(TRAITS).index(name)].flatten())
                for name in traits
            ]).sum()  # fmt: skip
            logits = {register: _logits(learner, visual, question, batch.answers[register]) for register, question in QUESTIONS.items()}
        words = torch.stack([_loss(found, batch.answers[register]) for register, found in logits.items()]).mean()
        optimizer.zero_grad()
        torch.autograd.backward(words + course.hint * hint)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        if step == 1:  # which compiles; the course begins after it
            words.item()  # waits for the device
            start = time.perf_counter()
        seconds = time.perf_counter() - start
        done = course.done(step, seconds)
        if step == 1 or step % every == 0 or done == 1:
            exact = {register: float(_exact(found, batch.answers[register]).mean()) for register, found in logits.items()}
            yield Progress(step, seconds, words.item(), hint.item(), exact)
    learner.model.eval()


@torch.inference_mode()
def score(learner: Learner, scenes: Iterator[Batch], batches: int, device: str) -> dict[Register, float]:
    """Share of answers to new scenes that greedy decoding gets exactly right."""
    learner.model.eval()
    exact: dict[Register, list[torch.Tensor]] = {register: [] for register in QUESTIONS}
    for _ in range(batches):
        batch = next(scenes).to(device)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            visual, _ = learner.see(learner.draw(batch))
            for register, question in QUESTIONS.items():
                exact[register].append(_exact(_logits(learner, visual, question, batch.answers[register]), batch.answers[register]))
    return {register: float(torch.cat(found).mean()) for register, found in exact.items()}


def _logits(learner: Learner, visual: torch.Tensor, question: str, answers: torch.Tensor) -> torch.Tensor:
    """Teacher-forced logits of the answers' tokens: [scenes, tokens, vocabulary]."""
    scenes, device = len(visual), visual.device
    before, after = (torch.tensor([ids], device=device).expand(scenes, -1) for ids in learner.prompt(question))
    embed = learner.llama.get_input_embeddings()
    texts = (embed(before), visual, embed(torch.cat([after, answers[:, :-1]], dim=1)))
    joined = torch.cat([part.to(visual.dtype) for part in texts], dim=1)
    hidden = learner.llama(inputs_embeds=joined, use_cache=False).last_hidden_state
    logits: torch.Tensor = learner.head(hidden[:, -answers.shape[1] :]).float()
    return logits


def _loss(logits: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    each = functional.cross_entropy(logits.transpose(1, 2), answers, reduction="none")
    weights = torch.where(_behind_end(answers), AFTER_END_WEIGHT, 1.0)
    return (each * weights).sum() / weights.sum()


def _exact(logits: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """Whether the likeliest token of an answer is the right one up to its first end token: [scenes] of 0 and 1."""
    return ((logits.argmax(-1) == answers) | _behind_end(answers)).all(1).float()


def _behind_end(answers: torch.Tensor) -> torch.Tensor:
    ends = (answers == END).long()
    return ends.cumsum(1) > 1
