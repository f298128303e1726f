"""Results over time: which belong together, and where a time changed in a step."""

from __future__ import annotations

import math
import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from evbench import results
from evbench.cli.main import main
from evbench.cli.report import write_report
from evbench.report import history as report
from evbench.results import Result
from evbench.session import history as session_history
from evbench.verdict import demands, history
from evbench.verdict.demands import Demand
from evbench.verdict.history import Entry, Series, TimedOnce, between, decide, steps
from evbench.verdict.ranks import SPREAD
from tests.command import refused
from tests.examples import MACHINE, make_result, make_session, make_side, scaled
from tests.simulation import simulated_workload

SLOWER: Demand = demands.read([], ["slower:2%"], "video-llava")[0]


def series(*seconds: float, reach: float | None = 0.005) -> Series:
    entries = (
        Entry(f"2026-01-{day:02}T00:00:00Z", f"run-{day}", "abc", {"end-to-end": TimedOnce(one, reach)})
        for day, one in enumerate(seconds, 1)
    )
    return Series("CPU, 2 cores", "baseline", simulated_workload(), tuple(entries))


def found(*seconds: float, reach: float | None = 0.005) -> list[tuple[str, float]]:
    """Place of each result behind a step, and the time before it over the time behind."""
    return [(step.after.place, round(step.interval.ratio, 2)) for step in steps(series(*seconds, reach=reach), "end-to-end")]


# Steps.


def test_a_step_is_found_at_its_place_with_its_ratio() -> None:
    assert found(1.0, 1.01, 0.99, 1.0, 1.2, 1.21, 1.19) == [("run-5", 0.83)]
    assert found(1.0, 1.001, 0.999, 1.0, 0.8, 0.801, 0.799, 0.8, 0.6, 0.601, 0.599) == [
        ("run-5", 1.25), ("run-9", 1.33),
    ]  # fmt: skip


def test_the_newest_result_alone_can_be_a_step() -> None:
    assert found(1.0, 1.002, 0.998, 1.001, 1.3) == [("run-5", 0.77)]
    assert found(1.0, 0.5, 1.0, 0.5) == []


def test_what_varies_as_much_is_no_step() -> None:
    assert found(1.0, 1.2, 0.9, 1.1, 1.25, 1.0) == []
    assert found(1.0, 1.1, reach=0.2) == [], "each of them is as uncertain"
    assert found(1.0, 1.3, reach=0.0001) == [], "nothing tells how much two such times vary"
    assert found(1.0, 1.005, 1.0, 1.005, 1.0, 1.005, reach=0.0001) == [], "less than 1 % is never claimed"
    assert found(1.0) == []


def test_a_series_without_any_change_rarely_has_a_step() -> None:
    draws, steps_found = random.Random(2), 0
    for _ in range(400):
        times = [math.exp(draws.gauss(0, 0.03)) for _ in range(12)]
        steps_found += bool(found(*times, reach=0.01))
    assert steps_found <= 0.05 * 400 + 9, "5 of 100 at most, and two standard errors"


def test_a_change_is_seen_where_it_is_large_beside_the_noise() -> None:
    draws, right = random.Random(3), 0
    for _ in range(100):
        times = [math.exp(draws.gauss(0, 0.01)) * (1.1 if place >= 7 else 1) for place in range(12)]
        right += [place for place, _ in found(*times, reach=0.01)] == ["run-8"]
    assert right >= 90


def test_an_interval_is_no_narrower_than_those_of_the_results() -> None:
    equal = [TimedOnce(1.0, 0.05)] * 4
    interval = between(equal, equal)
    assert interval is not None and interval.ratio == 1.0
    assert math.log(interval.high) == pytest.approx(0.05 / math.sqrt(2), rel=1e-3)


# The gate.


