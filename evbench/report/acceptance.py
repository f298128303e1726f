"""Acceptance of drafted tokens -> tables, and a file."""

from __future__ import annotations

from collections.abc import Sequence

from evbench.pipelines.generate.lookup import LEAST_LOOKUP, MOST_LOOKUP
from evbench.report.render import Table, file_of, markdown_table
from evbench.results import Workload
from evbench.verdict.speculation import FEWEST_SAMPLES, Acceptance, RatioEstimate

NOTES = (
    "Drafts are replayed along the target's own greedy answers, which speculative decoding leaves as they are; nothing was decoded so. The "
    "first token of an answer comes from the prefill: it is in no pass, and not drafted.",
    "gamma: drafted tokens in a block at most. accepted: of the drafted tokens those that the target says as well; behind the first that "
    "is not, a block has no more to win.",
    "tokens/pass: those accepted and the one that a pass of the target itself gives. A block pays if drafting it and verifying it together "
    "take less than so many decode steps of the target.",
)


def table(found: Sequence[Acceptance]) -> Table:
    """A row for each length of blocks."""
    rows = [(str(one.gamma), str(one.passes), *_share(one.accepted), *_number(one.tokens_per_pass)) for one in found]
    columns = ("gamma", "passes", "accepted", "95% CI", "tokens/pass", "95% CI")
    return Table("Acceptance", columns, tuple(rows))


def by_place(found: Acceptance) -> Table:
    """Of the drafts at each place of a block, those in front of which were accepted."""
    rows = tuple((str(place), f"{share:.1%}") for place, share in enumerate(found.accepted_at, 1) if share is not None)
    return Table(f"Accepted by place, in blocks of {found.gamma}", ("place", "accepted, if all before it were"), rows)


def described(role: str, workload: Workload, variant: str) -> str:
    """One of the models, in a line."""
    return f"{role}: {workload.model}, {workload.preset or workload.weights}, {workload.dtype} on {workload.device}, variant {variant}"


def facts(clusters: Sequence[int], tokens: int, similarity: float | None, by_head: bool = False) -> list[str]:
    """
    Args:
        clusters: of the sample of each answer.
        similarity: None where the drafter is no model.
        by_head: whether it is the target's own head.
    """
    answers, independent = len(clusters), len(set(clusters))
    found = [f"{answers} answer{'s' * (answers != 1)} with {tokens:,} tokens"]
    if independent < answers:
        found[0] += f", to {independent} sequences, over which the intervals are"
    if independent < FEWEST_SAMPLES:
        found[0] += f"; intervals need {FEWEST_SAMPLES}"
    if by_head:
        return [*found, "Drafted is what a head of one layer says over the target's own last hidden states, behind each token of an answer"]
    if similarity is None:
        sizes = f"the last {MOST_LOOKUP} tokens, or fewer down to {LEAST_LOOKUP},"
        return [*found, f"Drafted is what followed where {sizes} stood the last time before, in the question or the answer"]
    return [
        *found,
        f"Token-level similarity of answers that each decodes by itself, place by place: {similarity:.1%}. It is no acceptance rate.",
    ]


def to_markdown(title: str, tables: Sequence[Table], facts: Sequence[str], created: str, command: str) -> str:
    lines = [f"# {title}", "", f"{created}, `{command}`", ""]
    for one in tables:
        lines += [f"## {one.title}", "", *markdown_table(one), ""]
    return file_of([*lines, *(f"- {fact}" for fact in (*facts, *NOTES)), ""])


def _share(found: RatioEstimate | None) -> tuple[str, str]:
    if found is None:
        return "-", "-"
    return f"{found.value:.1%}", "-" if found.interval is None else f"{found.interval[0]:.1%} - {found.interval[1]:.1%}"


def _number(found: RatioEstimate) -> tuple[str, str]:
    return f"{found.value:.2f}", "-" if found.interval is None else f"{found.interval[0]:.2f} - {found.interval[1]:.2f}"
