"""Whether a trace is complete: a profiler may lose work without a warning."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from evbench.results import STAGES, Completeness
from evbench.traces.chrome import Event, Trace, correlation, end, slices
from evbench.traces.lanes import on_first_thread
from evbench.traces.timeline import Span, Timeline

LAUNCH = re.compile(r"cu(da)?(Launch(Cooperative)?Kernel|Memcpy|Memset|GraphLaunch)")
"""Calls that start work on the GPU."""
SKEW = 100.0
"""Microseconds by which the clocks of host and GPU may differ in a trace."""
SHORTEST = 0.25
"""Of a stage's time without the profiler, which only ever adds to it. Less is not the same work, however busy the machine is."""
NOTICED = 1000.0
"""Microseconds that must be missing too: what is shorter scatters by more than its share."""
COUNTED = {"launches": "launches", "work": "kernels and copies", "operations": "operations of the host"}
"""What is counted in each stage, and how it is called."""
OTHERS = "others' "
"""In front of a key of COUNTED: how many of them other threads launched than the one that runs the stages."""
LEAST_OF_OTHERS = 0.5
"""Share of what other threads launched in another recording that must be there. A lost buffer takes thousands of records with it."""

Counts = Mapping[str, Mapping[str, int]]
"""Stage -> key of COUNTED -> how many, and those of OTHERS among them, which traces of before do not have."""


def check(timeline: Timeline, events: list[Event], plain: Mapping[str, float], expected: Counts) -> Completeness:
    """Look for what is missing.

    Args:
        events: those of the timeline.
        plain: stage -> seconds of the same run without the profiler. Empty where nobody measured it.
        expected: what another recording of the same run counted. Empty where there is none.
    """
    launched, in_stages = _launched(timeline), _work_in_stages(timeline)
    losses = [
        *_fewer(count(timeline, events), expected),
        *_without_work(timeline, launched),
        *_without_launch(timeline, in_stages),
        *_out_of_place(timeline, in_stages),
        *_unsteady_steps(timeline, launched),
        *_too_short(timeline, plain),
    ]
    if not in_stages and not any(event.get("cat") == "cpu_op" for event in events):
        losses.append("no operation and no kernel was recorded")
    operations = [] if timeline.work else _operations(events)
    in_step = [len(timeline.work_in(step)) if timeline.work else _within(operations, step) for step in timeline.steps]
    return Completeness(
        losses=tuple(losses),
        launches=len(launched),
        work=len(in_stages),
        min_in_step=min(in_step, default=None),
        max_in_step=max(in_step, default=None),
        slowdown={stage: timeline.stages[stage].length / 1e6 / seconds for stage, seconds in plain.items()},
    )


def count(timeline: Timeline, events: list[Event]) -> dict[str, dict[str, int]]:
    """Of each stage: `Counts`. Of two recordings of one run that do not agree, one has lost something."""
    launches = [(timeline.stage_at(float(call["ts"])), on_first_thread(call)) for call in _launched(timeline)]
    work = [(timeline.stage_at(timeline.caused(event)), on_first_thread(timeline.cause(event) or event)) for event in timeline.work]
    operations = _operations(events)
    counts: dict[str, dict[str, int]] = {}
    for stage, span in timeline.stages.items():
        counts[stage] = {"operations": _within(operations, span)}
        for what, found in (("launches", Counter(launches)), ("work", Counter(work))):
            counts[stage] |= {what: found[stage, True] + found[stage, False], OTHERS + what: found[stage, False]}
    return counts


def again(timeline: Timeline, trace: Trace) -> Completeness:
    """Of a trace that evbench recorded before: what was found missing then, and what is missing since."""
    header = _about(trace)
    found = check(timeline, trace.events, {}, _counts(header.get("counts")))
    losses = header.get("losses")
    before = [loss for loss in losses if isinstance(loss, str)] if isinstance(losses, list) else []
    return replace(found, losses=tuple(dict.fromkeys([*before, *found.losses])))


def stamped(trace: Trace) -> str | None:
    """The stamp that evbench gave it when it recorded it. None if it is of somebody else."""
    found = _about(trace).get("stamp")
    return found if isinstance(found, str) else None


def _about(trace: Trace) -> dict[str, Any]:
    """What evbench wrote into its header."""
    about = trace.header.get("evbench")
    return about if isinstance(about, dict) else {}


