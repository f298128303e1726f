"""The end of a session on a terminal: `python -m tests.test_console` writes the snapshots again after a change of words."""

from __future__ import annotations

import dataclasses
import io
import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import typer
from rich.console import Console

from evbench.cli import console, one_session
from evbench.report import ladder as report_ladder
from evbench.report import models as report_models
from evbench.report.render import Table, to_rich, without_empty_columns
from evbench.results import Activation, Result, SideResult
from evbench.session import ladder, models
from evbench.verdict import ladder as ladder_verdict
from evbench.verdict.judge import judge
from tests import test_snapshot
from tests.examples import (
    GREEDY,
    PRESERVED,
    make_check,
    make_result,
    make_run,
    make_session,
    make_side,
    scaled,
    with_throughput_runs,
    without_stage_sync,
)

SNAPSHOTS = Path(__file__).parent / "recorded"


def printed(result: Result, width: int = 80, *, details: bool = False, **terminal: Any) -> str:
    """What is printed on a terminal of this width, and that it ends with the exit code of the judgement."""
    file, judgement = io.StringIO(), judge(result)
    screen = Console(file=file, width=width, **terminal)
    told_on = mock.patch.object(console, "screen", screen), mock.patch.object(one_session, "screen", screen)
    with told_on[0], told_on[1], pytest.raises(typer.Exit) as caught:
        one_session.report_session(result, judgement, Path("out"), measured=True, details=details)
    assert caught.value.exit_code == judgement.exit_code
    return file.getvalue()


