"""Why no speedup may be claimed of a result: the sides did other work, their outputs differ, or a choice was not active."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from evbench.pipelines.registry import PARTS, parts_with_effect
from evbench.results import STAGES, Activation, Check, Outputs, Result, Session, Side, SideResult, Work
from evbench.verdict.blocks import _too_disturbed
from evbench.verdict.equivalence import OWN_ERROR, first_divergence
from evbench.verdict.judgement import Verdict

HOW = ("decoder", "attention")
"""Fields in which two variants may differ: they say how it was done, not what."""


def work_differences(ours: Work, theirs: Work) -> list[str]:
    """Fields in which two runs did not do the same, with both values."""
    names = [field.name for field in dataclasses.fields(Work) if field.name not in HOW]
    pairs = [(name, getattr(ours, name), getattr(theirs, name)) for name in names]
    return [f"{name} {one} and {other}" for name, one, other in pairs if one != other]


def _refusal(result: Result, apart: bool) -> tuple[list[str], Verdict | None]:
    """Why no time is compared, and the verdict that says so."""
    sides = result.variants()
    if len(sides) == 1:
        return [], None
    invalid = []
    if different := unequal_work(sides):
        invalid.append(f"the two sides did not do the same work: {'; '.join(different)}")
    invalid += disturbed_too_often(result.sessions)
    invalid += _unproven(sides)
    if invalid:
        return invalid, Verdict.INVALID
    different = _unequal_answers(sides)
    if different and (apart or result.outputs is None or not _near_ties(result.outputs)):
        return different, Verdict.OUTPUT_DIFFERS
    if apart:
        return ["the sides were measured apart, where drift looks like a difference; run both in one comparison"], Verdict.INCONCLUSIVE
    if result.outputs is None or not _complete(result.outputs, sides):
        return ["outputs were not compared: the session ended before; go on with --resume"], Verdict.INCONCLUSIVE
    if different := _unequal_outputs(result.outputs):
        return different, Verdict.OUTPUT_DIFFERS
    if result.outputs.reference is None:
        return ["REFERENCE_MISSING: nothing of higher precision fits here to measure outputs by"], Verdict.INCONCLUSIVE
    return [], None


def disturbed_too_often(sessions: Iterable[Session]) -> list[str]:
    """Of each session that was, what disturbed it."""
    found = []
    for session in sessions:
        if _too_disturbed(session):
            disturbed = [block for block in session.blocks if block.disturbances]
            causes = ", ".join(dict.fromkeys(told for block in disturbed for told in block.disturbances))
            found.append(f"{len(disturbed)} of {len(session.blocks)} blocks were disturbed: {causes}")
    return found


def _complete(outputs: Outputs, sides: Mapping[Side, SideResult]) -> bool:
    """Whether every stage was compared, as it ran and fed with the baseline's input, and every choice looked into."""
    wanted = {(STAGES[0], "chained"), *((stage, fed) for stage in STAGES[1:] for fed in ("chained", "swapped"))}
    proven = all({proof.part for proof in measured.activations} >= {*_at_work(measured), "decoding"} for measured in sides.values())
    return proven and {(check.stage, check.fed) for check in outputs.checks} >= wanted


def _at_work(measured: SideResult) -> list[str]:
    """Parts that have an effect on the kind of input. One that is not known any more had."""
    effect = parts_with_effect(measured.workload.model, measured.workload.kind)
    return [part for part in measured.choices if part in effect or part not in PARTS]


def not_active(sides: Mapping[Side, SideResult]) -> list[tuple[Side, Activation]]:
    """Choices that left no sign of having been at work."""
    return [(side, proof) for side, measured in sides.items() for proof in measured.activations if not proof.active]


def _unproven(sides: Mapping[Side, SideResult]) -> list[str]:
    """Choices that are not active and would be paid for: those in which the sides differ, by name or in truth. And sampling."""
    ours, theirs = (measured.choices for measured in sides.values())
    inactive = not_active(sides)
    parts = [proof.part for _, proof in inactive]
    return [
        f"NOT_ACTIVE: {proof.part}={proof.choice} of the {side} side ({proof.evidence})"
        for side, proof in inactive
        if ours.get(proof.part) != theirs.get(proof.part) or proof.part not in ours or parts.count(proof.part) == 1
    ]


def _near_ties(outputs: Outputs) -> bool:
    """Whether it was looked into where tokens first differ. What was found there is a check like the others."""
    return any(check.rule == "tokens" and check.place for check in outputs.checks)


def _unequal_outputs(outputs: Outputs) -> list[str]:
    """The first stage that differs, and why nothing else is to blame."""
    found = []
    if unstable := [check for check in outputs.checks if check.fed == "twice" and check.grade == "fail"]:
        apart = "is too far from the reference" if unstable[0].rule == OWN_ERROR else "does not repeat itself"
        found.append(f"the baseline {apart}: {tell(unstable[0])}")
    if (first := first_divergence(outputs.checks)) is not None:
        found.append(f"the first stage to differ is {tell(first)}")
    return found


def tell(check: Check) -> str:
    """A check in words."""
    fed = {"twice": "the baseline twice", "chained": "as it ran", "swapped": "fed with the baseline's input"}[check.fed]
    told = f"{check.stage}, {fed}: {check.rule} {check.figure:.3g} where {check.line:.3g} is let pass"
    told += f", at {check.place}" if check.place else ""
    told += f" ({check.told})" if check.told else ""
    return told + (f"; {check.failed} of {check.samples} samples" if check.samples > 1 and check.failed else "")


def unequal_work(sides: Mapping[Side, SideResult]) -> list[str]:
    """Fields in which a run or stream did something else than the baseline's first run of the same sample."""
    asked: dict[int, Work] = {}
    for sample, work in sides["baseline"].work():
        asked.setdefault(sample, work)
    done = [(asked[sample], work) for measured in sides.values() for sample, work in measured.work() if sample in asked]
    return next((found for ours, theirs in done if (found := work_differences(ours, theirs))), [])


def _unequal_answers(sides: Mapping[Side, SideResult]) -> list[str]:
    """Samples whose answers are not the same tokens in every run and stream of both sides."""
    answers = {side: {sample: set(tokens) for sample, tokens in measured.answers().items()} for side, measured in sides.items()}
    ours, theirs = answers["baseline"], answers["optimized"]
    found = []
    if unstable := [sample for sample in ours if len(ours[sample]) > 1]:
        found.append(f"the baseline itself does not repeat its answer to {_samples(unstable, len(ours))}")
    if different := [sample for sample in ours if sample in theirs and ours[sample] != theirs[sample]]:
        found.append(f"the two sides answered {_samples(different, len(ours))} with different tokens")
    return found


def _samples(found: Sequence[int], of: int) -> str:
    return "the sample" if of == 1 else f"{len(found)} of {of} samples"
