from __future__ import annotations

import dataclasses
import doctest
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from evbench import results
from evbench.encoding import to_json
from evbench.errors import UserError
from evbench.results import Memory, Sample, SideResult, StageRun, Work
from evbench.verdict.judge import judge
from tests.examples import make_result, make_run, make_side, make_throughput_run, make_trace, with_throughput_runs

PROFILES = Path(__file__).parent.parent / "profiles"
RECORDED = Path(__file__).parent / "recorded"
EARLIER = RECORDED / "former"
"""A comparison of the format before."""
"""A comparison of the format before."""


@pytest.mark.parametrize("optimized", [None, make_side(variant="optimized"), with_throughput_runs(make_side(variant="optimized"))])
def test_a_result_survives_its_file(tmp_path: Path, optimized: SideResult | None) -> None:
    result = make_result(optimized)
    results.write(result, tmp_path / "result.json")
    assert results.read(tmp_path / "result.json") == result
    assert results.read(tmp_path) == result, "a folder is read by its result.json"
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"], "nothing half-written is left"


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(PROFILES.rglob("result.json")), ids=lambda path: str(path.parent.relative_to(PROFILES)))
def test_every_recorded_result_is_read_and_survives_its_file(tmp_path: Path, path: Path) -> None:
    result = results.read(path)
    assert result.format == results.FORMAT
    results.write(result, tmp_path / "result.json")
    assert results.read(tmp_path) == result
    recorded, judgement = json.loads((path.parent / "verdict.json").read_text(encoding="utf-8")), judge(result)
    assert (judgement.verdict, judgement.exit_code) == (recorded["verdict"], recorded["exit_code"])
    interval = (recorded.get("end_to_end") or recorded["total"])["interval"]
    bounds = ("ratio", "low", "high")
    now = None if judgement.end_to_end.interval is None else [getattr(judgement.end_to_end.interval, name) for name in bounds]
    assert now == (None if interval is None else pytest.approx([interval[name] for name in bounds]))


def test_a_result_of_the_format_before_is_read_with_the_names_of_today(tmp_path: Path) -> None:
    recorded = json.loads(gzip.decompress((RECORDED / "former-throughput.json.gz").read_bytes()))
    assert recorded["format"] == 7
    recorded["rules"] |= {
        "smallest": {"total": 0.02, "first token": 0.03},
        "targets": ["video-llava.further-token < 30ms"],
        "fail_if": ["total.slower:2%", "slower:1%"],
    }
    (tmp_path / "result.json").write_text(json.dumps(recorded), encoding="utf-8")
    result = results.read(tmp_path)
    assert result.rules.noise_floors == {"end-to-end": 0.02, "ttft": 0.03}
    assert result.rules.targets == ("video-llava.tpot < 30ms",)
    assert result.rules.fail_if == ("end-to-end.slower:2%", "slower:1%")
    assert result.optimized is not None
    assert [measured.choices["prefetch"] for measured in result.variants().values()] == ["on", "batched"]
    activation = next(found for found in result.optimized.activations if found.part == "prefetch")
    assert (activation.choice, activation.active) == ("batched", True)
    assert "feed" not in result.optimized.variant
    assert result.sessions[0].plan.order == "interleaved"
    assert result.outputs is not None
    assert {check.mode for check in result.outputs.checks} == {"baseline-repeat", "end-to-end", "stage-isolated"}
    assert len(result.baseline.throughput_runs) == len(recorded["baseline"]["streams"])
    steps = [run.decode_step_seconds for run in result.baseline.runs if run.decode_step_seconds]
    assert [sum(step) for step in steps] == [sum(run["step_seconds"]) for run in recorded["baseline"]["runs"] if run["step_seconds"]]


@pytest.mark.parametrize("damage", ["baseline", "sessions", "outputs", "rules", "baseline.runs", "sessions.0.plan", "baseline.choices"])
def test_a_damaged_result_of_the_format_before_is_refused_with_its_location(tmp_path: Path, damage: str) -> None:
    for value in ("text", 7, [7], {"a": [1]}):
        content = json.loads((EARLIER / "result.json").read_text(encoding="utf-8"))
        change(content, damage, value)
        (tmp_path / "result.json").write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(UserError, match="is not a result of evbench"):
            results.read(tmp_path)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("rules.smallest", "result.rules lacks the field 'noise_floors' .in this file, of format 7, noise_floors is called smallest."),
        ("sessions.0.plan.starts", "plan lacks the field 'invocations' .in this file, of format 7, invocations is called starts."),
        ("baseline.runs.1.step_seconds", "decode_step_seconds is called step_seconds"),
        ("created", "result lacks the field 'created'$"),
    ],
)
def test_a_field_that_a_result_of_the_format_before_lacks_is_named_as_in_its_file(tmp_path: Path, place: str, told: str) -> None:
    content = json.loads((EARLIER / "result.json").read_text(encoding="utf-8"))
    assert content["format"] == 7
    remove(content, place)
    (tmp_path / "result.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=told):
        results.read(tmp_path)


def test_only_timed_runs_count() -> None:
    timed = make_run()
    assert make_side(make_run("warmup"), timed).timed() == (timed,)


@pytest.mark.parametrize("file", ["../../../../etc/passwd", "/etc/passwd", "", ".."])
def test_a_trace_outside_the_folder_of_its_session_is_refused(file: str) -> None:
    with pytest.raises(ValueError, match="is no name of a trace in the folder of its session"):
        make_trace(file)


def test_an_impossible_time_is_refused() -> None:
    for seconds in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="impossible"):
            StageRun(seconds, None, Memory(None, None, None, None, None))


