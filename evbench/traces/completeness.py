"""Whether a trace holds all that happened: a profiler may lose work, and says nothing when it does."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping

from evbench.results import Completeness
from evbench.traces.chrome import Event, correlation, end, slices
from evbench.traces.timeline import Span, Timeline

LAUNCH = re.compile(r"cu(da)?(Launch(Cooperative)?Kernel|Memcpy|Memset|GraphLaunch)")
"""Calls that start work on the GPU."""
SKEW = 100.0
"""Microseconds by which the clocks of host and GPU may differ in a trace."""
SHORTEST = 0.7
"""Of a stage's time without the profiler, which only ever adds to it. Less: something is missing."""
NOTICED = 1000.0
"""Microseconds that must be missing too: what is shorter scatters by more than its share."""


def prove(timeline: Timeline, events: list[Event], plain: Mapping[str, float]) -> Completeness:
    """Look for what is missing.

    Args:
        events: those of the timeline.
        plain: stage -> seconds of the same run without the profiler. Empty where nobody measured it.
    """
    launched = [call for call in timeline.calls.values() if LAUNCH.match(call["name"]) and timeline.stage_at(float(call["ts"])) is not None]
    in_stages = [event for event in timeline.work if timeline.stage_at(timeline.caused(event)) is not None]
    losses = [
        *_without_work(timeline, launched),
        *_out_of_place(timeline, in_stages),
        *_unsteady_steps(timeline),
        *_too_short(timeline, plain),
    ]
    if not in_stages and not any(event.get("cat") == "cpu_op" for event in events):
        losses.append("no operation and no kernel was recorded")
    in_step = [len(timeline.work_in(step)) if timeline.work else _operations(events, step) for step in timeline.steps]
    return Completeness(
        losses=tuple(losses),
        launches=len(launched),
        work=len(in_stages),
        fewest_in_step=min(in_step, default=None),
        most_in_step=max(in_step, default=None),
        slowdown={stage: timeline.stages[stage].length / 1e6 / seconds for stage, seconds in plain.items()},
    )


def stamp(found: Completeness) -> str:
    """In a line."""
    if found.losses:
        return f"LOSSY: {'; '.join(found.losses)}"
    told = f"{found.launches:,} launches, each with its work on the GPU ({found.work:,})" if found.work else "no work on a GPU"
    if found.fewest_in_step is not None and found.most_in_step is not None:
        counts = f"{found.fewest_in_step:,}"
        if found.most_in_step != found.fewest_in_step:
            counts += f" to {found.most_in_step:,}"
        told += f"; {counts} {'pieces of it' if found.work else 'operations'} in each further token"
    return f"COMPLETE: {told}"


def _without_work(timeline: Timeline, launched: list[Event]) -> list[str]:
    seen = {correlation(event) for event in timeline.work}
    lost = [call for call in launched if correlation(call) not in seen]
    if not lost:
        return []
    first = f"{lost[0]['name']} in {timeline.stage_at(float(lost[0]['ts']))}"
    return [f"{len(lost):,} of {len(launched):,} launches have no work on the GPU, {first} the first"]


def _out_of_place(timeline: Timeline, work: list[Event]) -> list[str]:
    """Records with times of another clock (pytorch/pytorch#192021) lie far from their launch."""
    wrong = [event for event in work if _is_out_of_place(timeline, event)]
    if not wrong:
        return []
    return [
        f"{len(wrong):,} of {len(work):,} kernels and copies lie outside of the stage that launched them, {wrong[0]['name'][:60]} first"
    ]


def _is_out_of_place(timeline: Timeline, event: Event) -> bool:
    launch = timeline.caused(event)
    return float(event["ts"]) < launch - SKEW or end(event) > timeline.stages[timeline.segment_at(launch)].end + SKEW


def _unsteady_steps(timeline: Timeline) -> list[str]:
    """Tokens for which the host made the same calls must have had the same number of kernels."""
    counts: dict[tuple[tuple[str, int], ...], set[int]] = defaultdict(set)
    for step in timeline.steps:
        work = timeline.work_in(step)
        calls = {correlation(event) for event in work}
        made = Counter(timeline.calls[call]["name"] for call in calls if call in timeline.calls)
        counts[tuple(sorted(made.items()))].add(len(work))
    return [
        f"tokens with the same launches have {min(found):,} to {max(found):,} kernels and copies"
        for found in counts.values()
        if len(found) > 1
    ]


def _too_short(timeline: Timeline, plain: Mapping[str, float]) -> list[str]:
    told = []
    for stage, seconds in plain.items():
        inside = timeline.stages[stage].length
        if inside < SHORTEST * seconds * 1e6 and seconds * 1e6 - inside > NOTICED:
            told.append(f"{stage} takes {inside / 1e3:.1f} ms in the trace and {seconds * 1e3:.1f} ms without the profiler")
    return told


def _operations(events: list[Event], step: Span) -> int:
    return sum(event.get("cat") == "cpu_op" and step.start <= event["ts"] < step.end for event in slices(events))
