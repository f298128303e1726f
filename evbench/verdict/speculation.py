"""Speculative decoding, greedy: which drafted tokens the target would have said itself, and how many passes of it an answer then takes.

What is committed is always the target's own greedy answer. So whether a draft is accepted follows from what the drafter proposes after
each beginning of that answer: blocks are replayed exactly, without running them, and nothing is assumed to be independent.

Source: Leviathan, Kalman, Matias, ICML 2023, arXiv 2211.17192.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evbench.pipelines.generate.lookup import PromptLookup
from evbench.verdict.statistics import LEVEL
from evbench.verdict.student import student_quantile
from evbench.verdict.tokens import first_difference

Propose = Callable[[int, int], Sequence[int]]
"""(position in the answer, count) -> the tokens that are drafted from there on, count at most, after the answer's tokens before it."""


@dataclass(frozen=True)
class Replay:
    """One answer, decoded in blocks of so many drafted tokens at most."""

    tokens: int
    """That came from passes of the target: all of the answer but the first, which the prefill gives."""
    passes: int
    """Of the target, each over the drafted tokens and the one in front of them."""
    drafted: int
    accepted: int
    tried_at: tuple[int, ...]
    """Of each place in a block: how many blocks had all drafts in front of it accepted, and one there."""
    accepted_at: tuple[int, ...]
    """How many of these were accepted."""


def replay(answer: Sequence[int], propose: Propose, gamma: int) -> Replay:
    """
    Args:
        answer: the target's greedy tokens.
        gamma: drafted tokens in a block, at most. No more are drafted than are left less one: a pass gives one more than it accepts.

    Raises:
        ValueError: gamma is below one, or more is proposed than was asked for.
    """
    if gamma < 1:
        raise ValueError(f"a block has one drafted token at least, not {gamma}")
    position, passes, drafted = min(1, len(answer)), 0, 0
    tried, accepted = [0] * gamma, [0] * gamma
    while position < len(answer):
        asked = min(gamma, len(answer) - position - 1)
        proposed = propose(position, asked) if asked else ()
        if len(proposed) > asked:
            raise ValueError(f"{len(proposed)} tokens are proposed where {asked} were asked for")
        differing = first_difference(proposed, answer[position : position + len(proposed)])
        same = len(proposed) if differing is None else differing
        for place in range(min(same + 1, len(proposed))):
            tried[place] += 1
            accepted[place] += place < same
        passes, drafted, position = passes + 1, drafted + len(proposed), position + same + 1
    return Replay(max(0, len(answer) - 1), passes, drafted, sum(accepted), tuple(tried), tuple(accepted))


def forced(predicted: Sequence[int]) -> Propose:
    """A model as the drafter: `predicted[t]` is what it says after its own prompt and the answer's tokens before t.

    In a block it goes on from what it said. Up to the first token that is not accepted, that is the answer.
    """
    return lambda position, count: predicted[position : position + count]


def prompt_lookup(prompt: Sequence[int], answer: Sequence[int]) -> Propose:
    """The text itself as the drafter. Asked for a place in front of the one before, as by the next replay, it begins anew."""
    lookup, last = PromptLookup(prompt), 0

    def propose(position: int, count: int) -> Sequence[int]:
        nonlocal lookup, last
        if position < last:
            lookup = PromptLookup(prompt)
        last = position
        return lookup(answer[:position], count)

    return propose


def blocks(drafts: Sequence[Sequence[int]]) -> Propose:
    """Drafts that are known: `drafts[t]` is how they go on behind the answer's token t."""
    return lambda position, count: drafts[position - 1][:count]


FEWEST_SAMPLES = 6
"""For an interval: of fewer, what they differ by says next to nothing of others."""


@dataclass(frozen=True)
class RatioEstimate:
    """A ratio of sums over samples, with its 95 % interval. Its units are samples, or clusters of them: the tokens of an answer are not
    independent, nor are the answers to windows of one sequence."""

    value: float
    interval: tuple[float, float] | None
    """None where there are fewer than FEWEST_SAMPLES, or clusters."""