def test_an_impossible_throughput_run_is_refused() -> None:
    with pytest.raises(ValueError, match=r"time of -1\.0 s is impossible"):
        make_throughput_run(load_wait_seconds=-1.0)
    for fields in ({"samples": 3}, {"tokens": ()}, {"work": (Work(),)}):
        with pytest.raises(ValueError, match="a throughput run of"):
            dataclasses.replace(make_throughput_run(), **fields)


def test_outputs_and_work_are_of_runs_and_throughput_runs_in_blocks() -> None:
    """Two samples: a stream of three begins with the first one and ends with it."""
    samples = (Sample("a.mp4", "0", 4, 6), Sample("b.mp4", "1", 4, 6))
    runs = [make_run("warmup", tokens=(9,)), make_run(tokens=(1,)), dataclasses.replace(make_run(tokens=(2,)), sample=1)]
    work = (Work(new_tokens=1), Work(new_tokens=2), Work(new_tokens=3))
    row = make_throughput_run(samples=3, tokens=(5,), work=work)
    row = dataclasses.replace(row, tokens=((1,), (2,), (3,)))
    side = with_throughput_runs(make_side(*runs, samples=samples), dataclasses.replace(row, block=None), row)
    assert side.timed_throughput_runs() == (row,)
    assert side.tokens_by_sample() == {0: [(1,), (1,), (3,)], 1: [(2,), (2,)]}
    assert side.work() == [(0, runs[1].work), (1, runs[2].work), (0, work[0]), (1, work[1]), (0, work[2])]


def test_the_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(results).failed == 0


def test_not_a_number_never_reaches_a_file() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        to_json(make_run(frame_seconds=(float("nan"),)))


def test_accounts_of_stages_are_merged_and_must_agree() -> None:
    assert Work(decoder="a", dtype="x").merged(Work(new_tokens=3, dtype="x")) == Work(decoder="a", new_tokens=3, dtype="x")
    with pytest.raises(ValueError, match="disagree on dtype: bfloat16 and float32"):
        Work(dtype="bfloat16").merged(Work(dtype="float32"))


def owner(content: dict[str, Any], path: str) -> tuple[Any, str]:
    """What has the last step of the path, and that step."""
    *parents, last = path.split(".")
    place: Any = content
    for parent in parents:
        place = place[int(parent)] if parent.isdecimal() else place[parent]
    return place, last


def change(content: dict[str, Any], path: str, value: Any) -> None:
    place, last = owner(content, path)
    place[last] = value


def remove(content: dict[str, Any], path: str) -> None:
    place, last = owner(content, path)
    del place[last]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", 999, "has format 999.*use the evbench that wrote it"),
        ("baseline.runs.0.tokens", ["x"], r"result.baseline.runs\[0\].tokens\[0\] is 'x'"),
        ("baseline.runs.0.kind", "maybe", r"result.baseline.runs\[0\].kind is 'maybe'"),
        ("sessions.0.machine.cores", True, r"result.sessions\[0\].machine.cores is True"),
        (
            "baseline.runs.0.stages",
            {"load": {"seconds": 1, "stream_seconds": None, "memory": {}}},
            "memory lacks the fields 'allocator', 'device'",
        ),
        ("baseline.runs", [], "at least one timed run"),
        ("baseline.builds.0.seconds", 1e999, "seconds is inf"),
        ("baseline.builds.0.seconds", -1, "time of -1.0 s is impossible"),
        ("baseline.runs.0.text", "\ud800", "surrogates not allowed"),
        ("baseline.builds", [], "at least one build"),
        ("baseline.runs.1.sample", 1, "a sample that the workload does not have"),
        ("baseline.session", "2025", "no session of 2025"),
        ("baseline.workload.samples", [], "at least one sample"),
        ("format", 3, "has format 3, and this evbench reads formats 7 to 8; measure again"),
        ("format", None, "no format"),
        ("baseline.extra", 1, "result.baseline has the field 'extra', which this evbench does not know"),
        ("baseline", [], r"result.baseline is \[\], where an object with the fields variant, choices, .* is expected"),
        ("rules", {"fail_if": []}, "result.rules lacks the fields 'allowed', 'noise_floors', 'require_speedup', 'targets'"),
    ],
)
def test_a_file_that_is_no_result_is_refused_with_its_location(tmp_path: Path, path: str, value: Any, message: str) -> None:
    content = json.loads(to_json(make_result()))
    change(content, path, value)
    (tmp_path / "result.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        results.read(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "\x00", "[" * 100_000])
def test_a_file_that_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError):
        results.read(tmp_path / "result.json")


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        results.read(tmp_path / "none")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not JSON"):
        results.read(tmp_path / "binary.json")
