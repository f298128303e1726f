from __future__ import annotations

import dataclasses
import doctest
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from evbench.report import units
from evbench.report.metrics import SECTIONS, format_value
from evbench.report.render import Report, printable, to_console, to_markdown
from evbench.report.variants import meanings, summarize_variants
from evbench.results import STAGES, Activation, Energy, Gpu, Memory, Sample, SideResult, StageRun, Work
from evbench.variants.named import VARIANTS, parse
from evbench.verdict.metrics import METRICS, Unit
from evbench.verdict.refusal import work_differences
from evbench.verdict.statistics import Distribution
from tests.examples import (
    GREEDY,
    MACHINE,
    described,
    make_result,
    make_run,
    make_session,
    make_side,
    make_trace,
    scaled,
    with_throughput_runs,
    without_stage_sync,
)


def cells(report: Report, title: str, row: str) -> tuple[str, ...]:
    (table,) = (table for table in report.tables if table.title.startswith(title))
    (found,) = (cells for cells in table.rows if cells[0] == row)
    return found


def rendered(report: Report) -> str:
    screen = Console(file=io.StringIO(), width=140)
    screen.print(to_console(report))
    file = screen.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_the_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(units).failed == 0


def test_medians_are_of_the_timed_runs_only_and_end_to_end_of_those_without_stage_sync() -> None:
    runs = [dataclasses.replace(make_run(seconds=seconds), block=block) for block, seconds in enumerate((0.3, 0.1, 0.2))]
    whole = [without_stage_sync(run, 5.0) for run in runs]
    side = make_side(make_run("warmup", 9.0), *runs, *whole)
    report = described(make_result(side, baseline=side, sessions=(make_session(3),)))
    assert cells(report, "Latency: median", "vision")[1] == "200 ms"
    assert cells(report, "Latency: median", "end-to-end")[1] == "5.00 s"
    assert cells(report, "Distribution", "vision")[1:4] == ("100 - 300 ms", "n too small (3)", "0 of 3")


def test_warm_up_and_first_call_are_reported_apart() -> None:
    side = make_side(make_run("warmup", 1.0), make_run("warmup", 1.0), *make_side().runs[1:])
    report = described(make_result(baseline=side))
    title = "Startup and compile time"
    assert [cells(report, title, name)[1] for name in ("warm-up-runs", "warm-up", "first-call", "compiled-graphs")] == [
        "2", "8.00 s", "400 ms", "0"]  # fmt: skip


def test_a_speedup_is_printed_with_its_interval() -> None:
    report = described(make_result(scaled(make_side(), 0.5)))
    assert report.headline == "FASTER: end-to-end speedup 2.00x, 95% CI 2.00x - 2.00x"
    assert cells(report, "Latency: median", "vision")[3:] == ("2.00x", "2.00x - 2.00x", "faster")
    assert cells(report, "Where the difference", "total") == ("total", "200 ms", "100.0%")


def test_a_report_judges_and_computes_nothing() -> None:
    for file in (Path(__file__).parent.parent / "evbench" / "report").glob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"^(import (statistics|numpy)|from evbench.verdict.judge import)", text, re.MULTILINE), file.name


def test_each_metric_has_one_place_in_the_report_and_a_meaning() -> None:
    shown = [name for names in SECTIONS.values() for name in names]
    assert sorted(shown) == sorted(metric.name for metric in METRICS)
    assert all(metric.meaning for metric in METRICS)


def test_a_value_is_formatted_by_its_unit() -> None:
    values = {"seconds": 0.0123, "bytes": 3.0 * 2**30, "count": 1234.0, "share": 0.05, "joules": 10.5, "per second": 38.31}
    units: dict[Unit, float] = values  # type: ignore[assignment]
    assert [format_value(unit, value) for unit, value in units.items()] == ["12.3 ms", "3.00 GiB", "1,234", "+5.0%", "10.5 J", "38.3/s"]
    assert format_value("seconds", Distribution(0.2, 0.1, 0.9, 0.8, 40, 1)) == "200 ms (p90 800 ms)"
    assert format_value("seconds", Distribution(0.2, 0.1, 0.9, None, 4, 1)) == "200 ms"
    assert format_value("count", Distribution(3.0, 2.0, 4.0, None, 4, 0)) == "2 - 4"
    assert format_value("bytes", None) == "n/a"


