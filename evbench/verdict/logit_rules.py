"""Rules for features, logits and tokens. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from evbench.results import Grade, Mode, Side
from evbench.verdict.error_rule import rounded_either_way
from evbench.verdict.findings import GRADES, Array, Axes, Finding, SampleOutputs, SideOutputs, locate, plain

SIMILAR, ALIKE = 0.001, 0.01
"""Cosine distance of two feature vectors that passes, and that passes with a warning (vllm-project/vllm:tests/models/utils.py)."""
MOST_DIVERGENCE = 1e-3
"""Maximum KL divergence of next-token distributions, in nats, beyond the baseline's own (source:
ikawrakow/ik_llama.cpp:examples/perplexity/README.md)."""
NEAR_TIE, NEARLY_TIE = 0.125, 0.5
"""Logprob gap in nats, under the reference, between two tokens that rounding may exchange: passes, passes with a warning."""
NOISE = 6.0
"""Where logits are further off, so many times their RMS error passes with a warning, too: two errors make a gap, and that is 4.2 standard
deviations of their difference. Equal computations with random weights, whose logits are that far off, came to 3.7 times. How far off they
may be is for the error rule to say; a single token that is wrong is far beyond the RMS error of all."""


def cosine_distance(stage: str, axes: Axes, mode: Mode, expected: Array, actual: Array) -> Finding:
    lengths = np.linalg.norm(expected, axis=-1) * np.linalg.norm(actual, axis=-1)
    # Rows of zeros have no direction: two of them are equal, and one alone is as far off as can be told.
    equal = (expected == actual).all(axis=-1)
    apart = np.where(equal, 0.0, 1 - (expected * actual).sum(axis=-1) / np.where(lengths > 0, lengths, 1))
    worst = np.unravel_index(int(apart.argmax()), apart.shape)
    value = max(0.0, float(apart[worst]))
    grade: Grade = "pass" if value <= SIMILAR else "warn" if value <= ALIKE else "fail"
    return Finding(stage, mode, "cosine distance", grade, value, SIMILAR, locate(axes, worst))


def compare_logits(axes: Axes, mode: Mode, expected: Array, actual: Array, reference: Array, rounded: Array | None = None) -> list[Finding]:
    """All are [positions, vocabulary]; `rounded` is that of `evbench.verdict.error_rule`."""
    exact, ours, theirs = map(_log_softmax, (reference, expected, actual))
    own, other = (_divergence_of(exact, of_side) for of_side in (ours, theirs))
    usual = float(own.mean())
    if rounded is not None:
        usual += float(rounded_either_way(usual, divergence(reference, reference + rounded).mean()))
    threshold = MOST_DIVERGENCE + 2 * usual
    value = float(other.mean())
    grade: Grade = "pass" if value <= threshold else "warn" if value <= 10 * threshold else "fail"
    worst = locate(axes, (int(other.argmax()),))
    found = [Finding("generate", mode, "KL divergence (nats)", grade, value, threshold, worst)]

    positions = np.arange(len(expected))
    one, another = expected.argmax(axis=-1), actual.argmax(axis=-1)
    gaps = np.abs(exact[positions, one] - exact[positions, another])
    count, largest = int((one != another).sum()), float(gaps.max())
    beyond = gaps > explained(ours, theirs, exact, one, another)
    grade = "fail" if beyond.any() else "warn" if largest > NEAR_TIE else "pass"
    # Of n positions of which none differs, at most 3/n differ in general (the rule of three, at 95 %).
    detail = f"{count} of {len(expected)} positions differ; at most {min(1.0, _most_share(count, len(expected))):.1%} in general (95% CI)"
    return [
        *found,
        Finding("generate", mode, "top-1 logprob gap (nats)", grade, largest, NEAR_TIE, locate(axes, (int(gaps.argmax()),)), detail),
    ]


def divergence(reference: Array, logits: Array) -> Array:
    """KL divergence of next-token distributions from those of the reference, in nats: [positions, vocabulary] -> [positions]."""
    return _divergence_of(_log_softmax(reference), _log_softmax(logits))


def _divergence_of(exact: Array, other: Array) -> Array:
    return np.asarray((np.exp(exact) * (exact - other)).sum(axis=-1))


def explained(ours: Array, theirs: Array, exact: Array, one: npt.NDArray[np.int64], another: npt.NDArray[np.int64]) -> Array:
    """Nats that rounding explains between two tokens at each position, by how far off all others are.

    Args:
        ours, theirs, exact: log-probabilities of the baseline, of the other side, and of the reference, [positions, vocabulary].
        one, another: the two tokens at each position.
    """
    others = np.ones(exact.shape, bool)
    for chosen in (one, another):
        others[np.arange(len(exact)), chosen] = False
    own, other = ours - exact, theirs - exact
    noise = np.maximum(own.std(axis=-1, where=others), other.std(axis=-1, where=others))
    noise = np.maximum(noise, np.sqrt(np.mean(own.var(axis=-1, where=others))))
    return np.asarray(np.maximum(NEARLY_TIE, NOISE * noise))


def _most_share(count: int, of: int) -> float:
    """Upper 95 % bound of a share: 3/n for none; above, by the normal approximation of Wilson's interval."""
    if not count:
        return 3 / of
    z, share = 1.645, count / of
    return float((share + z**2 / (2 * of) + z * np.sqrt(share * (1 - share) / of + z**2 / (4 * of**2))) / (1 + z**2 / of))


