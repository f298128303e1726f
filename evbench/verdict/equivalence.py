"""Outputs of two sides for a sample -> one check for each rule: value, threshold and location of the worst element. Pure.

The error rule is relative to the error that the baseline itself has against a reference of higher precision: the root mean square of the
whole (as in pytorch/pytorch:torch/_dynamo/utils.py, `same`) catches small faults that are everywhere, that of each row (a frame, a token, a
position) one bad row among good ones, and the maximum (as in Dao-AILab/flash-attention:hopper/test_flash_attn.py) a few bad elements. The
thresholds lie between planted faults and equal computations; profiles/cpu/mutants records how far each is away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evbench.results import ISOLATED, STAGES, Check, Grade, Mode, Work
from evbench.verdict.diagnosis import explain_frames

Array = npt.NDArray[np.floating]
WHOLE = 2.0
"""Factor on the baseline's own error that the RMS error of the whole may reach. Equal computations stay below 1.4."""
ROW = {"float32": 4.0, "bfloat16": 6.0}
"""Factor for one row: of thousands, some are by chance as far away (2.8 and 4.6 seen)."""
ELEMENT = 3.0
"""Factor for the max abs error in a row."""
TOLERANCES = {"float32": 1e-5, "bfloat16": 1e-3}
"""Added to each, relative to the RMS of the reference: where the baseline has no error at all, last bits are allowed."""
OWN_ERROR = "relative error against the reference"
"""The rule for the baseline alone."""
MOST_OWN = 0.3
"""Maximum of the baseline's own error, relative to the RMS of the reference. Random weights amplify the rounding of pixels."""
MOST_LEVELS = 2.0
"""Maximum 8-bit levels between the frames of two decoders (meta-pytorch/torchcodec:test/utils.py)."""
MOST_BEYOND_ONE = 0.01
LEAST_DECIBELS = 40.0
"""Of a frame that is not equal and still passes with a warning."""
MOST_QUANTA = 2.0
NEARLY_ALL_QUANTA = 6.0
"""8-bit levels within which 99.9 % of pixel values must lie for a warning instead of a failure. Another decoder: 3.8. Another colour
matrix: 17."""
MOST_SHIFT = 0.1
"""Maximum 8-bit levels between the means of a channel: rounding shifts no mean."""
SIMILAR, ALIKE = 0.001, 0.01
"""Cosine distance of two feature vectors that passes, and that passes with a warning (vllm-project/vllm:tests/models/utils.py)."""
MOST_DIVERGENCE = 1e-3
"""Maximum KL divergence of next-token distributions, in nats, beyond the baseline's own (source:
ikawrakow/ik_llama.cpp:examples/perplexity/README.md)."""
NEAR_TIE, NEARLY_TIE = 0.125, 0.5
"""Logprob gap in nats, under the reference, between two tokens that rounding may exchange: passes, passes with a warning."""
MODEL_EDGE = 224
"""Frames are compared at the size at which the model sees them: at hard edges decoders interpolate colour differently."""
AXES = {"load": "frame, row, column, channel", "preprocess": "frame, channel, row, column", "generate": "position, token"}
GRADES: tuple[Grade, ...] = ("pass", "warn", "fail")
MODES: tuple[Mode, ...] = ("baseline-repeat", "end-to-end", "stage-isolated")


@dataclass(frozen=True)
class Seen:
    """Outputs of one side for one sample."""

    arrays: Mapping[str, npt.NDArray[np.generic]]
    """By stage; of a stage that ran on the baseline's input, under `stage-isolated/`."""
    work: Work
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    quantum: float


@dataclass(frozen=True)
class SampleOutputs:
    """Outputs of both sides and of the reference for one sample."""

    baseline: Seen
    again: Seen
    """The baseline repeat."""
    optimized: Seen
    reference: Mapping[str, Array] | None
    """Outputs of the reference for the baseline's inputs. None if it did not fit on this machine."""
    answers: Collection[tuple[int, ...]]
    """Tokens of all timed runs of the optimized side."""
    usual: Collection[tuple[int, ...]]
    """Those of the baseline."""


@dataclass(frozen=True)
class Finding:
    """A rule, for one sample."""

    stage: str
    mode: Mode
    rule: str
    grade: Grade
    value: float
    threshold: float
    location: str = ""
    detail: str = ""


