"""A recorded result of evbench: what evbench says of it already, as findings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from evbench.lint.finding import Finding, Kind
from evbench.report.next_steps import OF_FLAGS, next_steps
from evbench.results import Result
from evbench.session.verification import read_verified
from evbench.verdict.judge import judge
from evbench.verdict.judgement import Judgement, Verdict

KINDS: dict[str, Kind] = {
    "ONE_INVOCATION": "not told", "NOT_VERIFIED": "not told", "NOT_PRECISE": "not told", "REFERENCE_MISSING": "not told",
    "FAILED_SAMPLES": "note",
    "NOT_REPEATABLE": "note", "OUTPUT_NEARLY": "note",
}  # fmt: skip
"""Flags that are no mistake of the measurement. Each other one is."""


def findings(path: Path) -> tuple[Finding, ...]:
    """Of the result in a folder, or of a `result.json`.

    Raises:
        UserError: it cannot be read, was changed, cannot have been measured, or contradicts its journal.
    """
    result = read_verified(path)
    return tuple(_findings(result, judge(result)))


def _findings(result: Result, judgement: Judgement) -> Iterator[Finding]:
    """What the verdict was refused for, then flags that these reasons do not name already."""
    step = next(iter(map(_as_advice, next_steps(result, judgement))), "")
    if judgement.verdict in (Verdict.INVALID, Verdict.OUTPUT_DIFFERS):
        for reason in judgement.reasons:
            yield Finding("mistake", str(judgement.verdict), reason, "", step)
    elif judgement.verdict is Verdict.INCONCLUSIVE:
        for reason in judgement.reasons:
            yield Finding("not told", str(judgement.verdict), reason, "", step)
    for name, text in judgement.flags.items():
        if not any(reason.startswith(name) for reason in judgement.reasons):
            yield Finding(KINDS.get(name, "mistake"), name, text, "", _as_advice(OF_FLAGS.get(name, "")))
    for side, measured in result.variants().items():
        if not any(run.kind == "warmup" for run in measured.runs):
            yield Finding("mistake", side, "no warm-up run is recorded", "its times may have compilation in them", "measure again")
    if not judgement.activations_known:
        yield Finding("not told", "both sides", "evidence that each choice was active, and that no token was drawn at random", "", "")


def _as_advice(sentence: str) -> str:
    """As the end of a line."""
    return sentence[:1].lower() + sentence[1:].rstrip(".")