def test_no_speedup_is_printed_where_nothing_can_be_claimed() -> None:
    """Neither for other outputs, nor for other work, nor for sides measured apart."""
    fast = scaled(make_side(), 1 / 7)
    other_tokens = dataclasses.replace(fast, runs=tuple(dataclasses.replace(run, tokens=(1, 2)) for run in fast.runs))
    other_work = dataclasses.replace(
        fast, runs=tuple(dataclasses.replace(run, work=dataclasses.replace(run.work, visual_tokens=3)) for run in fast.runs)
    )
    later = dataclasses.replace(fast, session="2026-02-02T00:00:00Z")
    apart = make_result(later, sessions=(make_session(), make_session(started="2026-02-02T00:00:00Z")))
    for result, verdict in (
        (make_result(other_tokens), "OUTPUT_DIFFERS: "),
        (make_result(other_work), "INVALID: "),
        (apart, "INCONCLUSIVE: "),
    ):
        report = described(result)
        text = rendered(report) + to_markdown(report, "", "")
        assert report.headline.startswith(verdict)
        assert "7.00x" not in text
        assert "faster" not in cells(report, "Latency: median", "end-to-end")
        assert cells(report, "Latency: median", "end-to-end")[3:] == ("-", "-", "")


def test_a_speedup_that_is_not_claimed_is_shown_and_marked() -> None:
    """Where the interval does not decide, and where both are the same: there is no interval without its ratio."""
    floors = {name: 0.2 for name in ("end-to-end", *STAGES)}
    unclear = described(make_result(scaled(make_side(), 0.95), noise_floors=floors, fail_if=("slower:2%",)))
    assert unclear.headline.startswith(
        "INCONCLUSIVE: end-to-end speedup (1.053x), 95% CI 1.053x - 1.053x, which shows neither a difference"
    )
    assert cells(unclear, "Latency: median", "vision")[3:] == ("(1.053x)", "1.053x - 1.053x", "unclear")
    assert cells(unclear, "Demands", "slower:2%") == ("slower:2%", "(1.053x)", "1.053x - 1.053x", "yes")
    same = described(make_result(make_side()))
    assert same.headline == "SAME: end-to-end speedup (1.000x), 95% CI 1.000x - 1.000x, within 1.0% of none"
    assert cells(same, "Latency: median", "end-to-end")[3:] == ("(1.000x)", "1.000x - 1.000x", "same")
    assert "a speedup in brackets is not claimed" in note(unclear, "Intervals of the stages are simultaneous")
    for report in (unclear, same):
        assert not [
            row
            for table in report.tables
            for row in table.rows
            if any(" - " in cell and row[place - 1] == "-" for place, cell in enumerate(row))
        ]


def test_the_estimator_of_stages_is_named_where_it_is_another() -> None:
    def of(blocks: int) -> Report:
        side = make_side(*(run for run in make_side().runs if (run.block or 0) < blocks and run.block is not None))
        return described(make_result(scaled(side, 0.5), side, sessions=(make_session(blocks),)))

    assert "geometric mean" in note(of(7), "Stages: ") and "Student" in note(of(7), "Stages: ")
    assert not [text for text in of(8).notes if text.startswith("Stages: ")]