def _log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def compare_tokens(mode: Mode, sides: SampleOutputs, outputs: Collection[tuple[int, ...]], side: SideOutputs) -> list[Finding]:
    """Greedy tokens of every run: identical, or different from a near tie on.

    Args:
        outputs: tokens of all runs of a side.
        side: its logits, teacher-forced with the baseline's tokens.
    """
    expected = sides.baseline.tokens
    different = [tokens for tokens in outputs if tokens != expected]
    if not different:
        return [Finding("generate", mode, "tokens", "pass", 0.0, NEAR_TIE, "", f"identical in all runs, all {len(expected)}")]
    batch = sides.baseline.batch
    parted = [(tokens, row) for tokens in different for row in range(batch) if tokens[row::batch] != expected[row::batch]]
    return [
        max(
            (_divergence(mode, sides, tokens, side, row) for tokens, row in parted),
            key=lambda finding: (GRADES.index(finding.grade), finding.value),
        )
    ]


def _divergence(mode: Mode, sides: SampleOutputs, tokens: tuple[int, ...], side: SideOutputs, row: int) -> Finding:
    """Of the answer to one sample of a batch, by its number there."""
    expected, batch = sides.baseline.tokens, sides.baseline.batch
    places = range(row, min(len(expected), len(tokens)), batch)  # the shorter decides
    first = next((place for place in places if expected[place] != tokens[place]), None)
    of_batch = f" of sample {row + 1} of the batch" if batch > 1 else ""
    if first is None:
        lengths = len(expected[row::batch]), len(tokens[row::batch])
        detail = f"one of the outputs is cut: {lengths[0]} and {lengths[1]} tokens"
        location = f"position {min(lengths)}{of_batch}"
        return Finding("generate", mode, "tokens", "fail", abs(lengths[0] - lengths[1]), 0.0, location, detail)
    location, detail = f"position {first // batch}{of_batch}", f"tokens {expected[first]} and {tokens[first]}"
    if sides.reference is None:
        return Finding("generate", mode, "tokens", "fail", 1.0, 0.0, location, f"{detail}; no reference to measure the logprob gap by")
    if sides.lost:
        return _each_by_its_own(mode, sides, side, first, (expected[first], tokens[first]), detail)
    if "generate" not in sides.baseline.arrays or "generate" not in side.arrays:  # of a pipeline that cannot show its logits
        exact = _log_softmax(plain(sides.reference["generate"][first : first + 1]))[0]
        gap = abs(float(exact[expected[first]] - exact[tokens[first]]))
        shown = f"{detail}, logprob gap {gap:.3g} nats under the reference, the logits of one side not seen"
        return Finding("generate", mode, "tokens", "warn" if gap <= NEARLY_TIE else "fail", gap, NEAR_TIE, location, shown)
    parted = slice(first, first + 1)
    ours, theirs, whole = (_log_softmax(plain(of["generate"][parted])) for of in (sides.baseline.arrays, side.arrays, sides.reference))
    pair = (np.array([values[first]]) for values in (expected, tokens))
    (most,), (exact,) = explained(ours, theirs, whole, *pair), whole
    gap = abs(float(exact[expected[first]] - exact[tokens[first]]))
    # Nor may one of the two be far below the top-1 token of either side: rounding does not explain that. Several tokens may be in a tie,
    # and these two need not be the first two of them.
    logits = {"the baseline": sides.baseline.arrays["generate"][first], "the optimized side": side.arrays["generate"][first]}
    short = {name: _shortfall(plain(values), (expected[first], tokens[first])) for name, values in logits.items()}
    name = max(short, key=lambda name: short[name])
    if short[name] > max(gap, float(most)):
        detail = f"{detail}, of which {name} has one {short[name]:.3g} nats below its top-1 token"
        return Finding("generate", mode, "tokens", "fail", short[name], NEAR_TIE, location, detail)
    # After a tie the tokens belong to two different outputs: only the teacher-forced logits compare further.
    grade: Grade = "warn" if gap <= most else "fail"
    return Finding("generate", mode, "tokens", grade, gap, NEAR_TIE, location, f"{detail}, logprob gap {gap:.3g} nats under the reference")


def _each_by_its_own(mode: Mode, sides: SampleOutputs, side: SideOutputs, position: int, tokens: tuple[int, int], detail: str) -> Finding:
    """With lossy choices two tokens may differ anywhere, but each has to be what the reference that loses the same would take, or nearly.

    Args:
        side: which the second of the tokens is of; the first is the baseline's.
    """
    assert sides.reference is not None
    owners: tuple[tuple[Side, SideOutputs], ...] = (
        ("baseline", sides.baseline),
        ("baseline" if mode == "baseline-repeat" else "optimized", side),
    )
    short, most = [], []
    for (name, outputs), token in zip(owners, tokens, strict=True):
        logits = plain(sides.reference["generate"]) + sides.lost.get(name, {}).get("generate", 0.0)
        exact, own = (_log_softmax(values[position : position + 1]) for values in (logits, plain(outputs.arrays["generate"])))
        best = int(exact[0].argmax())
        short.append(float(exact[0, best] - exact[0, token]))
        most.append(float(explained(own, own, exact, np.array([best]), np.array([token]))[0]))
    worst = max(range(2), key=lambda number: short[number] / most[number])
    grade: Grade = "pass" if max(short) <= NEAR_TIE else "warn" if short[worst] <= most[worst] else "fail"
    told = f"{detail}, {short[0]:.3g} and {short[1]:.3g} nats below what a reference takes that loses the same as the side"
    return Finding("generate", mode, "tokens", grade, short[worst], NEAR_TIE, f"position {position}", told)


def _shortfall(logits: Array, tokens: Sequence[int]) -> float:
    """Nats by which the less likely of the tokens is below the top-1 token."""
    return float(logits.max() - logits[list(tokens)].min())