@pytest.mark.parametrize(
    ("times", "met"),
    [
        ((1.0, 1.001, 0.999, 1.0, 1.001), True),
        ((1.0, 1.001, 0.999, 1.0, 1.3), False),
        ((1.0, 1.001, 0.999, 1.3, 1.301, 1.299), False),
        ((1.3, 1.301, 1.299, 1.0, 1.001), True),
        ((1.0, 1.2, 0.9, 1.1), None),
    ],
)
def test_a_demand_is_of_the_last_step_and_the_newest_result(times: tuple[float, ...], met: bool | None) -> None:
    outcome = decide(series(*times), SLOWER)
    assert outcome is not None and outcome.met is met


def test_without_a_result_before_nothing_is_decided() -> None:
    assert decide(series(1.0), SLOWER) is None
    assert history.exit_code({"slower:2%": []}) == 4
    outcomes = [decide(series(*times), SLOWER) for times in ((1.0, 1.001, 0.999), (1.0, 1.2, 0.9, 1.1), (1.0, 1.001, 1.3))]
    good, unclear, bad = (outcome for outcome in outcomes if outcome is not None)
    assert [history.exit_code({"": some}) for some in ([good], [good, unclear], [unclear, bad])] == [0, 4, 3]
    assert history.exit_code({}) == 0


# Folders of results.


def stored(folder: Path, day: int, factor: float = 1.0, **changes: object) -> Result:
    """A comparison of that day, in which both sides take `factor` times as long."""
    started = f"2026-01-{day:02}T00:00:00Z"
    baseline = scaled(make_side(), factor)
    result = make_result(scaled(replace(baseline, variant="optimized"), 0.5), baseline=baseline)
    sides = {"baseline": replace(result.baseline, session=started), "optimized": replace(_of(result), session=started)}
    sessions = (replace(make_session(), started=started),)
    result = replace(result, **{"created": started, "sessions": sessions, **sides, **changes})  # type: ignore[arg-type]
    folder.mkdir(parents=True)
    results.write(result, folder / "result.json")
    return result


def _of(result: Result) -> results.SideResult:
    assert result.optimized is not None
    return result.optimized


def test_results_of_one_machine_work_and_variant_are_one_series(tmp_path: Path) -> None:
    for day, factor in ((3, 1.0), (1, 1.0), (2, 1.0), (4, 1.5)):
        stored(tmp_path / f"run-{day}", day, factor)
    shutil.copytree(tmp_path / "run-3", tmp_path / "a-copy")
    read = session_history.read(tmp_path)
    assert [(one.variant, [entry.started[:10] for entry in one.entries]) for one in read.series] == [
        (variant, [f"2026-01-0{day}" for day in (1, 2, 3, 4)]) for variant in ("baseline", "optimized")
    ], "a copy counts once"
    (step,) = steps(read.series[0], "end-to-end")
    assert (step.before.place, step.after.place) == ("run-3", "run-4") or step.before.place == "a-copy"
    assert step.interval.ratio == pytest.approx(1 / 1.5, rel=0.01)


def test_what_a_rank_ran_counts_with_that_of_all_ranks_only(tmp_path: Path) -> None:
    stored(tmp_path / "spread", 1)
    (tmp_path / "spread" / "ranks.json").write_text("{}", encoding="utf-8")
    for day, rank in ((2, "rank-0"), (3, "rank-1")):
        stored(tmp_path / "spread" / rank, day)
    read = session_history.read(tmp_path)
    assert [[entry.place for entry in one.entries] for one in read.series] == [["spread"], ["spread"]]


def test_each_number_of_ranks_is_a_series_of_its_own(tmp_path: Path) -> None:
    for day, ranks in ((1, 1), (2, 2), (3, 8), (4, 8)):
        started = f"2026-01-0{day}T00:00:00Z"
        remarks = (SPREAD.format(ranks), "rank 0: something else") if ranks > 1 else ()
        session = replace(make_session(), started=started, remarks=remarks)
        stored(tmp_path / f"gpus-{day}", day, sessions=(session,), optimized=None)
    read = session_history.read(tmp_path)
    lengths = {one.machine: len(one.entries) for one in read.series}
    assert lengths == {"CPU, 2 cores": 1, "CPU, 2 cores, 2 ranks": 1, "CPU, 2 cores, 8 ranks": 2}


