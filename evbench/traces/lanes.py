"""A track shows slices that follow or hold each other. Perfetto drops any other: these get tracks of their own."""

from __future__ import annotations

from typing import Any

from evbench.traces.chrome import GPU_WORK, Event, correlation, nanoseconds, slices

Track = tuple[Any, Any]
Open = tuple[int, bool]
"""End of a slice in nanoseconds, and whether it is work of the GPU."""
LANE = 10_000_000
"""Added to a track's number. No stream has such a one, and no thread: Linux counts to 4,194,304 (PID_MAX_LIMIT)."""


def separate_overlaps(events: list[Event]) -> None:
    """Move each slice that begins inside another and ends after it to another track, its launch arrow with it.

    Work on one stream must not even lie inside other work: with dependent launch a kernel may start before the one in front of it
    has ended (cuBLASLt's splitKreduce does). On the host, calls of a library may cross.
    """
    moved: dict[tuple[Any, float], Any] = {}
    """Of each piece of work: a graph's have the number of their launch in common, and no moment."""
    unfinished: dict[Track, list[list[Open]]] = {}
    streams: set[Track] = set()
    for event in sorted(slices(events), key=lambda event: (float(event["ts"]), -float(event["dur"]), event.get("cat") in GPU_WORK)):
        track = (event["pid"], event["tid"])
        lanes = unfinished.setdefault(track, [])
        is_work = event.get("cat") in GPU_WORK
        if is_work:
            streams.add(track)
        start, finish = nanoseconds(event)
        lane = next((index for index, outer in enumerate(lanes) if _fits(outer, start, finish, is_work)), len(lanes))
        if lane == len(lanes):
            lanes.append([])
        lanes[lane].append((finish, is_work))
        if lane:
            event["tid"] = _number(track, lane)
            if is_work:
                moved[correlation(event), float(event["ts"])] = event["tid"]
    for event in events:
        if event.get("cat") == "ac2g" and event["ph"] == "f" and (arrow := (event.get("id"), float(event["ts"]))) in moved:
            event["tid"] = moved[arrow]
    for track, lanes in unfinished.items():
        for lane in range(1, len(lanes)):
            name = {"name": f"{'stream' if track in streams else 'thread'} {track[1]}, overlapping"}
            events.append({"ph": "M", "name": "thread_name", "pid": track[0], "tid": _number(track, lane), "args": name})


def close_up(events: list[Event]) -> None:
    """Where a slice seems to reach a nanosecond into the one behind it, let it end there.

    Moments of a trace have no more digits than a float holds, and these are cut to whole nanoseconds: one slice's end and the next one's
    start, which were the same moment, may come out a nanosecond apart. Times have to be in whole nanoseconds by now.
    """
    unfinished: dict[Track, list[tuple[int, Event]]] = {}
    for event in sorted(slices(events), key=lambda event: (float(event["ts"]), -float(event["dur"]))):
        outer = unfinished.setdefault((event["pid"], event["tid"]), [])
        start, finish = nanoseconds(event)
        while outer and (outer[-1][0] <= start or (outer[-1][0] == start + 1 and finish > outer[-1][0])):
            end, before = outer.pop()
            if end > start:
                before["dur"] = (start - nanoseconds(before)[0]) / 1e3
        outer.append((finish, event))


def _fits(outer: list[Open], start: int, finish: int, is_work: bool) -> bool:
    """Whether it follows, or lies inside, what is on the lane. Forgets what has ended."""
    while outer and outer[-1][0] <= start:
        outer.pop()
    return not outer or (finish <= outer[-1][0] and not (is_work and outer[-1][1]))


def on_first_thread(event: Event) -> bool:
    """Whether on the thread that the process began with: Linux gives it the number of the process (gettid(2)). Moved or not."""
    process, track = event["pid"], event["tid"]
    return isinstance(process, int) and isinstance(track, int) and (track - process) % LANE == 0


def _number(track: Track, lane: int) -> Any:
    return track[1] + LANE * lane if isinstance(track[1], int) else f"{track[1]} {lane}"
