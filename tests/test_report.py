from __future__ import annotations

import dataclasses
import doctest
import io

import pytest
from rich.console import Console

from evbench.report import comparison, units
from evbench.report.render import Report, printable, to_console, to_markdown
from evbench.results import STAGES, Activation, Energy, Gpu, Memory, Sample, SideResult, StageRun, Work
from evbench.variants.named import VARIANTS, parse
from evbench.verdict.refusal import work_differences
from tests.examples import (
    GREEDY,
    MACHINE,
    make_result,
    make_run,
    make_session,
    make_side,
    make_trace,
    scaled,
    with_streams,
    without_barriers,
)


def cells(told: Report, title: str, row: str) -> tuple[str, ...]:
    (table,) = (table for table in told.tables if table.title.startswith(title))
    (found,) = (cells for cells in table.rows if cells[0] == row)
    return found


def rendered(told: Report) -> str:
    screen = Console(file=io.StringIO(), width=140)
    screen.print(to_console(told))
    file = screen.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_the_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(units).failed == 0


def test_medians_are_of_the_timed_runs_only_and_the_total_of_those_without_barriers() -> None:
    runs = [dataclasses.replace(make_run(seconds=seconds), block=block) for block, seconds in enumerate((0.3, 0.1, 0.2))]
    whole = [without_barriers(run, 5.0) for run in runs]
    side = make_side(make_run("warmup", 9.0), *runs, *whole)
    told = comparison.describe(make_result(side, baseline=side, sessions=(make_session(3),)))
    assert cells(told, "Time: median", "vision")[1] == "200 ms"
    assert cells(told, "Time: median", "end to end")[1] == "5.00 s"
    assert cells(told, "Spread", "vision")[1:4] == ("100 - 300 ms", "n too small (3)", "0 of 3")


def test_warm_up_and_first_call_are_told_apart() -> None:
    side = make_side(make_run("warmup", 1.0), make_run("warmup", 1.0), *make_side().runs[1:])
    told = comparison.describe(make_result(baseline=side))
    assert cells(told, "Before the timed runs", "warm-up runs") == ("warm-up runs", "2 in 8.00 s, steady")
    assert cells(told, "Before the timed runs", "first call, and what it compiled")[1] == "400 ms (nothing)"


def test_a_speedup_is_printed_with_its_interval() -> None:
    told = comparison.describe(make_result(scaled(make_side(), 0.5)))
    assert told.headline == "FASTER: end to end 2.000 times as fast, 95 % interval 2.000 - 2.000"
    assert cells(told, "Time: median", "vision")[3:] == ("2.000", "2.000 - 2.000", "faster")
    assert cells(told, "Where the difference", "all of it") == ("all of it", "200 ms", "100.0%")


def test_no_speedup_is_printed_that_is_not_claimed() -> None:
    """Neither for other outputs, nor for other work, nor for sides measured apart, nor where the interval does not decide."""
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
        (make_result(scaled(make_side(), 0.95), noise_floors={name: 0.2 for name in ("total", *STAGES)}), "INCONCLUSIVE: "),
    ):
        told = comparison.describe(result)
        text = rendered(told) + to_markdown(told, "", "")
        assert told.headline.startswith(verdict)
        assert "7.000" not in text
        assert "faster" not in cells(told, "Time: median", "end to end")
        assert cells(told, "Time: median", "end to end")[3] == "-"


def test_latency_and_throughput_are_told_apart() -> None:
    side = with_streams(make_side())
    hidden = tuple(dataclasses.replace(stream, seconds=0.4, load_wait_seconds=0.01) for stream in side.streams)

    def feeding(side: SideResult, prefetch: str) -> SideResult:
        return dataclasses.replace(
            side, choices={"prefetch": prefetch}, activations=(Activation("prefetch", prefetch, True, "stream: load: 2 x load"), GREEDY)
        )

    other = feeding(dataclasses.replace(side, streams=hidden, variant="optimized"), "on")
    result = make_result(other, feeding(side, "off"), sessions=(make_session(throughput=2),))
    told = comparison.describe(result)
    assert told.headline.startswith("SAME: ")
    assert told.second_headline == "Throughput, 2 samples in a row: FASTER: 2.000 times as fast, 95 % interval 2.000 - 2.000"
    title = "Latency and throughput"
    assert cells(told, title, "by itself (latency)") == ("by itself (latency)", "400 ms", "400 ms", "-", "1.000 - 1.000", "same")
    assert cells(told, title, "in a row (throughput)") == ("in a row (throughput)", "400 ms", "200 ms", "2.000", "2.000 - 2.000", "faster")
    assert cells(told, title, "loading it, in a row")[1:3] == ("100 ms", "100 ms")
    assert cells(told, title, "waiting for that")[1:3] == ("100 ms", "5.00 ms")
    assert cells(told, title, "samples in a row")[1:3] == ("2", "2")
    assert cells(told, title, "prefetch")[1:3] == ("off", "on")
    assert cells(told, "Spread", "a sample in a row")[1:4] == ("400 - 400 ms", "n too small (20)", "0 of 20")
    assert "and 2 samples in a row" in told.facts["Order"]
    assert told.facts["Difference"] == "prefetch off -> on (of samples in a row only)"
    assert note(told, "Throughput by").startswith("Throughput by Hodges-Lehmann, the interval the wider of Wilcoxon's over blocks")
    for text in (rendered(told), to_markdown(told, "", "")):
        assert text.index(told.headline) < text.index(told.second_headline) < text.index(title)


