"""What the figures of one side say of each other: sums, products and shares. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from evbench.external_table import ALL_SAMPLES, DECODE, GENERATE, PREFILL, TOTAL, TPOT, TTFT
from evbench.lint.figures import TOLERANCE, Figures, added, minus, time
from evbench.lint.finding import Finding
from evbench.report.expressions import Quantity, rounded
from evbench.report.units import format_number

TIME_PARTS = "time the whole and its stages in the same runs, one clock reading between two stages"
PARTS = ((PREFILL, GENERATE), (DECODE, GENERATE), (TTFT, TOTAL))
TIME_STEPS = "time prefill and decode steps apart: TPOT is the mean decode step"


def of_one(figures: Figures) -> Iterator[Finding]:
    """Of a row."""
    yield from _not_timed(figures)
    yield from _parts(figures)
    yield from _shares(figures)
    yield from _tokens_per_second(figures)
    if figures.adds_up:
        yield from _sum_of_stages(figures)
        yield from _steps(figures)
        yield from _all_samples(figures)
    else:
        yield Finding("not told", figures.where, "means: no sum, product or share follows from medians", "", "")


def _not_timed(figures: Figures) -> Iterator[Finding]:
    for name, seconds in figures.stages.items():
        if seconds.value == 0:
            most = f", at most {time(Quantity(seconds.high))} by rounding" if seconds.high > 0 else ""
            follows = f"no stage takes no time{most}: it was not timed, or what it did is in another stage"
            yield Finding("mistake", figures.where, figures.text(name), follows, "time it by itself, or leave the column empty")


def _parts(figures: Figures) -> Iterator[Finding]:
    """Of medians as well: where a part is shorter in each run, so is its median."""
    for part, whole in PARTS:
        if part in figures.times and whole in figures.times and _exceeds(figures.times[part], figures.times[whole]):
            follows = f"{figures.text(whole)}, of which it is a part, is shorter"
            yield Finding("mistake", figures.where, figures.text(part), follows, TIME_PARTS)


def _sum_of_stages(figures: Figures) -> Iterator[Finding]:
    if TOTAL not in figures.times or not figures.stages:
        return
    total, found = figures.times[TOTAL], added(list(figures.stages.values()))
    if not found.meets(total * TOLERANCE):
        gap = time(Quantity(abs(found.value - total.value)))
        what = f"{gap} more than that" if found.value > total.value else f"{gap} are in no stage"
        follows = f"{' + '.join(figures.stages)} are {time(found)}, {what}"
        yield Finding("mistake", figures.where, figures.text(TOTAL), follows, TIME_PARTS)


def _steps(figures: Figures) -> Iterator[Finding]:
    """Decode steps against generate and against the total: there is one step less than tokens, the first is prefill's."""
    if TPOT not in figures.times or figures.new_tokens is None or figures.new_tokens.low < 2:
        return
    tpot, tokens = figures.times[TPOT], figures.new_tokens
    steps = minus(tokens, 1) * tpot
    shown = f"{_tokens(figures)} of {figures.text(TPOT)} take {time(steps)} behind the first"
    if GENERATE in figures.times:
        generate, whole = figures.times[GENERATE], figures.times[GENERATE] / tokens
        prefill = generate - steps
        if _exceeds(steps, generate):
            yield Finding("mistake", figures.where, figures.text(GENERATE), shown, TIME_STEPS)
            return
        # A prefill goes over hundreds of tokens: where it would be as short as a step, it is in the steps.
        is_told = PREFILL in figures.times and figures.times[PREFILL].meets(prefill)
        if tpot.meets(whole) and prefill.high < 2 * tpot.value and not is_told:
            follows = f"{figures.text(GENERATE)} over {_tokens(figures)} is {time(whole)}: the whole stage, prefill included, is no TPOT"
            yield Finding("mistake", figures.where, figures.text(TPOT), follows, TIME_STEPS)
    others = [seconds for name, seconds in figures.stages.items() if name not in (GENERATE, DECODE)]
    if TOTAL in figures.times and _exceeds(added([*others, steps]), figures.times[TOTAL]):
        follows = f"{shown}, and with the other stages {time(added([*others, steps]))}"
        yield Finding("mistake", figures.where, figures.text(TOTAL), follows, TIME_PARTS)


def _exceeds(least: Quantity, found: Quantity) -> bool:
    return (least * TOLERANCE).low > found.high


def _tokens_per_second(figures: Figures) -> Iterator[Finding]:
    rate, tokens = figures.row.tokens_per_second, figures.new_tokens
    if rate is None:
        return
    found = {}
    if tokens is not None:
        found = {f"new tokens over {name}": tokens / figures.times[name] for name in (GENERATE, TOTAL) if name in figures.times}
        if DECODE in figures.times:
            found[f"new tokens but the first over {DECODE}"] = minus(tokens, 1) / figures.times[DECODE]
    if TPOT in figures.times:
        found["one over tpot"] = Quantity(1) / figures.times[TPOT]
    if not found:
        yield Finding("not told", figures.where, f"new_tokens and generate or total, or tpot, for {rate} tokens per second", "", "")
    elif not any((one * TOLERANCE).meets(rounded(rate)) for one in found.values()):
        follows = ", ".join(f"{what} is {format_number(one.value)}" for what, one in found.items())
        yield Finding("mistake", figures.where, f"{rate} tokens per second", follows, "say which time the tokens are divided by")


def _shares(figures: Figures) -> Iterator[Finding]:
    for stage, share in figures.row.shares.items():
        if stage not in figures.times or TOTAL not in figures.times:
            yield Finding("not told", figures.where, f"{stage} or {TOTAL}, of which {share} % are written", "", "")
        elif figures.adds_up:
            found = Quantity(100) * figures.times[stage] / figures.times[TOTAL]
            if not (found * TOLERANCE).meets(rounded(share)):
                follows = f"{figures.text(stage)} of {figures.text(TOTAL)} is {percent(found)}"
                yield Finding("mistake", figures.where, f"{stage} is {share} % of the total", follows, "compute it from the times")


def percent(found: Quantity) -> str:
    """A share that was computed."""
    low, high = f"{found.low:.0f}", f"{found.high:.0f}"
    return f"{found.value:.0f} %" + (f" ({low} - {high} by rounding)" if low != high else "")


def _all_samples(figures: Figures) -> Iterator[Finding]:
    samples = figures.row.samples
    if ALL_SAMPLES not in figures.times:
        return
    if samples is None or TOTAL not in figures.times:
        yield Finding("not told", figures.where, f"samples or {TOTAL}, for all samples {figures.texts[ALL_SAMPLES]}", "", "")
        return
    found = Quantity(samples) * figures.times[TOTAL]
    if not (found * TOLERANCE).meets(figures.times[ALL_SAMPLES]):
        follows = f"{samples} times {figures.text(TOTAL)} is {time(found)}"
        yield Finding(
            "mistake", figures.where, figures.text(ALL_SAMPLES).replace("_", " "), follows, "give what was measured of all samples"
        )


def _tokens(figures: Figures) -> str:
    return f"{figures.row.new_tokens if len(figures.rows) == 1 else format_number(figures.new_tokens.value)} new tokens"  # type: ignore[union-attr]
