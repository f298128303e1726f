"""The table of what drafts gave, and what was to be expected of them."""

from __future__ import annotations

from evbench.report.render import Table
from evbench.report.units import NOT_MEASURED, format_seconds
from evbench.verdict.drafting import DraftedDecoding, Expectation
from evbench.verdict.judgement import Judgement
from evbench.verdict.speculation import RatioEstimate

DRAFTING = "drafting"
"""Name of the table."""


def table(judgement: Judgement) -> Table:
    """Of the sides that draft. Without rows if none does."""
    cells = [_cells(found) for found in judgement.drafting.values()]
    names = dict.fromkeys(name for one in cells for name in one)
    rows = tuple((name, *(one.get(name, NOT_MEASURED) for one in cells)) for name in names)
    return Table("Drafts: measured against expected", ("", *judgement.drafting), rows, DRAFTING)


def _cells(found: DraftedDecoding) -> dict[str, str]:
    return {
        "tokens per pass": _estimate(found.tokens_per_pass, "{:.2f}"),
        "expected of the acceptance": f"{found.expected_tokens:.2f}",
        "acceptance": NOT_MEASURED if found.acceptance is None else _estimate(found.acceptance, "{:.1%}"),
        "drafts in a pass": f"{found.drafts_per_pass:.2f}",
        "a pass: drafting": format_seconds(found.draft_seconds),
        "a pass: verification": format_seconds(found.verify_seconds),
        "a pass: the rest": format_seconds(max(0.0, found.rest_seconds)),
        **({} if found.expectation is None else _expected(found.expectation)),
    }


def _expected(found: Expectation) -> dict[str, str]:
    return {
        "decode step of the other side": format_seconds(found.step_seconds),
        "acceptance to break even": "never" if found.break_even is None else f"{found.break_even:.1%}",
        "speedup of decoding, expected": f"{found.speedup:.2f}x",
        "the most that is expected": f"{found.best_speedup:.2f}x, with {found.best_gamma} in a pass",
        "speedup of decoding, measured": f"{found.measured:.2f}x",
    }


def _estimate(found: RatioEstimate, number: str) -> str:
    told = number.format(found.value)
    return told if found.interval is None else f"{told} ({' - '.join(number.format(edge) for edge in found.interval)})"
