"""Train a head that drafts for a small checkpoint: `python -m evbench.training.draft_head video-llava FOLDER`."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import nn
from torch.nn import functional

from evbench.cli.script import run
from evbench.errors import UserError
from evbench.inputs.workload import require_model
from evbench.machine.machine import choose_device
from evbench.pipelines.generate.choices import GAMMA
from evbench.pipelines.generate.draft_head import FILE, DraftHead, save, tables
from evbench.pipelines.generate.language import LanguageModel
from evbench.scenes.captions import QUESTIONS
from evbench.scenes.words import make_tokenizer
from evbench.training import batches, learners
from evbench.training.answers import Answers, answers
from evbench.training.batches import HELD_OUT_FIRST, HELD_OUT_SERIES, TRAINING_FIRST, TRAINING_SERIES
from evbench.training.fit import AFTER_END_WEIGHT, END, Course
from evbench.training.learners import Learner
from evbench.verdict.speculation import Acceptance, Replay, acceptance, replay

BLOCK = GAMMA["head-4"]
"""Drafted tokens in a block."""
DEEPER = 0.8
"""Weight in the loss of each place of a block, in those of the place in front of it."""
LIKENESS = 0.1
"""Weight in the loss of how far a drafted hidden state is from the model's own."""


def main(
    model: Annotated[str, typer.Argument(help="video-llava, or eventgpt.")],
    folder: Annotated[Path, typer.Argument(help="The checkpoint that it is to draft for, in the shape of the small ones.")],
    scenes: Annotated[int, typer.Option(min=1, help="Scenes to train on.")] = 480,
    minutes: Annotated[float, typer.Option(min=0.01, help="Time at most, without that for the answers.")] = 7.0,
    epochs: Annotated[int, typer.Option(min=1, help="Times that each answer is seen, at most.")] = 20,
    held_out: Annotated[int, typer.Option(min=1, help="New scenes to count accepted drafts on.")] = 64,
    size: Annotated[int, typer.Option(min=1, help="Scenes in a step.")] = 4,
    rate: Annotated[float, typer.Option(help="Learning rate at its highest.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="Of the initial weights and the order of the answers.")] = 0,
    event_steps: Annotated[
        int, typer.Option(min=1, help="Sub-frames that EventGPT's camera sees; fewer are drawn sooner.")
    ] = batches.EVENT_STEPS,
    device: Annotated[str, typer.Option(help="cuda, cpu, or auto: the GPU if there is one.")] = "auto",
) -> None:
    """Train on what the model itself says of scenes, and leave the head in the folder, where draft=head-4 looks for it."""
    require_model(model)
    device = choose_device(device)
    if (folder / FILE).exists():
        raise UserError(f"{folder / FILE} is there already; remove it to train another")
    tokenizer = make_tokenizer()
    learner = learners.new(model, tokenizer, learners.SIZES[model], device, seed, compiled=False, event_steps=event_steps)
    learner.load(folder)
    learner.model.eval().requires_grad_(False)
    began = time.perf_counter()
    made = {}
    for name, series, first, count in (
        ("train", TRAINING_SERIES, TRAINING_FIRST, scenes),
        ("held", HELD_OUT_SERIES, HELD_OUT_FIRST, held_out),
    ):
        stream = batches.stream(tokenizer, series, first, size, 1, colours=learner.colours)
        made[name] = [said for _ in range(-(-count // size)) for said in answers(learner, next(stream).to(device))]
    typer.echo(f"answers about {scenes} scenes and {held_out} new ones after {time.perf_counter() - began:.0f} s")
    torch.manual_seed(seed)
    head = beginning(learner).to(device)
    steps = epochs * len(made["train"])
    for line in fit(learner, head, made["train"], Course(steps, minutes * 60, rate), seed):
        typer.echo(line)
    head.to(torch.bfloat16)
    save(head, folder / FILE)
    typer.echo(
        f"{sum(weight.numel() for weight in head.parameters()):,} weights saved to {folder / FILE}, {time.perf_counter() - began:.0f} s"
    )
    head.float()  # the rounded weights, which are those that are stored
    for register in QUESTIONS:
        found = accepted(learner, head, [said for said in made["held"] if said.register == register])
        typer.echo(f"{register} answers about {held_out} new scenes: {_told(found)}")


def beginning(learner: Learner) -> DraftHead:
    """The last layer of the language model, behind what changes a hidden state by a fifth of a random mix of the token."""
    head, last = DraftHead(learner.llama.config), learner.llama.layers[-1]
    named = dict(head.named_parameters())
    with torch.no_grad():
        for name, weight in last.named_parameters():
            named[name].copy_(weight)
        nn.init.eye_(head.from_hidden.weight)
        nn.init.normal_(head.from_token.weight, std=learners.SPREAD / 5)
    return head


def fit(learner: Learner, head: DraftHead, data: Sequence[Answers], course: Course, seed: int) -> Iterator[str]:
    """Train the head in place. Yields what it has come to after each epoch."""
    groups = [
        {"params": [weight for weight in head.parameters() if weight.ndim >= 2], "weight_decay": course.decay},
        {"params": [weight for weight in head.parameters() if weight.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=course.rate, betas=(0.9, 0.98))
    order, start, step, done = random.Random(seed), time.perf_counter(), 0, 0.0
    while done < 1:
        losses = []
        for said in order.sample(data, len(data)):
            for group in optimizer.param_groups:
                group["lr"] = course.rate_at(done)
            loss = _loss(learner, head, said)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
            step += 1
            done = course.done(step, time.perf_counter() - start)
            if done >= 1:
                break
        yield f"after {step} steps, {time.perf_counter() - start:.0f} s: loss {sum(losses) / len(losses):.3f}"


def drafted(learner: Learner, head: DraftHead, said: Answers) -> list[torch.Tensor]:
    """What the head drafts along answers, at each place of a block: [scenes, tokens - 1, hidden] for each.

    Of place n, row t is for the token t + 1, and was drafted n rows before it: the hidden states up to the row t + 1 - n were known, and
    those behind it are what was drafted at the places in front of this one. (Rows in front of it have no such beginning, and are of no
    use.) So a head is trained on what it is going to see.
    """
    hidden, tokens = said.hidden.float(), said.tokens
    rows = tokens.shape[1] - 1
    embedded = learner.llama.get_input_embeddings()(tokens[:, :-1])
    cosine, sine = tables(_language(learner), rows)
    place = torch.arange(rows, device=tokens.device)
    given, found = hidden[:, :-1], list[torch.Tensor]()
    keys, values = list[torch.Tensor](), list[torch.Tensor]()  # of each place of a block, [scenes, heads, rows, size]
    for depth in range(BLOCK):
        joined, query, key, value = head.projected(given, embedded, cosine, sine)
        keys.append(key)
        values.append(value)
        # What was drafted at place n on the way to row t stands in row t - depth + n; place 0 is what is known.
        own = [(keys[n].roll(depth - n, 2), values[n].roll(depth - n, 2)) for n in range(1, depth + 1)]
        unseen = place > place[:, None] - depth
        unseen[:depth, 0] = False  # of rows that are of no use: something to attend to
        scores = [(query @ keys[0].transpose(-1, -2)).masked_fill(unseen, -torch.inf)]
        scores += [(query * one).sum(dim=-1, keepdim=True) for one, _ in own]
        shares = (torch.cat(scores, dim=-1) * head.size**-0.5).softmax(dim=-1)
        mixed = shares[..., :rows] @ values[0]
        for number, (_, one) in enumerate(own):
            mixed = mixed + shares[..., rows + number, None] * one
        found.append(learner.llama.norm(head.attended(joined, mixed)))
        given = found[-1].roll(1, 1)
    return found


def _loss(learner: Learner, head: DraftHead, said: Answers) -> torch.Tensor:
    """Of each place of a block: the cross entropy to what the model itself holds likely, and the distance to its hidden states."""
    hidden, rows = said.hidden.float()[:, 1:], torch.arange(1, said.tokens.shape[1], device=said.tokens.device)
    likely = functional.softmax(learner.head(hidden), dim=-1)
    quiet = rows >= said.ends()[:, None]
    weights = torch.where(quiet, AFTER_END_WEIGHT, 1.0) * (rows < said.known[:, None])
    loss = torch.zeros((), device=hidden.device)
    for depth, found in enumerate(drafted(learner, head, said)):
        words = functional.cross_entropy(learner.head(found).transpose(1, 2), likely.transpose(1, 2), reduction="none")
        far = functional.smooth_l1_loss(found, hidden, reduction="none").mean(dim=-1)
        counted = weights * (rows > depth)
        loss = loss + DEEPER**depth * ((words + LIKENESS * far) * counted).sum() / counted.sum()
    return loss


@torch.no_grad()
def accepted(learner: Learner, head: DraftHead, data: Iterable[Answers]) -> Acceptance:
    """Blocks of drafts, replayed along answers up to their end."""
    replays = list[Replay]()
    for said in data:
        drafts = torch.stack([learner.head(found).argmax(dim=-1) for found in drafted(learner, head, said)], dim=1)
        for tokens, count, places in zip(said.tokens.tolist(), said.ends().tolist(), drafts.tolist(), strict=True):
            replays.append(replay(tokens[:count], partial(_block, places), BLOCK))
    return acceptance(replays, BLOCK, range(len(replays)))


def _block(places: Sequence[Sequence[int]], position: int, count: int) -> list[int]:
    """What is drafted behind so many tokens of an answer: of each place of a block, the token of the row that it has then.

    Behind a draft that is not accepted another one would follow, which does not count.
    """
    return [places[place][position - 1 + place] for place in range(count)]


def _told(found: Acceptance) -> str:
    interval = found.tokens_per_pass.interval
    around = "" if interval is None else f" (95% CI {interval[0]:.2f} - {interval[1]:.2f})"
    share = "none" if found.accepted is None else f"{found.accepted.value:.1%}"
    places = ", ".join("-" if at is None else f"{at:.1%}" for at in found.accepted_at)
    return f"{share} of drafts accepted in blocks of {BLOCK}, {found.tokens_per_pass.value:.2f} tokens per pass{around}; by place {places}"


def _language(learner: Learner) -> LanguageModel:
    return LanguageModel(learner.model, learner.llama, learner.head, END, stop_at_end=True)


if __name__ == "__main__":
    run(main)