def compare_sample(sides: SampleOutputs, dtype: str) -> list[Finding]:
    """All findings of one sample, in the order of modes and stages."""
    found = _same_input(sides)
    found += _stages("baseline-repeat", sides.baseline, sides.again, sides, dtype)
    found += _stages("end-to-end", sides.baseline, sides.optimized, sides, dtype)
    found += _stages("stage-isolated", sides.baseline, sides.optimized, sides, dtype)
    found += _tokens("baseline-repeat", sides, {sides.again.tokens, *sides.usual}, sides.again)
    found += _tokens("end-to-end", sides, {sides.optimized.tokens, *sides.answers}, sides.optimized)
    return sorted(found, key=lambda finding: (MODES.index(finding.mode), STAGES.index(finding.stage)))


def merge(samples: Mapping[int, Sequence[Finding]]) -> tuple[Check, ...]:
    """One check for each rule, over all samples."""
    grouped: dict[tuple[str, Mode, str], dict[int, Finding]] = {}
    for sample, found in samples.items():
        for finding in found:
            grouped.setdefault((finding.stage, finding.mode, finding.rule), {})[sample] = finding

    def badness(finding: Finding) -> tuple[int, float]:
        return GRADES.index(finding.grade), distance(finding.value, finding.threshold)

    checks = []
    for (stage, mode, rule), findings in grouped.items():
        sample = max(findings, key=lambda sample: badness(findings[sample]))
        worst = findings[sample]
        failed = sum(finding.grade == "fail" for finding in findings.values())
        checks.append(
            Check(stage, mode, rule, worst.grade, worst.value, worst.threshold, worst.location, worst.detail, sample, len(findings), failed)
        )
    return tuple(checks)


def distance(value: float, threshold: float) -> float:
    """Value over threshold: 1 is at the threshold, more is beyond."""
    if threshold > 0:
        return value / threshold
    return 0.0 if value <= 0 else float("inf")


# Inputs of the model.


def _same_input(sides: SampleOutputs) -> list[Finding]:
    ours, theirs = sides.baseline.work, sides.optimized.work
    indices = _differing(ours.frame_indices, theirs.frame_indices)
    times = _differing(ours.frame_seconds, theirs.frame_seconds)
    prompt = _differing(sides.baseline.prompt, sides.optimized.prompt)
    return [
        _exact("load", "frame indices", indices, f"{_listed(ours.frame_indices)} and {_listed(theirs.frame_indices)}"),
        _exact("load", "frame times", times, f"{_listed(ours.frame_seconds)} and {_listed(theirs.frame_seconds)}"),
        _exact("preprocess", "prompt tokens", prompt, f"{len(sides.baseline.prompt)} and {len(sides.optimized.prompt)} tokens"),
    ]


def _exact(stage: str, rule: str, differing: Sequence[int], detail: str) -> Finding:
    if not differing:
        return Finding(stage, "end-to-end", rule, "pass", 0.0, 0.0)
    return Finding(stage, "end-to-end", rule, "fail", float(len(differing)), 0.0, f"index {differing[0]}", detail)