def test_other_machines_and_work_are_series_of_their_own(tmp_path: Path) -> None:
    stored(tmp_path / "one", 1)
    started = "2026-01-02T00:00:00Z"
    elsewhere = replace(make_session(), started=started, machine=replace(MACHINE, cpu="Other CPU"))
    stored(tmp_path / "two", 2, sessions=(elsewhere,))
    renewed = replace(make_session(), started="2026-01-03T00:00:00Z", machine=replace(MACHINE, packages={"torch": "9.0"}))
    stored(tmp_path / "three", 3, sessions=(renewed,))
    longer = replace(make_side(new_tokens=9), session="2026-01-04T00:00:00Z")
    stored(tmp_path / "four", 4, baseline=longer, optimized=None)
    read = session_history.read(tmp_path)
    lengths = {(one.machine, one.variant, one.workload.new_tokens): len(one.entries) for one in read.series}
    assert lengths == {
        ("CPU, 2 cores", "baseline", 2): 2, ("CPU, 2 cores", "optimized", 2): 2, ("CPU, 2 cores", "baseline", 9): 1,
        ("Other CPU, 2 cores", "baseline", 2): 1, ("Other CPU, 2 cores", "optimized", 2): 1,
    }  # fmt: skip


def test_what_is_no_part_of_it_is_told_with_its_reason(tmp_path: Path) -> None:
    stored(tmp_path / "good", 1)
    stored(tmp_path / "selftest", 2, command="evbench selftest --plant vision")
    disturbed = make_session()
    blocks = tuple(replace(block, disturbances=("somebody was here",)) for block in disturbed.blocks)
    stored(tmp_path / "disturbed", 3, sessions=(replace(disturbed, started="2026-01-03T00:00:00Z", blocks=blocks),))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "result.json").write_text("{")
    read = session_history.read(tmp_path)
    assert [len(one.entries) for one in read.series] == [1, 1]
    told = dict(read.left_out)
    assert set(told) == {"selftest", "disturbed", "broken"}
    assert "of a self-test" in told["selftest"] and "blocks were disturbed" in told["disturbed"] and "is not JSON" in told["broken"]


def test_since_leaves_out_what_is_older(tmp_path: Path) -> None:
    for day in (1, 2, 3):
        stored(tmp_path / f"run-{day}", day)
    assert [len(one.entries) for one in session_history.read(tmp_path, "2026-01-02").series] == [2, 2]


# The command.


def history_of(folder: Path, *factors: float) -> Path:
    for day, factor in enumerate(factors, 1):
        stored(folder / f"run-{day}", day, factor)
    return folder


def ended(arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    monkeypatch.setattr(sys, "argv", ["evbench", *arguments.split()])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0), capsys.readouterr().out.splitlines()


