"""`evbench verify`: the comparison of a result, measured again."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
from rich.console import Console

import evbench
from evbench import results
from evbench.api import verify as api
from evbench.api.schemas import SCHEMAS
from evbench.api.verify import verify
from evbench.cli.console import MOST_LINES
from evbench.cli.main import main
from evbench.encoding import to_json
from evbench.errors import UserError
from evbench.inputs import sample
from evbench.inputs.workload import sha256_of
from evbench.report import files
from evbench.report import reproduction as report
from evbench.report.render import to_rich
from evbench.results import STAGES, Machine, Outputs, Plan, Rates, Result, SideResult
from evbench.session.compare import JudgedResult
from evbench.session.request import ComparisonRequest
from evbench.verdict.judge import judge
from evbench.verdict.judgement import Verdict
from evbench.verdict.reproduction import Outcome, Reproduction, keeps_the_gain, reproduce
from evbench.verdict.statistics import Interval, combined
from tests import test_snapshot
from tests.checkpoints import least
from tests.command import refused
from tests.examples import MACHINE, PRESERVED, make_check, make_result, make_session, make_side, scaled
from tests.schema_check import faults
from tests.simulation import PLAN, Noise, SimulatedMachine, simulate
from tests.test_results import EARLIER, PROFILES

QUIET = Noise(0.002, 0.0, 0.0, 0.0)
HERE = Machine("Linux", "Other CPU", 4, 2**34, None, "3.12", {"torch": "2.15"}, "abc")


def interval(ratio: float, low: float, high: float) -> Interval:
    return Interval(ratio, low, high, 0.95)


def held(recorded: Result, again: Result, *alike: str) -> Reproduction:
    return reproduce((recorded, judge(recorded)), (again, judge(again)), alike)


def measured(seed: int, faster: float, noise: Noise = QUIET, plan: Plan = PLAN, **slower: float) -> Result:
    return simulate(SimulatedMachine(seed, noise, faster, slower_stages=slower), plan)


def on(result: Result, machine: Machine) -> Result:
    return replace(result, sessions=tuple(replace(session, machine=machine) for session in result.sessions))


# What is said.


def test_the_interval_of_two_speedups_adds_distances_as_squares() -> None:
    found = combined([(interval(1.0, 1.0 / 1.2, 1.0 * 1.4), 1.0), (interval(2.0, 2.0 / 1.3, 2.0 * 1.1), -1.0)])
    assert found.ratio == pytest.approx(0.5)
    assert found.low == pytest.approx(0.5 / 1.2283, rel=1e-3), "exp of the root of log(1.2) and log(1.1) squared"
    assert found.high == pytest.approx(0.5 * 1.5336, rel=1e-3), "the upper arm of the one, the lower of the other"
    assert found.confidence == 0.95


def test_intervals_that_say_nothing_are_combined_into_one_that_says_nothing() -> None:
    nothing = interval(1.0, 0.0, 1e308)
    found = combined([(nothing, 1.0), (nothing, -1.0)])
    assert found.ratio == 1.0 and 0 < found.low < 1e-300 and 1e300 < found.high < math.inf
    again = make_result(scaled(make_side(), 0.5))
    judged = judge(again)
    wide = replace(
        judged, end_to_end=replace(judged.end_to_end, interval=nothing, claim=Verdict.INCONCLUSIVE), verdict=Verdict.INCONCLUSIVE
    )
    reproduction = reproduce((again, judged), (again, wide))
    assert reproduction.outcome is Outcome.INCONCLUSIVE and math.isfinite(reproduction.changes[0].detectable)
    assert to_json(reproduction)


@pytest.mark.parametrize(
    ("recorded", "again", "kept"),
    [
        (interval(2.0, 1.9, 2.1), interval(1.9, 1.8, 2.0), True),
        (interval(2.0, 1.9, 2.1), interval(1.3, 1.25, 1.35), False),
        (interval(2.0, 1.9, 2.1), interval(1.6, 1.3, 2.0), False),
        (interval(0.5, 0.48, 0.53), interval(0.53, 0.5, 0.56), True),
        (interval(0.5, 0.48, 0.53), interval(0.8, 0.75, 0.85), False),
    ],
)
def test_more_than_half_of_a_gain_or_loss_has_to_be_there_again(recorded: Interval, again: Interval, kept: bool) -> None:
    assert keeps_the_gain(recorded, again) == kept


def test_the_same_gain_is_reproduced_and_says_what_would_have_been_seen() -> None:
    found = held(measured(1, 1.5), measured(2, 1.5))
    assert (found.outcome, found.exit_code, found.reasons) == (Outcome.REPRODUCED, 0, ())
    assert [change.name for change in found.changes] == ["end-to-end", *STAGES]
    assert not any(change.differs for change in found.changes)
    assert all(0.01 < change.detectable < 0.05 for change in found.changes)
    assert {side: (tokens.identical, tokens.samples) for side, tokens in found.tokens.items()} == {"baseline": (1, 1), "optimized": (1, 1)}


@pytest.mark.parametrize("again", [1.2, 1.9])
def test_another_gain_is_not_reproduced(again: float) -> None:
    found = held(measured(1, 1.5), measured(2, again))
    assert (found.outcome, found.exit_code) == (Outcome.NOT_REPRODUCED, 3)
    assert "end-to-end" in found.reasons[0]


def test_another_gain_of_one_stage_is_named_and_no_other() -> None:
    found = held(measured(1, 1.5), measured(2, 1.5, load=1.06))
    assert [change.name for change in found.changes if change.differs] == ["load"]
    assert (found.outcome, found.reasons) == (Outcome.NOT_REPRODUCED, ("another speedup of load",))


def test_equally_fast_sides_are_reproduced_only_by_equally_fast_ones() -> None:
    same = make_result(make_side())
    assert held(same, same).outcome is Outcome.REPRODUCED
    faster = make_result(scaled(make_side(), 0.98))
    assert held(same, faster).outcome is Outcome.NOT_REPRODUCED
    assert held(faster, same).exit_code == 3


def test_a_small_difference_below_the_noise_floors_of_both_is_none() -> None:
    recorded, again = (make_result(scaled(make_side(), factor), noise_floors={"end-to-end": 0.03}) for factor in (0.5, 0.52))
    found = held(recorded, again).changes[0]
    assert found.threshold == pytest.approx(0.03 * 2**0.5)
    assert not found.differs and found.ratio.excludes_1


def test_a_measurement_that_shows_nothing_is_inconclusive() -> None:
    noisy = measured(2, 1.5, Noise(0.3), replace(PLAN, blocks=6))
    found = held(measured(1, 1.5), noisy)
    assert (found.outcome, found.exit_code) == (Outcome.INCONCLUSIVE, 4)
    few = held(measured(1, 1.5), measured(2, 1.5, plan=replace(PLAN, blocks=5)))
    assert (few.outcome, few.changes) == (Outcome.INCONCLUSIVE, ())
    assert "too few blocks" in few.reasons[0]


@pytest.mark.parametrize(
    ("outputs", "side", "outcome", "code"),
    [
        (Outputs("float64", (0,), (*PRESERVED.checks, make_check(grade="fail"))), {}, Outcome.NOT_REPRODUCED, 5),
        (PRESERVED, {"activations": ()}, Outcome.INCONCLUSIVE, 4),
        (None, {}, Outcome.INCONCLUSIVE, 4),
    ],
)
def test_refused_comparisons_are_no_reproduction(outputs: Outputs | None, side: dict[str, object], outcome: Outcome, code: int) -> None:
    again = make_result(replace(scaled(make_side(), 0.5), **side), outputs=outputs)  # type: ignore[arg-type]
    found = held(make_result(scaled(make_side(), 0.5)), again)
    assert (found.outcome, found.exit_code) == (outcome, code)
    assert found.reasons


def test_an_invalid_comparison_says_nothing_of_the_recorded_one() -> None:
    other = scaled(make_side(), 0.5)
    longer = replace(other, runs=tuple(replace(run, work=replace(run.work, new_tokens=9)) for run in other.runs))
    found = held(make_result(scaled(make_side(), 0.5)), make_result(longer))
    assert (found.outcome, found.exit_code, found.again_claim) == (Outcome.INVALID, 6, Verdict.INVALID)


def test_other_hardware_is_told_in_shares_of_its_own_limits() -> None:
    recorded, again = measured(1, 1.5), on(measured(2, 1.2), HERE)
    found = held(recorded, again)
    assert (found.outcome, found.exit_code) == (Outcome.OTHER_HARDWARE, 4)
    assert set(found.hardware) == {"cpu", "cores"}
    assert set(found.versions) == {"python", "torch"}
    assert held(recorded, again, "cpu", "cores").outcome is Outcome.NOT_REPRODUCED, "taken for the same machine"
    assert "No shares of the limits: the recorded result has no measured rates" in " ".join(
        report.notes(found, judge(recorded), judge(again))
    )
    assert held(recorded, on(measured(2, 1.5), replace(MACHINE, packages={"torch": "2.15"}))).outcome is Outcome.REPRODUCED


def test_shares_are_of_the_floors_of_each_machine() -> None:
    recorded = test_snapshot.result()
    session = recorded.sessions[0]
    assert session.limits is not None
    slower = replace(session.limits, rates=Rates(session.limits.rates.read / 4, session.limits.rates.product / 4))
    again = replace(recorded, sessions=(replace(session, machine=HERE, limits=slower),))
    found = held(recorded, again)
    assert "gpu" in found.hardware
    for name, share in found.recorded_shares.items():
        assert found.again_shares[name] == {side: pytest.approx(4 * value) for side, value in share.items()}
    *_, shares = report.tables(found, judge(recorded), judge(again))
    assert [row[0] for row in shares.rows] == list(found.recorded_shares) != []
    assert len(shares.rows[0]) == len(shares.columns) == 5 and shares.rows[0][1].endswith("%")
    assert "of its machine's limit the optimized side reached 0.0" in report.headline(found)


@pytest.mark.parametrize("noise", [QUIET, Noise(0.3)])
def test_no_cell_is_cut_at_80_columns(noise: Noise) -> None:
    recorded, again = measured(1, 1.5), measured(2, 1.5, noise)
    console = Console(width=80)
    for table in report.tables(held(recorded, again), judge(recorded), judge(again)):
        shown = "".join(segment.text for line in console.render_lines(to_rich(table, numbers=True)) for segment in line)
        assert all(cell in shown for row in (table.columns, *table.rows) for cell in row)


def test_tokens_that_are_others_are_counted_by_sample() -> None:
    side = scaled(make_side(), 0.5)
    other = replace(side, runs=tuple(replace(run, tokens=(5, 7)) for run in side.runs))
    found = held(make_result(side), make_result(other))
    assert [tokens.identical for tokens in found.tokens.values()] == [1, 0]


def noises() -> Iterator[tuple[Noise, Plan]]:
    yield Noise(), replace(PLAN, blocks=12)
    yield Noise(processes=0.02, processes_of_stages=0.01), replace(PLAN, blocks=12, invocations=4)


@pytest.mark.slow
@pytest.mark.parametrize("count", [40, pytest.param(400, marks=pytest.mark.long)])
def test_equal_speedups_are_rarely_told_apart_and_a_detectable_difference_is_mostly_seen(count: int) -> None:
    for noise, plan in noises():
        equal = [held(measured(seed, 1.5, noise, plan), measured(10_000 + seed, 1.5, noise, plan)) for seed in range(count)]
        assert sum(any(change.ratio.excludes_1 for change in found.changes) for found in equal) <= 0.06 * count + 1
        assert sum(found.outcome is Outcome.NOT_REPRODUCED for found in equal) <= 0.05 * count
        assert sum(found.outcome is Outcome.REPRODUCED for found in equal) >= 0.8 * count
        detectable = median(found.changes[0].detectable for found in equal)
        other = [
            held(measured(seed, 1.5, noise, plan), measured(seed + 10_000, 1.5 / (1 + detectable), noise, plan)) for seed in range(count)
        ]
        assert sum(found.outcome is Outcome.NOT_REPRODUCED for found in other) >= 0.75 * count, "about 80 of 100"


# What is measured again.


def recorded_in(folder: Path, result: Result | None = None) -> Result:
    """A result that claims something, of the clip that evbench carries."""
    found = result or measured(1, 1.5)
    clip = replace(found.baseline.workload.samples[0], path="evbench/data/scene.mp4", sha256=sha256_of(sample.CLIP))

    def of_clip(side: SideResult) -> SideResult:
        return replace(side, workload=replace(side.workload, samples=(clip,)))

    assert found.optimized is not None
    found = replace(found, baseline=of_clip(found.baseline), optimized=of_clip(found.optimized))
    folder.mkdir(exist_ok=True)
    results.write(found, folder / "result.json")
    return found


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[ComparisonRequest]:
    """What is asked for; the answers come from a simulated machine that is as fast as before."""
    asked: list[ComparisonRequest] = []

    def simulated(request: ComparisonRequest, listener: object) -> JudgedResult:
        asked.append(request)
        request.folder.mkdir()
        result = measured(2, 1.5)
        results.write(result, request.folder / "result.json")
        files.write(result, judge(result), request.folder)
        return JudgedResult(result, judge(result))

    monkeypatch.setattr(api, "carry_out", simulated)
    return asked


def test_the_same_comparison_is_asked_for(tmp_path: Path, requests: list[ComparisonRequest]) -> None:
    recorded = recorded_in(tmp_path / "first")
    found = verify(tmp_path / "first", folder=tmp_path / "again")
    (request,) = requests
    assert request.plan == recorded.sessions[0].plan
    assert {side: variant.choices() for side, variant in request.variants.items()} == {
        side: one.choices for side, one in recorded.variants().items()
    }
    assert request.recorded_fingerprint == request.fingerprint() == "ab"
    (asked,) = {workload.samples[0].path for workload in request.workloads.values()}
    assert Path(asked).resolve() == sample.CLIP
    assert replace(request.workloads["baseline"], samples=recorded.baseline.workload.samples) == recorded.baseline.workload
    assert found.reproduction.outcome is Outcome.REPRODUCED
    assert {"reproduction.json", "reproduction.md", "result.json", "report.html"} <= {path.name for path in (tmp_path / "again").iterdir()}
    stored = json.loads((tmp_path / "again" / "reproduction.json").read_text())
    assert not list(faults(SCHEMAS["reproduction"](), stored))
    assert list(faults(SCHEMAS["reproduction"](), stored | {"outcome": "LIKELY"})), "no other word"
    assert (stored["outcome"], stored["recorded_session"]) == ("REPRODUCED", recorded.sessions[0].started)
    assert "**REPRODUCED: end-to-end speedup 1.50x recorded, 1.50x now" in (tmp_path / "again" / "reproduction.md").read_text()


def test_the_command_tells_one_verdict_and_fits_on_a_screen(
    tmp_path: Path, requests: list[ComparisonRequest], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded_in(tmp_path / "first")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["evbench", "verify", "first", "--out", "again"])
    with pytest.raises(SystemExit) as caught:
        main()
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert (caught.value.code, lines[-1]) == (0, "exit 0: REPRODUCED")
    assert lines[0].startswith("REPRODUCED: end-to-end speedup ")
    assert len(lines) <= MOST_LINES
    assert "measure again what was recorded 2026-01-01T00:00:00Z: baseline against baseline, video-llava tiny on cpu" in told.err
    assert "not verified: there is no runs.jsonl" in told.err


@pytest.mark.parametrize("where", ["file", "folder", "renamed"])
def test_an_input_is_known_by_its_hash_wherever_it_lies(where: str, tmp_path: Path, requests: list[ComparisonRequest]) -> None:
    recorded = recorded_in(tmp_path / "first")
    clip = replace(recorded.baseline.workload.samples[0], path="lost/clip.mp4")
    workload = replace(recorded.baseline.workload, samples=(clip,))
    assert recorded.optimized is not None
    lost = replace(
        recorded, baseline=replace(recorded.baseline, workload=workload), optimized=replace(recorded.optimized, workload=workload)
    )
    results.write(lost, tmp_path / "first" / "result.json")
    with pytest.raises(UserError, match=r"the input lost/clip\.mp4 of the result is not here; give it by --input FILE or FOLDER"):
        verify(tmp_path / "first", folder=tmp_path / "again")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "clip.mp4").write_bytes(b"another clip of that name")
    with pytest.raises(UserError, match=r"deep/clip\.mp4 is not the clip\.mp4 of the result: its hash is another"):
        verify(tmp_path / "first", inputs=[tmp_path / "deep"], folder=tmp_path / "again")
    name = "renamed.mp4" if where == "renamed" else "clip.mp4"
    here = Path(shutil.copy(sample.CLIP, tmp_path / "deep" / "er" / name))
    verify(tmp_path / "first", inputs=[tmp_path / "deep" if where == "folder" else here], folder=tmp_path / "again")
    assert requests[0].workloads["optimized"].samples[0].path == str(here)


def test_folders_of_event_images_are_found_too(tmp_path: Path, requests: list[ComparisonRequest]) -> None:
    shutil.copy(PROFILES / "cpu" / "eventgpt-small" / "result.json", tmp_path)
    verify(tmp_path, folder=tmp_path / "again")
    assert Path(requests[0].workloads["baseline"].samples[0].path).resolve() == sample.EVENTS


def test_a_result_of_the_format_before_is_measured_again_in_the_words_of_today(
    tmp_path: Path, requests: list[ComparisonRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is of a GPU; here everything runs."""
    shutil.copy(EARLIER / "result.json", tmp_path)
    before = results.read(tmp_path)
    monkeypatch.setattr("evbench.inputs.recorded.find_gpu", lambda: "a GPU")
    with pytest.raises(UserError, match=r"of the result cannot run here: .*; verify it where it can"):
        verify(tmp_path, folder=tmp_path / "again")
    monkeypatch.setattr(api, "obstacles", lambda *asked: {})
    verify(tmp_path, folder=tmp_path / "again")
    assert requests[0].variants["optimized"]["draft"] == "none"
    assert requests[0].plan == before.sessions[0].plan


