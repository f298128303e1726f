"""How the sides were measured: tokens, sampling, warm-up, order, number of runs, dtype. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from evbench.external_table import GENERATE, Row
from evbench.lint.figures import Figures, sides_compared
from evbench.lint.finding import Finding
from evbench.report.units import format_ratio

EQUAL_LENGTH = "let both sides generate equally many tokens, also after an end token"
GREEDY = "decode greedily: do_sample false"
WARM = "run each side until its times are steady before the first run that counts"
EQUAL_WORDS: tuple[tuple[str, Callable[[Row], Any], str], ...] = (
    ("dtype", lambda row: row.dtype, "the sides did different work"),
    ("statistic", lambda row: row.statistic, "a few slow runs move the mean, and not the median"),
)
"""What both sides must have in common -> what follows if they have not."""
MOST_NAMED = 4
"""Of the sides that something is said of."""
INTERLEAVED = "let the sides take turns, in blocks such as ABBA and BAAB"


def of_sides(sides: Mapping[str, Figures]) -> Iterator[Finding]:
    """Mistakes, and what is not told of some side."""
    if len(sides) > 1:
        for baseline, side in sides_compared(sides):
            yield from _unequal_tokens(baseline, side)
            yield from _unequal_words(baseline, side)
        yield from _order(sides)
    for side in sides.values():
        yield from _of_side(side)
    yield from _not_told(sides)


def _told(side: Figures, value: Callable[[Row], Any]) -> list[Any]:
    return [found for row in side.rows if (found := value(row)) is not None]


def _unequal_tokens(baseline: Figures, side: Figures) -> Iterator[Finding]:
    ours, theirs = (_told(one, lambda row: row.new_tokens) for one in (baseline, side))
    if baseline.new_tokens is None or side.new_tokens is None or side.new_tokens.value == 0 or ours == theirs:
        return
    if len(ours) != len(theirs) and baseline.new_tokens.value == side.new_tokens.value:
        return
    lengths = baseline.new_tokens / side.new_tokens
    follows = f"{format_ratio(lengths.value)} as many"
    if GENERATE in baseline.times and GENERATE in side.times and min(side.times[GENERATE].value, lengths.value) > 0:
        ratio = (baseline.times[GENERATE] / side.times[GENERATE]).value
        follows += f": generate takes {format_ratio(ratio)} as long, over its tokens {format_ratio(ratio / lengths.value)}"
    written = f"{_shown(ours)} and {_shown(theirs)} new tokens"
    yield Finding("mistake", f"{baseline.name} and {side.name}", written, follows, EQUAL_LENGTH)


def _shown(numbers: list[Any]) -> str:
    return str(numbers[0]) if len(set(numbers)) == 1 else f"{min(numbers)} to {max(numbers)}"


def _unequal_words(baseline: Figures, side: Figures) -> Iterator[Finding]:
    for what, value, follows in EQUAL_WORDS:
        ours, theirs = ({text.lower() for text in _told(one, value)} for one in (baseline, side))
        if ours and theirs and ours != theirs:
            written = f"{what} {', '.join(sorted(ours))} and {', '.join(sorted(theirs))}"
            yield Finding("mistake", f"{baseline.name} and {side.name}", written, follows, f"give both one {what}")


def _order(sides: Mapping[str, Figures]) -> Iterator[Finding]:
    if any("one after the other" in _told(side, lambda row: row.order) for side in sides.values()):
        follows = "clocks, heat and caches that drift look like a difference of the sides"
        yield Finding("mistake", _named(list(sides)), "measured one after the other", follows, INTERLEAVED)


def _of_side(side: Figures) -> Iterator[Finding]:
    if sampled := [text for row in side.rows if (text := _sampling(row))]:
        yield Finding("mistake", side.name, sampled[0], "another run gives other tokens, and another number of them", GREEDY)
    if 0 in _told(side, lambda row: row.warmup_runs):
        yield Finding("mistake", side.name, "0 warm-up runs", "the first call, which compiles and allocates, is in its times", WARM)
    for row in side.rows:
        if row.runs == 0:
            yield Finding("mistake", side.name, "0 runs", "its times were not measured here", "measure them, in the same session")
        elif row.runs is not None and row.samples is not None and row.runs < row.samples:
            follows = f"{row.samples - row.runs} are missing: the mean is of those that came first"
            yield Finding("mistake", side.name, f"{row.runs} runs of {row.samples}", follows, "report when all have ended")
        elif row.runs == 1 and len(side.rows) == 1:
            yield Finding("mistake", side.name, "1 run", "its scatter is not known, so no interval excludes 1x", "repeat it")


def _sampling(row: Row) -> str:
    """What says that tokens are drawn at random. Empty if nothing does."""
    if row.do_sample:
        return "do_sample true"
    return f"temperature {row.temperature}" if row.do_sample is None and row.temperature is not None and row.temperature > 0 else ""


ASKED: dict[str, Callable[[Figures], bool]] = {
    "new_tokens": lambda side: side.new_tokens is not None,
    "do_sample or temperature": lambda side: bool(_told(side, lambda row: row.do_sample) or _told(side, lambda row: row.temperature)),
    "warmup_runs": lambda side: bool(_told(side, lambda row: row.warmup_runs)),
    "runs": lambda side: len(side.rows) > 1 or bool(_told(side, lambda row: row.runs)),
    "order": lambda side: bool(_told(side, lambda row: row.order)),
    "dtype": lambda side: bool(_told(side, lambda row: row.dtype)),
}
"""What has to be told of each side -> whether it is."""


def _not_told(sides: Mapping[str, Figures]) -> Iterator[Finding]:
    for what, is_told in ASKED.items():
        lacking = [name for name, side in sides.items() if not is_told(side)]
        if what == "order" and (len(sides) < 2 or len(lacking) < len(sides)):
            continue  # it is of all sides: one may tell it
        if lacking:
            yield Finding("not told", _named(lacking), what, "", "")


def _named(sides: list[str]) -> str:
    more = [f"{len(sides) - MOST_NAMED} more"] if len(sides) > MOST_NAMED else []
    return " and ".join([", ".join(sides[: MOST_NAMED if more else -1]), *(more or sides[-1:])] if len(sides) > 1 else sides)