def test_latency_and_throughput_are_reported_apart() -> None:
    side = with_throughput_runs(make_side())
    hidden = tuple(dataclasses.replace(stream, seconds=0.4, load_wait_seconds=0.01) for stream in side.throughput_runs)

    def with_prefetch(side: SideResult, choice: str) -> SideResult:
        active = Activation("prefetch", choice, True, "throughput run: load: 2 x load")
        return dataclasses.replace(side, choices={"prefetch": choice}, activations=(active, GREEDY))

    other = with_prefetch(dataclasses.replace(side, throughput_runs=hidden, variant="optimized"), "on")
    result = make_result(other, with_prefetch(side, "off"), sessions=(make_session(throughput=2),))
    report = described(result)
    assert report.headline.startswith("SAME: ")
    assert report.second_headline == "Throughput, 2 samples back to back: FASTER: speedup 2.00x, 95% CI 2.00x - 2.00x"
    title = "Latency and throughput"
    assert cells(report, title, "end-to-end") == ("end-to-end", "400 ms", "400 ms", "(1.000x)", "1.000x - 1.000x", "same")
    assert cells(report, title, "throughput") == ("throughput", "400 ms", "200 ms", "2.00x", "2.00x - 2.00x", "faster")
    assert cells(report, title, "load-per-sample")[1:3] == ("100 ms", "100 ms")
    assert cells(report, title, "load-wait-per-sample")[1:3] == ("100 ms", "5.00 ms")
    assert cells(report, title, "samples-per-throughput-run")[1:3] == ("2", "2")
    assert cells(report, title, "samples-per-second")[1:3] == ("2.50/s", "5.00/s")
    assert cells(report, title, "prefetch")[1:3] == ("off", "on")
    assert cells(report, "Distribution", "throughput")[1:4] == ("400 - 400 ms", "n too small (20)", "0 of 20")
    assert "throughput run of 2 samples" in report.facts["Order"]
    assert report.facts["Difference"].startswith("prefetch off -> on (")
    assert all(word in note(report, "Throughput: ") for word in ("Hodges-Lehmann", "Wilcoxon", "2 invocations"))
    for text in (rendered(report), to_markdown(report, "", "")):
        assert text.index(report.headline) < text.index(report.second_headline) < text.index(title)


def test_a_difference_that_has_no_effect_on_the_input_is_marked() -> None:
    def choosing(variant: str) -> SideResult:
        return dataclasses.replace(make_side(), choices=parse(variant).choices())

    optimized, baseline = choosing("baseline+render=vectorised+preprocess=direct+pooling=first"), choosing("baseline")
    report = described(make_result(optimized, baseline)).facts["Difference"]
    idle = "(no effect on a video)"
    assert report == f"render loop -> vectorised {idle}; preprocess processor -> direct; pooling last -> first (no effect on video-llava)"


def test_choices_are_listed_with_the_input_that_they_are_for() -> None:
    told = meanings("eventgpt")
    assert told["render=triton"].endswith("; for raw events only; needs NVIDIA GPU, Triton")
    assert told["decode=dali"].endswith("; for event images only; needs NVIDIA GPU, NVIDIA DALI")
    assert told["vision=graph"].endswith("CUDA graph; needs NVIDIA GPU, C++ compiler")
    assert told["attention=eager"] == "attention written out in PyTorch operations"
    assert told["pooling=first"].endswith("of the operations")


def test_variants_are_summarized_by_what_they_change() -> None:
    unusable = {("decode", "dali"): "needs it", ("vision", "fused"): "needs it", ("vision", "graph"): "needs that"}
    summary = summarize_variants("video-llava", ["optimized-gpu"], unusable)
    assert list(summary.variants) == [f"{name}*" if name == "optimized-gpu" else name for name in VARIANTS]
    assert summary.variants["baseline"].startswith("decode=plain preprocess=processor ")
    assert summary.variants["fast-pixels"] == "decode=threaded preprocess=direct"
    assert summary.parts["vision"] == "eager, compile-tower, batched, compile, graph*, fused*"
    assert summary.reasons == ("needs it: decode dali; vision fused", "needs that: vision graph")


def test_without_throughput_runs_there_is_no_throughput() -> None:
    report = described(make_result(scaled(make_side(), 0.5)))
    assert report.second_headline == ""
    assert not any(word in rendered(report) for word in ("hroughput", "back to back"))