def ratio(above: Sequence[float], below: Sequence[float], possible: tuple[float, float], clusters: Sequence[int]) -> RatioEstimate:
    """Sum of `above` to sum of `below`, one of each for a sample; the interval by Student's distribution of what each cluster adds (the
    delta method), as far as it is possible.

    Args:
        clusters: of each sample, as `evbench.verdict.clusters.clusters` has them.
        possible: the least and the largest value that there can be.

    Raises:
        ValueError: the sum below is zero.
    """
    whole = sum(below)
    if not whole:
        raise ValueError("a ratio to nothing")
    value, left = sum(above) / whole, dict.fromkeys(clusters, 0.0)
    for one, other, cluster in zip(above, below, clusters, strict=True):
        left[cluster] += one - value * other
    count = len(left)
    if count < FEWEST_SAMPLES:
        return RatioEstimate(value, None)
    error = math.sqrt(sum(part * part for part in left.values()) * count / (count - 1)) / whole
    reach = student_quantile(1 - LEVEL / 2, count - 1) * error
    return RatioEstimate(value, (max(possible[0], value - reach), min(possible[1], value + reach)))


@dataclass(frozen=True)
class Acceptance:
    """Of many answers, for one length of blocks."""

    gamma: int
    passes: int
    """Of the target."""
    drafted: int
    accepted: RatioEstimate | None
    """Drafted tokens that are accepted, of those that are drafted. None: there are none."""
    accepted_length: RatioEstimate
    """Accepted tokens for each pass of the target."""
    tokens_per_pass: RatioEstimate
    """The same and the token that the pass itself gives: how many times fewer passes an answer takes."""
    accepted_at: tuple[float | None, ...]
    """Of each place in a block: of the drafts there, all in front of which were accepted, the share that is accepted. None: no such."""


def acceptance(replays: Sequence[Replay], gamma: int, clusters: Sequence[int]) -> Acceptance:
    """Of one answer for each sample. Raises ValueError if there is no pass.

    Args:
        clusters: of each sample, as `ratio` takes them.
    """
    passes, drafted, accepted, tokens = (
        [float(getattr(one, name)) for one in replays] for name in ("passes", "drafted", "accepted", "tokens")
    )
    at = [(sum(one.accepted_at[place] for one in replays), sum(one.tried_at[place] for one in replays)) for place in range(gamma)]
    return Acceptance(
        gamma,
        passes=round(sum(passes)),
        drafted=round(sum(drafted)),
        accepted=ratio(accepted, drafted, (0, 1), clusters) if any(drafted) else None,
        accepted_length=ratio(accepted, passes, (0, gamma), clusters),
        tokens_per_pass=ratio(tokens, passes, (1, gamma + 1), clusters),
        accepted_at=tuple(accepted_there / tried if tried else None for accepted_there, tried in at),
    )


def similarity(one: Sequence[int], other: Sequence[int]) -> float:
    """Share of places at which two answers, each decoded by itself, have the same token, of those of the longer. It is no acceptance rate:
    one token more in front leaves nothing of it, and changes an acceptance rate by one token.
    """
    longer = max(len(one), len(other))
    return sum(pair[0] == pair[1] for pair in zip(one, other, strict=False)) / longer if longer else 1.0


# What follows if each draft is accepted with one probability, whatever happened before.


def expected_tokens(alpha: float, gamma: int) -> float:
    """For each pass of the target, if a draft is accepted with the probability alpha: 1 to gamma + 1."""
    return float(gamma + 1) if alpha == 1 else (1 - alpha ** (gamma + 1)) / (1 - alpha)


def speedup(tokens_per_pass: float, gamma: int, draft: float, verification: float) -> float:
    """Of decoding. Below 1 it is slower.

    Args:
        draft: time of a step of the drafter, in steps of the target.
        verification: time of a pass of the target over gamma + 1 tokens, in steps of it.
    """
    return tokens_per_pass / (gamma * draft + verification)


MOST_DRAFTS = 8
"""In a pass, of the numbers of them that are held against each other."""


def best_gamma(alpha: float, draft: float, verification: float) -> int:
    """The number of drafts in a pass, up to MOST_DRAFTS, with the highest speedup. Arguments are those of `speedup`: verification takes as
    long whatever the number.
    """
    return max(range(1, MOST_DRAFTS + 1), key=lambda gamma: speedup(expected_tokens(alpha, gamma), gamma, draft, verification))


def break_even(gamma: int, draft: float, verification: float) -> float | None:
    """The least alpha at which it is no slower. None: it always is, if everything is accepted too."""
    cost = gamma * draft + verification
    if expected_tokens(1.0, gamma) < cost:
        return None
    low, high = 0.0, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if expected_tokens(middle, gamma) < cost else (low, middle)
    return high
