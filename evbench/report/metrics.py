"""Where each metric stands in a report. A new metric of `evbench.verdict.metrics` is added to one of the sections here by its name."""

from __future__ import annotations

from evbench.report.render import Table
from evbench.report.units import NOT_MEASURED, format_bytes, format_number, format_seconds
from evbench.results import STAGES
from evbench.verdict.judgement import Judgement
from evbench.verdict.metrics import MEMORY, METRICS, PER_UNIT, Unit, Value
from evbench.verdict.statistics import Distribution

THROUGHPUT, TOKENS, PER_UNIT_OF_WORK, RATES, STARTUP, PEAK_MEMORY = (
    "throughput", "tokens", "per unit of work", "rates and overhead", "startup and compile time", "peak memory",
)  # fmt: skip
SECTIONS: dict[str, tuple[str, ...]] = {
    THROUGHPUT: ("load-per-sample", "load-wait-per-sample", "samples-per-throughput-run", "samples-per-second", "throughput-overhead"),
    TOKENS: ("decode-step", *(f"{stage}-gpu-stream" for stage in STAGES)),
    PER_UNIT_OF_WORK: tuple(PER_UNIT),
    RATES: ("new-tokens-per-second", "decode-tokens-per-second", "energy-per-sample", "stage-sync-overhead"),
    STARTUP: (
        "build", "first-call", "compiled-graphs", "cached-graphs", "cuda-graphs", "warm-up-runs", "warm-up", "compile-cache-files",
        "startup-and-compile",
    ),
    PEAK_MEMORY: tuple(f"{kind}-memory-{stage}" for kind in MEMORY for stage in STAGES),
}  # fmt: skip
"""Section of a report -> names of its metrics. Those that no side has are left out."""
MEANINGS = {metric.name: metric.meaning for metric in METRICS}


def rows(section: str, judgement: Judgement, padding: int = 0) -> list[tuple[str, ...]]:
    """Name and value of each side; `padding` empty cells behind them."""
    known = [name for name in SECTIONS[section] if name in judgement.metrics]
    found = [(name, judgement.metrics[name]) for name in known]
    return [(name, *(format_value(metric.unit, value) for value in metric.sides.values()), *[""] * padding) for name, metric in found]


def table(section: str, title: str, judgement: Judgement) -> Table:
    """Of one section, with what each metric means."""
    found = [(name, *cells, MEANINGS[name]) for name, *cells in rows(section, judgement)]
    return Table(title, ("", *judgement.end_to_end.sides, "meaning"), tuple(found), section)


def format_value(unit: Unit, value: Value) -> str:
    """The median and, where known, the 90th percentile of a distribution; one number by its unit."""
    if value is None:
        return NOT_MEASURED
    if not isinstance(value, Distribution):
        return _format(unit, value)
    if unit == "count" and value.minimum != value.maximum:
        return f"{_format(unit, value.minimum)} - {_format(unit, value.maximum)}"
    tail = "" if value.p90 is None or unit == "count" else f" (p90 {_format(unit, value.p90)})"
    return f"{_format(unit, value.median)}{tail}"


def _format(unit: Unit, value: float) -> str:
    match unit:
        case "seconds":
            return format_seconds(value) if value >= 0 else f"-{format_seconds(-value)}"
        case "bytes":
            return format_bytes(round(value))
        case "count":
            return f"{value:,.0f}"
        case "share":
            return f"{value:+.1%}"
        case "joules":
            return f"{format_number(value)} J"
        case "per second":
            return f"{format_number(value)}/s"
