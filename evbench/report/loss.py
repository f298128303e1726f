"""What lossy choices lose -> words, and a table. Pure."""

from __future__ import annotations

from collections.abc import Callable

from evbench.report.render import Table
from evbench.report.units import NOT_MEASURED, format_ratio, format_ratios
from evbench.results import SIDES, STAGES, Side
from evbench.verdict.judgement import MIN_CLAIM, Judgement, Timing, Verdict
from evbench.verdict.loss import Estimate, LossSummary
from evbench.verdict.statistics import Interval

LOST = "lost"
"""Name of the table."""


def claim(verdict: Verdict, interval: Interval, of: str) -> str:
    """What times show of a side that is lossy, in words behind LOSSY."""
    bounds = f"{of}95% CI of the speedup {format_ratios(interval.low, interval.high)}"
    match verdict:
        case Verdict.FASTER:
            return f"{format_ratio(interval.ratio)} faster: {bounds}"
        case Verdict.SLOWER:
            return f"{format_ratio(1 / interval.ratio)} slower: {bounds}"
        case Verdict.SAME:
            return f"as fast, within {MIN_CLAIM:.1%}: {bounds}"
    return f"no difference shown: {bounds}"


def concerns(timing: Timing, judgement: Judgement) -> bool:
    """Whether something is lost in what was timed, or before it."""
    if judgement.loss is None:
        return False
    lossy = [STAGES.index(stage) for stage in judgement.loss.stages if stage in STAGES]
    return timing.name not in STAGES or any(STAGES.index(timing.name) >= number for number in lossy)


def in_short(loss: LossSummary) -> str:
    """Of the optimized side, in one sentence without its end."""
    if not loss.divergence:
        return "what is lost was not measured"
    found = [
        f"KL {_nats(loss.divergence['optimized'])} from full precision",
        f"top-1 the same at {_percent(loss.same_top1['optimized'])} of {loss.positions:,} positions",
    ]
    if loss.exact:
        scores = [f"{_percent(loss.exact[side])} of the {side}" for side in ("optimized", "baseline")]
        found.append(f"captions exactly right: {', '.join(scores)}")
    else:
        found.append("no caption is known for a task score")
    return "; ".join(found)


def table(loss: LossSummary) -> Table:
    """Of both sides."""
    rows = [
        ("KL divergence from full precision", *_row(loss.divergence, _nats)),
        ("top-1 token as in full precision", *_row(loss.same_top1, _percent)),
        ("captions exactly right", *_row(loss.exact, _percent)),
        ("captions that the optimized side loses", "", NOT_MEASURED if loss.exact_lost is None else _percent(loss.exact_lost)),
    ]
    samples = f"{_count(loss.samples, 'sample')}, {loss.positions:,} positions; {_count(loss.captions, 'known caption')}"
    chosen = " and ".join(f"{', '.join(choices)} of the {side}" for side, choices in loss.choices.items())
    title = f"What is lost by {chosen} side, against the reference with nothing lossy: {samples}; with 95 % intervals over samples"
    return Table(title, ("", "baseline", "optimized"), tuple(rows), LOST)


def _row(found: dict[Side, Estimate], words: Callable[[Estimate], str]) -> tuple[str, str]:
    ours, theirs = (words(found[side]) if side in found else NOT_MEASURED for side in SIDES)
    return ours, theirs


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _nats(found: Estimate) -> str:
    bounds = "" if found.low is None or found.high is None else f" ({found.low:.2g} - {found.high:.2g})"
    return f"{found.value:.3g} nats{bounds}"


def _percent(found: Estimate) -> str:
    bounds = "" if found.low is None or found.high is None else f" ({found.low:.1%} - {found.high:.1%})"
    return f"{found.value:.1%}{bounds}"