def test_throughput_runs_of_one_variant_or_of_one_side_have_no_speedup() -> None:
    side = with_throughput_runs(make_side())
    alone = described(make_result(baseline=side))
    assert alone.second_headline == ""
    assert cells(alone, "Latency and throughput", "throughput") == ("throughput", "400 ms")
    report = described(make_result(make_side(), side))
    assert report.second_headline == "Throughput, 2 samples back to back: measured on one side only"
    assert cells(report, "Latency and throughput", "throughput")[1:] == ("400 ms", "n/a", "-", "-", "")
    assert cells(report, "Latency and throughput", "samples-per-throughput-run")[1:3] == ("2", "n/a")
    assert cells(report, "Distribution", "throughput")[4:] == ("n/a", "n/a", "n/a")
    assert all(len(row) == len(table.columns) for table in report.tables for row in table.rows)


def test_what_loading_took_in_a_disturbed_block_does_not_count_either() -> None:
    side = with_throughput_runs(make_side())
    loud = tuple(dataclasses.replace(one, load_seconds=9.0) if (one.block or 0) < 2 else one for one in side.throughput_runs[:5])
    session = make_session()
    marked = tuple(dataclasses.replace(block, disturbances=("power brake",)) for block in session.blocks[:2])
    session = dataclasses.replace(session, blocks=(*marked, *session.blocks[2:]))
    report = described(make_result(with_throughput_runs(side, *loud, *side.throughput_runs[5:7]), side, sessions=(session,)))
    assert cells(report, "Latency and throughput", "load-per-sample")[1:3] == ("100 ms", "100 ms")


def test_where_no_throughput_is_claimed_none_is_printed() -> None:
    side = with_throughput_runs(make_side())
    other = scaled(side, 1 / 7)
    wrong = with_throughput_runs(
        other, *other.throughput_runs[:-1], dataclasses.replace(other.throughput_runs[-1], tokens=((5, 6), (9, 9)))
    )
    report = described(make_result(wrong, side))
    text = rendered(report) + to_markdown(report, "", "")
    assert report.second_headline == "Throughput, 2 samples back to back: nothing is claimed either"
    assert "7.00x" not in text
    assert report.outputs["Tokens"].startswith("NOT identical in every run: 1 and 2 different outputs")
    assert "(one of 2 different outputs in 60 runs)" in " ".join(report.outputs), "both samples of a throughput run are the same one"
    few = make_session(5)
    short = dataclasses.replace(
        side, runs=tuple(run for run in side.runs if (run.block or 0) < 5), throughput_runs=side.throughput_runs[:11]
    )
    assert described(make_result(short, short, sessions=(few,))).second_headline.endswith("nothing is claimed either")


def test_memory_that_cannot_be_known_is_not_zero() -> None:
    nothing = dict.fromkeys(STAGES, StageRun(0.1, None, Memory(None, None, None, None, None)))
    unknown = dataclasses.replace(make_run(), stages=nothing)
    side = make_side(unknown, without_stage_sync(unknown))
    report = described(make_result(side, sessions=(make_session(1),)))
    assert cells(report, "Peak memory", "process-memory-load")[:3] == ("process-memory-load", "1.00 MiB", "n/a")
    (table,) = (table for table in report.tables if table.title.startswith("Peak memory"))
    assert not [row for row in table.rows if "GPU" in " ".join(row)], "no GPU memory of a run on the CPU"


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ((1, 2, 3), (1, 2, 3), "identical, all 3"),
        ((1, 2, 3), (1, 9, 3), "NOT identical: they differ from token 2 on; lengths 3 and 3"),
        ((1, 2, 3), (1, 2), "NOT identical: they differ from token 3 on; lengths 3 and 2"),
    ],
)
def test_tokens_are_compared(ours: tuple[int, ...], theirs: tuple[int, ...], expected: str) -> None:
    sides = [make_side(run, without_stage_sync(run)) for run in (make_run(tokens=ours), make_run(tokens=theirs))]
    result = make_result(sides[1], baseline=sides[0], sessions=(make_session(1),))
    assert described(result).outputs["Tokens"] == expected


