"""Why no speedup may be claimed of a result: the sides did different work, their outputs differ, or a choice was not active. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from evbench.pipelines.registry import OWN, PARTS, parts_with_effect
from evbench.results import DECODING, STAGES, Activation, Check, Outputs, Result, Session, Side, SideResult, Work
from evbench.verdict import caches, floors, ignored_input
from evbench.verdict.blocks import counted_blocks, too_disturbed
from evbench.verdict.clusters import unit
from evbench.verdict.error_rule import OWN_ERROR
from evbench.verdict.findings import first_divergence
from evbench.verdict.judgement import Verdict
from evbench.verdict.loss import is_lossy
from evbench.verdict.reasons import counted
from evbench.verdict.tokens import first_difference

SHOWN = 40
"""Characters of a text that differs, from the first difference on."""
HOW = ("decoder", "attention")
"""Fields in which two variants may differ: they describe how the work was done, not what was done."""


def work_differences(ours: Work, theirs: Work, untold: bool = False) -> list[str]:
    """Fields in which two runs did not do the same, with both values.

    Args:
        untold: whether what one of them does not tell is left out, as a pipeline of somebody else's need not tell all.
    """
    names = [field.name for field in dataclasses.fields(Work) if field.name not in HOW]
    pairs = [(name, getattr(ours, name), getattr(theirs, name)) for name in names]
    return [f"{name} {one} and {other}" for name, one, other in pairs if one != other and not (untold and None in (one, other))]


def refusal(result: Result, apart: bool) -> tuple[list[str], Verdict | None]:
    """Why no time is compared, and the verdict. Empty and None if times may be compared."""
    sides = result.variants()
    if len(sides) == 1:
        # Of one variant nothing is claimed: what is measured is told, if there is any.
        nothing = [] if any(map(counted_blocks, result.sessions)) else disturbed_too_often(result.sessions)
        return nothing, Verdict.INVALID if nothing else None
    invalid = []
    if different := unequal_work(sides):
        invalid.append(f"the two sides did different work: {'; '.join(different)}")
    invalid += disturbed_too_often(result.sessions)
    invalid += _decisive_inactive(sides)
    if impossible := floors.impossible(result):
        invalid.append(f"IMPOSSIBLE: {'; '.join(impossible)}")
    invalid += caches.refused(result)
    invalid += ignored_input.refused(result)
    if invalid:
        return invalid, Verdict.INVALID
    # Lossy sides may generate other tokens, which say nothing until outputs are held against a reference that loses the same.
    different = [] if is_lossy(result) else _unequal_tokens(sides)
    if different and (apart or result.outputs is None or not _near_ties(result.outputs)):
        return different, Verdict.OUTPUT_DIFFERS
    if spelled := _unequal_texts(sides):
        return spelled, Verdict.OUTPUT_DIFFERS
    if apart:
        return [
            "the sides are of different sessions, where drift looks like a difference; run both in one comparison"
        ], Verdict.INCONCLUSIVE
    if result.outputs is not None and (hidden := unseen(result)):
        differing = _unequal_outputs(result.outputs)
        return (differing, Verdict.OUTPUT_DIFFERS) if differing else (hidden, Verdict.INCONCLUSIVE)
    if uneven := unevenly_failed(sides):
        return [f"FAILED_SAMPLES: {uneven}"], Verdict.INCONCLUSIVE
    if result.outputs is None or not is_compared(result):
        return ["outputs were not compared, or not all of them"], Verdict.INCONCLUSIVE
    if is_lossy(result) and not (result.outputs.reference and result.outputs.loss and result.outputs.loss.samples):
        return [
            "REFERENCE_MISSING: nothing of higher precision fits here to tell what is lost by design from a fault"
        ], Verdict.INCONCLUSIVE
    if different := _unequal_outputs(result.outputs):
        return different, Verdict.OUTPUT_DIFFERS
    if result.outputs.reference is None:
        why = "the pipeline names none" if is_own(result.baseline) else "no reference of higher precision fits here"
        return [f"REFERENCE_MISSING: {why} to compare outputs with"], Verdict.INCONCLUSIVE
    return [], None


def failed(sides: Mapping[Side, SideResult]) -> str:
    """Samples that a side could not use, in words. Empty if there are none."""
    given = {side: len(measured.workload.samples) + len(_failed_numbers(sides)) for side, measured in sides.items()}
    told = [
        f"{len(measured.failed)} of {given[side]} {unit(measured.workload.samples)} of the {side} side" for side, measured in sides.items()
    ]
    first = next((one for measured in sides.values() for one in measured.failed), None)
    both = " on both" if len(sides) == 2 else ""
    return "" if first is None else f"{' and '.join(told)} could not be used, and are left out{both}; the first: {first.reason}"


def unevenly_failed(sides: Mapping[Side, SideResult]) -> str:
    """As `failed`, if it is not the same samples on every side: who leaves out what is hard may look faster."""
    every = _failed_numbers(sides)
    return failed(sides) if any({one.number for one in measured.failed} != every for measured in sides.values()) else ""


def _failed_numbers(sides: Mapping[Side, SideResult]) -> set[int]:
    return {one.number for measured in sides.values() for one in measured.failed}


def unseen(result: Result) -> list[str]:
    """What of the sides cannot be seen, and so not compared."""
    hidden = {side: [stage for plugin in measured.plugins for stage in plugin.unseen] for side, measured in result.variants().items()}
    told = [f"{_listed(stages)} of the {side}" for side, stages in hidden.items() if stages]
    if not told:
        return []
    logits = any("generate" in stages for stages in hidden.values())
    more = "nor whether its tokens are drawn at random; tokens were compared" if logits else "tokens and the other stages were compared"
    return [f"UNSEEN: {', and '.join(told)} side cannot be seen, {more}"]


def _listed(stages: Sequence[str]) -> str:
    """preprocess, vision and logits."""
    *first, last = ["logits" if stage == "generate" else stage for stage in stages]
    return f"{', '.join(first)} and {last}" if first else last


def is_own(measured: SideResult) -> bool:
    """Whether a side is a pipeline of somebody else's."""
    return OWN in measured.choices


