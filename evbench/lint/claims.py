"""Speedups that a table states, and how they are said to be computed, against its times. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

from evbench.external_table import GENERATE, SPECULATIVE, TOTAL, TPOT, Claim
from evbench.lint.arithmetic import percent
from evbench.lint.figures import Figures, mean, sides_compared
from evbench.lint.finding import Finding
from evbench.report.expressions import FORMS, Quantity, rounded
from evbench.report.units import format_ratio
from evbench.verdict.speculation import expected_tokens, speedup

DIVIDE = "give the baseline's time over this side's, of the same statistic"
POOL = "give the ratio of the means, or the geometric mean of the ratios: of an average of ratios the inverse is another one"
MEASURE = "call it tokens per pass; the speedup is what a run with drafts takes against one without"
NEEDS: dict[str, str] = {"ratio of medians": "median", "ratio of means": "mean", "ratio of sums": "mean"}
"""Formula -> the statistic whose times decide on it."""


def of_sides(sides: Mapping[str, Figures]) -> Iterator[Finding]:
    for baseline, side in sides_compared(sides):
        for row in side.rows:
            for claim in row.speedups:
                yield from _of_claim(baseline, side, claim)
            yield from _saved_shares(baseline, side, row.saved_shares)
    compared = {id(side) for _, side in sides_compared(sides)}
    for side in sides.values():
        if id(side) not in compared and any(row.speedups or row.saved_shares for row in side.rows):
            yield Finding("not told", side.name, "the side that its speedup is against", "", "")


def _of_claim(baseline: Figures, side: Figures, claim: Claim) -> Iterator[Finding]:
    where = f"{side.name} against {baseline.name}"
    written = f"speedup of {claim.of} {'' if claim.value is None else f'{claim.value}x'}".strip()
    if claim.formula == "tokens per pass" or claim.of == SPECULATIVE:
        yield from _of_tokens_per_pass(where, written, baseline, side)
        return
    if claim.of not in baseline.times or claim.of not in side.times:
        yield Finding("not told", where, f"{claim.of} of both sides, for the {written}", "", "")
        return
    ratio = baseline.times[claim.of] / side.times[claim.of]
    shown = f"{baseline.texts[claim.of]} over {side.texts[claim.of]} is {FORMS['rounded'](ratio)}"
    match claim.formula:
        case "mean of ratios":
            found = _mean_of_ratios(baseline, side, claim.of)
            own = "" if found is None else f"; the average of the ratios of its runs is {format_ratio(found.value)}"
            yield Finding("mistake", where, f"{written} as the average of ratios", shown + own, POOL)
        case "time over baseline":
            inverse = side.times[claim.of] / baseline.times[claim.of]
            follows = f"that is {FORMS['rounded'](inverse)}, the inverse of a speedup; {shown}"
            yield Finding("mistake", where, f"{written} as this side's time over the baseline's", follows, DIVIDE)
        case "other":
            yield Finding("mistake", where, f"{written} by a formula of its own", f"a speedup is a ratio of times: {shown}", DIVIDE)
        case "geometric mean of ratios":
            yield Finding("not told", where, f"the runs, row by row, for the {written} as their geometric mean", "", "")
        case _ if (needed := _other_statistic(baseline, side, claim)) is not None:
            yield Finding("not told", where, f"{needed}s of both sides, for the {written} as the {claim.formula}", "", "")
        case _ if claim.value is not None and not ratio.meets(rounded(claim.value)):
            yield Finding("mistake", where, written, shown + _explained(baseline, side, claim.of, claim.value), DIVIDE)


def _other_statistic(baseline: Figures, side: Figures, claim: Claim) -> str | None:
    """The statistic that decides on the claim, if the table does not have it."""
    needed = NEEDS.get(claim.formula or "")
    told = {one.row.statistic or "mean" for one in (baseline, side)}
    return needed if needed is not None and told != {needed} else None


def _mean_of_ratios(baseline: Figures, side: Figures, name: str) -> Quantity | None:
    """Run by run, where there are equally many, more than one."""
    if len(baseline.rows) != len(side.rows) or len(side.rows) < 2:
        return None
    return mean([ours / theirs for ours, theirs in zip(baseline.runs(name), side.runs(name), strict=True)])


def _explained(baseline: Figures, side: Figures, name: str, stated: Decimal) -> str:
    """What else of the table is as large as the stated value, and may have been taken for the speedup."""
    for what, found in _others(baseline, side, name):
        if found is not None and found.meets(rounded(stated)):
            return f"; {stated}x is {what} ({format_ratio(found.value)})"
    return ""


def _others(baseline: Figures, side: Figures, name: str) -> Iterator[tuple[str, Quantity | None]]:
    yield "the average of the ratios of the runs", _mean_of_ratios(baseline, side, name)
    yield "the inverse", side.times[name] / baseline.times[name]
    stages = [stage for stage in baseline.stages if stage in side.stages]
    if name == TOTAL and stages and all(side.times[stage].low > 0 for stage in stages):
        yield "the average of the ratios of the stages", mean([baseline.times[stage] / side.times[stage] for stage in stages])
    if baseline.new_tokens is not None and side.new_tokens is not None:
        yield "the ratio of new tokens", baseline.new_tokens / side.new_tokens
        if TPOT in baseline.times and TPOT in side.times and name == GENERATE:
            products = [one.new_tokens * one.times[TPOT] for one in (baseline, side) if one.new_tokens is not None]
            yield "the ratio of new tokens times tpot", products[0] / products[1]


def _of_tokens_per_pass(where: str, written: str, baseline: Figures, side: Figures) -> Iterator[Finding]:
    """Of speculative decoding in which this side drafts for its baseline."""
    gamma, rate = side.row.draft_tokens, side.row.acceptance_rate
    if gamma is None:
        yield Finding("not told", where, f"draft_tokens, for the {written}", "", "")
        return
    tokens = expected_tokens(1.0 if rate is None else float(rate), gamma)
    at_best = "" if rate is not None else " at best, with each draft accepted"
    follows = f"{gamma} drafted tokens give {tokens:.3g} tokens per pass{at_best}, which has no time in it and is never below 1"
    if TPOT not in baseline.times or TPOT not in side.times:
        yield Finding("not told", where, f"{TPOT} of both sides, for what {gamma} drafts take", "", "")
    elif baseline.times[TPOT].value > 0:
        draft = side.times[TPOT].value / baseline.times[TPOT].value
        found = format_ratio(speedup(tokens, gamma, draft, 1.0))
        follows += f"; drafts of {side.texts[TPOT]} each for passes of {baseline.texts[TPOT]} leave {found}"
    yield Finding("mistake", where, f"{written} by the formula of tokens per pass", follows, MEASURE)


def _saved_shares(baseline: Figures, side: Figures, shares: Mapping[str, Decimal]) -> Iterator[Finding]:
    """What a stage gives to the difference of the totals. Nothing follows where rounding hides whether there is one."""
    for stage, share in shares.items():
        where, written = f"{side.name} against {baseline.name}", f"{stage} is {share} % of the speedup"
        if any(name not in one.times for name in (stage, TOTAL) for one in (baseline, side)):
            yield Finding("not told", where, f"{stage} and {TOTAL} of both sides: {written}", "", "")
            continue
        saved, whole = (baseline.times[name] - side.times[name] for name in (stage, TOTAL))
        if whole.low <= 0 <= whole.high or not side.adds_up or not baseline.adds_up:
            yield Finding("not told", where, f"a difference of {TOTAL} that is sure: {written}", "", "")
            continue
        found = Quantity(100) * _over(saved, whole)
        if not found.meets(rounded(share)):
            of = f"{baseline.texts[stage]} less {side.texts[stage]}"
            total = f"{baseline.texts[TOTAL]} less {side.texts[TOTAL]}"
            own = baseline.times[stage] * Quantity(100) / baseline.times[TOTAL]
            taken = f"; {share} % is its share of {baseline.name}'s own total" if own.meets(rounded(share)) else ""
            follows = f"{of}, of {total}, is {percent(found)}{taken}"
            yield Finding("mistake", where, written, follows, "divide what the stage saves by what all save")


def _over(one: Quantity, other: Quantity) -> Quantity:
    """A quotient of differences, which may be negative. The other one is not 0."""
    ends = [up / down for up in (one.low, one.high) for down in (other.low, other.high)]
    return Quantity(one.value / other.value, min(ends), max(ends))
