from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from evbench.errors import UserError
from evbench.results import Result, Side, SideResult, read
from evbench.session import compare
from evbench.session.progress import SilentListener
from evbench.session.request import ComparisonRequest, earlier_results
from tests.examples import MACHINE, PLAN, STARTED, make_result, make_session, make_side

LATER = "2026-02-02T00:00:00Z"


def sides(ours: Result, theirs: Result) -> dict[Side, tuple[Result, SideResult]]:
    return {"baseline": (ours, ours.baseline), "optimized": (theirs, theirs.baseline)}


def later(**changes: object) -> Result:
    side = dataclasses.replace(make_side(), session=LATER)
    return dataclasses.replace(make_result(baseline=side, sessions=(make_session(started=LATER),)), **changes)  # type: ignore[arg-type]


def test_two_sessions_that_bear_the_same_name_are_not_taken_for_one() -> None:
    """Or sides that were measured apart would be compared as if they had taken turns."""
    other = make_result(sessions=(make_session(machine=dataclasses.replace(MACHINE, cpu="Other")),))
    with pytest.raises(UserError, match="name the same session and contradict each other"):
        earlier_results(sides(make_result(), other), ())
    assert len(earlier_results(sides(make_result(), make_result()), ()).sessions) == 1
    assert len(earlier_results(sides(make_result(), later()), ()).sessions) == 2


def test_what_was_measured_before_is_judged_by_its_own_noise_floors() -> None:
    ours = make_result(noise_floors={"total": 0.02, "load": 0.1})
    theirs = later(rules=make_result(noise_floors={"total": 0.05}).rules)
    assert earlier_results(sides(ours, theirs), ()).noise_floors == {"total": 0.05, "load": 0.1}


def test_sides_of_other_weights_are_refused() -> None:
    other = later()
    build = dataclasses.replace(other.baseline.builds[0], weights_fingerprint="cd")
    other = dataclasses.replace(other, baseline=dataclasses.replace(other.baseline, builds=(build,)))
    with pytest.raises(UserError, match="ran different weights"):
        earlier_results(sides(make_result(), other), ())


def test_traces_stay_where_they_are() -> None:
    found = earlier_results(sides(make_result(), later()), ())
    assert all(side.trace is None for side in found.sides.values())


def test_what_fails_behind_a_checkpoint_leaves_the_result_and_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(request: ComparisonRequest, listener: object, checkpoint: Callable[[Result], None]) -> Result:
        checkpoint(make_result())
        raise UserError("the disk is full")

    monkeypatch.setattr(compare, "measure", measure)
    request = ComparisonRequest({}, {}, PLAN, tmp_path, STARTED, "evbench", resume=False, wait=True)
    with pytest.raises(UserError, match="the disk is full"):
        compare.carry_out(request, SilentListener())
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert read(tmp_path) == make_result()
