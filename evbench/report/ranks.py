"""A session of several ranks -> sentences, a table, and a file."""

from __future__ import annotations

from evbench.report.render import Table, file_of, markdown_table
from evbench.report.units import format_ratio, format_seconds
from evbench.verdict.ranks import Loss, ParallelEfficiency, RankedSession, parallel_efficiency

SHOWN = 3
"""Samples that are left out, as so many are named on the screen."""
NOTES = (
    "alone: rank 0 ran samples of its own back to back while the others waited. Then all ranks ran theirs, begun at the same moment. Each "
    "was done once: there is no interval.",
    "efficiency: the samples of the pass, against those that so many ranks had run in its time if each had been as fast as rank 0 alone.",
    "waiting: a rank had ended while the slowest still ran. loading: it waited longer for samples to be loaded than rank 0 did alone. "
    "running: all other stages were slower than alone. Negative: shorter or faster. With the efficiency they sum up to 100 %.",
    "Samples may differ in cost: what looks like a slow rank may be slow samples. Their times are in result.json.",
)


def facts(session: RankedSession) -> list[str]:
    """What is to be known first, a sentence each."""
    found = []
    if session.failed:
        found.append(left_out(session))
    if (efficiency := parallel_efficiency(session)) is not None:
        found.append(_speed(session, efficiency))
    if differing := sum(share.differing for share in session.shares):
        found.append(f"tokens of {_samples(differing)} back to back are not those of their timed runs")
    if compiled := [str(share.rank) for share in session.shares if share.compiled]:
        found.append(f"something was compiled while samples were run back to back, on rank {', '.join(compiled)}: they could be faster")
    return found


def left_out(session: RankedSession) -> str:
    """Which samples could not be used, of a session that has some."""
    total = len(session.failed) + sum(len(share.samples) for share in session.shares)
    named = "; ".join(one.reason for one in session.failed[:SHOWN])
    more = f"; and {len(session.failed) - SHOWN} more" if len(session.failed) > SHOWN else ""
    return f"{len(session.failed)} of {total:,} samples cannot be used and are left out: {named}{more}"


def _speed(session: RankedSession, found: ParallelEfficiency) -> str:
    ranks = f"{session.ranks} rank{'s' * (session.ranks > 1)}"
    together = f"{ranks}: {found.samples_per_second:.3g} samples/s, {format_ratio(found.speedup)} of rank 0 alone"
    loss = found.whole
    waiting, loading, running = map(percent, (loss.waiting, loss.loading, loss.running))
    lost = f"{waiting} waiting for rank {found.slowest}, {loading} loading, {running} in slower stages"
    return f"{together} ({found.alone_samples_per_second:.3g}); efficiency {percent(loss.efficiency)}, lost: {lost}"


def table(session: RankedSession) -> Table:
    """A row for each rank, and one for all. Empty until the passes were measured."""
    columns = ("rank", "node", "samples", "seconds", "samples/s", "efficiency", "waiting", "loading", "running")
    found = parallel_efficiency(session)
    if found is None or session.seconds is None:
        return Table("Ranks", columns, ())
    rows = [
        (str(share.rank), str(share.node), *_pass(share.together.samples, share.together.seconds), *cells(loss))
        for share, loss in zip(session.shares, found.by_rank, strict=True)
    ]
    total = sum(share.together.samples for share in session.shares)
    rows.append(("all", "", *_pass(total, session.seconds), *cells(found.whole)))
    if session.alone is not None:
        rows.append(("0 alone", "0", *_pass(session.alone.samples, session.alone.seconds), *("",) * 4))
    return Table("Ranks", columns, tuple(rows))


def to_markdown(session: RankedSession, created: str, command: str) -> str:
    """The file `ranks.md`."""
    lines = [f"# {session.ranks} ranks", "", f"{created}, `{command}`", "", *(f"- {fact}" for fact in facts(session)), ""]
    lines += ["## Ranks", "", *markdown_table(table(session)), ""]
    if session.failed:
        lines += ["## Samples that are left out", "", *(f"- {one.path}: {one.reason}" for one in session.failed), ""]
    return file_of([*lines, "## Notes", "", *(f"- {note}" for note in NOTES), ""])


def _pass(samples: int, seconds: float) -> tuple[str, str, str]:
    return f"{samples:,}", format_seconds(seconds), f"{samples / seconds:.3g}"


def cells(loss: Loss) -> tuple[str, str, str, str]:
    """Efficiency, waiting, loading, running."""
    return percent(loss.efficiency), percent(loss.waiting), percent(loss.loading), percent(loss.running)


def percent(value: float) -> str:
    """A share, which may be negative."""
    return f"{round(value, 3) + 0.0:.1%}"  # no minus in front of nothing


def _samples(count: int) -> str:
    return f"{count:,} sample{'s' * (count != 1)}"