def test_a_difference_that_has_no_effect_on_the_input_is_told_as_such() -> None:
    def choosing(variant: str) -> SideResult:
        return dataclasses.replace(make_side(), choices=parse(variant).choices())

    optimized, baseline = choosing("baseline+render=vectorised+preprocess=direct+pooling=first"), choosing("baseline")
    told = comparison.describe(make_result(optimized, baseline)).facts["Difference"]
    idle = "(no effect on a video)"
    assert told == f"render loop -> vectorised {idle}; preprocess processor -> direct; pooling last -> first {idle}"


def test_choices_are_listed_with_the_input_that_they_are_for() -> None:
    _, choices = comparison.list_variants(dict.fromkeys(VARIANTS, ""))
    assert [table.title for table in comparison.list_variants(dict.fromkeys(VARIANTS, "") | {"optimized": "lacks it"})][
        1
    ] == "What is missing here"
    told = {row[:2]: row[2] for row in choices.rows}
    assert told[("render", "triton")] == "raw events"
    assert told[("decode", "dali")] == "a video, event images"
    assert told[("pooling", "first")] == "event images, raw events"
    assert told[("prefetch", "batched")] == "a video"
    assert told[("vision", "graph")] == "all"


def test_without_streams_the_report_says_nothing_of_throughput() -> None:
    told = comparison.describe(make_result(scaled(make_side(), 0.5)))
    assert told.second_headline == ""
    assert not any(word in rendered(told) for word in ("hroughput", "in a row"))


def test_streams_of_one_variant_or_of_one_side_are_told_without_a_ratio() -> None:
    side = with_streams(make_side())
    alone = comparison.describe(make_result(baseline=side))
    assert alone.second_headline == ""
    assert cells(alone, "Latency and throughput", "in a row (throughput)") == ("in a row (throughput)", "400 ms")
    told = comparison.describe(make_result(make_side(), side))
    assert told.second_headline == "Throughput, 2 samples in a row: measured on one side only"
    assert cells(told, "Latency and throughput", "in a row (throughput)")[1:] == ("400 ms", "n/a", "-", "-", "")
    assert cells(told, "Latency and throughput", "samples in a row")[1:3] == ("2", "n/a")
    assert cells(told, "Spread", "a sample in a row")[4:] == ("n/a", "n/a", "n/a")
    assert all(len(row) == len(table.columns) for table in told.tables for row in table.rows)


def test_what_loading_took_in_a_disturbed_block_does_not_count_either() -> None:
    side = with_streams(make_side())
    loud = tuple(dataclasses.replace(one, load_seconds=9.0) if (one.block or 0) < 2 else one for one in side.streams[:5])
    session = make_session()
    marked = tuple(dataclasses.replace(block, disturbances=("power brake",)) for block in session.blocks[:2])
    session = dataclasses.replace(session, blocks=(*marked, *session.blocks[2:]))
    told = comparison.describe(make_result(with_streams(side, *loud, *side.streams[5:7]), side, sessions=(session,)))
    assert cells(told, "Latency and throughput", "loading it, in a row")[1:3] == ("100 ms", "100 ms")


def test_where_no_throughput_is_claimed_none_is_printed() -> None:
    side = with_streams(make_side())
    other = scaled(side, 1 / 7)
    wrong = with_streams(other, *other.streams[:-1], dataclasses.replace(other.streams[-1], tokens=((5, 6), (9, 9))))
    told = comparison.describe(make_result(wrong, side))
    text = rendered(told) + to_markdown(told, "", "")
    assert told.second_headline == "Throughput, 2 samples in a row: nothing is claimed either"
    assert "7.000" not in text
    assert told.outputs["Tokens"].startswith("NOT identical in every run: 1 and 2 different answers")
    assert "(one of 2 different answers in 60 runs)" in " ".join(told.outputs), "both samples of a row are the same one"
    few = make_session(5)
    short = dataclasses.replace(side, runs=tuple(run for run in side.runs if (run.block or 0) < 5), streams=side.streams[:11])
    assert comparison.describe(make_result(short, short, sessions=(few,))).second_headline.endswith("nothing is claimed either")


