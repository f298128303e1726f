"""Two models on the same scenes: both sessions, what is left of them, and how they go on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import pytest

from evbench.errors import UserError
from evbench.report import models as report_models
from evbench.report.models_context import EQUAL, LENGTHS, OWN
from evbench.report.render import Report, to_markdown
from evbench.results import Result
from evbench.session import compare, models
from evbench.session.models import Models, ModelsRequest, carry_out, read
from evbench.session.progress import ProgressListener
from evbench.session.request import ComparisonRequest
from evbench.session.session_folder import HEADER, RUNS
from evbench.variants.named import parse
from tests.checkpoints import least
from tests.command import evbench, refused
from tests.examples import PLAN
from tests.test_climb import Messages
from tests.two_models import EVENTS, VIDEO, make_models, workload

COMMAND = "compare-models --baseline video-llava --optimized eventgpt"


@dataclass
class SimulatedSessions:
    """Stands in for compare.measure."""

    ends: dict[str, BaseException] = field(default_factory=dict)
    """Name of a folder -> how it ends instead, after its journal was begun."""
    requests: list[ComparisonRequest] = field(default_factory=list)

    def measure(self, request: ComparisonRequest, listener: ProgressListener, checkpoint: Callable[[Result], None]) -> Result:
        self.requests.append(request)
        name = request.folder.name
        request.folder.mkdir(parents=True, exist_ok=True)
        if name in self.ends:
            (request.folder / HEADER).write_text("{}")
            raise self.ends[name]
        own = request.workloads["baseline"].stop_at_end
        result = make_models(own=own, tokens=request.workloads["baseline"].new_tokens, window=None)
        checkpoint(result)
        return result


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> SimulatedSessions:
    made = SimulatedSessions()
    monkeypatch.setattr(compare, "measure", made.measure)
    return made


def asked_for(folder: Path, resume: bool = False, most_tokens: int = 256) -> ModelsRequest:
    numbers = count()
    both = {"baseline": parse("baseline"), "optimized": parse("baseline")}
    return ModelsRequest(
        variants={"baseline": both["baseline"], "optimized": both["optimized"]},
        workloads={
            "baseline": workload("video-llava", own=False, tokens=50),
            "optimized": workload("eventgpt", own=False, tokens=50),
        },
        most_tokens=most_tokens,
        plan=PLAN,
        folder=folder,
        command="evbench compare-models",
        resume=resume,
        wait=True,
        now=lambda: f"2026-01-01T00:00:{next(numbers):02}Z",
    )


def test_both_lengths_are_sessions_of_their_own_and_written_as_one(simulated: SimulatedSessions, tmp_path: Path) -> None:
    found = carry_out(asked_for(tmp_path / "out"), Messages())
    assert [request.folder.name for request in simulated.requests] == [EQUAL, OWN]
    for request in simulated.requests:
        own = LENGTHS[request.folder.name]
        assert {(one.stop_at_end, one.new_tokens) for one in request.workloads.values()} == {(own, 256 if own else 50)}
        assert [one.model for one in request.workloads.values()] == ["video-llava", "eventgpt"]
        assert not request.is_of_one_model()
    assert read(tmp_path / "out") == found
    told = (tmp_path / "out" / "models.md").read_text(encoding="utf-8")
    assert told == to_markdown(describe(found.sessions), found.header.started, found.command)
    derived = json.loads((tmp_path / "out" / "verdict.json").read_text(encoding="utf-8"))
    assert derived["exit_code"] == 0 and list(derived["lengths"]) == [EQUAL, OWN] and len(derived["statements"]) == 24


def test_what_has_ended_is_not_run_again(simulated: SimulatedSessions, tmp_path: Path) -> None:
    simulated.ends = {OWN: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        carry_out(asked_for(tmp_path / "out"), Messages())
    assert list(read(tmp_path / "out").sessions) == [EQUAL]
    assert "- Not ended: own-length; continue with --resume." in (tmp_path / "out" / "models.md").read_text(encoding="utf-8")
    with pytest.raises(UserError, match="holds an earlier comparison of models; go on with it by --resume"):
        carry_out(asked_for(tmp_path / "out"), Messages())
    for other in (
        asked_for(tmp_path / "out", True, most_tokens=99),
        replace(asked_for(tmp_path / "out", True), plan=replace(PLAN, blocks=3)),
    ):
        with pytest.raises(UserError, match="begun with something else"):
            carry_out(other, Messages())
    simulated.ends = {}
    found = carry_out(asked_for(tmp_path / "out", True), Messages())
    assert [(request.folder.name, request.resume) for request in simulated.requests] == [(EQUAL, False), (OWN, False), (OWN, True)]
    assert list(found.sessions) == [EQUAL, OWN]


def test_a_session_that_was_refused_before_its_first_run_leaves_nothing_to_keep(simulated: SimulatedSessions, tmp_path: Path) -> None:
    simulated.ends = {EQUAL: UserError("another evbench is measuring")}
    with pytest.raises(UserError, match="another evbench"):
        carry_out(asked_for(tmp_path / "out"), Messages())
    simulated.ends = {}
    assert list(carry_out(asked_for(tmp_path / "out"), Messages()).sessions) == [EQUAL, OWN]


def test_a_comparison_interrupted_in_its_first_session_is_not_begun_again(simulated: SimulatedSessions, tmp_path: Path) -> None:
    simulated.ends = {EQUAL: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        carry_out(asked_for(tmp_path / "out"), Messages())
    (tmp_path / "out" / EQUAL / RUNS).write_text("{}\n")
    before = (tmp_path / "out" / models.RAW).read_text()
    with pytest.raises(UserError, match="holds an earlier comparison of models; go on with it by --resume"):
        carry_out(asked_for(tmp_path / "out"), Messages())
    assert (tmp_path / "out" / models.RAW).read_text() == before


def describe(results: Mapping[str, Result]) -> Report:
    derived = models.judge(results)
    return report_models.describe(results, derived.lengths, derived.statements)


def both(swapped: bool = False) -> dict[str, Result]:
    return {name: make_models(own=own, tokens=256 if own else 50, noise=0, swapped=swapped) for name, own in LENGTHS.items()}


def test_the_report_has_ratios_and_never_says_faster() -> None:
    told = describe(both())
    assert told.headline.startswith("At equal length: end-to-end of video-llava is 1.4")
    assert told.second_headline.startswith("At own length: end-to-end of video-llava is 2.0")
    assert "tpot of video-llava is 1.25x" in told.headline
    text = to_markdown(told, "2026", "evbench")
    assert "FASTER here" in text and text.count("FASTER") == 1 and "preserved" in text and text.count("preserved") == 1
    assert "renders event images from raw events" in text
    titles = [table.title for table in told.tables]
    assert sum(title.startswith("At equal length") for title in titles) == sum(title.startswith("At own length") for title in titles) == 4
    for table in (*told.tables, *told.appendix):
        assert all(len(row) == len(table.columns) for row in table.rows), table.title
        if "where the difference" in table.title:
            shares = [float(row[3].rstrip("%")) for row in table.rows]
            assert sum(shares[:-1]) == pytest.approx(100, abs=0.3) and shares[-1] == 100


def test_where_event_images_were_made_before_the_report_says_so() -> None:
    results = {name: make_models(own=own, tokens=256 if own else 50, window=None) for name, own in LENGTHS.items()}
    assert "rendering them from events is in no stage here" in describe(results).facts["Loading of eventgpt"]


def test_where_every_scene_was_disturbed_there_is_a_report_without_times() -> None:
    told = describe({name: make_models(own=own, tokens=256 if own else 50, disturbed=6) for name, own in LENGTHS.items()})
    assert "INVALID: 6 of 6 blocks were disturbed" in told.headline
    (times, *_) = told.tables
    assert {row[1:] for row in times.rows} == {("n/a", "n/a", "-", "-", "")}
    assert not [table for table in told.tables if "where the difference" in table.title]
    assert to_markdown(told, "", "")


def test_where_the_interval_includes_1_the_ratio_is_marked() -> None:
    results = {EQUAL: make_models(VIDEO, replace(VIDEO, work=EVENTS.work), own=False, tokens=50, noise=0.3)}
    told = describe(results)
    assert "shows no difference" in told.headline and told.second_headline == ""
    row = next(row for row in told.tables[0].rows if row[0] == "end-to-end")
    assert re.fullmatch(r"\(\d\.\d+x\)", row[3]) and row[5] == "no difference"
    assert f"shows no difference, ratio {row[3]}, 95% CI {row[4]}" in told.headline
    assert {row[3] for table in told.tables if "where the difference" in table.title for row in table.rows} == {"-"}


def test_the_published_table_is_beside_what_was_measured() -> None:
    ours, theirs = (describe(both(swapped=swapped)) for swapped in (False, True))
    one, other = (next(table for table in told.tables if table.title.startswith("The published table")) for told in (ours, theirs))
    assert one == other, "whichever is the baseline"
    assert one.rows[0] == ("load", "0.7 s", "0.015 s", "46.7x", "100 ms", "50.0 ms", "2.00x")


def test_a_disturbed_session_is_invalid_and_claims_nothing() -> None:
    results = {EQUAL: make_models(own=False, tokens=50, disturbed=3)}
    assert describe(results).headline == "At equal length: INVALID: 3 of 6 blocks were disturbed: it was busy"
    assert models.judge(results).exit_code == 6
    assert models.judge(both()).exit_code == 0


@pytest.mark.parametrize(("length", "words"), [(EQUAL, "at equal length"), (OWN, "at own length")])
def test_where_one_session_has_ended_the_report_says_which(length: str, words: str) -> None:
    told = describe({length: both()[length]})
    (title,) = (table.title for table in told.tables if table.title.startswith("The published table"))
    assert title.endswith(f"these weights {words}")
    assert told.facts["Order"].startswith(f"{words} 6 blocks")
    assert ("Output of video-llava, at equal length" in told.outputs) == (length == EQUAL)
    assert describe(both()).facts["Order"].startswith("at equal and at own length 6 and 6 blocks")


@pytest.mark.parametrize(
    ("disturbed", "asked", "words"),
    [
        (1, 5, "1 blocks were disturbed, run again."),
        (2, 4, "2 of 6 blocks were disturbed, run again, and yet more than 20% of all."),
        (3, 6, "3 blocks were disturbed, too many to be run again."),
    ],
)
def test_what_became_of_disturbed_blocks_is_told_as_it_was(disturbed: int, asked: int, words: str) -> None:
    result = make_models(own=False, tokens=50, disturbed=disturbed)
    (session,) = result.sessions
    of_so_many = replace(result, sessions=(replace(session, plan=replace(session.plan, blocks=asked)),))
    notes = describe({EQUAL: of_so_many}).notes
    assert f"At equal length: {words}" in notes
    assert any("numbers of tokens are valid" in note for note in notes) == (disturbed > 1)


def test_choices_without_effect_are_named() -> None:
    result = make_models()
    assert result.optimized is not None
    assert "no effect" not in str(describe({OWN: result}).facts)
    changed = {"decode": "threaded", "prefetch": "on", "gone": "once"}
    ours, theirs = (replace(side, choices=changed) for side in (result.baseline, result.optimized))
    facts = describe({OWN: replace(result, baseline=ours, optimized=theirs)}).facts
    assert "decode=threaded" not in facts["Baseline"]
    assert "decode=threaded: no effect on raw events" in facts["Other model"]
    assert all("gone" not in text for text in facts.values())


def test_the_statements_are_told_in_short_and_in_whole() -> None:
    short = report_models.statements(models.judge(both()).statements)
    assert (len(short.rows), short.columns) == (24, ("statement", "", "it says", "found"))
    whole = describe(both()).appendix[0]
    assert [row[0] for row in whole.rows] == [row[0] for row in short.rows]
    assert whole.rows[18][2:6] == ("does not hold", "0.0 s", "80.0 ms", "measured here")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("compare-models --baseline eventgpt --optimized eventgpt --data set", "both eventgpt: give two models"),
        (
            "compare-models --baseline video-lava --optimized eventgpt --data set",
            "unknown --baseline 'video-lava'; did you mean 'video-llava'?",
        ),
        (COMMAND, "give --data a folder that `evbench scenes make` has made, or a list in JSON"),
        (f"{COMMAND} --data none", "--data none: no such folder"),
        (f"{COMMAND} --data none --video a.mp4", "evbench compare-models takes no --video; leave it out"),
        (f"{COMMAND} --data none --stop-at-end", "evbench compare-models takes no --stop-at-end; leave it out"),
        (f"{COMMAND} --data none --throughput 4", "evbench compare-models takes no --throughput; leave it out"),
        (f"{COMMAND} --data none --variant fast", "unknown variant 'fast'"),
        (
            f"{COMMAND} --data none --variant baseline --baseline-variant baseline --optimized-variant optimized",
            "--baseline-variant and --optimized-variant replace it: --variant would have no effect; leave it out",
        ),
        (
            f"{COMMAND} --data none --preset tiny --baseline-weights a --optimized-weights b",
            "--baseline-weights and --optimized-weights replace it: --preset would have no effect; leave it out",
        ),
        (f"{COMMAND} --data none --preset tiny --baseline-weights a", "--data none: no such folder"),
        (f"{COMMAND} --data none --frame-policy stride", "--data none: no such folder"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    options: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in refused(options, monkeypatch, capsys)


@pytest.mark.long
def test_on_this_machine_both_models_run_at_both_lengths(scenes: Path) -> None:
    weights = f"--baseline-weights {least('video-llava')} --optimized-weights {least('eventgpt')}"
    asked = f"{COMMAND} --data set {weights} --device cpu --blocks 2 --invocations 1 --warmup 1 --new-tokens 6 --most-tokens 8 --out out"
    out = scenes / "out"
    done = evbench(asked, scenes)
    assert done.returncode in (0, 6), done.stderr
    found = read(out)
    _is_of_two_models(found)
    report = (out / "models.md").read_text(encoding="utf-8")
    for words in ("At equal length", "At own length", "where the difference", "The published table", "does not hold", "Output of eventgpt"):
        assert words in report
    assert done.stdout.startswith("At equal length: ") and f"\nexit {done.returncode}: " in done.stdout
    assert "Traceback" not in done.stderr
    assert (out / "models.md").read_text(encoding="utf-8") == to_markdown(describe(found.sessions), found.header.started, found.command)
    refused_variant = evbench(f"{COMMAND} --data set --device cpu --variant baseline+decode=dali --out other", scenes)
    assert (refused_variant.returncode, len(refused_variant.stderr.splitlines())) == (2, 1)
    assert "cannot run here" in refused_variant.stderr and not (scenes / "other").exists()


def _is_of_two_models(found: Models) -> None:
    for name, own in LENGTHS.items():
        result = found.sessions[name]
        sides = result.variants()
        assert [side.workload.model for side in sides.values()] == ["video-llava", "eventgpt"]
        assert {side.workload.stop_at_end for side in sides.values()} == {own}
        assert len({side.builds[0].weights_fingerprint for side in sides.values()}) == 2
        assert result.outputs is None, "two models are not to say the same"
        ours, theirs = ([(run.block, run.sample) for run in side.timed()] for side in sides.values())
        assert sorted(map(str, ours)) == sorted(map(str, theirs)), "the same scenes, block by block"
        turns = sorted(run.turn for side in sides.values() for run in side.runs)
        assert turns == list(range(len(turns))) or name == OWN, "in turn"
        assert all(side.activations for side in sides.values())
        assert {run.work.visual_tokens for run in sides["baseline"].timed()} == {8 * 17}
        assert {run.work.visual_tokens for run in sides["optimized"].timed()} == {5 + 17}
