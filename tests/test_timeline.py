from __future__ import annotations

import pytest

from evbench.errors import UserError
from evbench.results import STAGES
from evbench.traces.timeline import Timeline
from tests.traces import host_range, kernel, launched, stages


def test_work_belongs_to_the_stage_that_launched_it() -> None:
    events = [*stages(), *launched(1, 250, 320, 60), kernel(9, 130, 5)]
    timeline = Timeline(events, "x")
    assert [timeline.segment_at(timeline.caused(event)) for event in timeline.work] == ["preprocess", "vision"]
    assert timeline.work_in(timeline.stages["vision"]) == [events[5]]
    assert timeline.work_in(timeline.stages["generate"]) == []


def test_between_two_stages_is_none_and_their_segments_have_no_gap() -> None:
    timeline = Timeline(stages(), "x")
    assert [timeline.stage_at(moment) for moment in (-1, 0, 100, 105, 110, 500)] == [None, "load", "load", None, "preprocess", None]
    assert [timeline.segment_at(moment) for moment in (-1, 105, 110, 500)] == ["load", "load", "preprocess", "generate"]


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([], "something else"),
        ([kernel(1, 0, 1)], "something else"),
        (stages()[:3], "no range evbench/generate"),
        ([*stages(), *stages(1000)], "several runs"),
        ([host_range(name, index * 10, 5) for index, name in enumerate(reversed(STAGES))], "in the order generate"),
        ([host_range(name, index * 10, 50) for index, name in enumerate(STAGES)], "overlap"),
    ],
)
def test_what_is_not_one_run_is_told(events: list[dict[str, object]], told: str) -> None:
    with pytest.raises(UserError, match=told) as error:
        Timeline(events, "some.json.gz")
    assert "some.json.gz" in str(error.value)
