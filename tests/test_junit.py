"""`evbench report --junit`: a verdict for servers of continuous integration."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from evbench import results
from evbench.cli.report import Exports, write_report
from evbench.report.junit import MARK, to_junit
from evbench.results import Result
from evbench.verdict.judge import judge
from tests import test_snapshot
from tests.command import refused
from tests.examples import make_result, make_side, scaled
from tests.test_results import PROFILES


def suite(result: Result) -> ElementTree.Element:
    text = to_junit(result, judge(result))
    assert text.startswith(MARK) and text.endswith("\n")
    root = ElementTree.fromstring(text)
    (found,) = root
    cases = found.findall("testcase")
    failed = [case for case in cases if case.find("failure") is not None]
    for element in (root, found):
        assert (element.get("tests"), element.get("failures"), element.get("errors")) == (str(len(cases)), str(len(failed)), "0")
    assert bool(failed) == (judge(result).exit_code != 0), "a test fails where the exit code says so, and else none does"
    return found


def failures(result: Result) -> dict[str, str]:
    """Name of a case -> why it failed."""
    found = ((case.get("name"), case.find("failure")) for case in suite(result).findall("testcase"))
    return {str(name): str(failure.get("message")) for name, failure in found if failure is not None}


def compared(factor: float, **rules: object) -> Result:
    result = make_result(scaled(replace(make_side(), variant="optimized"), factor))
    return replace(result, rules=replace(result.rules, **rules))  # type: ignore[arg-type]


def test_a_recorded_comparison_passes_with_its_times_as_properties() -> None:
    result = results.read(PROFILES / "cpu" / "video-llava-small")
    found = suite(result)
    assert found.get("name") == "video-llava: optimized against baseline" and found.get("timestamp") == result.created[:19]
    names = [case.get("name") for case in found.findall("testcase")]
    assert names == ["verdict", *(f"outputs of {stage}" for stage in judge(result).grades)] and len(names) == 5
    properties = {one.get("name"): str(one.get("value")) for one in found.iter("property")}
    end_to_end = judge(result).end_to_end
    assert end_to_end.interval is not None
    assert properties["verdict"] == "FASTER" and properties["end-to-end, speedup"].startswith(repr(end_to_end.interval.ratio))
    baseline = end_to_end.sides["baseline"]
    assert baseline is not None and float(properties["end-to-end, baseline, median seconds"]) == baseline.median


def test_a_slower_side_fails_with_its_interval() -> None:
    assert failures(compared(2.0)) == {"verdict": "SLOWER: end-to-end speedup 95% CI 0.50x - 0.50x"}
    assert failures(compared(1.0)) == {}


@pytest.mark.parametrize(
    ("factor", "rules", "failed"),
    [
        (2.0, {"fail_if": ("slower:5%",)}, {"slower:5%": "not met: 95% CI 0.50x - 0.50x"}),
        (1.02, {"fail_if": ("slower:5%",)}, {}),
        (0.5, {"targets": ("video-llava.vision<1ms",)}, {"video-llava.vision<1ms": "not met: 95% CI 50.0 ms - 50.0 ms"}),
        (0.5, {"targets": ("video-llava.vision<1s",)}, {}),
        (1.0, {"require_speedup": True}, {"verdict": "SAME, and --require-speedup was given"}),
    ],
)
def test_each_demand_is_a_test(factor: float, rules: dict[str, object], failed: dict[str, str]) -> None:
    assert failures(compared(factor, **rules)) == failed
    names = [case.get("name") for case in suite(compared(factor, **rules)).findall("testcase")]
    assert {text for value in rules.values() if isinstance(value, tuple) for text in value} <= set(names)


def test_what_is_invalid_or_differs_fails_with_its_reasons() -> None:
    invalid = failures(make_result(scaled(make_side(new_tokens=3), 0.5), baseline=make_side(), outputs=None))
    assert list(invalid) == ["verdict"]
    for name in ("cpu/drafts", "cpu/selftest-small"):
        told = failures(results.read(PROFILES / name))
        assert list(told) == ["verdict"] and told["verdict"].startswith("INCONCLUSIVE")


def test_one_variant_alone_is_measured() -> None:
    names = [case.get("name") for case in suite(make_result(baseline=make_side(), outputs=None)).findall("testcase")]
    assert names == ["measured"]


def test_foreign_text_stays_text_and_flags_are_the_output() -> None:
    hostile = replace(make_side(), variant="<a>&\x1b[31m\n")
    found = suite(make_result(scaled(hostile, 0.5), baseline=hostile))
    assert found.get("name") == "video-llava: <a>&·[31m· against <a>&·[31m·"
    flagged = suite(test_snapshot.result()).find("system-out")
    assert flagged is not None and "NOT_STEADY: " in str(flagged.text)


def test_a_file_is_written_again_and_somebody_elses_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(PROFILES / "cpu" / "video-llava-small" / "result.json", tmp_path)
    for _ in range(2):
        write_report(tmp_path, Exports(junit=tmp_path / "evbench.xml"))
        assert (tmp_path / "evbench.xml").read_text(encoding="utf-8").startswith(MARK)
    (tmp_path / "mine.xml").write_text('<?xml version="1.0"?>\n<testsuites/>\n')
    monkeypatch.chdir(tmp_path)
    assert "--junit mine.xml was not written by this option, and is not replaced" in refused(
        "report . --junit mine.xml", monkeypatch, capsys
    )
    assert "--junit a.txt does not end in .xml" in refused("report . --junit a.txt", monkeypatch, capsys)
