"""Traces that were recorded with evbench's tracks as threads, of which two are in profiles/."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from evbench.cli.open import open_command
from evbench.errors import UserError
from evbench.results import STAGES
from evbench.session.merged_traces import merge_folder
from evbench.traces import chrome, former_tracks, serve
from evbench.traces.chrome import Event, Trace
from evbench.traces.completeness import stamped
from evbench.traces.former_tracks import redrawn
from evbench.traces.overview import CATEGORY
from evbench.traces.timeline import Timeline
from tests.traces import stages

FILE = Path(__file__).parent / "recorded" / "former-trace-optimized.json.gz"
NUMBERS = {former_tracks.STAGES, former_tracks.COMPLETENESS}


def kinds(events: list[Event]) -> Counter[tuple[str, str]]:
    """Of all that ran."""
    return Counter((str(event.get("cat")), event["name"]) for event in events if event["ph"] == "X" and event.get("cat") != CATEGORY)


def test_all_that_ran_stays_and_the_stages_stand_on_their_thread() -> None:
    before = chrome.read(FILE)
    after = redrawn(before, FILE)
    assert kinds(after.events) == kinds(before.events)
    assert not NUMBERS & {event.get("tid") for event in after.events}
    ours, theirs = Timeline(after.events, FILE), Timeline(before.events, FILE)
    assert ours.stages == theirs.stages and len(ours.steps) == len(theirs.steps)
    assert {event["tid"] for event in ours.ranges} == {ours.ranges[0]["pid"]}
    tracks = Counter(event["id2"]["local"] for event in after.events if event["ph"] == "b")
    assert tracks == {"0x1": 1 + len(ours.ranges), "0x2": 2}
    assert {event["name"] for event in after.events if event["ph"] == "b"} >= {*STAGES, "stages", "completeness", stamped(before)}
    assert after.header == before.header
    assert any(event.get("tid") in NUMBERS for event in before.events), "what was read stays as it is"


def test_a_trace_of_today_and_one_of_others_stay_as_they_are() -> None:
    today = redrawn(chrome.read(FILE), FILE)
    assert redrawn(today, FILE) is today
    of_others = Trace({}, [{"ph": "X", "name": "step", "pid": 1, "tid": former_tracks.STAGES, "ts": 0, "dur": 1}])
    assert redrawn(of_others, FILE) is of_others


def test_half_a_run_is_refused_in_words() -> None:
    half = [event | {"tid": former_tracks.STAGES} for event in stages()[:2]]
    with pytest.raises(UserError, match=str(FILE)):
        redrawn(Trace({}, half), FILE)


def test_open_serves_it_redrawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    served: list[bytes] = []

    def taken(share: serve.Share, server: serve.TraceServer) -> None:
        server.server_close()
        served.append(share.content)

    monkeypatch.setattr(serve, "PORT", 0)
    monkeypatch.setattr(serve, "open_browser", lambda link: True)
    monkeypatch.setattr(serve, "hand_over", taken)
    open_command(FILE)
    (tmp_path / "served.json.gz").write_bytes(served[0])
    assert chrome.read(tmp_path / "served.json.gz").events == redrawn(chrome.read(FILE), FILE).events


@pytest.mark.slow
def test_both_sides_are_merged_without_these_threads(tmp_path: Path) -> None:
    recorded = Path(__file__).parent.parent / "profiles" / "h200" / "video-llava-7b" / "result.json"
    shutil.copy(recorded, tmp_path)
    for side in ("baseline", "optimized"):
        shutil.copy(FILE, tmp_path / f"trace-{side}.json.gz")
    events = chrome.read(merge_folder(tmp_path, tmp_path, aligned=True)).events
    assert not NUMBERS & {event.get("tid") for event in events}
    assert not [event for event in events if event["ph"] == "M" and str(event["args"].get("name")).startswith("evbench ")]
