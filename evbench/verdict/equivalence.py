"""What two sides made of a sample -> one check for each rule, with its figure, its line and the worst element's place. Pure.

The error rule is relative to the error that the baseline itself has against a reference of higher precision: the root mean square of the
whole (as in pytorch/pytorch:torch/_dynamo/utils.py, `same`) catches small faults that are everywhere, that of each row (a frame, a token, a
position) one bad row among good ones, and the maximum (as in Dao-AILab/flash-attention:hopper/test_flash_attn.py) a few bad elements. The
lines lie between what faults do that are planted and what equal computations do; profiles/cpu/mutants records how far each stands away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evbench.colours import CHANGES
from evbench.results import STAGES, SWAPPED, Check, Fed, Grade, Work

CLEARLY = 1 / 3
"""Share of the difference that may be left for an explanation to be told."""


def explain_frames(ours: Array, theirs: Array) -> str:
    """What turns the one into the other, if it is something known.

    Args:
        ours, theirs: [frames, height, width, 3], levels of 255.
    """
    usual = float(np.abs(ours - theirs).mean())
    order = _order(ours, theirs)
    if order:
        return order
    left = {name: float(np.abs(np.clip(change(ours), 0, 255) - theirs).mean()) for name, change in CHANGES.items()}
    best = min(left, key=lambda name: left[name])
    return f"it looks like {best}" if left[best] < CLEARLY * usual else "no known change of colour or order explains it"


def _order(ours: Array, theirs: Array) -> str:
    """Whether the frames are others of the same."""
    # Small pictures tell frames apart well enough.
    one, other = ours[:, ::4, ::4].astype(np.float32), theirs[:, ::4, ::4].astype(np.float32)
    apart = np.array([[np.abs(frame - candidate).mean() for candidate in one] for frame in other])
    nearest = apart.argmin(axis=1)
    own = np.arange(len(ours))
    if (nearest == own).all() or apart.min(axis=1).mean() > CLEARLY * apart[own, own].mean():
        return ""
    return f"its frames look like the baseline's {' '.join(map(str, nearest))}"


Array = npt.NDArray[np.floating]
WHOLE = 2.0
"""So many times the baseline's own error may be the root mean square of the whole. Equal computations stay below 1.4."""
ROW = {"float32": 4.0, "bfloat16": 6.0}
"""And that of one row: of thousands, some are by chance as far away (2.8 and 4.6 seen)."""
ELEMENT = 3.0
"""And the largest error in a row."""
TOLERANCES = {"float32": 1e-5, "bfloat16": 1e-3}
"""Added to it, relative to the size of what is compared: where the baseline has no error at all, last bits are none either."""
OWN_ERROR = "its error, relative"
"""The rule for the baseline by itself."""
MOST_OWN = 0.3
"""Of the baseline's own error, relative to the size of what is compared. Random weights make much of the rounding of pixels."""
MOST_LEVELS = 2.0
"""Between two decoders' frames, of 255 (meta-pytorch/torchcodec:test/utils.py)."""
MOST_BEYOND_ONE = 0.01
LEAST_DECIBELS = 40.0
"""Of a frame that is not equal and still passes with a warning."""
MOST_QUANTA = 2.0
NEARLY_ALL_QUANTA = 6.0
"""Levels that 99.9 % of pixel values stay within, of what passes with a warning. Another decoder: 3.8. Another colour matrix: 17."""
MOST_SHIFT = 0.1
"""Levels between the means of a channel: rounding has none."""
SIMILAR, ALIKE = 0.001, 0.01
"""1 - cosine of two feature vectors: passes, passes with a warning (vllm-project/vllm:tests/models/utils.py)."""
MOST_DIVERGENCE = 1e-3
"""Of two distributions of the next token, in nats, beyond the baseline's own (ikawrakow/ik_llama.cpp:examples/perplexity/README.md)."""
NEAR_TIE, NEARLY_TIE = 0.125, 0.5
"""Nats between two tokens, under the reference, that rounding may exchange: passes, passes with a warning."""
MODEL_EDGE = 224
"""Frames are compared at the size at which the model sees them: at hard edges decoders interpolate colour differently."""
AXES = {"load": "frame, row, column, channel", "preprocess": "frame, channel, row, column", "generate": "position, token"}
GRADES: tuple[Grade, ...] = ("pass", "warn", "fail")
FED: tuple[Fed, ...] = ("twice", "chained", "swapped")


