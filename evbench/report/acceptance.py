"""Acceptance of drafted tokens -> tables, and a file."""

from __future__ import annotations

from collections.abc import Sequence

from evbench.report.render import Table, file_of, markdown_table
from evbench.verdict.speculation import Acceptance, Estimate, expected_tokens

NOTES = (
    "Drafts are replayed along the target's own greedy answers, which speculative decoding leaves as they are; nothing was decoded so.",
    "accepted: drafted tokens that the target says as well, of those drafted; behind the first that is not, a block has no more to win.",
    "tokens per pass: of the target, with the one that the pass itself gives. A block pays if drafting it and verifying it together take "
    "less than so many decode steps of the target.",
    "if independent: the same from the accepted share of first drafts, as if each were accepted with that probability.",
    "Intervals are of 95 %, with samples as units.",
)


def table(found: Sequence[Acceptance]) -> Table:
    """A row for each length of blocks."""
    rows = []
    for one in found:
        first = one.accepted_at[0]
        independent = "-" if first is None else f"{expected_tokens(first, one.gamma):.2f}"
        rows.append((str(one.gamma), _share(one.accepted), _number(one.accepted_length), _number(one.tokens_per_pass), independent))
    columns = ("drafted in a block", "accepted", "accepted per pass", "tokens per pass", "if independent")
    return Table("Acceptance", columns, tuple(rows))


def by_place(found: Acceptance) -> Table:
    """Of the drafts at each place of a block, those in front of which were accepted."""
    rows = [(str(place), "-" if share is None else f"{share:.1%}") for place, share in enumerate(found.accepted_at, 1)]
    return Table(f"Accepted by place, in blocks of {found.gamma}", ("place", "accepted, if all before it were"), tuple(rows))


def to_markdown(title: str, tables: Sequence[Table], facts: Sequence[str], created: str, command: str) -> str:
    lines = [f"# {title}", "", f"{created}, `{command}`", ""]
    for one in tables:
        lines += [f"## {one.title}", "", *markdown_table(one), ""]
    return file_of([*lines, *(f"- {fact}" for fact in (*facts, *NOTES)), ""])


def _share(found: Estimate | None) -> str:
    return "nothing drafted" if found is None else f"{found.value:.1%} ({max(0.0, found.low):.1%} - {min(1.0, found.high):.1%})"


def _number(found: Estimate) -> str:
    return f"{found.value:.2f} ({max(0.0, found.low):.2f} - {found.high:.2f})"
