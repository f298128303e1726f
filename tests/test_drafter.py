"""The event images that another model drafts from are a part of the recorded work."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import evbench
from evbench import results
from evbench.api import verify as api
from evbench.api.schemas import SCHEMAS
from evbench.cli.main import main
from evbench.encoding import from_json, to_json
from evbench.errors import UserError
from evbench.inputs import sample
from evbench.inputs.drafter import drafter, images_in, seen_by
from evbench.inputs.recorded import workload_here
from evbench.inputs.workload import sha256_of
from evbench.report.page import to_html
from evbench.results import ImagesBeside, Result, SideResult, Workload
from evbench.session import compare, history
from evbench.session.same_work import require_same_images
from evbench.variants.named import parse
from tests.examples import described, make_result, make_session, make_side
from tests.scene_files import make_scenes, small_clip
from tests.schema_check import faults

PLAIN, DRAFTING = "baseline+generate=static", "baseline+generate=static+draft=eventgpt-4"
IMAGES = ImagesBeside(5, sha256_of(sample.EVENTS))
OTHER_IMAGES = ImagesBeside(5, sha256_of(sample.OTHER_EVENTS))


class Stopped(BaseException):
    """A session that would start its workers now."""


@pytest.fixture(autouse=True)
def no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*session: object) -> None:
        raise Stopped

    monkeypatch.setattr(compare, "run_session", stop)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """With event images beside it."""
    shutil.copytree(sample.EVENTS, tmp_path / "street-events")
    return Path(shutil.copy(small_clip(0), tmp_path / "street.mp4"))


def exchange(clip: Path, events: Path = sample.OTHER_EVENTS) -> None:
    """The event images beside the clip for others."""
    shutil.rmtree(clip.with_name("street-events"))
    shutil.copytree(events, clip.with_name("street-events"))


def asked(clip: Path, beside: ImagesBeside | None) -> Workload:
    one = results.Sample(str(clip), sha256_of(clip), 240, 320, beside=beside)
    return make_side(samples=(one,)).workload


def begin(baseline: str | Result, optimized: str, clip: Path, folder: Path, resume: bool = False) -> None:
    evbench.compare(baseline, optimized, asked(clip, None), folder=folder, resume=resume, blocks=6)


def stored(folder: Path) -> dict[str, ImagesBeside | None]:
    """Side -> the images of the first sample, as a session has begun."""
    content = json.loads((folder / "session.json").read_text())["workloads"]
    return {side: from_json(Workload, workload, side).samples[0].beside for side, workload in content.items()}


def measured(clip: Path, beside: ImagesBeside | None, variant: str = DRAFTING) -> SideResult:
    return dataclasses.replace(make_side(variant=variant), workload=asked(clip, beside), choices=parse(variant).choices())


# A session.


def test_both_sides_name_the_images_if_one_drafts_from_them(clip: Path, tmp_path: Path) -> None:
    for number, sides in enumerate([(PLAIN, DRAFTING), (DRAFTING, PLAIN)]):
        with pytest.raises(Stopped):
            begin(*sides, clip, tmp_path / str(number))
        assert stored(tmp_path / str(number)) == {"baseline": IMAGES, "optimized": IMAGES}
    with pytest.raises(Stopped):
        begin(PLAIN, "baseline", clip, tmp_path / "without")
    assert stored(tmp_path / "without") == {"baseline": None, "optimized": None}, "what lies beside it is nobody's input"


def test_what_a_given_workload_says_of_them_is_not_believed(clip: Path) -> None:
    """As that of an earlier result."""
    given = asked(clip, OTHER_IMAGES)
    drafters = [drafter(parse(variant), given) for variant in (PLAIN, DRAFTING)]
    assert seen_by(drafters, given).samples[0].beside == IMAGES
    assert seen_by(drafters[:1], given).samples[0].beside is None


def test_a_session_does_not_go_on_with_other_images(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        begin(PLAIN, DRAFTING, clip, tmp_path / "out")
    exchange(clip)
    with pytest.raises(UserError, match=r"begun with something else: workloads\.baseline\.samples\.0\.beside\.sha256 '.*' and '"):
        begin(PLAIN, DRAFTING, clip, tmp_path / "out", resume=True)
    exchange(clip, sample.EVENTS)
    with pytest.raises(Stopped):
        begin(PLAIN, DRAFTING, clip, tmp_path / "out", resume=True)


def test_four_images_are_others_than_five(clip: Path) -> None:
    (clip.with_name("street-events") / "4.png").unlink()
    four = images_in(clip.with_name("street-events"))
    assert four.count == 4 and four.sha256 != IMAGES.sha256


@pytest.mark.parametrize(
    ("command", "carried_out"),
    [
        (f"ladder --from {PLAIN} --to {DRAFTING} --no-leave-one-out", "session.ladder.climb"),
        (f"sweep --over new-tokens=2,3 --variant {DRAFTING}", "session.sweep.carry_out"),
        (f"selftest --variant {DRAFTING}", "session.compare.carry_out"),
        (
            f"compare-models --baseline video-llava --optimized eventgpt --baseline-variant {DRAFTING}",
            "session.models.carry_out",
        ),
    ],
    ids=lambda text: text.split()[0],
)
def test_every_command_that_stores_sessions_names_them(
    command: str, carried_out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []

    def stop(request: Any, listener: object) -> None:
        found.append(request)
        raise Stopped

    scenes = make_scenes(tmp_path / "set", 3, 1, 0.5, 64, 48)
    monkeypatch.setattr(f"evbench.{carried_out}", stop)
    options = f"--data {scenes} --device cpu --preset tiny --out {tmp_path / 'out'}"
    monkeypatch.setattr("sys.argv", f"evbench {command} {options}".split())
    with pytest.raises(Stopped):
        main()
    workloads = {"": found[0].workload} if hasattr(found[0], "workload") else found[0].workloads
    images = {name: workload.samples[0].beside for name, workload in workloads.items()}
    (events,) = (scenes / "event_images").iterdir()
    assert images.pop("optimized", images_in(events)) == (None if "models" in command else images_in(events)), "EventGPT drafts from none"
    assert set(images.values()) == {images_in(events)}


# Two sessions.


def test_results_with_other_images_are_not_compared(clip: Path, tmp_path: Path) -> None:
    earlier = make_result(baseline=measured(clip, OTHER_IMAGES))
    with pytest.raises(UserError) as caught:
        begin(earlier, DRAFTING, clip, tmp_path / "out")
    assert str(caught.value) == (
        f"not the same work: the event images beside {clip}, from which a model drafts, are others: "
        f"5 of hash {OTHER_IMAGES.sha256[:12]} and 5 of hash {IMAGES.sha256[:12]}. Measure with those of the earlier result"
    )
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="are others"):
        evbench.compare(earlier, make_result(baseline=measured(clip, IMAGES)), folder=tmp_path / "out")


def test_a_side_that_names_none_is_compared_with_any(clip: Path) -> None:
    """It does not draft, or was recorded before they were."""
    one, other = asked(clip, None), asked(clip, IMAGES)
    for sides in ((one, other), (other, one), (one, one), (other, other)):
        require_same_images(*sides)


def test_the_history_of_a_side_that_drafts_is_of_the_same_images(clip: Path, tmp_path: Path) -> None:
    for day, images in ((1, IMAGES), (2, IMAGES), (3, OTHER_IMAGES)):
        session = make_session(started=f"2026-01-0{day}T00:00:00Z")
        drafted, plain = (dataclasses.replace(measured(clip, images, variant), session=session.started) for variant in (DRAFTING, PLAIN))
        (tmp_path / str(day)).mkdir()
        results.write(make_result(drafted, plain, sessions=(session,)), tmp_path / str(day) / "result.json")
    found = sorted((one.variant, len(one.entries)) for one in history.read(tmp_path).series)
    assert found == [(PLAIN, 3), (DRAFTING, 1), (DRAFTING, 2)]


# Measured again.


def test_a_result_is_measured_again_with_its_images_alone(clip: Path, tmp_path: Path) -> None:
    recorded = asked(clip, IMAGES)
    assert workload_here(recorded, (), None) == recorded
    (tmp_path / "kept").mkdir()
    kept = Path(shutil.copy(clip, tmp_path / "kept"))
    shutil.copytree(clip.with_name("street-events"), tmp_path / "kept" / "street-events")
    place, cure = clip.with_name("street-events"), "put them there, or give the street.mp4 that they lie beside by --input FILE or FOLDER"
    line = f"{place} does not hold the event images of the result, from which a model drafts; {cure}"
    exchange(clip)
    with pytest.raises(UserError) as caught:
        workload_here(recorded, (), None)
    assert str(caught.value) == line
    assert workload_here(recorded, [tmp_path / "kept"], None).samples[0].path == str(kept)
    shutil.rmtree(place)
    with pytest.raises(UserError) as caught:
        workload_here(recorded, [clip], None)
    assert str(caught.value) == line
    assert workload_here(asked(clip, None), (), None).samples[0].path == str(clip), "nobody drafts from them"


def test_a_result_from_before_is_measured_again_and_names_them(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known of the images that it had."""
    before = make_result(measured(clip, None), baseline=measured(clip, None, PLAIN))
    monkeypatch.setattr(api, "obstacles", lambda *asked: {})
    request = api._request(before, tmp_path / "again", (), None, "evbench verify", False, True)
    assert {side: workload.samples[0].beside for side, workload in request.workloads.items()} == {"baseline": IMAGES, "optimized": IMAGES}