@dataclass(frozen=True)
class Seen:
    """One sample, as one side saw it."""

    arrays: Mapping[str, npt.NDArray[np.generic]]
    """By stage, those of a stage that was fed with the baseline's input under `swapped/`."""
    work: Work
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    quantum: float


@dataclass(frozen=True)
class SampleOutputs:
    """All that is known of one sample."""

    baseline: Seen
    again: Seen
    """The baseline a second time."""
    optimized: Seen
    reference: Mapping[str, Array] | None
    """What exact arithmetic makes of the baseline's inputs. None if it did not fit on this machine."""
    answers: Collection[tuple[int, ...]]
    """Tokens of all timed runs of the optimized side."""
    usual: Collection[tuple[int, ...]]
    """Those of the baseline."""


@dataclass(frozen=True)
class Finding:
    """A rule, for one sample."""

    stage: str
    fed: Fed
    rule: str
    grade: Grade
    figure: float
    line: float
    place: str = ""
    told: str = ""


def compare_sample(sides: SampleOutputs, dtype: str) -> list[Finding]:
    """Everything that is to be said of one sample, in the order of the stages."""
    found = _same_input(sides)
    found += _stages("twice", sides.baseline, sides.again, sides, dtype)
    found += _stages("chained", sides.baseline, sides.optimized, sides, dtype)
    found += _stages("swapped", sides.baseline, sides.optimized, sides, dtype)
    found += _tokens("twice", sides, {sides.again.tokens, *sides.usual}, sides.again)
    found += _tokens("chained", sides, {sides.optimized.tokens, *sides.answers}, sides.optimized)
    return sorted(found, key=lambda finding: (FED.index(finding.fed), STAGES.index(finding.stage)))


def merge(samples: Mapping[int, Sequence[Finding]]) -> tuple[Check, ...]:
    """One check for each rule, over all samples."""
    grouped: dict[tuple[str, Fed, str], dict[int, Finding]] = {}
    for sample, found in samples.items():
        for finding in found:
            grouped.setdefault((finding.stage, finding.fed, finding.rule), {})[sample] = finding

    def badness(finding: Finding) -> tuple[int, float]:
        return GRADES.index(finding.grade), distance(finding.figure, finding.line)

    checks = []
    for (stage, fed, rule), findings in grouped.items():
        sample = max(findings, key=lambda sample: badness(findings[sample]))
        worst = findings[sample]
        failed = sum(finding.grade == "fail" for finding in findings.values())
        checks.append(
            Check(stage, fed, rule, worst.grade, worst.figure, worst.line, worst.place, worst.told, sample, len(findings), failed)
        )
    return tuple(checks)


def distance(figure: float, line: float) -> float:
    """How far a figure stands from its line: 1 is on it, more is beyond."""
    if line > 0:
        return figure / line
    return 0.0 if figure <= 0 else float("inf")


# What is given to the model.


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


def _exact(stage: str, rule: str, differing: Sequence[int], told: str) -> Finding:
    if not differing:
        return Finding(stage, "chained", rule, "pass", 0.0, 0.0)
    return Finding(stage, "chained", rule, "fail", float(len(differing)), 0.0, f"place {differing[0]}", told)


