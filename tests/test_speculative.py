"""Speculative decoding says what the model says by itself, whatever is drafted."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import pytest
import torch

from evbench.errors import UserError
from evbench.pipelines.generate import drafts
from evbench.pipelines.generate.draft_head import DraftHead, HeadDrafter, drafts_along
from evbench.pipelines.generate.language import LanguageModel
from evbench.pipelines.generate.lookup import PromptLookup
from evbench.pipelines.generate.model_drafter import ModelDrafter
from evbench.pipelines.generate.speculative import Propose, SpeculativeLoop
from evbench.pipelines.generate.targets import TARGETS
from evbench.stages import Sampler
from evbench.variants.named import parse
from tests import test_generate
from tests.devices import DEVICE
from tests.reference_kernels import over_references, uncaptured
from tests.simulation import simulated_workload
from tests.test_generate import by, logits_of

pytestmark = pytest.mark.device

WHOLE = 24
GAMMAS = (1, 2, 4, 8)


@pytest.fixture(autouse=True)
def on_this_device(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Without a GPU there is no graph, and kernels, which the interpreter takes milliseconds for, are run in tests marked `kernels`."""
    if DEVICE == "cpu":
        (uncaptured if "kernels" in request.keywords else over_references)(monkeypatch)


def language(**end: int | bool) -> LanguageModel:
    made = test_generate.language(**end)  # type: ignore[arg-type]
    made.whole.to(DEVICE)
    return made


def prompt(length: int, seed: int = 0) -> torch.Tensor:
    return test_generate.prompt(length, seed).to(DEVICE)


def speculative(model: LanguageModel, gamma: int, generate: str = "static") -> SpeculativeLoop:
    variant = parse(f"baseline+generate={generate}+draft=lookup-{gamma}") if gamma > 1 else parse(f"baseline+generate={generate}")
    return SpeculativeLoop(model, TARGETS[generate](model, variant, gamma), gamma)


def usual(length: int, seed: int, **end: int | bool) -> list[int]:
    with torch.inference_mode():
        return by("static", language(**end))(prompt(length, seed), WHOLE, Sampler())


def right(answer: Sequence[int]) -> Propose:
    return lambda so_far, count: answer[len(so_far) : len(so_far) + count]


def wrong(answer: Sequence[int]) -> Propose:
    return lambda so_far, count: [(token + 1) % 384 for token in right(answer)(so_far, count)]


def wrong_from_the_second(answer: Sequence[int]) -> Propose:
    return lambda so_far, count: [*right(answer)(so_far, 1), *wrong(answer)([*so_far, 0], count - 1)]


def at_random(answer: Sequence[int]) -> Propose:
    """Some of it right, and blocks of any length."""
    draw = random.Random(0)
    return lambda so_far, count: [
        token if draw.random() < 0.7 else draw.randrange(384) for token in right(answer)(so_far, draw.randint(0, count))
    ]


def too_many(answer: Sequence[int]) -> Propose:
    return lambda so_far, count: [*right(answer)(so_far, count), 5, 5, 5]


def nothing(answer: Sequence[int]) -> Propose:
    return lambda so_far, count: []


def looked_up(answer: Sequence[int]) -> Propose:
    return PromptLookup(answer)  # so that much of it is found


DRAFTERS: list[Callable[[Sequence[int]], Propose]] = [right, wrong, wrong_from_the_second, at_random, too_many, nothing, looked_up]
loops = pytest.mark.parametrize("generate", TARGETS)
drafters = pytest.mark.parametrize("drafter", DRAFTERS, ids=[drafter.__name__ for drafter in DRAFTERS])


@loops
@drafters
@torch.inference_mode()
def test_whatever_is_drafted_the_answer_is_the_model_s_own(drafter: Callable[[Sequence[int]], Propose], generate: str) -> None:
    model = language()
    alone = by("static", model)
    for gamma in GAMMAS:
        loop = speculative(model, gamma, generate)
        for length, seed in ((31, 0), (7, 1), (40, 2)):
            expected, kept, other = Sampler(keep=range(WHOLE)), Sampler(keep=range(WHOLE)), Sampler(keep=range(WHOLE))
            answer = alone(prompt(length, seed), WHOLE, expected)
            assert loop(prompt(length, seed), WHOLE, kept, drafter(answer)) == answer
            assert torch.allclose(logits_of(kept), logits_of(expected), atol=1e-4)
            for tokens in (1, 2, 3):
                assert loop(prompt(length, seed), tokens, other, drafter(answer)) == answer[:tokens]


@pytest.mark.kernels
@pytest.mark.slow
@torch.inference_mode()
def test_in_bfloat16_what_the_graph_says_of_a_token_is_the_same_bit_for_bit_whatever_is_drafted() -> None:
    model, whole = language(), WHOLE if DEVICE == "cuda" else 6
    model.whole.to(torch.bfloat16)
    asked = prompt(70).bfloat16()
    loop = speculative(model, 4, "graph")
    expected = Sampler(keep=range(whole))
    answer = loop(asked, whole, expected, nothing(()))
    for drafter in (right, wrong, wrong_from_the_second, at_random):
        kept = Sampler(keep=range(whole))
        assert loop(asked, whole, kept, drafter(answer)) == answer
        assert torch.equal(logits_of(kept), logits_of(expected))