def test_memory_that_cannot_be_known_is_not_zero() -> None:
    nothing = dict.fromkeys(STAGES, StageRun(0.1, None, Memory(None, None, None, None, None)))
    unknown = dataclasses.replace(make_run(), stages=nothing)
    side = make_side(unknown, without_barriers(unknown))
    told = comparison.describe(make_result(side, sessions=(make_session(1),)))
    assert cells(told, "Peak memory of the process", "load") == ("load", "1.00 MiB", "n/a")
    assert len([table for table in told.tables if "GPU" in table.title]) == 0, "no GPU tables for a run on the CPU"
    on_gpu = dataclasses.replace(side, workload=dataclasses.replace(side.workload, device="cuda"))
    told = comparison.describe(make_result(baseline=on_gpu, sessions=(make_session(1),)))
    assert [cells(told, title, "load")[1] for title in ("Peak of live", "Peak of torch", "On the GPU", "Of that not torch")] == ["n/a"] * 4


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        ((1, 2, 3), (1, 2, 3), "identical, all 3"),
        ((1, 2, 3), (1, 9, 3), "NOT identical: they differ from token 2 on; lengths 3 and 3"),
        ((1, 2, 3), (1, 2), "NOT identical: they differ from token 3 on; lengths 3 and 2"),
    ],
)
def test_tokens_are_compared(ours: tuple[int, ...], theirs: tuple[int, ...], told: str) -> None:
    assert comparison.compare_tokens(ours, theirs) == told
    sides = [make_side(run, without_barriers(run)) for run in (make_run(tokens=ours), make_run(tokens=theirs))]
    result = make_result(sides[1], baseline=sides[0], sessions=(make_session(1),))
    assert told in rendered(comparison.describe(result))


def test_a_variant_that_answers_differently_each_time_is_told() -> None:
    def answering(*answers: int) -> SideResult:
        runs = [dataclasses.replace(make_run(tokens=(token,)), block=block) for block, token in enumerate(answers)]
        return make_side(*runs, *map(without_barriers, runs))

    told = comparison.describe(make_result(answering(1, 2), sessions=(make_session(2),)))
    assert "optimized says (one of 2 different answers in 4 runs)" in told.outputs
    both = make_result(answering(9, 1), baseline=answering(1, 1), sessions=(make_session(2),))
    expected = "NOT identical in every run: 1 and 2 different answers; the last two are identical, all 1"
    assert comparison.describe(both).outputs["Tokens"] == expected


def test_different_work_is_named_with_both_values() -> None:
    runs = make_side().runs[1:]
    other = dataclasses.replace(runs[-1], work=dataclasses.replace(runs[-1].work, frame_indices=(0, 1), decoder="other"))
    told = comparison.describe(make_result(make_side(*runs[:-1], other)))
    assert told.facts["Same work"] == "NO: frame_indices (0, 2) and (0, 1)", "every run counts"
    assert work_differences(Work(decoder="a", attention="b"), Work(decoder="c", attention="d")) == []


def test_text_of_a_model_cannot_act_on_the_terminal() -> None:
    assert printable("a\x1b[31mb\r\nü") == "a·[31mb··ü"
    marked = [dataclasses.replace(run, text="[bold]x[/bold] [/nothing]") for run in make_side().runs]
    told = comparison.describe(make_result(dataclasses.replace(make_side(), runs=tuple(marked))))
    assert "[bold]x[/bold] [/nothing]" in rendered(told)


def test_a_pipe_in_a_text_does_not_break_the_markdown_table() -> None:
    text = to_markdown(comparison.describe(make_result(make_side(variant="optimized"))), "2026-01-01", "evbench compare 'a|b'")
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert tables
    assert all(line.endswith("|") for line in tables)
    assert "`evbench compare 'a|b'`" in text


def test_the_input_is_named_for_what_it_is() -> None:
    told = comparison.describe(make_result(make_side(variant="optimized")))
    assert told.facts["Input"] == "a.mp4, 2 frames of 6x4: 0 2 (inclusive)"
    runs = tuple(dataclasses.replace(run, work=dataclasses.replace(run.work, frame_seconds=None)) for run in make_side().runs)
    side = dataclasses.replace(make_side(), runs=runs)
    assert comparison.describe(make_result(baseline=side)).facts["Input"] == "a.mp4, 2 event images of 6x4"
    taken = dataclasses.replace(runs[0].work, events=14_912, events_microseconds=31_200)
    side = dataclasses.replace(side, runs=(dataclasses.replace(runs[0], work=taken), *runs[1:]))
    line = comparison.describe(make_result(baseline=side)).facts["Input"]
    assert line == "a.mp4, 2 event images of 6x4 of 14,912 events over 31.2 ms", "a recording may end before the window does"


