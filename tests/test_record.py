"""A real run of a small model under torch.profiler."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from evbench.results import STAGES, Trace
from evbench.traces import chrome, completeness
from evbench.traces.chrome import Event, slices
from evbench.traces.overview import CATEGORY
from evbench.traces.timeline import Timeline, part_name
from evbench.worker import profile
from tests.left_behind import places_in
from tests.traces import TOKENS, profile_tiny

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trace, chrome.Trace]:
    file = tmp_path_factory.mktemp("trace") / "trace.json.gz"
    traced = profile_tiny("baseline", file)
    assert places_in(file) == []
    return traced, chrome.read(file)


def ranges(events: list[Event]) -> list[Event]:
    return Timeline(events, "x").ranges


def test_stages_and_inside_generate_prefill_and_each_token_are_ranges(recorded: tuple[Trace, chrome.Trace]) -> None:
    found = ranges(recorded[1].events)
    names = [part_name(event) for event in found]
    assert names == [*STAGES, "prefill", *["decode"] * (TOKENS - 1), "text"]
    assert [event["args"].get("token") for event in found if part_name(event) == "decode"] == [2, 3, 4, 5]
    generate = found[3]
    assert all(generate["ts"] <= event["ts"] and chrome.end(event) <= chrome.end(generate) for event in found[4:])
    assert all(chrome.end(before) <= after["ts"] for before, after in pairwise(found[4:]))


def test_operations_lie_inside_the_ranges_that_called_them(recorded: tuple[Trace, chrome.Trace]) -> None:
    timeline = Timeline(recorded[1].events, "x")
    assert timeline.prefill is not None
    products = [
        event for event in slices(recorded[1].events) if event["name"] == "aten::mm" and timeline.stage_at(event["ts"]) == "generate"
    ]
    in_prefill = [event for event in products if timeline.prefill.start <= event["ts"] < timeline.prefill.end]
    in_steps = [sum(step.start <= event["ts"] < step.end for event in products) for step in timeline.steps]
    assert in_prefill
    assert len(set(in_steps)) == 1 and in_steps[0] > 0


def test_stages_are_drawn_on_a_track_of_their_own_and_completeness_on_another(recorded: tuple[Trace, chrome.Trace]) -> None:
    traced, trace = recorded
    drawn = [event for event in trace.events if event.get("cat") == CATEGORY and event["ph"] == "b"]
    first, *of_stages = [event for event in drawn if event["id2"] == drawn[0]["id2"]]
    second, stamp = [event for event in drawn if event["id2"] != drawn[0]["id2"]]
    assert (first["name"], second["name"]) == ("stages", "completeness")
    assert sorted(event["name"] for event in of_stages) == sorted(part_name(event) for event in ranges(trace.events))
    assert [event["args"] for event in of_stages if event["name"] == "decode"] == [{"token": token} for token in (2, 3, 4, 5)]
    assert stamp["name"].startswith("COMPLETE: ")
    about = trace.header["evbench"]
    assert (about["variant"], about["new tokens"], about["stamp"], about["losses"]) == ("baseline", "5 of 7", stamp["name"], [])
    names = [event["args"]["name"] for event in trace.events if event.get("name") == "process_name"]
    assert any(name.endswith(": baseline, 5 of 7 new tokens") for name in names), "that it is shortened can be read"
    assert traced.completeness.losses == ()
    assert completeness.again(Timeline(trace.events, "x"), trace).losses == ()
    assert set(traced.completeness.slowdown) == set(STAGES)


@pytest.mark.parametrize("left", [0, 1])
def test_operations_that_are_gone_are_noticed_by_what_was_counted(recorded: tuple[Trace, chrome.Trace], left: int) -> None:
    _, trace = recorded
    span = Timeline(trace.events, "x").stages["vision"]
    inside = [event for event in trace.events if event.get("cat") == "cpu_op" and span.start <= event["ts"] < span.end]
    fewer = chrome.Trace(trace.header, [event for event in trace.events if event not in inside[left:]])
    told = completeness.again(Timeline(fewer.events, "x"), fewer).losses
    assert told == (f"vision has {left} operations of the host, and {len(inside):,} in another recording",)


def test_what_was_missing_when_it_was_recorded_is_still_told(recorded: tuple[Trace, chrome.Trace]) -> None:
    _, trace = recorded
    header = trace.header | {"evbench": trace.header["evbench"] | {"losses": ["vision was cut"]}}
    assert completeness.again(Timeline(trace.events, "x"), chrome.Trace(header, trace.events)).losses == ("vision was cut",)


@pytest.mark.parametrize(
    "about", [None, [], {"counts": 1}, {"counts": {"vision": {"work": "many"}}, "losses": 3}, {"counts": {"else": {}}}]
)
def test_a_header_of_something_else_says_nothing(recorded: tuple[Trace, chrome.Trace], about: object) -> None:
    trace = chrome.Trace({"evbench": about}, recorded[1].events)
    assert completeness.again(Timeline(trace.events, "x"), trace).losses == ()


def test_curves_of_memory_and_tokens(recorded: tuple[Trace, chrome.Trace]) -> None:
    trace = recorded[1]
    curves: dict[str, list[Event]] = {}
    for event in trace.events:
        if event["ph"] == "C":
            curves.setdefault(event["name"], []).append(event)
    assert set(curves) == {"memory allocated", "memory of the process", "tokens"}
    whole = Timeline(trace.events, "x").stages
    inside = [event for event in curves["memory of the process"] if whole["load"].start <= event["ts"] <= whole["generate"].end]
    assert inside, "the gauges have the profiler's clock"
    assert all(event["args"]["bytes"] > 2**20 for event in inside)
    assert [event["args"]["produced"] for event in sorted(curves["tokens"], key=lambda event: float(event["ts"]))] == list(
        range(TOKENS + 1)
    )
    assert not any(event.get("name") == "[memory]" for event in trace.events), "they are the curve now"


def test_the_numbers_of_a_trace_are_those_of_its_events(recorded: tuple[Trace, chrome.Trace]) -> None:
    traced, trace = recorded
    assert [section.name for section in traced.sections] == ["load", "preprocess", "vision", "prefill", "decode"]
    assert all(section.used for section in traced.sections[1:])
    vision = Timeline(trace.events, "x").stages["vision"]
    assert traced.sections[2].seconds == pytest.approx(vision.length / 1e6)
    assert sum(used.seconds for used in traced.sections[2].used) <= traced.sections[2].seconds


def test_modules_have_ranges_only_if_asked_for(recorded: tuple[Trace, chrome.Trace], tmp_path: Path) -> None:
    file = tmp_path / "trace.json.gz"
    profile_tiny("baseline", file, modules=True)
    timeline, events = Timeline(chrome.read(file).events, file), slices(chrome.read(file).events)
    attention = [event for event in events if event["name"].endswith("(LlamaAttention)")]
    assert {timeline.stage_at(event["ts"]) for event in attention} == {"generate"}
    assert len(attention) == TOKENS * len({event["name"] for event in attention})
    assert any("vision" in event["name"] or "video_tower" in event["name"] for event in events)
    assert not any("(LlamaAttention)" in event["name"] for event in slices(recorded[1].events)), "and the hooks are gone again"


@pytest.mark.parametrize(("module", "limit"), [(profile, "MOST_PACKED"), (chrome, "MOST_BYTES")], ids=["packed", "unpacked"])
def test_a_trace_too_large_is_not_kept(module: ModuleType, limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, limit, 1000)
    file = tmp_path / "trace.json.gz"
    with pytest.raises(chrome.TooLarge, match=r"give fewer --trace-tokens$"):
        profile_tiny("baseline", file)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.gpu
@pytest.mark.parametrize("variant", ["baseline", "optimized-gpu"])
def test_on_a_gpu_nothing_is_lost_in_several_sessions_of_the_profiler(variant: str, tmp_path: Path) -> None:
    """The profiler loses a kernel more at the start of each session of a process (pytorch/pytorch#192021)."""
    for session in range(4):
        file = tmp_path / f"{session}.json.gz"
        traced = profile_tiny(variant, file, device="cuda")
        assert traced.completeness.losses == ()
        assert traced.completeness.work >= traced.completeness.launches > 0
        assert all(section.busy is not None and 0 <= section.busy <= section.seconds for section in traced.sections)
        assert all(section.used for section in traced.sections[1:])
        curves = {event["name"] for event in chrome.read(file).events if event["ph"] == "C"}
        assert curves == {"memory allocated", "memory reserved", "SM clock", "power", "tokens"}


@pytest.mark.gpu
def test_tokens_of_a_replayed_graph_have_equally_many_kernels(tmp_path: Path) -> None:
    found = profile_tiny("optimized-gpu", tmp_path / "trace.json.gz", device="cuda").completeness
    assert found.min_in_step == found.max_in_step
    assert found.work > 2 * found.launches, "a launch of a graph has many kernels"