def test_the_command_tells_steps_and_writes_table_and_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    history_of(tmp_path / "nightly", 1.0, 1.0, 1.0, 1.5)
    for _ in range(2):  # written again
        code, lines = ended("history nightly --html h.html --markdown h.md --fail-if slower:3%", monkeypatch, capsys)
        assert code == 3
        assert lines[0] == "2 series with 8 times of a variant, 16 steps"
        told = "from 2026-01-04T00:00Z in run-4, commit abc on: end-to-end 1.50x slower (1.50x - 1.50x); load 1.50x slower"
        assert told in " ".join(" ".join(lines).split())
        assert lines[-1] == "exit 3: slower:3% in 2 of 2 series"
    text = (tmp_path / "h.md").read_text(encoding="utf-8")
    assert text.startswith(report.MARK) and "## Steps" in text and "| 2026-01-04T00:00Z | run-4 | abc | 600 ms (step) |" in text
    page = (tmp_path / "h.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2 and "<script" not in page and "0.67x" in page


def test_a_page_of_the_other_command_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_report(history_of(tmp_path / "nightly", 1.0) / "run-1")
    assert ended("history nightly --html h.html", monkeypatch, capsys)[0] == 0
    before = {file: Path(file).read_bytes() for file in ("h.html", "nightly/run-1/report.html")}
    for arguments in ("history nightly --html nightly/run-1/report.html", "report nightly/run-1 --html h.html"):
        assert "was not written by this option, and is not replaced" in refused(arguments, monkeypatch, capsys)
    assert before == {file: Path(file).read_bytes() for file in before}


def test_the_gate_is_met_by_what_became_faster_and_a_stage_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    history_of(tmp_path / "nightly", 1.0, 1.0, 1.0, 0.5)
    assert ended(f"history {tmp_path}/nightly --fail-if slower:3% --fail-if vision.slower:3%", monkeypatch, capsys)[0] == 0
    assert ended(f"history {tmp_path}/nightly --since 2026-01-04 --fail-if slower:3%", monkeypatch, capsys) == (
        4,
        [
            "2 series with 2 times of a variant, 0 steps",
            "2 series have fewer than 3 results, which are too few for a step",
            "exit 4: slower:3%: there is no result before",
        ],
    )


@pytest.mark.parametrize(
    ("factors", "since", "code", "failed"),
    [
        ((1.0, 1.0, 1.0, 1.5), "2026-01-01", 3, {"slower:3%": 2, "vision.slower:3%": 2}),
        ((1.0, 1.0, 1.0, 0.5), "2026-01-01", 0, {"slower:3%": 0, "vision.slower:3%": 0}),
        ((1.0, 1.0, 1.0, 1.5), "2026-01-04", 4, {"slower:3%": 1, "vision.slower:3%": 1}),
    ],
)
def test_the_gate_is_a_suite_for_each_demand_with_a_test_for_each_series(
    factors: tuple[float, ...],
    since: str,
    code: int,
    failed: dict[str, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    history_of(tmp_path / "nightly", *factors)
    asked = f"history nightly --since {since} --fail-if slower:3% --fail-if vision.slower:3% --junit h.xml"
    for _ in range(2):  # written again
        assert ended(asked, monkeypatch, capsys)[0] == code
    suites = ElementTree.fromstring((tmp_path / "h.xml").read_text(encoding="utf-8"))
    assert {suite.get("name"): int(suite.get("failures") or 0) for suite in suites} == failed
    told = {case.get("name") for suite in suites for case in suite.findall("testcase")}
    alone = {"results"} if since == "2026-01-04" else {report.name(one) for one in session_history.read(tmp_path / "nightly").series}
    assert told == alone and all(message.text for message in suites.iter("failure"))


def test_it_is_told_that_results_were_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    history_of(tmp_path / "nightly", 1.0)
    (tmp_path / "nightly" / "run-1" / "result.json").write_text("{", encoding="utf-8")
    code, lines = ended(f"history {tmp_path}/nightly --fail-if slower:3%", monkeypatch, capsys)
    told = "exit 4: slower:3%: there is no result before, and 1 result was left out (--details says why)"
    assert code == 4 and told in " ".join(lines)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("none", "none is no folder; give one that holds folders of results"),
        ("empty", "empty holds no result.json, nor does a folder in it"),
        ("empty --fail-if faster", "--fail-if 'faster' cannot be read; write slower:2%"),
        ("empty --since yesterday", "--since 'yesterday' is no date; write it such as 2026-01-31"),
        ("empty --html h.txt", "--html h.txt does not end in .html or .htm"),
        ("empty --html mine.html", "--html mine.html was not written by this option, and is not replaced"),
        ("empty --markdown mine.md", "--markdown mine.md was not written by this option, and is not replaced"),
        ("empty --junit h.xml", "--junit is of the demands of --fail-if, which is not given: it would have no effect; leave it out"),
        ("empty --junit mine.xml --fail-if slower:3%", "--junit mine.xml was not written by this option, and is not replaced"),
        ("empty --markdown none/h.md", "there is no folder none; make it, or give another file"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    arguments: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("mine.md", "mine.html", "mine.xml"):
        (tmp_path / name).write_text("# Mine\n")
    assert told in refused(f"history {arguments}", monkeypatch, capsys)
