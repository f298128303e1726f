"""Runs on seen and on unseen input -> whether a side is faster on what it has seen. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from evbench.pipelines.registry import OWN
from evbench.results import ALLOW_CACHED, SHORT_ANSWER, SHORTEST, STAGES, CacheCheck, Result, Run, Side, SideResult
from evbench.verdict.blocks import PREFILL, TIMED, TPOT
from evbench.verdict.student import student_quantile

MIN_RATIO = 1.05
"""Unseen to seen. What is remembered saves more, and smaller differences come from where files and tensors happen to lie."""
MIN_SECONDS = 20e-6
"""As MIN_RATIO, for what takes microseconds."""
SUSPECTED = 1.02
"""Mean ratio from which more pairs may be run."""
DOUBTED, TOO_SMALL = 0.80, 0.99
"""More pairs are run only where the mean is above 1 at the first confidence, one-sided, and MIN_RATIO is not out of reach at the second.
What fails here is hardly ever found in twelve pairs either: simulated, it saves a fifth of the pairs, and no cache is lost by it."""
ONLY_TIMED, STEP_ONLY_TIMED, SHARE = 2.0, 3.0, 0.05
"""Seen runs of a check to timed ones, from which a stage or the prefill is cached, and a decode step; and by what share of a timed run it
is longer at least. In none of 74 recorded sides it was more than 1.2, and 1.7 for a step, of which a check has few."""
SLOWER = 2.0
"""So much slower at most the machine is taken to be during the check."""
LEVEL = 0.001
"""Chance at which one timing that is MIN_RATIO apart is called cached. There are five for each side, and most are not apart at all."""


@dataclass(frozen=True)
class SeenUnseen:
    """One timing of one side, over the pairs of its cache check."""

    timing: str
    """A stage, or `prefill`."""
    ratio: float
    """Geometric mean of unseen to seen: above 1, the side is faster on what it has seen."""
    low: float
    """One-sided lower bound of the ratio, at 99.9 %."""
    cached: bool


def examine(check: CacheCheck) -> tuple[SeenUnseen, ...]:
    """Each timing, in the order of the pipeline."""
    found = []
    for timing in check.pairs[0].seen:
        mean, error = _mean_and_error(check, timing)
        saved = statistics.median(pair.unseen[timing] - pair.seen[timing] for pair in check.pairs)
        low = math.exp(mean - _reach(1 - LEVEL, error, check))
        found.append(SeenUnseen(timing, math.exp(mean), low, low > MIN_RATIO and saved > MIN_SECONDS))
    return tuple(found)


def suspected(check: CacheCheck) -> bool:
    """Whether more pairs are needed before nothing is said to be remembered.

    It only ever ends a check that finds nothing: whoever looks several times must not have several chances to find a cache.
    """
    return any(_is_suspected(check, timing) for timing in check.pairs[0].seen)


def _is_suspected(check: CacheCheck, timing: str) -> bool:
    mean, error = _mean_and_error(check, timing)
    if mean <= math.log(SUSPECTED):
        return False
    if math.isinf(error):
        return True
    is_doubted = mean <= _reach(DOUBTED, error, check)
    return not is_doubted and mean + _reach(TOO_SMALL, error, check) > math.log(MIN_RATIO)


def _mean_and_error(check: CacheCheck, timing: str) -> tuple[float, float]:
    """Mean logarithm of unseen to seen, and its standard error: infinite for one pair, of which the scatter is not known."""
    logs = [math.log(pair.unseen[timing] / pair.seen[timing]) for pair in check.pairs]
    return statistics.fmean(logs), statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else math.inf


def _reach(confidence: float, error: float, check: CacheCheck) -> float:
    """Of a one-sided interval."""
    return error if math.isinf(error) else student_quantile(confidence, len(check.pairs) - 1) * error


def examined(sides: Mapping[Side, SideResult]) -> dict[Side, tuple[SeenUnseen, ...]]:
    """Of the sides that were checked."""
    return {side: examine(measured.cache_check) for side, measured in sides.items() if measured.cache_check is not None}


def cached(sides: Mapping[Side, SideResult]) -> list[str]:
    """What each side is faster at on input that it has seen, in words."""
    remembered = [
        f"{side}: {one.timing} takes {one.ratio:.2f}x as long on input that this side has not seen (above {one.low:.2f}x)"
        for side, found in examined(sides).items()
        for one in found
        if one.cached
    ]
    return [*remembered, *(f"{side}: {found}" for side, measured in sides.items() for found in _only_timed(measured))]


def _only_timed(measured: SideResult) -> Iterator[str]:
    """What was faster in the timed runs than in those that look for caches, on input that was seen in both, in words.

    A cache that other input switches off for good, or that keeps long answers only, shows in no pair.
    """
    check, runs = measured.cache_check, [run for run in measured.timed() if run.stages is not None]
    if check is None or not runs:
        return
    whole = statistics.median(run.seconds for run in runs)
    # Drafts differ in how many are accepted of few tokens and of many, and a pipeline of somebody else's need not tell of its own.
    may_draft = OWN in measured.choices or any(run.drafting is not None for run in runs)
    names = (*STAGES[:-1], PREFILL) if may_draft else (*STAGES[:-1], PREFILL, TPOT)
    times = {name: found for name in names if (found := _seen_and_timed(check, name, runs)) is not None}
    # The check is made behind all blocks, when the machine may have become slower: twice at most, else all of the side was remembered.
    slower = min(SLOWER, max(1.0, min((seen / timed for seen, timed in times.values()), default=1.0)))
    for name, (seen, timed) in times.items():
        often, most = 1.0, ONLY_TIMED
        if name == TPOT:
            often, most = statistics.median(len(run.decode_step_seconds or ()) for run in runs), STEP_ONLY_TIMED
        if seen > most * slower * timed and (seen - slower * timed) * often > SHARE * whole:
            yield f"{name} takes {seen / timed:.2f}x as long as in the timed runs, on the same input, once there was other input"


def _seen_and_timed(check: CacheCheck, name: str, runs: Sequence[Run]) -> tuple[float, float] | None:
    """The shortest time in a seen run of the check, and the median of timed runs. None if one is not known."""
    by_sample: dict[int, list[float]] = {}
    for run in runs:
        if (seconds := TIMED[name](run)) is not None:
            by_sample.setdefault(run.sample, []).append(seconds)
    seen = _seen(check, name, runs)
    if seen is None or not by_sample:
        return None
    # The sample of the check is not known. An empty stage takes less than the clock resolves.
    return seen, max(SHORTEST, *(statistics.median(values) for values in by_sample.values()))


def _seen(check: CacheCheck, name: str, runs: Sequence[Run]) -> float | None:
    """The shortest in a seen run. None if it is not known."""
    if name != TPOT:
        return min(pair.seen[name] for pair in check.pairs) if name in check.pairs[0].seen else None
    tokens = min(SHORT_ANSWER, *(run.work.new_tokens or len(run.tokens) for run in runs))
    if tokens < 2 or not {"generate", PREFILL} <= check.pairs[0].seen.keys():
        return None
    rest = statistics.median(_behind_the_last_token(run) for run in runs)
    return min((pair.seen["generate"] * tokens - pair.seen[PREFILL] - rest) / (tokens - 1) for pair in check.pairs)


def _behind_the_last_token(run: Run) -> float:
    """What `generate` takes beside the prefill and the decode steps, such as spelling the answer."""
    assert run.stages is not None
    return run.stages["generate"].seconds - (run.prefill_seconds or 0.0) - math.fsum(run.decode_step_seconds or ())


def refused(result: Result) -> list[str]:
    """Why nothing may be claimed. Empty if nothing is remembered, or it was allowed."""
    found = cached(result.variants())
    if not found or ALLOW_CACHED in result.rules.allowed:
        return []
    return [f"CACHED: {'; '.join(found)}; turn that cache off, or allow it by --allow {ALLOW_CACHED}"]
