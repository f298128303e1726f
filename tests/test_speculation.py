"""Replayed blocks are those that speculative decoding would run."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence

import pytest

from evbench.verdict.speculation import (
    Replay,
    acceptance,
    blocks,
    break_even,
    expected_tokens,
    forced,
    prompt_lookup,
    ratio,
    replay,
    similarity,
    speedup,
)

Next = Callable[[Sequence[int]], int]
"""The most likely token after some."""


def model(seed: int, words: int, memory: int = 2) -> Next:
    """Greedy, and of no probability: a token by lot for each of the last tokens before it."""
    return lambda text: random.Random(f"{seed} {list(text[-memory:])}").randrange(words)


def mixed(target: Next, seed: int, right: float) -> Next:
    """Says what the target says with that probability."""
    other = model(seed + 1, 5)
    return lambda text: target(text) if random.Random(f"{seed} {len(text)} {text[-1]}").random() < right else other(text)


def greedy(say: Next, prompt: list[int], count: int) -> list[int]:
    text = list(prompt)
    for _ in range(count):
        text.append(say(text))
    return text[len(prompt) :]


def decoded_in_blocks(target: Next, draft: Next, prompt: list[int], count: int, gamma: int) -> tuple[list[int], int, int, int]:
    """Speculative decoding as it runs: the answer, passes, drafted and accepted tokens."""
    text = [*prompt, target(prompt)]
    passes = drafted = accepted = 0
    while len(text) - len(prompt) < count:
        left = count - (len(text) - len(prompt))
        proposed = greedy(draft, text, min(gamma, left - 1))
        verified = [target([*text, *proposed[:place]]) for place in range(len(proposed) + 1)]
        same = next((place for place, token in enumerate(proposed) if token != verified[place]), len(proposed))
        text += verified[: same + 1]
        passes, drafted, accepted = passes + 1, drafted + len(proposed), accepted + same
    return text[len(prompt) :], passes, drafted, accepted


@pytest.mark.parametrize("right", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("gamma", [1, 2, 5, 40])
def test_the_replay_of_an_answer_is_what_blocks_do(gamma: int, right: float) -> None:
    for seed in range(20):
        target = model(seed, 5)
        draft = mixed(target, seed, right)
        prompt, count = [seed, 1], 1 + 3 * seed
        answer = greedy(target, prompt, count)
        predicted = [draft([*prompt, *answer[:place]]) for place in range(count)]
        found = replay(answer, forced(predicted), gamma)
        said, *counts = decoded_in_blocks(target, draft, prompt, count, gamma)
        assert said == answer
        assert [found.passes, found.drafted, found.accepted] == counts
        assert found.tokens == found.passes + found.accepted == count - 1
        assert found.accepted == sum(found.accepted_at) <= sum(found.tried_at) <= found.drafted


def test_drafts_that_are_all_wrong_or_all_right() -> None:
    answer = list(range(1, 12))
    assert replay(answer, forced([0] * 11), 4) == Replay(10, 10, 4 * 6 + 3 + 2 + 1, 0, (9, 0, 0, 0), (0, 0, 0, 0))
    assert replay(answer, forced(answer), 4) == Replay(10, 2, 8, 8, (2, 2, 2, 2), (2, 2, 2, 2))
    assert replay(answer, forced(answer), 100).passes == 1
    assert replay(answer, lambda position, count: (), 4) == Replay(10, 10, 0, 0, (0,) * 4, (0,) * 4), "nothing drafted"
    assert replay(answer[:1], forced(answer), 4).passes == 0, "the prefill gives the first token"
    assert replay([], forced([]), 1) == Replay(0, 0, 0, 0, (0,), (0,))
    with pytest.raises(ValueError, match="one drafted token at least"):
        replay(answer, forced(answer), 0)
    with pytest.raises(ValueError, match="2 tokens are proposed where 1 were asked for"):
        replay(answer, lambda position, count: [1, 2], 1)


def test_replays_of_one_answer_by_prompt_lookup_do_not_know_of_each_other() -> None:
    prompt, answer = [1, 2, 3, 4, 5], [2, 3, 4, 9, 2, 3, 4, 9, 2, 7, 1, 2, 3, 9, 2]
    propose = prompt_lookup(prompt, answer)
    for gamma in (1, 2, 3, 4, 8, 2, 1):
        assert replay(answer, propose, gamma) == replay(answer, prompt_lookup(prompt, answer), gamma)


def test_prompt_lookup_proposes_what_followed_the_last_time() -> None:
    prompt, answer = [7, 1, 2, 3, 4, 9, 1, 2, 5], [1, 2, 3, 4, 1, 2, 3]
    propose = prompt_lookup(prompt, answer)
    assert propose(0, 3) == [], "5 stood nowhere before"
    assert propose(1, 2) == [2, 5], "of the last 1, which is that in the prompt"
    assert propose(2, 3) == [5, 1, 2], "of the latest 1 2"
    assert propose(3, 4) == [4, 9, 1, 2], "1 2 3 goes before the later 2 3 and 3"
    assert propose(7, 9) == [4, 1, 2, 3], "no more than there is"
    for position in range(8):  # nothing behind a position is looked at
        assert prompt_lookup(prompt, [*answer[:position], 0, 0, 0])(position, 3) == prompt_lookup(prompt, answer)(position, 3)


def test_an_acceptance_is_of_all_answers_with_samples_as_units() -> None:
    rows = [[True, True, False, True], [False] * 4, [True] * 4]
    replays = [replay([1] * 5, forced([0, *(int(same) for same in row)]), 2) for row in rows]
    found = acceptance(replays * 2, 2, range(2 * len(replays)))
    assert acceptance(replays, 2, range(len(replays))).tokens_per_pass.interval is None, "of three"
    passes, accepted = [one.passes for one in replays], [one.accepted for one in replays]
    assert passes == [2, 4, 2]
    assert accepted == [2, 0, 2]
    assert found.tokens_per_pass.value == 12 / 8
    assert found.accepted_length.value == 4 / 8
    assert found.accepted is not None and found.accepted.value == 4 / sum(one.drafted for one in replays)
    silent = acceptance([replay([1, 2, 3], lambda position, count: (), 2)] * 2, 2, (0, 1))
    assert (silent.accepted, silent.tokens_per_pass.value, silent.accepted_at) == (None, 1, (None, None))
    assert found.tokens_per_pass.interval is not None
    low, high = found.tokens_per_pass.interval
    assert 1 <= low < 1.5 < high <= 3
    assert (found.passes, found.drafted) == (16, 2 * sum(one.drafted for one in replays))
    assert found.accepted_at[0] == sum(one.accepted_at[0] for one in replays) / sum(one.tried_at[0] for one in replays)
    assert acceptance([replay([1], forced([1]), 2), *replays], 2, range(1 + len(replays))).tokens_per_pass.value == 12 / 8
    with pytest.raises(ValueError, match="a ratio to nothing"):
        acceptance([replay([1], forced([1]), 2)], 2, (0,))


def test_the_interval_of_a_ratio_holds_the_truth_as_often_as_it_says() -> None:
    random_source = random.Random(1)
    covered = 0
    for _ in range(600):
        below = [random_source.randint(5, 40) for _ in range(25)]
        above = [
            sum(random_source.random() < share for _ in range(size))
            for size, share in ((n, random_source.uniform(0.2, 0.8)) for n in below)
        ]
        found = ratio(above, below, (0, 1), range(25)).interval
        assert found is not None
        covered += found[0] <= 0.5 <= found[1]
    assert 0.92 < covered / 600 < 0.98
    assert ratio([1.0] * 5, [2.0] * 5, (0, 1), range(5)).interval is None
    assert ratio([0.0, 9.0] * 3, [9.0] * 6, (0, 1), range(6)).interval == (0, 1), "no farther than is possible"


def test_position_wise_similarity_is_no_acceptance_rate() -> None:
    answer = list(range(50))
    assert similarity(answer, answer) == 1
    assert similarity([99, *answer], answer) == 0
    assert replay(answer, forced(answer), 4).accepted > 0
    assert similarity(answer, answer[:25]) == 0.5
    assert similarity([], []) == 1


@pytest.mark.parametrize(("alpha", "gamma"), [(0.2, 1), (0.5, 4), (0.9, 8)])
def test_expected_tokens_are_those_of_independent_drafts(alpha: float, gamma: int) -> None:
    random_source = random.Random(gamma)
    found = []
    for _ in range(4000):
        accepted = 0
        while accepted < gamma and random_source.random() < alpha:
            accepted += 1
        found.append(accepted + 1)
    assert statistics.fmean(found) == pytest.approx(expected_tokens(alpha, gamma), rel=0.03)
    assert (expected_tokens(1, gamma), expected_tokens(0, gamma)) == (gamma + 1, 1)


def test_a_speedup_needs_drafts_that_cost_less_than_they_give() -> None:
    assert speedup(expected_tokens(0.2, 5), 5, 0.866, 1.0) == pytest.approx(0.234, abs=1e-3), "a draft as large as the target"
    assert speedup(3.0, 4, 0.05, 1.2) == pytest.approx(3.0 / 1.4)
    alpha = break_even(4, 0.05, 1.2)
    assert alpha is not None
    assert speedup(expected_tokens(alpha, 4), 4, 0.05, 1.2) == pytest.approx(1)
    assert break_even(1, 1.0, 1.1) is None, "two tokens for 2.1 steps, at the most"
    assert break_even(4, 0.0, 1.0) == pytest.approx(0, abs=1e-9)


def test_blocks_that_are_known_are_those_behind_the_newest_token() -> None:
    answer, drafts = [3, 1, 4, 1, 5, 9], [[1, 4], [9, 9], [1, 5], [5, 9], [9, 9], [0, 0]]
    propose = blocks(drafts)
    assert propose(1, 2) == [1, 4]
    assert propose(3, 1) == [1]
    found = replay(answer, propose, 2)
    assert (found.passes, found.drafted, found.accepted) == (2, 3, 3), "1 4, and the pass says 1; then 5, and it says 9"