def _differing(ours: Sequence[object] | None, theirs: Sequence[object] | None) -> list[int]:
    one, other = ours or (), theirs or ()
    places = [place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
    return places + list(range(min(len(one), len(other)), max(len(one), len(other))))


def _listed(values: Sequence[object] | None) -> str:
    return "none" if values is None else " ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values)


# Stages.


def _stages(fed: Fed, ours: Seen, theirs: Seen, sides: SampleOutputs, dtype: str) -> list[Finding]:
    found = [] if fed == "swapped" else _frames(fed, ours, theirs)
    same_frames = np.array_equal(ours.arrays["load"], theirs.arrays["load"])
    for stage in STAGES[1:]:
        name = SWAPPED + stage if fed == "swapped" else stage
        base, made = _plain(ours.arrays[stage]), _plain(theirs.arrays[name])
        again = _plain(sides.again.arrays[stage])
        if base.shape != made.shape:
            found.append(Finding(stage, fed, "shape", "fail", 1.0, 0.0, "", f"{list(base.shape)} and {list(made.shape)}"))
            continue
        reference = _reference(sides, stage, fed)
        finite = _finite(stage, fed, base, made)
        if reference is not None and not (reference.shape == base.shape and np.isfinite(reference).all()):
            finite = Finding(stage, fed, "NaN or infinity", "fail", 1.0, 0.0, "", "the reference is not finite, or of another shape")
        found.append(finite)
        if finite.grade == "fail":
            continue
        # Of other frames exact arithmetic makes something else too. They are judged as frames, and what follows from them by how far
        # it went; how exactly each stage computes is judged where it is fed with the baseline's input.
        if reference is not None and (fed == "swapped" or same_frames):
            # The second run is judged by the first alone: by lines that hold its own error it would always pass.
            other = base if fed == "twice" or again.shape != base.shape else again
            error = _Error(stage, base, other, reference, dtype)
            found += error.judge(fed, made)
            if fed == "twice":
                found.append(error.of_baseline())
        if stage == "preprocess":
            own = 0.0 if reference is None else float(np.abs(base - reference).max())
            found.append(_quanta(fed, base, made, ours.quantum, own))
            if fed == "swapped":
                found.append(_shift(fed, base, made, ours.quantum))
        elif stage == "vision":
            found.append(_cosine(stage, fed, base, made))
        elif reference is not None:
            found += _distributions(fed, base, made, reference)
        else:
            found.append(_cosine(stage, fed, base, made))
        if fed == "twice":
            found.append(_repeats(stage, base, made))
    return found


def _reference(sides: SampleOutputs, stage: str, fed: Fed) -> Array | None:
    if sides.reference is None:
        return None
    # The frames that preprocessing is given are the baseline's in both.
    name = SWAPPED + stage if fed == "swapped" and stage != "preprocess" else stage
    return _plain(sides.reference[name])


def _plain(values: npt.NDArray[np.generic]) -> Array:
    return values.astype(np.float64)


def _finite(stage: str, fed: Fed, base: Array, made: Array) -> Finding:
    new = ~np.isfinite(made) & np.isfinite(base)
    before = int((~np.isfinite(base)).sum())
    told = f"the baseline has {before} that are not finite; nothing else can be said of this stage" if before else ""
    grade: Grade = "fail" if new.any() or before else "pass"
    place = _place(stage, np.unravel_index(int(new.argmax()), new.shape)) if new.any() else ""
    return Finding(stage, fed, "NaN or infinity", grade, float(new.sum()), 0.0, place, told)


class _Error:
    """The error rule of one stage: what error the baseline has, and how much more is let pass."""

    def __init__(self, stage: str, base: Array, again: Array, reference: Array, dtype: str) -> None:
        self._stage, self._reference = stage, reference
        self._size = float(np.sqrt(np.mean(reference**2)))
        tolerance = TOLERANCES[dtype] * self._size
        errors = (base - reference, again - reference)
        own = np.maximum(*(_rms(error, stage) for error in errors))
        most = np.maximum(*(_most(error, stage) for error in errors))
        self._own = max(float(np.sqrt(np.mean(error**2))) for error in errors)
        self._whole_line = WHOLE * self._own + tolerance
        # A row in which the baseline happens to be exact gives nobody else a chance: it counts as the usual row.
        self._row_line = ROW[dtype] * np.maximum(own, np.median(own)) + tolerance
        last_bits = float(np.abs(_rounded(_rounded(reference + 0.3, dtype) - 0.3, dtype) - reference).max())
        self._most_line = ELEMENT * np.maximum(most, np.median(most)) + 2 * last_bits

    def of_baseline(self) -> Finding:
        """A baseline that is far from the reference would let anything pass."""
        figure = self._own / self._size if self._size else 0.0
        grade: Grade = "pass" if figure <= MOST_OWN else "fail"
        return Finding(self._stage, "twice", OWN_ERROR, grade, figure, MOST_OWN)

    def judge(self, fed: Fed, made: Array) -> list[Finding]:
        error = made - self._reference
        whole = float(np.sqrt(np.mean(error**2)))
        grade: Grade = "pass" if whole <= self._whole_line else "fail"
        return [
            Finding(self._stage, fed, "root mean square error", grade, whole, self._whole_line),
            self._worst(fed, "root mean square error of a row", _rms(error, self._stage), self._row_line, None),
            self._worst(fed, "largest error", _most(error, self._stage), self._most_line, error),
        ]

    def _worst(self, fed: Fed, rule: str, figures: Array, lines: Array, error: Array | None) -> Finding:
        row = np.unravel_index(int(np.argmax(figures / lines)), figures.shape)
        inside = () if error is None else np.unravel_index(int(np.abs(error[row]).argmax()), error[row].shape)
        beyond = int((~(figures <= lines)).sum())
        grade: Grade = "fail" if beyond else "pass"
        told = f"{beyond} of {figures.size} rows" if beyond else ""
        return Finding(self._stage, fed, rule, grade, float(figures[row]), float(lines[row]), _place(self._stage, (*row, *inside)), told)


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
    """Whether the baseline repeats itself to the last bit. That it does not is no fault: its spread is in the lines."""
    spread = float(np.abs(made - base).max())
    return Finding(stage, "twice", "repeats itself to the last bit", "warn" if spread else "pass", spread, 0.0)


# Rules of single stages.


def _frames(fed: Fed, ours: Seen, theirs: Seen) -> list[Finding]:
    base, made = ours.arrays["load"], theirs.arrays["load"]
    if base.shape != made.shape:
        return [Finding("load", fed, "shape", "fail", 1.0, 0.0, "", f"{list(base.shape)} and {list(made.shape)}")]
    if ours.work.frame_seconds is None:
        return [_identical(fed, base, made)]
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
    told = f"mean {mean:.2f}, {beyond:.1%} beyond 1 level, {decibels:.1f} dB in the worst frame"
    if grade == "fail":
        told = f"{told}; {explain_frames(one, other)}"
    place = _place("load", np.unravel_index(int(difference.argmax()), difference.shape)) if most else ""
    return [Finding("load", fed, "levels between frames", grade, most, MOST_LEVELS, place, told if most else "")]


def _identical(fed: Fed, base: npt.NDArray[np.generic], made: npt.NDArray[np.generic]) -> Finding:
    """Event images have no codec that loses something, and one way to be right: each pixel is that of its last event."""
    differing = (base != made).any(axis=-1)  # [images, height, width]
    count = int(differing.sum())
    if not count:
        return Finding("load", fed, "pixels that differ", "pass", 0.0, 0.0)
    told = f"{differing.mean():.2%} of all; {explain_frames(_seen_by_model(base), _seen_by_model(made))}"
    place = _place("load", np.unravel_index(int(differing.argmax()), differing.shape))
    return Finding("load", fed, "pixels that differ", "fail", float(count), 0.0, place, told)


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


def _quanta(fed: Fed, base: Array, made: Array, quantum: float, own: float) -> Finding:
    """`own` is the largest error that the baseline has itself: it rounds twice, and so does whoever does it otherwise."""
    line = max(MOST_QUANTA, own / quantum)
    difference = np.abs(made - base) / quantum
    most, nearly_all = float(difference.max()), float(np.quantile(difference, 0.999))
    grade: Grade = "pass" if most <= line + 1e-3 else "warn" if nearly_all <= NEARLY_ALL_QUANTA else "fail"
    place = _place("preprocess", np.unravel_index(int(difference.argmax()), difference.shape)) if most else ""
    told = f"99.9 % within {nearly_all:.2f}" if most else ""
    return Finding("preprocess", fed, "levels between pixel values", grade, most, line, place, told)


def _shift(fed: Fed, base: Array, made: Array, quantum: float) -> Finding:
    shifts = np.abs((made - base).mean(axis=(2, 3))) / quantum
    worst, most = np.unravel_index(int(shifts.argmax()), shifts.shape), float(shifts.max())
    grade: Grade = "pass" if most <= MOST_SHIFT else "fail"
    return Finding("preprocess", fed, "levels between means", grade, most, MOST_SHIFT, _place("preprocess", worst))


def _cosine(stage: str, fed: Fed, base: Array, made: Array) -> Finding:
    lengths = np.linalg.norm(base, axis=-1) * np.linalg.norm(made, axis=-1)
    apart = 1 - (base * made).sum(axis=-1) / np.where(lengths > 0, lengths, 1)
    worst = np.unravel_index(int(apart.argmax()), apart.shape)
    figure = max(0.0, float(apart[worst]))
    grade: Grade = "pass" if figure <= SIMILAR else "warn" if figure <= ALIKE else "fail"
    return Finding(stage, fed, "1 - cosine", grade, figure, SIMILAR, _place(stage, worst))


def _distributions(fed: Fed, base: Array, made: Array, reference: Array) -> list[Finding]:
    # [positions, vocabulary]
    exact, ours, theirs = map(_log_softmax, (reference, base, made))

    def divergence(other: Array) -> Array:
        return np.asarray((np.exp(exact) * (exact - other)).sum(axis=-1))

    own, other = divergence(ours), divergence(theirs)
    line = MOST_DIVERGENCE + 2 * float(own.mean())
    figure = float(other.mean())
    grade: Grade = "pass" if figure <= line else "warn" if figure <= 10 * line else "fail"
    worst = _place("generate", (int(other.argmax()),))
    found = [Finding("generate", fed, "Kullback-Leibler divergence", grade, figure, line, worst)]

    positions = np.arange(len(base))
    one, another = base.argmax(axis=-1), made.argmax(axis=-1)
    gaps = np.abs(exact[positions, one] - exact[positions, another])
    count, largest = int((one != another).sum()), float(gaps.max())
    grade = "pass" if largest <= NEAR_TIE else "warn" if largest <= NEARLY_TIE else "fail"
    # Of n positions of which none differs, at most 3/n differ in truth (the rule of three, at 95 %).
    told = f"{count} of {len(base)} positions; at most {min(1.0, _most_share(count, len(base))):.1%} in truth"
    return [
        *found,
        Finding(
            "generate", fed, "nats between likeliest tokens", grade, largest, NEAR_TIE, _place("generate", (int(gaps.argmax()),)), told
        ),
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


def _tokens(fed: Fed, sides: SampleOutputs, answers: Collection[tuple[int, ...]], seen: Seen) -> list[Finding]:
    """Greedy tokens of every run: exact, or different from a near tie on, of two tokens or more."""
    expected = sides.baseline.tokens
    different = [answer for answer in answers if answer != expected]
    if not different:
        return [Finding("generate", fed, "tokens", "pass", 0.0, NEAR_TIE, "", f"identical in all runs, all {len(expected)}")]
    return [
        max(
            (_divergence(fed, sides, answer, seen) for answer in different),
            key=lambda finding: (GRADES.index(finding.grade), finding.figure),
        )
    ]


def _divergence(fed: Fed, sides: SampleOutputs, answer: tuple[int, ...], seen: Seen) -> Finding:
    expected = sides.baseline.tokens
    pairs = enumerate(zip(expected, answer, strict=False))  # the shorter decides
    first = next((place for place, (one, other) in pairs if one != other), None)
    if first is None:
        lengths = len(expected), len(answer)
        told = f"one of the answers is cut: {lengths[0]} and {lengths[1]} tokens"
        return Finding("generate", fed, "tokens", "fail", abs(lengths[0] - lengths[1]), 0.0, f"position {min(lengths)}", told)
    place, told = f"position {first}", f"tokens {expected[first]} and {answer[first]}"
    if sides.reference is None:
        return Finding("generate", fed, "tokens", "fail", 1.0, 0.0, place, f"{told}; no reference to say how near a tie it is")
    exact = _log_softmax(_plain(sides.reference["generate"][first : first + 1]))[0]
    gap = abs(float(exact[expected[first]] - exact[answer[first]]))
    # Nor may either side say of one of the two that it would not have taken it: rounding explains no more there. That several tokens are
    # in a tie, and these two not the first two of them, is no matter.
    logits = {"the baseline": sides.baseline.arrays["generate"][first], "the other side": seen.arrays["generate"][first]}
    short = {side: _shortfall(_plain(values), (expected[first], answer[first])) for side, values in logits.items()}
    side = max(short, key=lambda name: short[name])
    if short[side] > max(gap, NEARLY_TIE):
        told = f"{told}, of which {side} has one {short[side]:.3g} nats below its likeliest"
        return Finding("generate", fed, "tokens", "fail", short[side], NEAR_TIE, place, told)
    # Behind a tie the tokens are of two different answers: only the logits, which follow the baseline's, say more.
    grade: Grade = "warn" if gap <= NEARLY_TIE else "fail"
    return Finding("generate", fed, "tokens", grade, gap, NEAR_TIE, place, f"{told}, {gap:.3g} nats apart under the reference")


def _shortfall(logits: Array, tokens: Sequence[int]) -> float:
    """By how many nats the less likely of the tokens stands below the likeliest of all."""
    return float(logits.max() - logits[list(tokens)].min())


def worst(checks: Iterable[Check]) -> Grade:
    """Of several checks."""
    return max((check.grade for check in checks), key=GRADES.index, default="pass")


def first_divergence(checks: Sequence[Check]) -> Check | None:
    """The failed check to blame: of the first stage that fails with the baseline's own input, else of the first that fails at all."""
    failed = [check for check in checks if check.grade == "fail" and check.fed != "twice"]
    alone = [check for check in failed if check.fed == "swapped" or check.stage == "load"]
    return min(alone or failed, key=lambda check: STAGES.index(check.stage), default=None)