def _differing(ours: Sequence[object] | None, theirs: Sequence[object] | None) -> list[int]:
    one, other = ours or (), theirs or ()
    indices = [index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
    return indices + list(range(min(len(one), len(other)), max(len(one), len(other))))


def _listed(values: Sequence[object] | None) -> str:
    return "none" if values is None else " ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values)


# Stages.


def _stages(mode: Mode, ours: Seen, theirs: Seen, sides: SampleOutputs, dtype: str) -> list[Finding]:
    found = [] if mode == "stage-isolated" else _frames(mode, ours, theirs)
    same_frames = np.array_equal(ours.arrays["load"], theirs.arrays["load"])
    for stage in STAGES[1:]:
        name = ISOLATED + stage if mode == "stage-isolated" else stage
        base, made = _plain(ours.arrays[stage]), _plain(theirs.arrays[name])
        again = _plain(sides.again.arrays[stage])
        if base.shape != made.shape:
            found.append(Finding(stage, mode, "shape", "fail", 1.0, 0.0, "", f"{list(base.shape)} and {list(made.shape)}"))
            continue
        reference = _reference(sides, stage, mode)
        finite = _finite(stage, mode, base, made)
        if reference is not None and not (reference.shape == base.shape and np.isfinite(reference).all()):
            finite = Finding(stage, mode, "NaN or infinity", "fail", 1.0, 0.0, "", "the reference is not finite, or of another shape")
        found.append(finite)
        if finite.grade == "fail":
            continue
        # For other frames the reference has other outputs too. The frames are compared as frames, and later stages end-to-end by their
        # distance only; how exactly each stage computes is compared stage-isolated.
        if reference is not None and (mode == "stage-isolated" or same_frames):
            # The second run is compared with the error of the first alone: by thresholds that include its own error it would always pass.
            other = base if mode == "baseline-repeat" or again.shape != base.shape else again
            error = _Error(stage, base, other, reference, dtype)
            found += error.judge(mode, made)
            if mode == "baseline-repeat":
                found.append(error.of_baseline())
        if stage == "preprocess":
            own = 0.0 if reference is None else float(np.abs(base - reference).max())
            found.append(_quanta(mode, base, made, ours.quantum, own))
            if mode == "stage-isolated":
                found.append(_shift(mode, base, made, ours.quantum))
        elif stage == "vision":
            found.append(_cosine(stage, mode, base, made))
        elif reference is not None:
            found += _distributions(mode, base, made, reference)
        else:
            found.append(_cosine(stage, mode, base, made))
        if mode == "baseline-repeat":
            found.append(_repeats(stage, base, made))
    return found


def _reference(sides: SampleOutputs, stage: str, mode: Mode) -> Array | None:
    if sides.reference is None:
        return None
    # The frames that preprocessing is given are the baseline's in both.
    name = ISOLATED + stage if mode == "stage-isolated" and stage != "preprocess" else stage
    return _plain(sides.reference[name])


def _plain(values: npt.NDArray[np.generic]) -> Array:
    return values.astype(np.float64)


def _finite(stage: str, mode: Mode, base: Array, made: Array) -> Finding:
    new = ~np.isfinite(made) & np.isfinite(base)
    before = int((~np.isfinite(base)).sum())
    detail = f"the baseline has {before} values that are not finite, so no other rule applies to this stage" if before else ""
    grade: Grade = "fail" if new.any() or before else "pass"
    place = _place(stage, np.unravel_index(int(new.argmax()), new.shape)) if new.any() else ""
    return Finding(stage, mode, "NaN or infinity", grade, float(new.sum()), 0.0, place, detail)


class _Error:
    """The error rule of one stage: the baseline's own error against the reference, and thresholds relative to it."""

    def __init__(self, stage: str, base: Array, again: Array, reference: Array, dtype: str) -> None:
        self._stage, self._reference = stage, reference
        self._size = float(np.sqrt(np.mean(reference**2)))
        tolerance = TOLERANCES[dtype] * self._size
        errors = (base - reference, again - reference)
        own = np.maximum(*(_rms(error, stage) for error in errors))
        most = np.maximum(*(_most(error, stage) for error in errors))
        self._own = max(float(np.sqrt(np.mean(error**2))) for error in errors)
        self._whole_threshold = WHOLE * self._own + tolerance
        # A row in which the baseline happens to be exact would fail everybody else: the median row is its minimum.
        self._row_threshold = ROW[dtype] * np.maximum(own, np.median(own)) + tolerance
        last_bits = float(np.abs(_rounded(_rounded(reference + 0.3, dtype) - 0.3, dtype) - reference).max())
        self._max_threshold = ELEMENT * np.maximum(most, np.median(most)) + 2 * last_bits

    def of_baseline(self) -> Finding:
        """A baseline that is far from the reference would let anything pass."""
        value = self._own / self._size if self._size else 0.0
        grade: Grade = "pass" if value <= MOST_OWN else "fail"
        return Finding(self._stage, "baseline-repeat", OWN_ERROR, grade, value, MOST_OWN)

    def judge(self, mode: Mode, made: Array) -> list[Finding]:
        error = made - self._reference
        whole = float(np.sqrt(np.mean(error**2)))
        grade: Grade = "pass" if whole <= self._whole_threshold else "fail"
        return [
            Finding(self._stage, mode, "RMS error", grade, whole, self._whole_threshold),
            self._worst(mode, "RMS error, worst row", _rms(error, self._stage), self._row_threshold, None),
            self._worst(mode, "max abs error", _most(error, self._stage), self._max_threshold, error),
        ]

    def _worst(self, mode: Mode, rule: str, values: Array, thresholds: Array, error: Array | None) -> Finding:
        row = np.unravel_index(int(np.argmax(values / thresholds)), values.shape)
        inside = () if error is None else np.unravel_index(int(np.abs(error[row]).argmax()), error[row].shape)
        beyond = int((~(values <= thresholds)).sum())
        grade: Grade = "fail" if beyond else "pass"
        detail = f"{beyond} of {values.size} rows" if beyond else ""
        location = _place(self._stage, (*row, *inside))
        return Finding(self._stage, mode, rule, grade, float(values[row]), float(thresholds[row]), location, detail)


def _row_axes(stage: str, values: Array) -> tuple[int, ...]:
    """Axes within a row: a frame has three, the vector of a token or position is one."""
    return tuple(range(1, values.ndim)) if stage in ("load", "preprocess") else (values.ndim - 1,)


def _rms(error: Array, stage: str) -> Array:
    return np.asarray(np.sqrt(np.mean(error**2, axis=_row_axes(stage, error))))


def _most(error: Array, stage: str) -> Array:
    return np.asarray(np.abs(error).max(axis=_row_axes(stage, error)))


def _rounded(values: Array, dtype: str) -> Array:
    """To the nearest value that the type holds; ties in bfloat16 to even."""
    single = values.astype(np.float32)
    if dtype == "bfloat16":
        bits = single.view(np.uint32)
        single = ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).astype(np.uint32).view(np.float32)
    return single.astype(np.float64)


