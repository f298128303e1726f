"""Timings, their distributions, the decomposition and demands -> tables. Pure."""

from __future__ import annotations

from evbench.report import metrics
from evbench.report.loss import concerns
from evbench.report.render import TOO_FEW, Table, printable
from evbench.report.units import NOT_MEASURED, format_claimed, format_demanded, format_range, format_ratios, format_seconds, format_signed
from evbench.results import Result
from evbench.verdict.demands import DemandOutcome
from evbench.verdict.difference import Difference
from evbench.verdict.judgement import CLAIMED, Judgement, Timing, Verdict
from evbench.verdict.statistics import Distribution, Interval

CLAIMS = {Verdict.FASTER: "faster", Verdict.SLOWER: "slower", Verdict.SAME: "same", Verdict.INCONCLUSIVE: "unclear"}
COMPARED = ("speedup", "95% CI", "claim")
"""Columns of two sides."""
LATENCY, TOKENS, DISTRIBUTIONS, DIFFERENCE, FLOORS = "latency", "tokens", "distributions", "difference", "floors"
"""Names of tables."""


def columns(judgement: Judgement, first: str = "") -> tuple[str, ...]:
    sides = judgement.end_to_end.sides
    return (first, *sides, *(COMPARED if len(sides) == 2 else ()))


def row(timing: Timing, judgement: Judgement) -> tuple[str, ...]:
    """Name, medians, and of two sides the speedup, its interval and the claim."""
    cells = (timing.name, *map(_median, timing.sides.values()))
    if len(timing.sides) == 1:
        return cells
    interval = shown_interval(timing, judgement)
    if interval is None or timing.claim is None:
        return (*cells, "-", "-", "")
    ratio = format_claimed(interval.ratio, timing.claim in CLAIMED)
    found = CLAIMS[timing.claim]
    return (*cells, ratio, format_ratios(interval.low, interval.high), f"LOSSY, {found}" if concerns(timing, judgement) else found)


def shown_interval(timing: Timing, judgement: Judgement) -> Interval | None:
    """Of the speedup. None where a ratio must not be read as one: without a claim, or if outputs differ or were not compared."""
    return None if timing.claim is None or judgement.preserved in (None, "fail") else timing.interval


def _padding(judgement: Judgement) -> int:
    return len(COMPARED) if len(judgement.end_to_end.sides) == 2 else 0


def latency(judgement: Judgement) -> Table:
    """End-to-end is of runs without stage synchronization, the stages of runs with it."""
    rows = tuple(row(timing, judgement) for timing in (*judgement.stages, judgement.end_to_end))
    return Table("Latency: median of each stage, and end-to-end without stage synchronization", columns(judgement), rows, LATENCY)


def throughput(result: Result, judgement: Judgement, timing: Timing) -> Table:
    """Latency and throughput side by side, and the share of loading in the throughput."""
    rows = [row(judgement.end_to_end, judgement), row(timing, judgement), *metrics.rows(metrics.THROUGHPUT, judgement, _padding(judgement))]
    prefetch = (measured.choices.get("prefetch", "unknown") for measured in result.variants().values())
    rows.append(("prefetch", *prefetch, *[""] * _padding(judgement)))
    title = "Latency and throughput: median time of one sample end-to-end, and for each sample of a throughput run (samples back to back)"
    return Table(title, columns(judgement), tuple(rows))


def tokens(judgement: Judgement) -> Table:
    rows = [row(timing, judgement) for timing in judgement.tokens]
    rows += metrics.rows(metrics.TOKENS, judgement, _padding(judgement))
    title = "Tokens: time to first token (TTFT), prefill, time per output token (TPOT)"
    return Table(title, columns(judgement), tuple(rows), TOKENS)


def distributions(judgement: Judgement) -> Table:
    sides = judgement.end_to_end.sides
    header = ["", *(name for side in sides for name in (f"{side}: min - max", "p90", "outliers"))]
    found = []
    for timing in (*judgement.stages, judgement.end_to_end, *(() if judgement.throughput is None else (judgement.throughput,))):
        cells = [timing.name]
        for one in timing.sides.values():
            cells += (
                [NOT_MEASURED] * 3 if one is None else [format_range(one.minimum, one.maximum), _tail(one), f"{one.outliers} of {one.runs}"]
            )
        found.append(tuple(cells))
    return Table("Distribution of single runs; outliers are counted, and kept", tuple(header), tuple(found), DISTRIBUTIONS)


def difference(judgement: Judgement, parts: Difference) -> Table:
    # Shares of a difference that is not claimed would be shares of noise.
    claimed = judgement.claim in CLAIMED
    rows = [(part.name, format_signed(part.seconds), f"{part.share:.1%}" if claimed else "-") for part in (*parts.parts, parts.total)]
    return Table("Where the difference comes from: means, baseline less optimized", ("", "saved", "share"), tuple(rows), DIFFERENCE)


def floors(judgement: Judgement) -> Table:
    """Of each timing that has a floor: the floor, and of each side its median and the share of it that the floor is."""
    medians, shares = {timing.name: timing.sides for timing in judgement.timings()}, judgement.floor_shares()
    sides = judgement.end_to_end.sides
    rows = []
    for name, found in shares.items():
        cells = (cell for side in sides for cell in (_median(medians[name][side]), f"{found[side]:.2%}" if side in found else NOT_MEASURED))
        rows.append((name, _floor(name, judgement), *cells))
    header = ("", "floor", *(cell for side in sides for cell in (side, f"{side}: share")))
    return Table("Distance to the limit: medians, and the physical floor on this machine as a share of them", header, tuple(rows), FLOORS)


def _floor(name: str, judgement: Judgement) -> str:
    """With that of a side whose weights are quantized, whose tokens are drafted or whose model is divided, where that is another."""
    full = format_seconds(judgement.floors[name])
    others = {side: format_seconds(found[name]) for side, found in judgement.side_floors.items()}
    told = [f"{side} {seconds}" for side, seconds in others.items() if seconds != full]
    return f"{full} ({', '.join(told)})" if told else full


def demands(judgement: Judgement) -> Table:
    rows = [(printable(outcome.text), *_demand(outcome)) for outcome in judgement.demands]
    return Table("Demands", ("", "measured", "95% CI", "met"), tuple(rows))


def _demand(outcome: DemandOutcome) -> tuple[str, str, str]:
    met = {True: "yes", False: "NO", None: "unclear"}[outcome.met]
    if outcome.low is None or outcome.high is None or outcome.measured is None:
        return NOT_MEASURED, "-", met
    if outcome.unit == "seconds":
        return format_seconds(outcome.measured), format_range(outcome.low, outcome.high), met
    if outcome.unit != "ratio":
        return format_demanded(outcome.measured, outcome.unit), "-", met
    return format_claimed(outcome.measured, outcome.met is False), format_ratios(outcome.low, outcome.high), met


def _median(found: Distribution | None) -> str:
    return NOT_MEASURED if found is None else format_seconds(found.median)


def _tail(found: Distribution) -> str:
    return f"{TOO_FEW} ({found.runs})" if found.p90 is None else format_seconds(found.p90)