def disturbed_too_often(sessions: Iterable[Session]) -> list[str]:
    """For each session with too many disturbed blocks, their number and causes."""
    found = []
    for session in sessions:
        if too_disturbed(session):
            disturbed = [block for block in session.blocks if block.disturbances]
            causes = ", ".join(counted(cause for block in disturbed for cause in block.disturbances))
            found.append(f"{len(disturbed)} of {len(session.blocks)} blocks were disturbed: {causes}")
    return found


def is_compared(result: Result) -> bool:
    """Whether every stage was compared end-to-end and stage-isolated, and every choice has its activation evidence."""
    if result.outputs is None:
        return False
    wanted = {(STAGES[0], "end-to-end"), *((stage, mode) for stage in STAGES[1:] for mode in ("end-to-end", "stage-isolated"))}
    known = all(
        {found.part for found in measured.activations} >= {*_effective(measured), DECODING} for measured in result.variants().values()
    )
    return known and {(check.stage, check.mode) for check in result.outputs.checks} >= wanted


def _effective(measured: SideResult) -> list[str]:
    """Parts that have an effect on the kind of input. One that is no longer known counts as effective."""
    effect = parts_with_effect(measured.workload.model, measured.workload.kind)
    return [part for part in measured.choices if part in effect or part not in PARTS or part == OWN]


def not_active(sides: Mapping[Side, SideResult]) -> list[tuple[Side, Activation]]:
    """Choices without evidence of being active, with their side."""
    return [(side, found) for side, measured in sides.items() for found in measured.activations if not found.active]