def _counts(stored: Any) -> Counts:
    """Empty if it is nothing of the kind: a trace may come from anywhere."""
    is_counts = isinstance(stored, dict) and all(
        stage in STAGES
        and isinstance(counts, dict)
        and all(isinstance(counts.get(what), int) for what in COUNTED)
        and all(isinstance(number, int) for number in counts.values())
        for stage, counts in stored.items()
    )
    return stored if is_counts else {}


def stamp(found: Completeness) -> str:
    """In a line."""
    if found.losses:
        return f"LOSSY: {'; '.join(found.losses)}"
    line = f"{found.launches:,} launches, each with its work on the GPU ({found.work:,})" if found.work else "no work on a GPU"
    if found.min_in_step is not None and found.max_in_step is not None:
        counts = f"{found.min_in_step:,}"
        if found.max_in_step != found.min_in_step:
            counts += f" to {found.max_in_step:,}"
        line += f"; {counts} {'pieces of it' if found.work else 'operations'} in each decode step"
    if found.slowdown:
        least, most = min(found.slowdown.values()), max(found.slowdown.values())
        line += f"; stages {least:.2f} to {most:.2f} times as long as without the profiler"
    return f"COMPLETE: {line}"


def _launched(timeline: Timeline) -> list[Event]:
    """Calls in the stages that start work, in order."""
    calls = (call for call in timeline.calls.values() if LAUNCH.match(call["name"]))
    return sorted((call for call in calls if timeline.stage_at(float(call["ts"])) is not None), key=lambda call: float(call["ts"]))


def _work_in_stages(timeline: Timeline) -> list[Event]:
    return [event for event in timeline.work if timeline.stage_at(timeline.caused(event)) is not None]


def _fewer(found: Counts, expected: Counts) -> list[str]:
    """What one recording has fewer of than another.

    The thread that runs the stages launches the same each time. Threads of a library need not: of two recordings of one clip that DALI
    decoded, one had a launch more, each with its work. They are held to that, and to much of it being there at all.
    """
    losses = []
    for stage, counts in expected.items():
        for what, name in COUNTED.items():
            others = OTHERS + what
            of_others, expected_of_others = (found[stage].get(others, 0), counts[others]) if others in counts else (0, 0)
            ours, expected_ours = found[stage][what] - of_others, counts[what] - expected_of_others
            if ours < expected_ours:
                losses.append(f"{stage} has {ours:,} {name}, and {expected_ours:,} in another recording")
            if of_others < LEAST_OF_OTHERS * expected_of_others:
                losses.append(f"{stage} has {of_others:,} {name} of other threads, and {expected_of_others:,} in another recording")
    return losses


def _without_launch(timeline: Timeline, work: list[Event]) -> list[str]:
    kernels = [event for event in work if event["cat"] == "kernel"]  # a driver fills memory on its own, for its video decoder
    alone = [event for event in kernels if timeline.cause(event) is None]
    if not alone:
        return []
    return [f"{len(alone):,} of {len(kernels):,} kernels have no call that launched them, {alone[0]['name'][:60]} the first"]


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


def _unsteady_steps(timeline: Timeline, launched: list[Event]) -> list[str]:
    """Tokens for which the host made the same calls must have had the same number of kernels."""
    counts: dict[tuple[tuple[str, int], ...], set[int]] = defaultdict(set)
    moments = [float(call["ts"]) for call in launched]
    for step in timeline.steps:
        calls = Counter(call["name"] for call in launched[bisect_left(moments, step.start) : bisect_left(moments, step.end)])
        counts[tuple(sorted(calls.items()))].add(len(timeline.work_in(step)))
    return [
        f"tokens with the same launches have {min(found):,} to {max(found):,} kernels and copies"
        for found in counts.values()
        if len(found) > 1
    ]


def _too_short(timeline: Timeline, plain: Mapping[str, float]) -> list[str]:
    losses = []
    for stage, seconds in plain.items():
        inside = timeline.stages[stage].length
        if inside < SHORTEST * seconds * 1e6 and seconds * 1e6 - inside > NOTICED:
            losses.append(f"{stage} takes {inside / 1e3:.1f} ms in the trace and {seconds * 1e3:.1f} ms without the profiler")
    return losses


def _operations(events: list[Event]) -> list[float]:
    """When each began, in order."""
    return sorted(float(event["ts"]) for event in slices(events) if event.get("cat") == "cpu_op")


def _within(moments: Sequence[float], span: Span) -> int:
    return bisect_left(moments, span.end) - bisect_left(moments, span.start)