def lines_of(text: str, width: int = 80) -> int:
    """That a terminal shows."""
    return sum(max(1, -(-len(line) // width)) for line in text.splitlines())


def faster() -> Result:
    return test_snapshot.result()


def disturbed() -> Result:
    session = make_session(12)
    causes = ("other processes used 70% of the CPU",)
    blocks = tuple(dataclasses.replace(block, disturbances=causes if block.number < 5 else ()) for block in session.blocks)
    return make_result(scaled(make_side(variant="optimized"), 0.5), sessions=(dataclasses.replace(session, blocks=blocks),))


def unclear() -> Result:
    """Of seven blocks the optimized side is faster in four."""
    runs = []
    for block, factor in enumerate((0.9, 1.08, 0.93, 1.06, 0.9, 1.05, 0.95)):
        run = dataclasses.replace(make_run(seconds=0.1 * factor), block=block)
        runs += [run, without_stage_sync(run)]
    steady = [dataclasses.replace(run, block=block) for block in range(7) for run in (make_run(), without_stage_sync(make_run()))]
    sides = make_side(*runs, variant="optimized"), make_side(*steady)
    return make_result(*sides, (make_session(7, invocations=1),), noise_floors={"end-to-end": 0.02})


CASES: dict[str, Callable[[], Result]] = {"faster": faster, "invalid": disturbed, "inconclusive": unclear}


@pytest.mark.parametrize("name", CASES)
def test_the_end_of_a_session_is_the_recorded_one(name: str) -> None:
    assert printed(CASES[name]()) == (SNAPSHOTS / f"console-{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CASES)
def test_the_verdict_is_first_and_the_reason_of_the_exit_code_last(name: str) -> None:
    lines = printed(CASES[name]()).splitlines()
    verdict = name.upper()
    assert lines[0].startswith(f"{verdict}: ")
    code = {"faster": 0, "invalid": 6, "inconclusive": 4}[name]
    assert lines[-1].startswith(f"exit {code}: {verdict}")
    assert any(line.startswith("Next: ") for line in lines)


def demanding(result: Result, **rules: Any) -> Result:
    return dataclasses.replace(result, rules=dataclasses.replace(result.rules, **rules))


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (lambda: demanding(unclear(), targets=("video-llava.generate<50ms",)), "exit 3: generate 95.0 ms, target 50.0 ms"),
        (
            lambda: demanding(unclear(), targets=("video-llava.generate<95ms",)),
            "exit 4: generate 95.0 ms (95% CI 90.0 - 108 ms), target 95.0 ms",
        ),
        (
            lambda: demanding(make_result(scaled(make_side(), 2)), fail_if=("slower:2%",)),
            "exit 3: end-to-end has a speedup of 95% CI 0.50x - 0.50x",
        ),
        (lambda: demanding(make_result(scaled(make_side(), 1.5)), fail_if=("slower:90%",)), "exit 0: SLOWER, and each --fail-if allows it"),
        (lambda: demanding(make_result(make_side()), require_speedup=True), "exit 3: SAME, and --require-speedup asks for more"),
        (lambda: make_result(make_side()), "exit 0: SAME"),
        (lambda: make_result(scaled(make_side(), 2)), "exit 3: SLOWER"),
        (lambda: demanding(faster(), targets=("video-llava.generate<9s",)), "exit 0: FASTER, each demand is met"),
        (lambda: make_result(), "exit 0: measured"),
        (lambda: demanding(make_result(), targets=("video-llava.ttft<1s",)), "exit 0: measured, each target is met"),
        (lambda: demanding(make_result(), targets=("video-llava.ttft<1ms",)), "exit 3: ttft 350 ms, target 1.00 ms"),
        (
            lambda: others()["demands"],
            "exit 3: generate 64.4 ms, target 1.00 µs; generate 64.4 ms, target 2.00 µs; generate 64.4 ms, target",
        ),
    ],
)
def test_an_exit_code_has_its_reason(result: Callable[[], Result], reason: str) -> None:
    assert printed(result()).splitlines()[-1].startswith(reason)


def others() -> dict[str, Result]:
    """Results of all kinds, and of much to tell."""
    side = with_throughput_runs(make_side())
    different = [dataclasses.replace(run, tokens=(1, 2), text="other " * 100) for run in side.runs]
    much = dataclasses.replace(side, runs=tuple(different), variant="optimized+" + "+".join(f"part{place}=choice" for place in range(30)))
    few = make_side(*(dataclasses.replace(run, block=0) for run in (make_run(), without_stage_sync(make_run()))))
    checks = tuple(make_check(grade="fail", detail="long " * 50) for _ in range(30))
    failing = dataclasses.replace(PRESERVED, checks=(*PRESERVED.checks, *checks))
    demands = tuple(f"video-llava.generate<{place + 1}us" for place in range(40))
    work = dataclasses.replace(side.runs[-1], work=dataclasses.replace(side.runs[-1].work, frame_indices=tuple(range(500))))
    return {
        "alone": make_result(),
        "tokens": make_result(much, side),
        "outputs": make_result(make_side(), outputs=failing),
        "not compared": make_result(make_side(), outputs=None),
        "few blocks": make_result(few, few, (make_session(1),)),
        "work": make_result(dataclasses.replace(side, runs=(*side.runs[:-1], work)), side),
        "demands": demanding(faster(), targets=demands),
        "other machine": make_result(dataclasses.replace(side, session="2027"), sessions=(make_session(), make_session(started="2027"))),
    } | {name: make() for name, make in CASES.items()}


@pytest.mark.parametrize(("name", "width"), list(itertools.product(others(), (60, 80, 140))))
def test_no_result_takes_more_than_forty_lines(name: str, width: int) -> None:
    text = printed(others()[name], width)
    assert lines_of(text, width) <= console.MOST_LINES
    table = text[text.index("Median times") :].splitlines()[2:12]
    assert all(len(line) <= width for line in table), "no row is folded"


@pytest.mark.parametrize("name", others())
def test_details_are_the_whole_report_and_the_same_end(name: str) -> None:
    short, whole = printed(others()[name], 140), printed(others()[name], 140, details=True)
    assert whole.endswith(short)
    assert "Distribution of single runs" in whole and "Distribution of single runs" not in short


def test_a_column_that_says_nothing_is_left_out() -> None:
    table = Table("", ("", "one", "p90", "claim"), (("load", "1", "n too small (5)", ""), ("vision", "2", "n too small (7)", "-")))
    assert without_empty_columns(table) == Table("", ("", "one"), (("load", "1"), ("vision", "2")))
    some = dataclasses.replace(table, rows=(*table.rows, ("generate", "3", "5.00 s", "")))
    assert without_empty_columns(some).columns == ("", "one", "p90")
    assert without_empty_columns(dataclasses.replace(table, rows=())) == dataclasses.replace(table, rows=())


@pytest.mark.parametrize("width", [40, 60, 80, 140])
def test_a_table_is_whole_at_any_width(width: int) -> None:
    """Where columns do not fit beside each other, rows are sentences."""
    rows = tuple((f"{number}", "an-optimized-variant", f"{number}00 ms", "1.50x - 1.60x", "closest of 9") for number in range(3))
    table = Table("Times", ("", "variant", "median of all runs", "95% CI", "rule"), rows)
    file = io.StringIO()
    Console(file=file, width=width).print(to_rich(table, numbers=True))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    words = " ".join(" ".join(lines).split())
    assert all(" ".join(row[2:4]) in words if width > 60 else row[2] in words for row in rows)
    assert words.count("an-optimized-variant") == 3
    assert ("median of all runs 100 ms; 95% CI" in words) is (width <= 60)


def test_where_nothing_was_timed_no_table_of_times_is_shown() -> None:
    whole = disturbed()
    (session,) = whole.sessions
    none = tuple(dataclasses.replace(block, disturbances=("busy",)) for block in session.blocks)
    result = dataclasses.replace(whole, sessions=(dataclasses.replace(session, blocks=none),))
    assert "Median times" in printed(whole)
    assert "Median times" not in printed(result)


def test_a_terminal_breaks_sentences_between_words_and_commands_never(monkeypatch: pytest.MonkeyPatch) -> None:
    command = "Next: evbench compare --baseline baseline --optimized optimized --out another-folder"
    for terminal, lines in (
        (True, ["a sentence of more words", "than fit", command]),
        (False, ["a sentence of more words than fit", command]),
    ):
        file = io.StringIO()
        monkeypatch.setattr(console, "screen", Console(file=file, width=26, force_terminal=terminal, no_color=True))
        console.print_lines(["a sentence of more words than fit"], [command])
        assert [line.rstrip() for line in file.getvalue().splitlines()] == lines


def test_text_that_both_sides_generate_is_shown_once() -> None:
    text = printed(faster())
    assert text.count("é ok") == 1 and "Output of both" in text
    assert printed(others()["tokens"], 200).count("Output of ") == 2


def test_colours_are_for_terminals_that_want_them() -> None:
    coloured = printed(faster(), force_terminal=True, color_system="truecolor")
    assert "\x1b[1m" in coloured
    assert "\x1b[3" not in printed(faster(), force_terminal=True, no_color=True).replace("\x1b[3m", "")
    assert "\x1b" not in printed(faster())


def test_each_invalid_result_says_what_to_do() -> None:
    assert "Next: Wait for an idle machine" in printed(disturbed())
    assert "Next: Both sides must do the same work" in printed(others()["work"])
    inactive = [dataclasses.replace(one, active=False) for one in make_side().activations]
    result = make_result(dataclasses.replace(make_side(), activations=tuple(inactive)))
    assert judge(result).verdict == "INVALID"
    assert "Next: Leave out decode=plain" in printed(result)


def choosing(variant: str, choices: dict[str, str]) -> SideResult:
    active = (*(Activation(part, choice, True, "1 x it") for part, choice in choices.items()), GREEDY)
    return dataclasses.replace(make_side(), variant=variant, choices=choices, activations=active)


def test_of_other_outputs_the_choice_at_fault_can_be_found() -> None:
    plain, fast = {"decode": "plain", "vision": "eager"}, {"decode": "threaded", "vision": "batched"}
    result = make_result(choosing("fast", fast), choosing("baseline", plain), outputs=others()["outputs"].outputs)
    assert judge(result).verdict == "OUTPUT_DIFFERS"
    text = printed(result)
    assert "Next: Find the choice at fault: evbench ladder --from baseline --to fast" in text
    assert text.splitlines()[-1] == "exit 5: OUTPUT_DIFFERS"
    one = dataclasses.replace(result, optimized=choosing("fast", plain | {"vision": "batched"}))
    assert "evbench ladder" not in printed(one)


def over_samples(result: Result, *sequences: str | None) -> Result:
    """The same result, of a sample in each of these sequences."""
    (sample,) = result.baseline.workload.samples
    samples = tuple(dataclasses.replace(sample, path=f"{number}.mp4", sequence=one) for number, one in enumerate(sequences))
    workload = dataclasses.replace(result.baseline.workload, samples=samples)
    assert result.optimized is not None
    return dataclasses.replace(
        result,
        baseline=dataclasses.replace(result.baseline, workload=workload),
        optimized=dataclasses.replace(result.optimized, workload=workload),
    )


def test_what_would_help_an_unclear_result_is_said() -> None:
    assert "--blocks 28 about halves it" in printed(unclear())
    assert "More samples narrow the interval: 12 in --data about" in printed(over_samples(unclear(), None, None, None), 140)
    assert "More sequences narrow the interval: 8 in --data about" in printed(over_samples(unclear(), "a", "b", "b"), 140)
    interrupted = others()["not compared"]
    assert "give the same command with --resume" in printed(interrupted, 140)
    of_earlier = dataclasses.replace(interrupted, created="2026-01-02T00:00:00Z")
    assert "earlier results do not have them: name the two variants instead" in printed(of_earlier, 140)
    assert "same command" not in printed(of_earlier, 140)
    checks = dataclasses.replace(PRESERVED, checks=PRESERVED.checks[:2])
    assert "give the same command with --resume" in printed(dataclasses.replace(interrupted, outputs=checks), 140)
    assert "Give --blocks 6 at least" in printed(others()["few blocks"])
    assert "name two variants instead of earlier results" in printed(others()["other machine"], 140)


PROFILES = Path(__file__).parent.parent / "profiles"


def on_a_screen(tell: Callable[[], None], width: int = 80) -> str:
    file = io.StringIO()
    with mock.patch.object(console, "screen", Console(file=file, width=width)):
        tell()
    return file.getvalue()


@pytest.mark.parametrize("folder", ["cpu/models", "h200/models-7b"])
def test_two_models_have_a_summary_too(folder: str) -> None:
    found = models.read(PROFILES / folder)
    derived = models.judge(found.sessions)
    report = report_models.describe(found.sessions, derived.lengths, derived.statements)
    summary = report_models.summarize(found.sessions, derived.lengths, report, derived.exit_code)
    text = on_a_screen(lambda: console.print_summary(summary, ["Written to out"]))
    assert lines_of(text) <= console.MOST_LINES
    assert text.startswith("At equal length: end-to-end of video-llava is")
    assert text.splitlines()[-1].startswith("exit 0: measured at equal")
    assert "…" not in text[text.index("median times") : text.index("Output of")], "no cell is cut"
    invalid = {length: dataclasses.replace(judged, invalid=("too busy",)) for length, judged in derived.lengths.items()}
    refused = report_models.summarize(found.sessions, invalid, report, 6)
    lengths = "equal and at own length" if len(invalid) == 2 else "equal length"
    assert refused.exit == f"exit 6: INVALID at {lengths}"
    assert refused.steps[0].startswith("Wait for an idle machine")


def test_a_ladder_of_many_choices_takes_no_more_than_forty_lines() -> None:
    rungs = ladder.read(PROFILES / "h200" / "video-llava-7b" / "ladder").rungs
    sentences = (report_ladder.whole_sentence(rungs), *report_ladder.sentences(rungs))
    reason = report_ladder.exit_reason(rungs, ladder_verdict.exit_code(rungs))
    text = on_a_screen(lambda: console.print_lines(sentences, ["Written to out", reason]))
    assert lines_of(text) <= console.MOST_LINES
    assert text.splitlines()[0] == sentences[0] and text.splitlines()[-1] == reason
    assert reason.startswith("exit 0: FASTER, optimized-h100+prefetch=off against baseline")
    many = on_a_screen(lambda: console.print_lines(sentences * 9, ["Written to out", reason]))
    assert lines_of(many) <= console.MOST_LINES
    assert "more lines in the report" in many.splitlines()[-3] and many.splitlines()[-1] == reason
    broken = [dataclasses.replace(rungs[0], outcome=ladder_verdict.failed("it died")), *rungs[1:]]
    assert report_ladder.exit_reason(broken, 1) == f"exit 1: {rungs[0].step.name} could not be run"


@pytest.mark.parametrize(("columns", "width"), [("80", "80"), ("213", "213"), (None, str(console.PIPE_WIDTH))])
def test_a_pipe_is_as_wide_as_it_says(columns: str | None, width: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    environment |= {} if columns is None else {"COLUMNS": columns}
    asked = [sys.executable, "-c", "from evbench.cli.console import screen; print(screen.width)"]
    assert subprocess.run(asked, env=environment, capture_output=True, text=True, check=True).stdout.strip() == width


if __name__ == "__main__":
    for name, make in CASES.items():
        (SNAPSHOTS / f"console-{name}.txt").write_text(printed(make()), encoding="utf-8")