# The report.


def test_the_report_names_them_under_input(clip: Path) -> None:
    told = f"; 5 event images beside it (SHA-256 {IMAGES.sha256[:12]}), from which another model drafts"
    both = make_result(measured(clip, IMAGES), baseline=measured(clip, IMAGES, PLAIN))
    assert described(both).facts["Input"] == "street.mp4, 2 frames of 6x4: 0 2 (inclusive)" + told
    one = make_result(measured(clip, IMAGES), baseline=measured(clip, None, PLAIN))
    assert described(one).facts["Input"].endswith(told), "the other side is of a session of its own"
    without = make_result(baseline=measured(clip, None))
    assert "event images" not in described(without).facts["Input"]
    pages = [to_html(result, evbench.judge(result), described(result)) for result in (both, without)]
    assert [f"5: {IMAGES.sha256[:16]}" in page for page in pages] == [True, False]


# The file.


def test_results_with_and_without_them_are_read(clip: Path) -> None:
    result = make_result(measured(clip, IMAGES))
    content = json.loads(to_json(result))
    assert from_json(Result, content, "result") == result
    assert not list(faults(SCHEMAS["result"](), content))
    assert result.optimized is not None
    for side in ("baseline", "optimized"):
        del content[side]["workload"]["samples"][0]["beside"]
    assert from_json(Result, content, "result") == make_result(measured(clip, None))
    content["optimized"]["workload"]["samples"][0]["beside"] = {"count": 0, "sha256": ""}
    with pytest.raises(ValueError, match="a model drafts from 0 event images"):
        from_json(Result, content, "result")
