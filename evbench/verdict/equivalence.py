"""Outputs of two sides for a sample -> one check for each rule: value, threshold and location of the worst element. Pure.

The error rule is relative to the error that the baseline itself has against a reference of higher precision: the root mean square of the
whole (as in pytorch/pytorch:torch/_dynamo/utils.py, `same`) catches small faults that are everywhere, that of each row (a frame, a token, a
position) one bad row among good ones, and the maximum (as in Dao-AILab/flash-attention:hopper/test_flash_attn.py) a few bad elements. The
thresholds lie between planted faults and equal computations; profiles/cpu/mutants records how far each is away.

Of a side with lossy choices there is a second reference, which loses the same: exactly, in higher precision. What that one differs by from
the first is taken off the side's outputs, and what is left is judged as that of any other side. So a lossy computation has to be as exact
as any other; how much it loses is measured by itself (`evbench.verdict.loss`). One that rounds what it computes, and not weights,
cannot be: its thresholds are wider, by a rule (`evbench.verdict.error_rule`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from evbench.results import ISOLATED, STAGES, Grade, Mode, Side
from evbench.verdict.error_rule import ErrorRule
from evbench.verdict.findings import MODES, Array, Axes, Finding, SampleOutputs, SideOutputs, locate, plain
from evbench.verdict.logit_rules import compare_logits, compare_tokens, cosine_distance
from evbench.verdict.pixel_rules import compare_frames, max_difference, mean_shift


def compare_sample(sides: SampleOutputs, dtype: str) -> list[Finding]:
    """All findings of one sample, in the order of modes and stages."""
    found, level = _same_input(sides), _without_loss(sides)
    found += _stages("baseline-repeat", level.baseline, level.repeat, level, dtype)
    found += _stages("end-to-end", level.baseline, level.optimized, level, dtype)
    found += _stages("stage-isolated", level.baseline, level.optimized, level, dtype)
    found += compare_tokens("baseline-repeat", sides, {sides.repeat.tokens, *sides.baseline_tokens}, sides.repeat)
    found += compare_tokens("end-to-end", sides, {sides.optimized.tokens, *sides.optimized_tokens}, sides.optimized)
    return sorted(found, key=lambda finding: (MODES.index(finding.mode), STAGES.index(finding.stage)))


def _without_loss(sides: SampleOutputs) -> SampleOutputs:
    """With the outputs of each side less what its lossy choices lose."""
    ours, theirs = sides.lost.get("baseline", {}), sides.lost.get("optimized", {})
    return replace(sides, baseline=_less(sides.baseline, ours), repeat=_less(sides.repeat, ours), optimized=_less(sides.optimized, theirs))


def _less(side: SideOutputs, lost: Mapping[str, Array]) -> SideOutputs:
    def of(name: str) -> Array | None:
        return lost.get(_in_reference(name))

    # Of another shape they are as they were, which a check of shapes tells.
    level = {
        name: plain(values) - loss if (loss := of(name)) is not None and loss.shape == values.shape else values
        for name, values in side.arrays.items()
    }
    return replace(side, arrays=level)


# Inputs of the model.


def _same_input(sides: SampleOutputs) -> list[Finding]:
    ours, theirs = sides.baseline.work, sides.optimized.work
    indices = _differing(ours.frame_indices, theirs.frame_indices)
    times = _differing(ours.frame_seconds, theirs.frame_seconds)
    prompt = _differing(sides.baseline.prompt, sides.optimized.prompt)
    # A pipeline of somebody else's need not tell them: None, or no prompt.
    found = [
        _exact("load", "frame indices", indices, f"{_listed(ours.frame_indices)} and {_listed(theirs.frame_indices)}"),
        _exact("load", "frame times", times, f"{_listed(ours.frame_seconds)} and {_listed(theirs.frame_seconds)}"),
        _exact("preprocess", "prompt tokens", prompt, f"{len(sides.baseline.prompt)} and {len(sides.optimized.prompt)} tokens"),
    ]
    told = (
        None not in (ours.frame_indices, theirs.frame_indices) or ours.frame_indices == theirs.frame_indices,
        None not in (ours.frame_seconds, theirs.frame_seconds) or ours.frame_seconds == theirs.frame_seconds,
        bool(sides.baseline.prompt) == bool(sides.optimized.prompt),
    )
    return [one for one, known in zip(found, told, strict=True) if known]


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


def _stages(mode: Mode, ours: SideOutputs, theirs: SideOutputs, sides: SampleOutputs, dtype: str) -> list[Finding]:
    found = [] if mode == "stage-isolated" else compare_frames(mode, ours, theirs)
    # For other frames the reference has other outputs too. The frames are compared as frames, and later stages end-to-end by their distance
    # only; how exactly each stage computes is compared stage-isolated.
    use_reference = mode == "stage-isolated" or np.array_equal(ours.arrays["load"], theirs.arrays["load"])
    for stage in STAGES[1:]:
        name = _output(stage, mode)
        if stage not in ours.arrays or name not in theirs.arrays:
            continue  # of a pipeline that cannot show it
        expected, actual = _of_baseline(ours, stage, mode), plain(theirs.arrays[name])
        if expected.shape != actual.shape:
            found.append(Finding(stage, mode, "shape", "fail", 1.0, 0.0, "", f"{list(expected.shape)} and {list(actual.shape)}"))
            continue
        reference = _reference(sides, stage, mode)
        finite = _finite(stage, ours.axes[stage], mode, expected, actual)
        if reference is not None and not (reference.shape == expected.shape and np.isfinite(reference).all()):
            finite = Finding(stage, mode, "NaN or infinity", "fail", 1.0, 0.0, "", "the reference is not finite, or of another shape")
        found.append(finite)
        if finite.grade == "fail":
            continue
        if reference is not None and use_reference:
            found += _errors(stage, mode, sides, expected, actual, reference, dtype)
        found += _rules_of_stage(stage, mode, sides, expected, actual, reference)
        if mode == "baseline-repeat":
            found.append(_repeats(stage, expected, actual))
    return found


def _errors(stage: str, mode: Mode, sides: SampleOutputs, expected: Array, actual: Array, reference: Array, dtype: str) -> list[Finding]:
    """Errors against the reference, relative to the error of the baseline and its repeat."""
    repeat = _of_baseline(sides.repeat, stage, mode)
    # The repeat is compared with the error of the first run alone: by thresholds that include its own error it would always pass.
    if mode == "baseline-repeat" or repeat.shape != expected.shape:
        repeat = expected
    rule = ErrorRule(stage, sides.baseline.axes[stage], expected, repeat, reference, dtype, _rounded(sides, stage, mode))
    return [*rule.judge(mode, actual), *([rule.of_baseline()] if mode == "baseline-repeat" else [])]


def _rules_of_stage(stage: str, mode: Mode, sides: SampleOutputs, expected: Array, actual: Array, reference: Array | None) -> list[Finding]:
    """Rules that only some stages have."""
    ours, axes = sides.baseline, sides.baseline.axes[stage]
    if stage == "preprocess":
        own = 0.0 if reference is None else float(np.abs(expected - reference).max())
        found = [max_difference(axes, mode, expected, actual, ours.quantum, own)]
        return found + ([mean_shift(axes, mode, expected, actual, ours.quantum)] if mode == "stage-isolated" else [])
    if stage == "generate" and reference is not None:
        return compare_logits(axes, mode, expected, actual, reference, _rounded(sides, stage, mode))
    return [cosine_distance(stage, axes, mode, expected, actual)]


def _rounded(sides: SampleOutputs, stage: str, mode: Mode) -> Array | None:
    """What the side that is judged loses by a format that it declares to round to what it computes. None if it declares none."""
    side: Side = "baseline" if mode == "baseline-repeat" else "optimized"
    return sides.rounded.get(side, {}).get(_in_reference(_output(stage, mode)))


def _of_baseline(side: SideOutputs, stage: str, mode: Mode) -> Array:
    """Its output of the same input as another side's has: end-to-end, or of a stage that was run by itself, if it was."""
    return plain(side.arrays.get(_output(stage, mode), side.arrays[stage]))


