"""Speculative decoding says what the model says by itself, whatever is drafted."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
import torch

from evbench.pipelines.generate.lookup import PromptLookup
from evbench.pipelines.generate.speculative import Propose, SpeculativeLoop
from evbench.stages import Sampler
from tests.test_generate import by, language, logits_of, prompt

WHOLE = 24
GAMMAS = (1, 2, 4, 8)


def usual(length: int, seed: int, **end: int | bool) -> list[int]:
    with torch.inference_mode():
        return by("static", language(**end))(prompt(length, seed), WHOLE, Sampler())  # type: ignore[arg-type]


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
drafters = pytest.mark.parametrize("drafter", DRAFTERS, ids=[drafter.__name__ for drafter in DRAFTERS])


@drafters
@torch.inference_mode()
def test_whatever_is_drafted_the_answer_is_the_model_s_own(drafter: Callable[[Sequence[int]], Propose]) -> None:
    model = language()
    alone = by("static", model)
    for gamma in GAMMAS:
        loop = SpeculativeLoop(model, gamma)
        for length, seed in ((31, 0), (7, 1), (40, 2)):
            expected, kept, other = Sampler(keep=range(WHOLE)), Sampler(keep=range(WHOLE)), Sampler(keep=range(WHOLE))
            answer = alone(prompt(length, seed), WHOLE, expected)
            assert loop(prompt(length, seed), WHOLE, kept, drafter(answer)) == answer
            assert torch.allclose(logits_of(kept), logits_of(expected), atol=1e-4)
            for tokens in (1, 2, 3):
                assert loop(prompt(length, seed), tokens, other, drafter(answer)) == answer[:tokens]


@drafters
@torch.inference_mode()
def test_tokens_that_are_forced_are_followed(drafter: Callable[[Sequence[int]], Propose]) -> None:
    """And the logits behind them are those of a loop without drafts: what is judged is what is timed."""
    model = language()
    answer = by("static", model)(prompt(31), WHOLE, Sampler())
    forced = [(token + position % 3) % 384 for position, token in enumerate(answer)]
    expected, kept = Sampler(forced, range(WHOLE)), Sampler(forced, range(WHOLE))
    by("static", model)(prompt(31), WHOLE, expected)
    assert SpeculativeLoop(model, 4)(prompt(31), WHOLE, kept, drafter(forced)) == forced
    assert torch.allclose(logits_of(kept), logits_of(expected), atol=1e-4)


@drafters
@torch.inference_mode()
def test_an_answer_ends_with_its_end_token_wherever_it_is_in_a_block(drafter: Callable[[Sequence[int]], Propose]) -> None:
    whole = usual(31, 0)
    for end in dict.fromkeys(whole[1:9]):
        expected = whole[: whole.index(end) + 1]
        loop = SpeculativeLoop(language(stop_at_end=True, end_token=end), 4)
        assert loop(prompt(31), WHOLE, Sampler(), drafter(whole)) == expected


@torch.inference_mode()
def test_right_drafts_save_passes_and_wrong_ones_save_none(monkeypatch: pytest.MonkeyPatch) -> None:
    model, passes = language(), []
    answer = by("static", model)(prompt(31), WHOLE, Sampler())
    verified = SpeculativeLoop._verified

    def counted(loop: SpeculativeLoop, fed: Sequence[int], *rest: object) -> torch.Tensor:
        passes.append(len(fed))
        return verified(loop, fed, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(SpeculativeLoop, "_verified", counted)
    found = {}
    for drafter in (right, wrong, nothing):
        passes.clear()
        SpeculativeLoop(model, 4)(prompt(31), WHOLE, Sampler(), drafter(answer))
        found[drafter.__name__] = list(passes)
    assert found == {"right": [5, 5, 5, 5, 3], "wrong": [5] * 19 + [4, 3, 2, 1], "nothing": [1] * 23}


@pytest.mark.parametrize("gamma", GAMMAS)
@torch.inference_mode()
def test_every_token_is_marked_once(gamma: int) -> None:
    marks: list[int] = []
    answer = usual(31, 0)
    SpeculativeLoop(language(), gamma)(prompt(31), WHOLE, Sampler(mark=lambda: marks.append(0)), right(answer))
    assert len(marks) == WHOLE


def test_what_followed_the_last_time_is_found_as_the_text_grows() -> None:
    lookup = PromptLookup([7, 1, 2, 3, 4, 9, 1, 2, 5])
    assert lookup([], 3) == [], "5 stood nowhere before"
    assert lookup([1], 2) == [2, 5]
    assert lookup([1, 2, 3], 4) == [4, 9, 1, 2], "1 2 3 goes before the later 2 3 and 3"
    assert lookup([1, 2, 3, 4, 1, 2, 3], 9) == [4, 1, 2, 3], "no more than there is"
    assert PromptLookup([])([], 4) == []