def test_different_outputs_of_one_variant_are_counted() -> None:
    def answering(*answers: int) -> SideResult:
        runs = [dataclasses.replace(make_run(tokens=(token,)), block=block) for block, token in enumerate(answers)]
        return make_side(*runs, *map(without_stage_sync, runs))

    report = described(make_result(answering(1, 2), sessions=(make_session(2),)))
    assert "Output of optimized (one of 2 different outputs in 4 runs)" in report.outputs
    both = make_result(answering(9, 1), baseline=answering(1, 1), sessions=(make_session(2),))
    expected = "NOT identical in every run: 1 and 2 different outputs; the last two are identical, all 1"
    assert described(both).outputs["Tokens"] == expected


def test_different_work_is_named_with_both_values() -> None:
    runs = make_side().runs[1:]
    other = dataclasses.replace(runs[-1], work=dataclasses.replace(runs[-1].work, frame_indices=(0, 1), decoder="other"))
    report = described(make_result(make_side(*runs[:-1], other)))
    assert report.facts["Same work"] == "NO: frame_indices (0, 2) and (0, 1)", "every run counts"
    assert work_differences(Work(decoder="a", attention="b"), Work(decoder="c", attention="d")) == []


def test_text_of_a_model_cannot_act_on_the_terminal() -> None:
    assert printable("a\x1b[31mb\r\nü") == "a·[31mb··ü"
    marked = [dataclasses.replace(run, text="[bold]x[/bold] [/nothing]") for run in make_side().runs]
    report = described(make_result(dataclasses.replace(make_side(), runs=tuple(marked))))
    assert "[bold]x[/bold] [/nothing]" in rendered(report)


def test_a_pipe_in_a_text_does_not_break_the_markdown_table() -> None:
    text = to_markdown(described(make_result(make_side(variant="optimized"))), "2026-01-01", "evbench compare 'a|b'")
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert tables
    assert all(line.endswith("|") for line in tables)
    assert "`evbench compare 'a|b'`" in text


def test_the_input_is_named_for_what_it_is() -> None:
    report = described(make_result(make_side(variant="optimized")))
    assert report.facts["Input"] == "a.mp4, 2 frames of 6x4: 0 2 (inclusive)"
    runs = tuple(dataclasses.replace(run, work=dataclasses.replace(run.work, frame_seconds=None)) for run in make_side().runs)
    side = dataclasses.replace(make_side(), runs=runs)
    assert described(make_result(baseline=side)).facts["Input"] == "a.mp4, 2 event images of 6x4"
    taken = dataclasses.replace(runs[0].work, events=14_912, events_microseconds=31_200)
    side = dataclasses.replace(side, runs=(dataclasses.replace(runs[0], work=taken), *runs[1:]))
    line = described(make_result(baseline=side)).facts["Input"]
    assert line == "a.mp4, 2 event images of 6x4 of 14,912 events over 31.2 ms", "a recording may end before the window does"


def test_sides_of_different_sessions_were_not_run_in_turn() -> None:
    later = dataclasses.replace(make_side(variant="optimized"), session="2026-02-02T00:00:00Z")
    there = dataclasses.replace(MACHINE, cpu="Other CPU")
    sessions = (make_session(), make_session(started="2026-02-02T00:00:00Z", machine=there))
    report = described(make_result(later, sessions=sessions)).facts["Measured apart"]
    assert report.startswith("the baseline from 2026-01-01T00:00:00Z, the optimized side from 2026-02-02T00:00:00Z on Other CPU")
    assert "Measured apart" not in described(make_result(make_side(variant="optimized"))).facts


def note(report: Report, word: str) -> str:
    (found,) = (note for note in report.notes if word in note)
    return found