def _reference(sides: SampleOutputs, stage: str, mode: Mode) -> Array | None:
    if sides.reference is None:
        return None
    return plain(sides.reference[_in_reference(_output(stage, mode))])


def _output(stage: str, mode: Mode) -> str:
    """What the output of a stage is called, which stage-isolated is that of the stage run by itself."""
    return ISOLATED + stage if mode == "stage-isolated" else stage


def _in_reference(name: str) -> str:
    """What the outputs of a stage are called there: the frames that preprocessing is given are the baseline's in both modes."""
    return "preprocess" if name == ISOLATED + "preprocess" else name


def _finite(stage: str, axes: Axes, mode: Mode, expected: Array, actual: Array) -> Finding:
    new = ~np.isfinite(actual) & np.isfinite(expected)
    before = int((~np.isfinite(expected)).sum())
    detail = f"the baseline has {before} values that are not finite, so no other rule applies to this stage" if before else ""
    grade: Grade = "fail" if new.any() or before else "pass"
    location = locate(axes, np.unravel_index(int(new.argmax()), new.shape)) if new.any() else ""
    return Finding(stage, mode, "NaN or infinity", grade, float(new.sum()), 0.0, location, detail)


def _repeats(stage: str, expected: Array, actual: Array) -> Finding:
    """Whether the baseline repeats itself bit by bit. If not it is no fault: its spread is part of the thresholds."""
    spread = float(np.abs(actual - expected).max())
    return Finding(stage, "baseline-repeat", "bitwise repeatability", "warn" if spread else "pass", spread, 0.0)