@loops
@drafters
@torch.inference_mode()
def test_tokens_that_are_forced_are_followed(drafter: Callable[[Sequence[int]], Propose], generate: str) -> None:
    """And the logits behind them are those of a loop without drafts: what is judged is what is timed."""
    model = language()
    answer = by("static", model)(prompt(31), WHOLE, Sampler())
    forced = [(token + position % 3) % 384 for position, token in enumerate(answer)]
    expected, kept = Sampler(forced, range(WHOLE)), Sampler(forced, range(WHOLE))
    by("static", model)(prompt(31), WHOLE, expected)
    assert speculative(model, 4, generate)(prompt(31), WHOLE, kept, drafter(forced)) == forced
    assert torch.allclose(logits_of(kept), logits_of(expected), atol=1e-4)


@loops
@drafters
@torch.inference_mode()
def test_an_answer_ends_with_its_end_token_wherever_it_is_in_a_block(drafter: Callable[[Sequence[int]], Propose], generate: str) -> None:
    whole = usual(31, 0)
    for end in dict.fromkeys(whole[1:9]):
        expected = whole[: whole.index(end) + 1]
        loop = speculative(language(stop_at_end=True, end_token=end), 4, generate)
        assert loop(prompt(31), WHOLE, Sampler(), drafter(whole)) == expected


@loops
@torch.inference_mode()
def test_right_drafts_save_passes_and_wrong_ones_save_none(generate: str) -> None:
    model, passes = language(), list[int]()
    answer = by("static", model)(prompt(31), WHOLE, Sampler())
    loop = speculative(model, 4, generate)
    verify = loop.target.verify

    def counted(fed: Sequence[int], position: int) -> torch.Tensor:
        passes.append(len(fed))
        return verify(fed, position)

    loop.target.verify = counted  # type: ignore[method-assign]
    found = {}
    for drafter in (right, wrong, nothing):
        passes.clear()
        loop(prompt(31), WHOLE, Sampler(), drafter(answer))
        found[drafter.__name__] = list(passes)
    assert found == {"right": [5, 5, 5, 5, 3], "wrong": [5] * 19 + [4, 3, 2, 1], "nothing": [1] * 23}


@loops
@pytest.mark.parametrize("gamma", GAMMAS)
@torch.inference_mode()
def test_every_token_is_marked_once(gamma: int, generate: str) -> None:
    marks: list[int] = []
    answer = usual(31, 0)
    speculative(language(), gamma, generate)(prompt(31), WHOLE, Sampler(mark=lambda: marks.append(0)), right(answer))
    assert len(marks) == WHOLE


@torch.inference_mode()
def test_more_positions_than_the_model_has_are_refused() -> None:
    loop = speculative(language(), 4, "graph")
    with pytest.raises(UserError, match="positions, and the model has"):
        loop(prompt(31), 5000, Sampler(), nothing(()))


class Smaller:
    """A language model that drafts: its features are the prompt itself."""

    def __init__(self, seed: int) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.language = language()
            for weight in self.language.whole.parameters():  # near to the target, so that some of its drafts are right
                weight.data.add_(torch.randn_like(weight) * weight.std() * 0.1 * seed)

    def embeddings(self, features: torch.Tensor) -> torch.Tensor:
        return features


@loops
@pytest.mark.parametrize("seed", [0, 1, 2])
@torch.inference_mode()
def test_another_model_drafts_what_it_would_say_itself_whatever_was_accepted_before(seed: int, generate: str) -> None:
    model, smaller = language(), Smaller(seed)
    expected = by("static", model)(prompt(31), WHOLE, Sampler())
    drafter = ModelDrafter(smaller, TARGETS[generate](smaller.language, parse(f"baseline+generate={generate}"), 0), 384, "a model")
    found = Counter[bool]()

    def watched(propose: Propose, answer: Sequence[int], count: int) -> list[int]:
        drafts = list(propose(answer, count))
        logits = smaller.language.logits_at_once(prompt(31), [*answer, *drafts[:-1]])
        assert drafts == [int(row.argmax()) for row in logits][-count:], "with a cache as with none"
        found.update(one == other for one, other in zip(drafts, expected[len(answer) :], strict=False))
        return drafts

    for gamma in (1, 4):
        propose = partial(watched, drafter.begin(prompt(31), WHOLE))
        assert speculative(model, gamma, generate)(prompt(31), WHOLE, Sampler(), propose) == expected
    assert found[True] > 0
    assert (found[False] > 0) == (seed > 0), "the same model is always right"