def one_variant(result: Result) -> Result:
    return replace(result, optimized=None, outputs=None)


def on_a_gpu(result: Result) -> Result:
    workload = replace(result.baseline.workload, device="cuda", dtype="bfloat16")
    assert result.optimized is not None
    return replace(result, baseline=replace(result.baseline, workload=workload), optimized=replace(result.optimized, workload=workload))


def apart(result: Result) -> Result:
    assert result.optimized is not None
    later = make_session(started="2027-01-01T00:00:00Z")
    return replace(result, sessions=(*result.sessions, later), optimized=replace(result.optimized, session=later.started))


def of_two_models(result: Result) -> Result:
    assert result.optimized is not None
    workload = replace(result.baseline.workload, new_tokens=4)
    return replace(result, optimized=replace(result.optimized, workload=workload))


def without_a_choice(result: Result) -> Result:
    choices = {part: choice for part, choice in result.baseline.choices.items() if part not in ("render", "prefill")}
    activations = tuple(found for found in result.baseline.activations if found.part in (*choices, "decoding"))
    return replace(result, baseline=replace(result.baseline, choices=choices, activations=activations))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (one_variant, "is of one variant, baseline, and claims no speedup; give the result of a comparison"),
        (apart, "were measured apart, and nothing is claimed of them"),
        (lambda result: replace(result, outputs=None), "claims nothing that could be reproduced: INCONCLUSIVE"),
        (on_a_gpu, "the result was measured on a GPU, and no NVIDIA driver or GPU is found here; verify it on a machine with a GPU"),
        (of_two_models, "did not have the same work, and nothing is claimed of them; give another result"),
        (
            lambda result: replace(result, command="evbench selftest --plant vision:2%"),
            "is of a self-test, and does not hold what it",
        ),
        (without_a_choice, "of the result names no choice for render, prefill"),
    ],
)
def test_what_cannot_be_measured_again_is_refused_in_one_line(
    change: object, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("evbench.inputs.recorded.find_gpu", lambda: None)
    recorded = recorded_in(tmp_path)
    results.write(change(recorded), tmp_path / "result.json")  # type: ignore[operator]
    assert told in refused(f"verify {tmp_path} --out {tmp_path}/again", monkeypatch, capsys)
    assert not (tmp_path / "again").exists()


def test_an_edited_result_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    recorded_in(tmp_path)
    file = tmp_path / "result.json"
    file.write_text(file.read_text().replace('"load_seconds"', '"load_seconds" ').replace('"blocks": 10', '"blocks": 6'))
    assert "was changed after it was written" in refused(f"verify {tmp_path}", monkeypatch, capsys)
    content = json.loads(file.read_text()) | {"format": 3}
    del content["digest"]
    file.write_text(json.dumps(content))
    assert "format" in refused(f"verify {tmp_path}", monkeypatch, capsys)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--input gone", "--input gone: no such file or folder"),
        ("--input .", "--input . holds no input of the result; leave it out, or give evbench/data/scene.mp4"),
        ("--weights .", "--weights .: the result is of the preset tiny, which has its own; leave it out"),
        ("--allow core", "unknown --allow 'core'; did you mean 'cores'?"),
        ("--allow ''", "unknown --allow ''; there is cpu"),
        ("--resume", "--resume goes on with the session in --out"),
        ("--blocks 6", "evbench verify takes no --blocks; leave it out"),
    ],
)
def test_wrong_options_are_refused_in_one_line(
    options: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded_in(tmp_path / "first")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert told in refused(f"verify ../first {options}", monkeypatch, capsys)


@pytest.mark.slow
def test_a_real_comparison_is_measured_again_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its recorded gain is made up, as a variant against itself has none; and so is that nothing disturbed it."""
    monkeypatch.chdir(tmp_path)
    first = evbench.compare(
        "baseline", "baseline", model="eventgpt", weights=least("eventgpt"), device="cpu", new_tokens=2, blocks=6, invocations=1, warmup=5,
        trace_tokens=0, folder="first",
    )  # fmt: skip
    assert first.optimized is not None
    blocks = tuple(replace(block, disturbances=()) for block in first.sessions[0].blocks)
    session = replace(first.sessions[0], blocks=blocks)
    faster = replace(first, optimized=scaled(first.optimized, 0.3), sessions=(session,))
    (tmp_path / "claimed").mkdir()
    results.write(faster, tmp_path / "claimed" / "result.json")
    found = verify("claimed", folder="again", weights=least("eventgpt"))
    assert found.reproduction.recorded_claim is Verdict.FASTER
    outcome = found.reproduction.outcome
    assert outcome is (Outcome.INVALID if found.again.judgement.verdict is Verdict.INVALID else Outcome.NOT_REPRODUCED)
    assert all(tokens.identical == tokens.samples == 1 for tokens in found.reproduction.tokens.values())
    assert found.again.result.baseline.builds[0].weights_fingerprint == first.baseline.builds[0].weights_fingerprint

    builds = (replace(first.baseline.builds[0], weights_fingerprint="of other weights"),)
    other = replace(faster, baseline=replace(faster.baseline, builds=builds))
    results.write(other, tmp_path / "claimed" / "result.json")
    with pytest.raises(UserError, match=r"the weights here are not those of the earlier result: fingerprint .*, there of other wei; use"):
        verify("claimed", folder="third", weights=least("eventgpt"))