def _place(stage: str, index: Iterable[int | np.integer]) -> str:
    numbers = [int(number) for number in index]
    names = AXES.get(stage, "frame, token, feature").split(", ")
    if stage == "vision" and len(numbers) == 2 and numbers[0] >= 64:
        names = names[1:]
    return ", ".join(f"{name} {number}" for name, number in zip(names, numbers, strict=False))


def _repeats(stage: str, base: Array, made: Array) -> Finding:
    """Whether the baseline repeats itself bit by bit. If not it is no fault: its spread is part of the thresholds."""
    spread = float(np.abs(made - base).max())
    return Finding(stage, "baseline-repeat", "bitwise repeatability", "warn" if spread else "pass", spread, 0.0)


# Rules of single stages.


def _frames(mode: Mode, ours: Seen, theirs: Seen) -> list[Finding]:
    base, made = ours.arrays["load"], theirs.arrays["load"]
    if base.shape != made.shape:
        return [Finding("load", mode, "shape", "fail", 1.0, 0.0, "", f"{list(base.shape)} and {list(made.shape)}")]
    if ours.work.frame_seconds is None:
        return [_identical(mode, base, made)]
    # The share and the mean are of the frames as the model sees them, each difference is a mean over few pixels.
    one, other = _seen_by_model(base), _seen_by_model(made)
    difference = np.abs(one - other)
    most, mean = float(difference.max()), float(difference.mean())
    beyond = float((difference > 1).mean(axis=(1, 2, 3)).max())
    power = float(np.mean(difference**2, axis=(1, 2, 3)).max())
    decibels = float("inf") if power == 0 else 10 * float(np.log10(255**2 / power))
    if most <= MOST_LEVELS and beyond <= MOST_BEYOND_ONE:
        grade: Grade = "pass"
    else:
        grade = "warn" if decibels >= LEAST_DECIBELS else "fail"
    detail = f"mean {mean:.2f}, {beyond:.1%} beyond 1 level, PSNR {decibels:.1f} dB in the worst frame"
    if grade == "fail":
        detail = f"{detail}; {explain_frames(one, other)}"
    place = _place("load", np.unravel_index(int(difference.argmax()), difference.shape)) if most else ""
    return [Finding("load", mode, "max abs difference (8-bit levels)", grade, most, MOST_LEVELS, place, detail if most else "")]


