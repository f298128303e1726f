"""The table of what drafts gave, and what was to be expected of them."""

from __future__ import annotations

from evbench.report.render import Table
from evbench.report.units import NOT_MEASURED, format_seconds
from evbench.verdict.drafting import DraftedDecoding, Prediction
from evbench.verdict.judgement import Judgement
from evbench.verdict.speculation import Estimate

DRAFTING = "drafting"
"""Name of the table."""


def table(judgement: Judgement) -> Table:
    """Of the sides that draft. Without rows if none does."""
    found = list(judgement.drafting.values())
    rows = [(name, *(cells[name] for cells in map(_cells, found))) for name in (_cells(found[0]) if found else ())]
    return Table("Drafts: measured against predicted", ("", *judgement.drafting), tuple(rows), DRAFTING)


def _cells(found: DraftedDecoding) -> dict[str, str]:
    accepted = NOT_MEASURED if found.accepted is None else _estimate(found.accepted, "{:.1%}")
    return {
        "tokens per pass": _estimate(found.tokens_per_pass, "{:.2f}"),
        "drafts accepted": f"{accepted}, of {found.drafts_per_pass:.2f} in a pass",
        "a pass: drafting": format_seconds(found.draft_seconds),
        "a pass: verification": format_seconds(found.verify_seconds),
        "a pass: the rest": format_seconds(max(0.0, found.rest_seconds)),
        **_predicted(found.prediction),
    }


def _predicted(found: Prediction | None) -> dict[str, str]:
    return {
        "decode step of the other side": NOT_MEASURED if found is None else format_seconds(found.step_seconds),
        "tokens per pass to break even": NOT_MEASURED if found is None else f"{found.break_even:.2f}",
        "speedup of decoding, predicted": NOT_MEASURED if found is None else f"{found.speedup:.2f}x",
        "speedup of decoding, measured": NOT_MEASURED if found is None else f"{found.measured:.2f}x",
    }


def _estimate(found: Estimate, number: str) -> str:
    told = number.format(found.value)
    return told if found.interval is None else f"{told} ({' - '.join(number.format(edge) for edge in found.interval)})"
