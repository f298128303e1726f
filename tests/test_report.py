from __future__ import annotations

import dataclasses
import doctest
import io

import pytest
from rich.console import Console

from evbench import report
from evbench.results import Memory, StageRun, Trace, Work
from tests.examples import make_result, make_run, make_side


def cells(told: report.Report, title: str, row: str) -> tuple[str, ...]:
    (table,) = (table for table in told.tables if table.title.startswith(title))
    (found,) = (cells for cells in table.rows if cells[0] == row)
    return found


def rendered(told: report.Report) -> str:
    screen = Console(file=io.StringIO(), width=140)
    screen.print(report.to_console(told))
    file = screen.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_the_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(report).failed == 0


def test_median_and_range_are_of_the_timed_runs_only() -> None:
    side = make_side(make_run("warmup", 9.0), *(make_run("timed", seconds) for seconds in (0.3, 0.1, 0.2)))
    told = report.describe(make_result(optimized=side))
    assert cells(told, "Time of each stage", "vision") == ("vision", "100 ms", "100 - 100 ms", "200 ms", "100 - 300 ms")
    assert cells(told, "Time of each stage", "all four")[3] == "800 ms"
    assert told.tables[0].columns == ("stage", "baseline, 1 runs", "least - most", "optimized, 3 runs", "least - most")
    assert "median of 1 timed runs" in report.describe(make_result(make_side(variant="optimized"))).tables[0].title


def test_warm_up_and_first_call_are_told_apart() -> None:
    side = make_side(make_run("warmup", 1.0), make_run("warmup", 1.0), make_run())
    told = report.describe(dataclasses.replace(make_result(), baseline=side))
    assert cells(told, "Before the timed runs", "warm-up runs") == ("warm-up runs", "2 in 8.00 s")
    assert cells(told, "Before the timed runs", "first call, with what it compiles")[1] == "400 ms"


def test_no_verdict_is_drawn() -> None:
    slow, quick = make_run(seconds=1.0), make_run(seconds=0.1)
    result = dataclasses.replace(make_result(make_side(quick, variant="optimized")), baseline=make_side(slow))
    text = rendered(report.describe(result)) + report.to_markdown(report.describe(result), "", "")
    assert "no verdict" in text
    for claim in ("faster", "speedup", "10x", "10.0x"):
        assert claim not in text


def test_memory_that_cannot_be_known_is_not_zero() -> None:
    unknown = dataclasses.replace(make_run(), stages=dict.fromkeys(make_run().stages, StageRun(0.1, Memory(None, None, None, None))))
    told = report.describe(make_result(make_side(unknown, variant="optimized")))
    assert cells(told, "Peak memory of the process", "load") == ("load", "1.00 MiB", "n/a")
    assert len([table for table in told.tables if "GPU" in table.title]) == 0, "no GPU tables for a run on the CPU"
    on_gpu = make_side(unknown, device="cuda")
    told = report.describe(dataclasses.replace(make_result(), baseline=on_gpu))
    assert len([table for table in told.tables if "GPU" in table.title]) == 3


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        ((1, 2, 3), (1, 2, 3), "identical, all 3"),
        ((1, 2, 3), (1, 9, 3), "NOT identical: they differ from token 2 on; lengths 3 and 3"),
        ((1, 2, 3), (1, 2), "NOT identical: they differ from token 3 on; lengths 3 and 2"),
    ],
)
def test_tokens_are_compared(ours: tuple[int, ...], theirs: tuple[int, ...], told: str) -> None:
    assert report.compare_tokens(ours, theirs) == told
    result = dataclasses.replace(
        make_result(make_side(make_run(tokens=theirs), variant="optimized")), baseline=make_side(make_run(tokens=ours))
    )
    assert told in rendered(report.describe(result))


def test_a_variant_that_answers_differently_each_time_is_told() -> None:
    told = report.describe(make_result(make_side(make_run(tokens=(1,)), make_run(tokens=(2,)), variant="optimized")))
    assert "optimized says (one of 2 different answers in 2 runs)" in told.outputs
    both = make_result(make_side(make_run(tokens=(9,)), make_run(), variant="optimized"))
    expected = "NOT identical in every run: 1 and 2 different answers; the last two are identical, all 2"
    assert report.describe(both).outputs["Tokens"] == expected


def test_different_work_is_named_with_both_values() -> None:
    other = make_run(frame_indices=(0, 1), decoder="other")
    told = report.describe(make_result(make_side(other, variant="optimized")))
    assert told.facts["Same work"] == "NO: frame_indices (0, 2) and (0, 1)"
    once = make_side(other, make_run(), variant="optimized")
    assert report.describe(make_result(once)).facts["Same work"].startswith("NO"), "every run counts, not the last alone"
    assert report.work_differences(Work(decoder="a", attention="b"), Work(decoder="c", attention="d")) == []


def test_text_of_a_model_cannot_act_on_the_terminal() -> None:
    assert report.printable("a\x1b[31mb\r\nü") == "a·[31mb··ü"
    markup = dataclasses.replace(make_run(), text="[bold]x[/bold] [/nothing]")
    assert "[bold]x[/bold] [/nothing]" in rendered(report.describe(make_result(make_side(markup, variant="o"))))


def test_a_pipe_in_a_text_does_not_break_the_markdown_table() -> None:
    text = report.to_markdown(report.describe(make_result(make_side(variant="optimized"))), "2026-01-01", "evbench compare 'a|b'")
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert tables
    assert all(line.endswith("|") for line in tables)
    assert "`evbench compare 'a|b'`" in text


def test_the_input_is_named_for_what_it_is() -> None:
    told = report.describe(make_result(make_side(variant="optimized")))
    assert told.facts["Input"] == "a.mp4, 2 frames of 6x4: 0 2 (inclusive)"
    side = dataclasses.replace(make_side(), runs=(make_run(frame_seconds=None),))
    assert report.describe(dataclasses.replace(make_result(), baseline=side)).facts["Input"] == "a.mp4, 2 event images of 6x4"


def test_sides_of_different_sessions_were_not_run_in_turn() -> None:
    later = dataclasses.replace(make_side(variant="optimized"), session="2026-02-02T00:00:00Z")
    told = report.describe(make_result(later)).facts["Measured apart"]
    assert told == "the baseline from 2026-01-01T00:00:00Z, the optimized side from 2026-02-02T00:00:00Z: not in turn"
    assert "Measured apart" not in report.describe(make_result(make_side(variant="optimized"))).facts


def test_the_shortened_trace_is_told() -> None:
    traced = dataclasses.replace(make_side(), trace=Trace("trace-baseline.json.gz", 16))
    (note,) = (note for note in report.describe(dataclasses.replace(make_result(), baseline=traced)).notes if "Traces" in note)
    assert "trace-baseline.json.gz with 16 new tokens" in note
