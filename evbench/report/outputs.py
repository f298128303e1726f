"""Equivalence of outputs, tokens, and evidence of activation -> tables and texts. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from evbench.report.render import Table, printable
from evbench.results import SIDES, Check, Outputs, Result, Side, SideResult
from evbench.verdict.checks import CheckSummary
from evbench.verdict.judgement import Judgement
from evbench.verdict.tokens import SampleTokens

TOKENS = "Tokens"
"""Name of the text on whether both sides generate the same."""
COLUMNS = ("stage", "mode", "grade", "rule", "value", "threshold", "worst at")
CHECKS, ALL_CHECKS, ACTIVATIONS = "checks", "all checks", "activations"
"""Names of tables."""
MODES = (
    "baseline-repeat: the baseline against itself; end-to-end: each stage on the output of the stage before; stage-isolated: each stage on "
    "the baseline's input. closest of n: of n checks that pass, the one closest to its threshold"
)


def closest_checks(outputs: Outputs, summaries: tuple[CheckSummary, ...]) -> Table:
    """For each stage and mode all checks beyond their threshold, or the closest to it."""
    rows = []
    for summary in summaries:
        cells = _cells(summary.check)
        if summary.closest_of is not None and summary.closest_of > 1:
            cells = (*cells[:3], f"{summary.check.rule} (closest of {summary.closest_of})", *cells[4:])
        rows.append(cells)
    reference = f"against a reference in {outputs.reference}" if outputs.reference else "without a reference"
    samples = f", {len(outputs.samples)} samples" if len(outputs.samples) > 1 else ""
    return Table(f"Equivalence of outputs, {reference}{samples}. {MODES}", COLUMNS, tuple(rows), CHECKS)


def all_checks(outputs: Outputs) -> Table:
    rows = [(*_cells(check), printable(check.detail)) for check in outputs.checks]
    return Table("All checks of outputs", (*COLUMNS, "detail"), tuple(rows), ALL_CHECKS)


def _cells(check: Check) -> tuple[str, ...]:
    location = f"sample {check.sample + 1}, {check.location}" if check.samples > 1 and check.location else check.location
    grade = check.grade if check.grade == "pass" else check.grade.upper()
    return (check.stage, check.mode, grade, check.rule, f"{check.value:.3g}", f"{check.threshold:.3g}", location)


def activations(variants: Mapping[Side, SideResult]) -> Table:
    rows = [
        (f"{found.part}={found.choice}", side, "yes" if found.active else "NOT ACTIVE", printable(found.evidence))
        for side, measured in variants.items()
        for found in measured.activations
    ]
    return Table("Activation evidence of the choices", ("choice", "side", "active", "evidence"), tuple(rows), ACTIVATIONS)


def texts(result: Result, judgement: Judgement) -> dict[str, str]:
    """Generated text of the first sample on each side, and whether the tokens of both are identical."""
    found = {}
    for side, measured in result.variants().items():
        last = [run for run in measured.timed() if run.sample == 0][-1]
        found[name_of(side, judgement)] = printable(last.text)
    if judgement.token_comparison is not None:
        found[TOKENS] = _tokens(judgement)
    return found


def name_of(side: Side, judgement: Judgement) -> str:
    """What the text of the first sample is called."""
    distinct, runs = judgement.distinct_outputs[side]
    return f"Output of {side}" + ("" if distinct == 1 else f" (one of {distinct} different outputs in {runs} runs)")


def _tokens(judgement: Judgement) -> str:
    compared = judgement.token_comparison
    assert compared is not None
    if compared.samples == 1:
        return _of_sample(compared.shown)
    if not compared.different:
        return f"identical in all runs of all {compared.samples} samples"
    return f"NOT identical for {compared.different} of {compared.samples} samples; the first of these: {_of_sample(compared.shown)}"


def _of_sample(found: SampleTokens) -> str:
    ours, theirs = (found.lengths[side] for side in SIDES)
    if found.first_difference is None:
        text = f"identical, all {ours}"
    else:
        which = "" if found.row is None else f" of sample {found.row + 1} of the batch"
        text = f"NOT identical: they differ from token {found.first_difference + 1}{which} on; lengths {ours} and {theirs}"
    if all(count == 1 for count in found.distinct.values()):
        return text
    counts = " and ".join(str(found.distinct[side]) for side in SIDES)
    return f"NOT identical in every run: {counts} different outputs; the last two are {text}"