def _decisive_inactive(sides: Mapping[Side, SideResult]) -> list[str]:
    """Inactive choices that decide on the comparison: those in which the sides differ, by name or in fact. And sampling."""
    ours, theirs = (measured.choices for measured in sides.values())
    inactive = not_active(sides)
    parts = [found.part for _, found in inactive]
    return [
        f"NOT_ACTIVE: {found.part}={found.choice} of the {side} side ({found.evidence})"
        for side, found in inactive
        if ours.get(found.part) != theirs.get(found.part) or found.part not in ours or parts.count(found.part) == 1
    ]


def _near_ties(outputs: Outputs) -> bool:
    """Whether the first difference of tokens was examined. What was found is a check like the others."""
    return any(check.rule == "tokens" and check.location for check in outputs.checks)


def _unequal_outputs(outputs: Outputs) -> list[str]:
    """The baseline if it is at fault, and the first stage that differs."""
    found = []
    if unstable := [check for check in outputs.checks if check.mode == "baseline-repeat" and check.grade == "fail"]:
        apart = "is too far from the reference" if unstable[0].rule == OWN_ERROR else "is not repeatable"
        found.append(f"the baseline {apart}: {in_words(unstable[0])}")
    if (first := first_divergence(outputs.checks)) is not None:
        found.append(f"the first stage to differ is {in_words(first)}")
    return found


def in_words(check: Check) -> str:
    """A check as a part of a sentence."""
    text = f"{check.stage}, {check.mode}: {check.rule} {check.value:.3g} (threshold {check.threshold:.3g})"
    text += f", at {check.location}" if check.location else ""
    text += f" ({check.detail})" if check.detail else ""
    return text + (f"; {check.failed} of {check.samples} samples" if check.samples > 1 and check.failed else "")


def unequal_work(sides: Mapping[Side, SideResult]) -> list[str]:
    """Fields in which a run or throughput run did different work than the baseline's first run of the same sample, with both values."""
    expected: dict[int, Work] = {}
    for sample, work in sides["baseline"].work():
        expected.setdefault(sample, work)
    untold = any(map(is_own, sides.values()))
    done = [(expected[sample], work) for measured in sides.values() for sample, work in measured.work() if sample in expected]
    return next((found for ours, theirs in done if (found := work_differences(ours, theirs, untold))), [])


def _unequal_tokens(sides: Mapping[Side, SideResult]) -> list[str]:
    """Samples whose tokens are not identical in every run and throughput run of both sides."""
    answers = {side: {sample: set(tokens) for sample, tokens in measured.tokens_by_sample().items()} for side, measured in sides.items()}
    ours, theirs = answers["baseline"], answers["optimized"]
    found = []
    if unstable := [sample for sample in ours if len(ours[sample]) > 1]:
        found.append(f"the baseline itself generates different tokens in its runs of {_samples(unstable, len(ours))}")
    if different := [sample for sample in ours if sample in theirs and ours[sample] != theirs[sample]]:
        found.append(f"the two sides generate different tokens for {_samples(different, len(ours))}")
    return found


def _unequal_texts(sides: Mapping[Side, SideResult]) -> list[str]:
    """Text that is not that of the first run with the same tokens: the tokens are compared, and the text is what a user gets.

    A pipeline or engine of somebody else's need not make text, and has its own way to.
    """
    if any(map(is_own, sides.values())):
        return []
    first: dict[tuple[int, ...], str] = {}
    for side, measured in sides.items():
        for run in measured.timed():
            expected, found = (" ".join(text.split()) for text in (first.setdefault(run.tokens, run.text), run.text))
            if found != expected:
                place = first_difference([*map(ord, expected)], [*map(ord, found)]) or 0
                ours, theirs = (text[place : place + SHOWN] for text in (expected, found))
                return [f"the same tokens of sample {run.sample + 1} become other text on the {side} side: {theirs!r} instead of {ours!r}"]
    return []


def _samples(found: Sequence[int], of: int) -> str:
    return "the sample" if of == 1 else f"{len(found)} of {of} samples"