def test_the_length_of_a_trace_is_reported() -> None:
    traced = dataclasses.replace(make_side(), trace=make_trace())
    found = note(described(make_result(baseline=traced)), "Traces")
    assert "trace-baseline.json.gz with 16 new tokens (1.50x the time without the profiler)" in found


def test_energy_is_reported_only_if_counter_and_power_agree() -> None:
    def energy_note(joules: float) -> str:
        side = dataclasses.replace(make_side(), energy=Energy(10, 5.0, joules, 100.0, 70.0))
        return note(described(make_result(baseline=side)), "Energy")

    assert "10.5 J per sample" in energy_note(105.0)
    assert "not credible" in energy_note(150.0)


def test_the_machine_is_named_with_the_limits_of_its_gpu() -> None:
    card = Gpu("H200", "580", 2**37, 600.0, 700.0, 1980, 1500)
    report = described(make_result(sessions=(make_session(machine=dataclasses.replace(MACHINE, gpu=card)),)))
    assert report.facts["Machine"].startswith("H200, driver 580, CUDA 13.0, power limit 600 W, clock set to 1,500 MHz; CPU, 2 cores")
    assert report.facts["Machine"].endswith("evbench at abc")


def test_observations_are_counted() -> None:
    session = make_session()
    blocks = [dataclasses.replace(block, remarks=("at the power limit",)) for block in session.blocks[:4]]
    session = dataclasses.replace(session, blocks=(*blocks, *session.blocks[4:]), remarks=("2 other processes had the GPU open",))
    found = note(described(make_result(sessions=(session,))), "Observed")
    assert found == "Observed: 2 other processes had the GPU open; at the power limit in 4 blocks."


def test_the_clock_of_the_gpu_is_reported() -> None:
    card = Gpu("H200", "580", 2**37, 700.0, 700.0, 1980, None)
    session = make_session(machine=dataclasses.replace(MACHINE, gpu=card))
    blocks = tuple(dataclasses.replace(block, sm_mhz=1700 + block.number) for block in session.blocks)
    report = described(make_result(sessions=(dataclasses.replace(session, blocks=blocks),)))
    assert "1,700 - 1,709 MHz, limit 1,980 MHz" in note(report, "SM clock")


def test_each_sample_is_held_against_itself() -> None:
    """Two samples differ in their frames, and both sides in nothing."""
    side = make_side(samples=(Sample("a.mp4", "0", 4, 6), Sample("b.mp4", "1", 4, 6)))
    runs = tuple(
        dataclasses.replace(run, sample=1, tokens=(7, 8), work=dataclasses.replace(run.work, frame_indices=(1, 3)))
        if (run.block or 0) % 2
        else run
        for run in side.runs
    )
    side, session = dataclasses.replace(side, runs=runs), make_session()
    session = dataclasses.replace(session, blocks=tuple(dataclasses.replace(one, sample=one.number % 2) for one in session.blocks))
    report = described(make_result(side, baseline=side, sessions=(session,)))
    assert report.facts["Same work"].startswith("yes")
    assert report.facts["Input"].startswith("2 samples; the first: a.mp4")
    assert report.outputs["Tokens"] == "identical in all runs of all 2 samples"
    assert report.headline.startswith("SAME")


def test_the_noise_floor_is_reported_or_how_to_measure_it() -> None:
    assert "run evbench selftest" in note(described(make_result(make_side())), "Noise floor")
    report = note(described(make_result(make_side(), noise_floors={"end-to-end": 0.031, "load": 0.2})), "Noise floor")
    assert "3.1% end-to-end on this machine. Claim threshold: end-to-end 3.1%, load 20.0%" in report


def test_demands_are_reported_with_what_was_measured() -> None:
    report = described(make_result(scaled(make_side(), 0.5), targets=("video-llava.vision<1ms",), fail_if=("slower:2%",)))
    assert cells(report, "Demands", "video-llava.vision<1ms") == ("video-llava.vision<1ms", "50.0 ms", "50.0 - 50.0 ms", "NO")
    assert cells(report, "Demands", "slower:2%")[3] == "yes"