def test_sides_of_different_sessions_were_not_run_in_turn() -> None:
    later = dataclasses.replace(make_side(variant="optimized"), session="2026-02-02T00:00:00Z")
    there = dataclasses.replace(MACHINE, cpu="Other CPU")
    sessions = (make_session(), make_session(started="2026-02-02T00:00:00Z", machine=there))
    told = comparison.describe(make_result(later, sessions=sessions)).facts["Measured apart"]
    assert told.startswith("the baseline from 2026-01-01T00:00:00Z, the optimized side from 2026-02-02T00:00:00Z on Other CPU")
    assert "Measured apart" not in comparison.describe(make_result(make_side(variant="optimized"))).facts


def note(told: Report, word: str) -> str:
    (found,) = (note for note in told.notes if word in note)
    return found


def test_the_shortened_trace_is_told() -> None:
    traced = dataclasses.replace(make_side(), trace=make_trace())
    found = note(comparison.describe(make_result(baseline=traced)), "Traces")
    assert "trace-baseline.json.gz with 16 new tokens (1.50 times as long as without the profiler)" in found


def test_energy_is_told_only_if_counter_and_power_agree() -> None:
    def told(joules: float) -> str:
        side = dataclasses.replace(make_side(), energy=Energy(10, 5.0, joules, 100.0, 70.0))
        return note(comparison.describe(make_result(baseline=side)), "Energy")

    assert "10.5 J a sample" in told(105.0)
    assert "neither is believed" in told(150.0)


def test_the_machine_is_told_with_what_limits_its_gpu() -> None:
    card = Gpu("H200", "580", 2**37, 600.0, 700.0, 1980, 1500)
    told = comparison.describe(make_result(sessions=(make_session(machine=dataclasses.replace(MACHINE, gpu=card)),)))
    assert told.facts["Machine"].startswith("H200, driver 580, CUDA 13.0, power limit 600 W, clock set to 1,500 MHz; CPU, 2 cores")
    assert told.facts["Machine"].endswith("evbench at abc")


def test_what_was_noticed_beside_the_runs_is_counted() -> None:
    session = make_session()
    blocks = [dataclasses.replace(block, remarks=("at the power limit",)) for block in session.blocks[:4]]
    session = dataclasses.replace(session, blocks=(*blocks, *session.blocks[4:]), remarks=("2 other processes had the GPU open",))
    found = note(comparison.describe(make_result(sessions=(session,))), "Noticed")
    assert found == "Noticed beside the runs: 2 other processes had the GPU open; at the power limit in 4 blocks."


def test_the_gpus_clock_is_told() -> None:
    card = Gpu("H200", "580", 2**37, 700.0, 700.0, 1980, None)
    session = make_session(machine=dataclasses.replace(MACHINE, gpu=card))
    blocks = tuple(dataclasses.replace(block, sm_mhz=1700 + block.number) for block in session.blocks)
    told = comparison.describe(make_result(sessions=(dataclasses.replace(session, blocks=blocks),)))
    assert note(told, "Clock") == "Clock of the GPU's multiprocessors over the blocks: 1,700 - 1,709 MHz, 1,980 at most."


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
    told = comparison.describe(make_result(side, baseline=side, sessions=(session,)))
    assert told.facts["Same work"].startswith("yes")
    assert told.facts["Input"].startswith("2 samples; the first: a.mp4")
    assert told.outputs["Tokens"] == "identical in all runs of all 2 samples"
    assert told.headline.startswith("SAME")


def test_the_noise_floor_is_told_or_how_to_measure_it() -> None:
    assert "evbench selftest does it" in note(comparison.describe(make_result(make_side())), "Noise floor")
    told = note(comparison.describe(make_result(make_side(), noise_floors={"total": 0.031, "load": 0.2})), "Noise floor")
    assert "measured 3.1% here. No difference below 3.1% of the total is claimed; of load 20.0%" in told


def test_demands_are_told_with_what_was_measured() -> None:
    told = comparison.describe(make_result(scaled(make_side(), 0.5), targets=("video-llava.vision<1ms",), fail_if=("slower:2%",)))
    assert cells(told, "Demanded", "video-llava.vision<1ms") == ("video-llava.vision<1ms", "50.0 ms", "50.0 - 50.0 ms", "NO")
    assert cells(told, "Demanded", "slower:2%")[3] == "yes"