def _identical(mode: Mode, base: npt.NDArray[np.generic], made: npt.NDArray[np.generic]) -> Finding:
    """Event images are lossless, and have one correct rendering: each pixel is that of its last event."""
    differing = (base != made).any(axis=-1)  # [images, height, width]
    count = int(differing.sum())
    if not count:
        return Finding("load", mode, "differing pixels", "pass", 0.0, 0.0)
    detail = f"{differing.mean():.2%} of all; {explain_frames(_seen_by_model(base), _seen_by_model(made))}"
    place = _place("load", np.unravel_index(int(differing.argmax()), differing.shape))
    return Finding("load", mode, "differing pixels", "fail", float(count), 0.0, place, detail)


def _seen_by_model(frames: npt.NDArray[np.generic]) -> Array:
    # frames: [frames, height, width, 3] -> means over squares, about 224 pixels high
    count, height, width, channels = frames.shape
    edge = max(1, min(height, width) // MODEL_EDGE)
    rows, columns = -(-height // edge), -(-width // edge)
    margin = ((0, 0), (0, rows * edge - height), (0, columns * edge - width), (0, 0))
    whole = np.pad(frames.astype(np.float32), margin, mode="edge")
    # One axis after the other, in a third of the time that both at once take. Sums of levels are exact in float32.
    sums = whole.reshape(count, rows, edge, columns * edge * channels).sum(axis=2)
    return np.asarray(sums.reshape(count, rows, columns, edge, channels).sum(axis=3) / np.float32(edge**2))


def _quanta(mode: Mode, base: Array, made: Array, quantum: float, own: float) -> Finding:
    """`own` is the largest error that the baseline has itself: it rounds twice, and so does whoever does it otherwise."""
    threshold = max(MOST_QUANTA, own / quantum)
    difference = np.abs(made - base) / quantum
    most, nearly_all = float(difference.max()), float(np.quantile(difference, 0.999))
    grade: Grade = "pass" if most <= threshold + 1e-3 else "warn" if nearly_all <= NEARLY_ALL_QUANTA else "fail"
    place = _place("preprocess", np.unravel_index(int(difference.argmax()), difference.shape)) if most else ""
    detail = f"99.9 % within {nearly_all:.2f}" if most else ""
    return Finding("preprocess", mode, "max abs difference (8-bit levels)", grade, most, threshold, place, detail)


def _shift(mode: Mode, base: Array, made: Array, quantum: float) -> Finding:
    shifts = np.abs((made - base).mean(axis=(2, 3))) / quantum
    worst, most = np.unravel_index(int(shifts.argmax()), shifts.shape), float(shifts.max())
    grade: Grade = "pass" if most <= MOST_SHIFT else "fail"
    return Finding("preprocess", mode, "mean shift (8-bit levels)", grade, most, MOST_SHIFT, _place("preprocess", worst))


def _cosine(stage: str, mode: Mode, base: Array, made: Array) -> Finding:
    lengths = np.linalg.norm(base, axis=-1) * np.linalg.norm(made, axis=-1)
    apart = 1 - (base * made).sum(axis=-1) / np.where(lengths > 0, lengths, 1)
    worst = np.unravel_index(int(apart.argmax()), apart.shape)
    value = max(0.0, float(apart[worst]))
    grade: Grade = "pass" if value <= SIMILAR else "warn" if value <= ALIKE else "fail"
    return Finding(stage, mode, "cosine distance", grade, value, SIMILAR, _place(stage, worst))


def _distributions(mode: Mode, base: Array, made: Array, reference: Array) -> list[Finding]:
    # [positions, vocabulary]
    exact, ours, theirs = map(_log_softmax, (reference, base, made))

    def divergence(other: Array) -> Array:
        return np.asarray((np.exp(exact) * (exact - other)).sum(axis=-1))

    own, other = divergence(ours), divergence(theirs)
    threshold = MOST_DIVERGENCE + 2 * float(own.mean())
    value = float(other.mean())
    grade: Grade = "pass" if value <= threshold else "warn" if value <= 10 * threshold else "fail"
    worst = _place("generate", (int(other.argmax()),))
    found = [Finding("generate", mode, "KL divergence (nats)", grade, value, threshold, worst)]

    positions = np.arange(len(base))
    one, another = base.argmax(axis=-1), made.argmax(axis=-1)
    gaps = np.abs(exact[positions, one] - exact[positions, another])
    count, largest = int((one != another).sum()), float(gaps.max())
    grade = "pass" if largest <= NEAR_TIE else "warn" if largest <= NEARLY_TIE else "fail"
    # Of n positions of which none differs, at most 3/n differ in general (the rule of three, at 95 %).
    detail = f"{count} of {len(base)} positions differ; at most {min(1.0, _most_share(count, len(base))):.1%} in general (95% CI)"
    return [
        *found,
        Finding("generate", mode, "top-1 logprob gap (nats)", grade, largest, NEAR_TIE, _place("generate", (int(gaps.argmax()),)), detail),
    ]


def _most_share(count: int, of: int) -> float:
    """Upper 95 % bound of a share: 3/n for none; above, by the normal approximation of Wilson's interval."""
    if not count:
        return 3 / of
    z, share = 1.645, count / of
    return float((share + z**2 / (2 * of) + z * np.sqrt(share * (1 - share) / of + z**2 / (4 * of**2))) / (1 + z**2 / of))


def _log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


# Tokens.


def _tokens(mode: Mode, sides: SampleOutputs, answers: Collection[tuple[int, ...]], seen: Seen) -> list[Finding]:
    """Greedy tokens of every run: identical, or different from a near tie on."""
    expected = sides.baseline.tokens
    different = [answer for answer in answers if answer != expected]
    if not different:
        return [Finding("generate", mode, "tokens", "pass", 0.0, NEAR_TIE, "", f"identical in all runs, all {len(expected)}")]
    return [
        max(
            (_divergence(mode, sides, answer, seen) for answer in different),
            key=lambda finding: (GRADES.index(finding.grade), finding.value),
        )
    ]


def _divergence(mode: Mode, sides: SampleOutputs, answer: tuple[int, ...], seen: Seen) -> Finding:
    expected = sides.baseline.tokens
    pairs = enumerate(zip(expected, answer, strict=False))  # the shorter decides
    first = next((position for position, (one, other) in pairs if one != other), None)
    if first is None:
        lengths = len(expected), len(answer)
        detail = f"one of the outputs is cut: {lengths[0]} and {lengths[1]} tokens"
        return Finding("generate", mode, "tokens", "fail", abs(lengths[0] - lengths[1]), 0.0, f"position {min(lengths)}", detail)
    location, detail = f"position {first}", f"tokens {expected[first]} and {answer[first]}"
    if sides.reference is None:
        return Finding("generate", mode, "tokens", "fail", 1.0, 0.0, location, f"{detail}; no reference to measure the logprob gap by")
    exact = _log_softmax(_plain(sides.reference["generate"][first : first + 1]))[0]
    gap = abs(float(exact[expected[first]] - exact[answer[first]]))
    # Nor may one of the two be far below the top-1 token of either side: rounding does not explain that. Several tokens may be in a tie,
    # and these two need not be the first two of them.
    logits = {"the baseline": sides.baseline.arrays["generate"][first], "the optimized side": seen.arrays["generate"][first]}
    short = {side: _shortfall(_plain(values), (expected[first], answer[first])) for side, values in logits.items()}
    side = max(short, key=lambda name: short[name])
    if short[side] > max(gap, NEARLY_TIE):
        detail = f"{detail}, of which {side} has one {short[side]:.3g} nats below its top-1 token"
        return Finding("generate", mode, "tokens", "fail", short[side], NEAR_TIE, location, detail)
    # After a tie the tokens belong to two different outputs: only the teacher-forced logits compare further.
    grade: Grade = "warn" if gap <= NEARLY_TIE else "fail"
    return Finding("generate", mode, "tokens", grade, gap, NEAR_TIE, location, f"{detail}, logprob gap {gap:.3g} nats under the reference")


def _shortfall(logits: Array, tokens: Sequence[int]) -> float:
    """Nats by which the less likely of the tokens is below the top-1 token."""
    return float(logits.max() - logits[list(tokens)].min())


def worst(checks: Iterable[Check]) -> Grade:
    """The worst grade of several checks."""
    return max((check.grade for check in checks), key=GRADES.index, default="pass")


def first_divergence(checks: Sequence[Check]) -> Check | None:
    """The failed check to blame: of the first stage that fails stage-isolated, else of the first that fails at all."""
    failed = [check for check in checks if check.grade == "fail" and check.mode != "baseline-repeat"]
    alone = [check for check in failed if check.mode == "stage-isolated" or check.stage == "load"]
    return min(alone or failed, key=lambda check: STAGES.index(check.stage), default=None)
