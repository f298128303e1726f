"""The loops of our own against transformers' generate."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from evbench.pipelines.checkpoints.checkpoint import seeded
from evbench.pipelines.generate.choices import GENERATE
from evbench.pipelines.generate.language import LanguageModel
from evbench.pipelines.generate.loops import Generate, StaticLoop, generator
from evbench.pipelines.registry import EVENTGPT
from evbench.stages import Sampler
from evbench.variants.named import change, parse

USUAL = parse("baseline")


def language(stop_at_end: bool = False, end_token: int = 2) -> LanguageModel:
    with seeded(0, "cpu", torch.float32):
        config = LlamaConfig(**{**EVENTGPT.presets["tiny"].text, "num_hidden_layers": 2})
        model = LlamaForCausalLM._from_config(config, attn_implementation="sdpa")
    return LanguageModel(model, model.model, model.lm_head, end_token, stop_at_end)


def by(choice: str, model: LanguageModel) -> Generate:
    return generator(model, change(USUAL, {"generate": choice}))


def prompt(length: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, length, 128, generator=torch.Generator().manual_seed(seed))


ASKED = ((31, 20), (7, 33), (31, 7), (64, 1), (40, 5))
"""Length of the prompt, and new tokens."""


def answers(generate: Generate, asked: Sequence[tuple[int, int]]) -> list[list[int]]:
    with torch.inference_mode():
        return [generate(prompt(length, seed), tokens, Sampler()) for seed, (length, tokens) in enumerate(asked)]


@pytest.mark.parametrize(("choice", "asked"), [("static", ASKED), pytest.param("static-compile", ASKED[:2], marks=pytest.mark.long)])
def test_the_static_loop_gives_the_tokens_of_generate(choice: str, asked: Sequence[tuple[int, int]]) -> None:
    model = language()
    expected = answers(by("dynamic", model), asked)
    assert [len(tokens) for tokens in expected] == [tokens for _, tokens in asked]
    assert len({token for tokens in expected for token in tokens}) > 20, "a constant answer would prove nothing"
    loop = by(choice, model)
    assert answers(loop, asked) == expected
    assert answers(loop, asked) == expected, "a cache that was used before is as good as new"


def test_a_shorter_answer_uses_the_cache_of_a_longer_one() -> None:
    """So that untimed checks, which ask for fewer tokens, leave everything as timed runs made it."""
    loop = by("static", language())
    assert isinstance(loop, StaticLoop)
    answers(loop, [(31, 20)])
    cache = loop._fixed.cache
    answers(loop, [(31, 16)])
    assert loop._fixed.cache is cache


@pytest.mark.parametrize("choice", [choice for choice in GENERATE.entries if choice not in ("graph", "static-compile")])
def test_every_token_is_marked_once(choice: str) -> None:
    """The mark of the first comes when the prompt has been read, before the second token is begun."""
    marks: list[int] = []
    with torch.inference_mode():
        for tokens in (1, 5):
            marks.clear()
            assert len(by(choice, language())(prompt(9), tokens, Sampler(mark=lambda: marks.append(0)))) == tokens == len(marks)


@pytest.mark.parametrize("choice", ["dynamic", "transformers-static", "static-generate", "static"])
def test_the_end_token_stops_only_when_it_may(choice: str) -> None:
    whole = by("dynamic", language())(prompt(31), 20, Sampler())
    end = whole[6]
    until_end = whole[: whole.index(end) + 1]
    with torch.inference_mode():
        assert by(choice, language(stop_at_end=True, end_token=end))(prompt(31), 20, Sampler()) == until_end
        assert by(choice, language(stop_at_end=False, end_token=end))(prompt(31), 20, Sampler()) == whole


LOOPS = ["dynamic", "transformers-static", "static-generate", "static", pytest.param("static-compile", marks=pytest.mark.long)]


def logits_of(sampler: Sampler) -> torch.Tensor:
    return torch.cat([sampler.kept[position] for position in sorted(sampler.kept)])


@pytest.mark.parametrize("choice", LOOPS)
@torch.inference_mode()
def test_forced_tokens_are_fed_and_the_logits_are_those_of_the_free_run(choice: str) -> None:
    """Of one loop, whose cache and graph are at work in both; and those of the reference, which has neither."""
    model = language()
    loop = by(choice, model)
    free, forced, other = Sampler(keep=range(6)), Sampler(keep=range(6)), Sampler(keep=range(6))
    tokens = loop(prompt(31), 6, free)
    forced.forced = tokens
    assert loop(prompt(31), 6, forced) == tokens
    assert torch.equal(logits_of(forced), logits_of(free))
    assert logits_of(free).argmax(dim=-1).tolist() == tokens
    other.forced = [tokens[0], 3, *tokens[2:]]
    assert loop(prompt(31), 6, other) == other.forced
    assert torch.equal(logits_of(other)[:2], logits_of(free)[:2])
    assert not torch.allclose(logits_of(other)[2:], logits_of(free)[2:], atol=1e-2), "another token was read"
    reference = Sampler(other.forced, range(6))
    by("at-once", model)(prompt(31), 6, reference)
    assert torch.allclose(logits_of(reference), logits_of(other), atol=1e-4)


@pytest.mark.parametrize("choice", ["dynamic", "static"])
@torch.inference_mode()
def test_forced_tokens_are_followed_beyond_what_would_have_been_the_end(choice: str) -> None:
    end = by("dynamic", language())(prompt(31), 20, Sampler())[3]
    ending = by(choice, language(stop_at_end=True, end_token=end))
    followed = [5, 6, 7, 8, 9, 10]
    assert ending(prompt(31), 6, Sampler(followed)) == followed
