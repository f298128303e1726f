"""A trace that lost something is found out, whatever it lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from evbench.results import STAGES, Completeness
from evbench.traces import chrome
from evbench.traces.chrome import Event, correlation
from evbench.traces.completeness import OTHERS, check, count, stamp
from evbench.traces.lanes import on_first_thread
from evbench.traces.timeline import Timeline
from tests.traces import call, host_range, kernel, launched, stages

H200 = Path(__file__).parent.parent / "profiles" / "h200"
RECORDED = sorted(H200.glob("*-small/trace-baseline.json.gz")) + sorted(H200.glob("*-small/trace-optimized.json.gz"))


def whole() -> list[Event]:
    """Two kernels in vision, a prefill of one, and three tokens of a graph with four kernels each."""
    events = [*stages(), *launched(1, 230, 240, 10), *launched(2, 235, 250, 10), host_range("prefill", 330, 20), *launched(3, 331, 335, 10)]
    for token in range(3):
        start = 350 + 20 * token
        events += [host_range("decode", start, 20), call(10 + token, start + 1, name="cudaGraphLaunch")]
        events += [kernel(10 + token, start + 2 + 2 * index, 2) for index in range(4)]
    return events


def proven(events: list[Event], plain: dict[str, float] | None = None) -> Completeness:
    return check(Timeline(events, "x"), events, plain or {}, {})


def test_a_whole_trace_is_complete() -> None:
    found = proven(whole(), {stage: 80e-6 for stage in STAGES})
    assert found == Completeness((), 6, 15, 4, 4, found.slowdown)
    assert found.slowdown == pytest.approx({stage: 1.25 for stage in STAGES})
    assert stamp(found) == (
        "COMPLETE: 6 launches, each with its work on the GPU (15); 4 pieces of it in each decode step; "
        "stages 1.25 to 1.25 times as long as without the profiler"
    )


def without(number: int) -> Callable[[list[Event]], None]:
    return lambda events: events.remove(
        next(event for event in events if event.get("cat") == "kernel" and event["args"]["correlation"] == number)
    )


def without_calls(events: list[Event]) -> None:
    """But the first."""
    calls = [event for event in events if event.get("cat") == "cuda_runtime"]
    for event in calls[1:]:
        events.remove(event)


def late(events: list[Event]) -> None:
    """As if the record had the time of another clock."""
    next(event for event in events if event.get("cat") == "kernel")["ts"] += 1e8


def early(events: list[Event]) -> None:
    next(event for event in events if event.get("cat") == "kernel")["ts"] -= 1e8


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (without(1), "1 of 6 launches have no work on the GPU, cudaLaunchKernel in vision the first"),
        (without(11), "tokens with the same launches have 3 to 4 kernels and copies"),
        (without_calls, "14 of 15 kernels have no call that launched them"),
        (late, "1 of 15 kernels and copies lie outside of the stage that launched them"),
        (early, "1 of 15 kernels and copies lie outside of the stage that launched them"),
    ],
)
def test_each_loss_is_told(spoil: Callable[[list[Event]], None], told: str) -> None:
    events = whole()
    spoil(events)
    found = proven(events)
    assert [loss for loss in found.losses if loss.startswith(told)], found.losses
    assert stamp(found).startswith("LOSSY: ")


def with_decoder(launches: int, recorded: int) -> list[Event]:
    """A whole trace whose load has two launches of its own thread, and some of a library's, of which the last are lost with their work."""
    events = [*whole(), *launched(50, 10, 12, 2), *launched(51, 11, 14, 2)]
    for number in range(100, 100 + min(launches, recorded)):
        made = launched(number, 20 + (number - 100) / 2, 22 + (number - 100) / 2, 0.4)
        made[0]["tid"] = 1050683712  # as torch.profiler names a thread that it knows nothing of
        events += made
    return events


def against(events: list[Event], expected: list[Event]) -> tuple[str, ...]:
    counts = count(Timeline(expected, "x"), expected)
    return check(Timeline(events, "x"), events, {}, counts).losses


def test_a_thread_of_a_library_need_not_launch_equally_often_each_time() -> None:
    assert against(with_decoder(35, 35), with_decoder(36, 36)) == ()
    assert against(with_decoder(36, 36), with_decoder(35, 35)) == ()
    lost_work = with_decoder(35, 35)
    without(110)(lost_work)
    assert any("1 of 43 launches have no work on the GPU" in loss for loss in against(lost_work, with_decoder(35, 35)))
    lost_call = with_decoder(35, 35)
    lost_call.remove(next(event for event in lost_call if event.get("cat") == "cuda_runtime" and event["args"]["correlation"] == 110))
    assert any("1 of 52 kernels have no call that launched them" in loss for loss in against(lost_call, with_decoder(35, 35)))


def test_a_lost_buffer_is_told_whichever_thread_it_is_of() -> None:
    assert against(with_decoder(36, 10), with_decoder(36, 36)) == (
        "load has 10 launches of other threads, and 36 in another recording",
        "load has 10 kernels and copies of other threads, and 36 in another recording",
    )
    own = [event for event in with_decoder(36, 36) if correlation(event) != 51]
    assert against(own, with_decoder(36, 36)) == (
        "load has 1 launches, and 2 in another recording",
        "load has 1 kernels and copies, and 2 in another recording",
    )


def test_counts_of_a_trace_of_before_are_of_all_threads_together() -> None:
    events = with_decoder(36, 36)
    before = {
        stage: {what: number for what, number in counts.items() if not what.startswith(OTHERS)}
        for stage, counts in count(Timeline(events, "x"), events).items()
    }
    assert before["load"] == {"operations": 0, "launches": 38, "work": 38}
    assert check(Timeline(events, "x"), events, {}, before).losses == ()
    fewer = with_decoder(35, 35)
    assert check(Timeline(fewer, "x"), fewer, {}, before).losses != ()


def test_a_stage_shorter_than_without_the_profiler_is_told() -> None:
    events = stages(length=2000)
    assert "vision takes 2.0 ms in the trace and 9.0 ms without the profiler" in proven(events, {"vision": 9e-3}).losses
    assert not any("vision" in loss for loss in proven(events, {"vision": 7e-3}).losses)


def test_a_trace_without_any_work_is_told() -> None:
    assert proven(stages()).losses == ("no operation and no kernel was recorded",)


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: f"{file.parent.name}-{file.name.split('.')[0]}")
def test_recorded_traces_of_a_gpu_are_complete_and_each_lost_kernel_is_noticed(file: Path) -> None:
    events = chrome.read(file).events
    timeline = Timeline(events, file)
    assert check(timeline, events, {}, {}).losses == ()
    expected = count(timeline, events)
    work = [event for event in timeline.work if timeline.cause(event) is not None and timeline.stage_at(timeline.caused(event)) is not None]
    times = Counter(correlation(event) for event in work)
    for number in sorted(times)[:: max(1, len(times) // 5)]:
        lost = [event for event in events if event.get("cat") in chrome.GPU_WORK and event["args"]["correlation"] == number]
        # All of a launch, or one kernel of a graph's many; and with them the calls, by what another recording counted.
        # Of another thread's, only one of the two can be missed.
        together = [event for event in events if correlation(event) == number] if on_first_thread(timeline.calls[number]) else lost
        for gone in (lost, lost[:1], together):
            fewer = [event for event in events if not any(event is other for other in gone)]
            assert check(Timeline(fewer, file), fewer, {}, expected).losses != (), number