@torch.inference_mode()
def test_a_token_that_the_drafting_model_has_no_row_for_is_no_fault() -> None:
    smaller = Smaller(0)
    propose = ModelDrafter(smaller, TARGETS["static"](smaller.language, parse("baseline"), 0), 384, "a model").begin(prompt(31), WHOLE)
    assert len(propose([5, 10**6], 3)) == 3
    assert len(propose([5, 10**6, 7], 2)) == 2


@loops
@torch.inference_mode()
def test_a_token_that_is_another_one_for_the_model_is_never_drafted(generate: str) -> None:
    """And the likeliest of the others is."""
    model, smaller, drafted = language(), Smaller(1), set[int]()
    expected = by("static", model)(prompt(31), WHOLE, Sampler())
    target = TARGETS[generate](smaller.language, parse(f"baseline+generate={generate}"), 0)
    whole = ModelDrafter(smaller, target, 384, "a model").begin(prompt(31), WHOLE)
    assert max(token for length in range(1, WHOLE - 4) for token in whole(expected[:length], 4)) >= 40, "else nothing would be tested"
    propose = ModelDrafter(smaller, target, 40, "a model").begin(prompt(31), WHOLE)

    def watched(answer: Sequence[int], count: int) -> list[int]:
        drafts = list(propose(answer, count))
        logits = smaller.language.logits_at_once(prompt(31), [*answer, *drafts[:-1]])
        assert drafts == [int(row[0, :40].argmax()) for row in logits[-count:]]
        drafted.update(drafts)
        return drafts

    assert speculative(model, 4, generate)(prompt(31), WHOLE, Sampler(), watched) == expected
    assert len(drafted) > 1


def draft_head(model: LanguageModel, seed: int) -> DraftHead:
    """Of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = DraftHead(model.decoder.config).to(DEVICE)
    for weight in head.parameters():
        weight.data.mul_(3 if weight.ndim > 1 else 1)
    return head.requires_grad_(False)


@loops
@pytest.mark.parametrize("seed", [1, 2, 3])
@torch.inference_mode()
def test_a_head_drafts_what_it_would_without_a_cache_whatever_was_accepted_before(seed: int, generate: str) -> None:
    model = language()
    found, lengths = set[int](), set[int]()

    def watched(drafter: HeadDrafter, asked: torch.Tensor, others: Propose, so_far: Sequence[int], count: int) -> list[int]:
        drafts = drafter(so_far, count)
        assert drafts == drafts_along(model, drafter._head, asked, so_far, WHOLE)[-1][:count]
        found.update(drafts)
        lengths.add(len(so_far))
        return list(others(so_far, count))  # some of them right: rows are added one by one, and many at once

    for gamma in (1, 4):
        loop = speculative(model, gamma, generate)
        drafter = HeadDrafter(model, draft_head(model, seed), loop.target, gamma, captured=generate == "graph")
        for length, tokens in ((31, WHOLE), (7, 9), (40, 2)):
            asked = prompt(length, seed)
            answer = by("static", model)(asked, tokens, Sampler())
            drafter.begin(tokens)
            propose = partial(watched, drafter, asked, at_random(answer))
            assert loop(asked, tokens, Sampler(), propose) == answer
            drafter.begin(tokens)
            assert loop(asked, tokens, Sampler(), drafter) == answer, "and lossless with its own drafts"
            assert loop(asked, 1, Sampler(), drafter) == answer[:1]
    assert len(found) > 10, "a constant draft would prove nothing"
    assert len(lengths) < WHOLE, "of several rows"


@torch.inference_mode()
def test_a_head_that_missed_a_pass_is_a_fault() -> None:
    model = language()
    loop = speculative(model, 4)
    drafter = HeadDrafter(model, draft_head(model, 1), loop.target, 4, captured=False)
    drafter.begin(WHOLE)
    loop(prompt(31), 1, Sampler(), drafter)
    with pytest.raises(ValueError, match="2 tokens have been added, and the last pass says 1 at most"):
        drafter([5, 6], 4)


def test_what_followed_the_last_time_is_found_as_the_text_grows() -> None:
    lookup = PromptLookup([7, 1, 2, 3, 4, 9, 1, 2, 5])
    assert lookup([], 3) == [], "5 stood nowhere before"
    assert lookup([1], 2) == [2, 5]
    assert lookup([1, 2, 3], 4) == [4, 9, 1, 2], "1 2 3 goes before the later 2 3 and 3"
    assert lookup([1, 2, 3, 4, 1, 2, 3], 9) == [4, 1, 2, 3], "no more than there is"
    assert PromptLookup([])([], 4) == []


def test_the_small_model_does_not_draft_for_itself() -> None:
    alone, model = dataclasses.replace(simulated_workload(), preset="small"), cast(Any, None)
    with pytest.raises(UserError, match="draft=small-4: at --preset small the target would draft for itself, and all would be accepted; "):
        drafts.small(model, parse("baseline+generate=static+draft=small-4"), alone)
