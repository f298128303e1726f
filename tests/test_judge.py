"""What may be claimed of a result."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest

from evbench.encoding import to_json
from evbench.errors import UserError
from evbench.pipelines.registry import OWN
from evbench.report.plain_words import in_plain_words
from evbench.results import STAGES, Activation, Block, Result, Run, Sample, Session, SideResult, Work
from evbench.verdict.blocks import half_width
from evbench.verdict.difference import NEW_TOKENS, OVERLAP_AND_SYNC
from evbench.verdict.judge import judge
from evbench.verdict.judgement import EXIT_CODES, Judgement, Verdict
from tests.examples import (
    GREEDY,
    PRESERVED,
    described,
    make_check,
    make_result,
    make_run,
    make_session,
    make_side,
    make_throughput_run,
    scaled,
    with_throughput_runs,
    without_stage_sync,
)


def compared(factor: float, baseline: SideResult | None = None, **rules: Any) -> Judgement:
    """The optimized side takes `factor` times as long in every run."""
    side = baseline or make_side()
    return judge(make_result(scaled(side, factor), baseline=side, **rules))


def in_blocks(*runs: Run, blocks: int = 10) -> tuple[Run, ...]:
    """Each with and without stage synchronization, in every block."""
    return tuple(dataclasses.replace(one, block=block) for block in range(blocks) for run in runs for one in (run, without_stage_sync(run)))


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [
        (0.5, Verdict.FASTER),
        (0.98, Verdict.FASTER),
        (0.995, Verdict.SAME),
        (1.0, Verdict.SAME),
        (1.005, Verdict.SAME),
        (1.02, Verdict.SLOWER),
    ],
)
def test_the_verdict_follows_the_interval_and_the_smallest_effect(factor: float, verdict: Verdict) -> None:
    judged = compared(factor)
    assert judged.verdict == verdict
    assert judged.exit_code == EXIT_CODES[verdict]
    assert judged.end_to_end.interval is not None
    assert judged.end_to_end.interval.ratio == pytest.approx(1 / factor)
    if verdict is not Verdict.SAME:
        assert {timing.claim for timing in judged.stages} == {verdict}


def test_no_claim_is_made_below_the_noise_floor_of_this_machine() -> None:
    assert compared(0.97).verdict == Verdict.FASTER
    assert compared(0.97, noise_floors={"end-to-end": 0.05}).verdict == Verdict.INCONCLUSIVE, "a noise floor does not make things the same"
    judged = compared(0.97, noise_floors={"vision": 0.05})
    assert {timing.name: timing.claim for timing in judged.stages}["vision"] == Verdict.INCONCLUSIVE
    assert judged.verdict == Verdict.FASTER


@pytest.mark.parametrize(("part", "verdict"), [("render", Verdict.FASTER), ("vision", Verdict.INCONCLUSIVE)])
def test_a_part_without_effect_on_the_input_needs_no_proof_and_any_other_does(part: str, verdict: Verdict) -> None:
    """Nothing is rendered for a video."""
    side = dataclasses.replace(make_side(), choices={"decode": "plain", part: "loop"})
    assert judge(make_result(scaled(side, 0.5), baseline=side)).verdict == verdict


def test_an_interval_that_reaches_over_the_line_is_inconclusive() -> None:
    side, faster = make_side(), scaled(make_side(), 0.9)
    mixed = tuple(theirs if theirs.block in (0, 3, 4, 8) else ours for ours, theirs in zip(side.runs, faster.runs, strict=True))
    judged = judge(make_result(dataclasses.replace(side, runs=mixed), baseline=side))
    assert judged.verdict == Verdict.INCONCLUSIVE
    assert judged.exit_code == 4


def test_too_few_blocks_are_inconclusive_and_say_how_many_it_takes() -> None:
    side = make_side(*in_blocks(make_run(), blocks=5))
    judged = judge(make_result(scaled(side, 0.5), baseline=side, sessions=(make_session(5),)))
    assert judged.verdict == Verdict.INCONCLUSIVE
    assert judged.end_to_end.interval is None
    assert "six of one sample" in judged.reasons[0]


def test_other_tokens_are_no_speedup_however_fast() -> None:
    fast = make_side(*in_blocks(make_run(seconds=0.001, tokens=(5, 7))))
    judged = judge(make_result(fast))
    assert judged.verdict == Verdict.OUTPUT_DIFFERS
    assert judged.exit_code == 5
    assert judged.reasons == ("the two sides generate different tokens for the sample",)
    assert all(timing.interval is None for timing in judged.timings())
    assert (judged.difference, judged.break_even, judged.ratio_of_medians, judged.ratio_of_sums) == (None,) * 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("é ok", ""),
        (" é  ok\n", ""),
        ("é good", "the same tokens of sample 1 become other text on the optimized side: 'good' instead of 'ok'"),
        ("é", "the same tokens of sample 1 become other text on the optimized side: '' instead of ' ok'"),
    ],
)
def test_the_same_tokens_have_to_become_the_same_text(text: str, told: str) -> None:
    runs = list(in_blocks(make_run(seconds=0.001)))
    runs[-1] = dataclasses.replace(runs[-1], text=text)
    judged = judge(make_result(make_side(*runs)))
    assert (judged.verdict == Verdict.OUTPUT_DIFFERS) == bool(told)
    assert not told or judged.reasons == (told,)


def test_a_pipeline_of_somebody_elses_has_a_text_of_its_own_or_none() -> None:
    runs = [dataclasses.replace(run, text="5 6") for run in in_blocks(make_run(seconds=0.001))]
    own = dataclasses.replace(make_side(*runs), choices={OWN: "mine"})
    assert judge(make_result(own)).verdict != Verdict.OUTPUT_DIFFERS


def test_a_baseline_that_does_not_repeat_itself_is_named() -> None:
    runs = list(in_blocks(make_run()))
    runs[3] = dataclasses.replace(runs[3], tokens=(5, 9))
    judged = judge(make_result(make_side(), baseline=make_side(*runs)))
    assert judged.verdict == Verdict.OUTPUT_DIFFERS
    assert judged.reasons[0] == "the baseline itself generates different tokens in its runs of the sample"


def test_other_work_is_invalid_whichever_run_did_it() -> None:
    runs = list(in_blocks(make_run()))
    runs[-1] = dataclasses.replace(runs[-1], work=dataclasses.replace(runs[-1].work, frame_indices=(0, 1)))
    judged = judge(make_result(make_side(*runs)))
    assert judged.verdict == Verdict.INVALID
    assert judged.exit_code == 6
    assert judged.reasons == ("the two sides did different work: frame_indices (0, 2) and (0, 1)",)
    assert judged.difference is None


def test_another_number_of_tokens_is_invalid_and_its_part_of_the_difference_is_reported() -> None:
    short, long = make_run(tokens=(5, 6)), make_run(tokens=(5, 6, 7, 8))
    judged = judge(make_result(make_side(*in_blocks(short)), baseline=make_side(*in_blocks(long))))
    assert judged.verdict == Verdict.INVALID
    assert judged.difference is not None
    parts = {part.name: part.seconds for part in judged.difference.parts}
    assert parts[NEW_TOKENS] == pytest.approx(2 * 0.025), "two more tokens at the baseline's TPOT of 25 ms"
    assert parts["generate"] == pytest.approx(-2 * 0.025)


def disturbed(blocks: int, of: int) -> Session:
    session = make_session(of)
    marked = [dataclasses.replace(block, disturbances=("power brake",)) for block in session.blocks[:blocks]]
    return dataclasses.replace(session, blocks=(*marked, *session.blocks[blocks:]))


def test_disturbed_blocks_do_not_count() -> None:
    calm, loud = make_run(), make_run(seconds=9.0)
    side = make_side(*in_blocks(calm, blocks=10))
    runs = tuple(loud if run.block == 0 else run for run in side.runs)
    runs = tuple(dataclasses.replace(run, block=0) if run.seconds > 30 else run for run in runs)
    judged = judge(make_result(dataclasses.replace(side, runs=runs), baseline=side, sessions=(disturbed(1, 10),)))
    assert judged.verdict == Verdict.SAME
    assert judged.blocks.disturbed == 1
    assert judged.end_to_end.sides["optimized"] is not None
    assert judged.end_to_end.sides["optimized"].maximum < 1


def test_too_many_disturbed_blocks_are_invalid() -> None:
    judged = judge(make_result(make_side(), sessions=(disturbed(3, 10),)))
    assert judged.verdict == Verdict.INVALID
    assert judged.reasons == ("3 of 10 blocks were disturbed: power brake",)
    assert judge(make_result(make_side(), sessions=(disturbed(2, 10),))).verdict == Verdict.SAME


def loud(blocks: int) -> SideResult:
    """So many of ten blocks took 50 times as long, which would make the warm-up look shorter than no time at all."""
    warm = dataclasses.replace(make_run("warmup"), block=None)
    side = make_side(*(warm,) * 10, *make_side().runs[1:])
    slow = scaled(side, 50)
    runs = tuple(
        theirs if (ours.block or 0) < blocks and ours.block is not None else ours for ours, theirs in zip(side.runs, slow.runs, strict=True)
    )
    return with_throughput_runs(dataclasses.replace(side, runs=runs))


OF_NO_BLOCK = {"build", "first-call", "compiled-graphs", "cached-graphs", "cuda-graphs", "warm-up-runs", "warm-up", "compile-cache-files"}
"""Metrics of what comes before the blocks."""


@pytest.mark.parametrize("sides", [1, 2])
def test_where_every_block_was_disturbed_only_what_came_before_has_figures(sides: int) -> None:
    side, session = loud(10), disturbed(10, 10)
    result = make_result(side if sides == 2 else None, side, sessions=(session,), targets=("video-llava.load<1s",))
    judged = judge(result)
    assert judged.verdict is Verdict.INVALID
    assert (judged.blocks.counted, judged.blocks.disturbed) == (0, 10)
    assert {found for timing in judged.timings() for found in timing.sides.values()} == {None}
    assert {(timing.interval, timing.claim) for timing in judged.timings()} == {(None, None)}
    assert judged.metrics.keys() == OF_NO_BLOCK
    assert judged.metrics["warm-up"].sides["baseline"] == pytest.approx(10 * 0.4), "the true figure"
    assert judged.demands[0].met is None and judged.demands[0].measured is None
    assert (judged.difference, judged.break_even, judged.ratio_of_medians, judged.ratio_of_sums) == (None,) * 4
    written = json.loads(to_json(judged))
    assert "startup-and-compile" not in written["metrics"] and written["end_to_end"]["sides"]["baseline"] is None
    report = described(result)
    assert report.facts["Order"].startswith("0 blocks")
    (latency,) = (table for table in report.tables if table.title.startswith("Latency: median"))
    assert {row[1 : 1 + sides] for row in latency.rows} == {("n/a",) * sides}
    shown = [cell for table in report.tables for row in table.rows for cell in row]
    assert not [cell for cell in shown if cell.startswith(("0.00", "-0", "nan", "inf")) or re.match(r"-\d", cell)]


def test_blocks_of_other_lengths_of_output_that_were_all_disturbed_have_no_difference() -> None:
    runs = in_blocks(make_run(tokens=(5, 6, 7)))
    judged = judge(make_result(make_side(*runs), make_side(), sessions=(disturbed(10, 10),)))
    assert judged.verdict is Verdict.INVALID and judged.difference is None


def test_of_too_many_disturbed_blocks_the_others_are_shown() -> None:
    judged = judge(make_result(loud(4), loud(4), sessions=(disturbed(4, 10),)))
    assert judged.verdict is Verdict.INVALID
    found = judged.end_to_end.sides["baseline"]
    assert found is not None and found.runs == 6 and found.maximum == pytest.approx(0.4)
    assert judged.metrics["startup-and-compile"].sides["baseline"] == pytest.approx(1.5)


def six_blocks_of(speedups: list[float]) -> Result:
    """Preprocess of 78.9 ms was faster by another factor in each block; the other stages did not change."""
    runs: dict[bool, list[Run]] = {False: [], True: []}
    for block, speedup in enumerate(speedups):
        for faster, found in runs.items():
            run = make_run()
            assert run.stages is not None
            changed = {
                **run.stages,
                "preprocess": dataclasses.replace(run.stages["preprocess"], seconds=0.0789 / (speedup if faster else 1)),
            }
            run = dataclasses.replace(run, stages=changed, seconds=sum(stage.seconds for stage in changed.values()), block=block)
            found += [run, without_stage_sync(run)]
    return make_result(make_side(*runs[True]), make_side(*runs[False]), sessions=(make_session(len(speedups), invocations=1),))


def test_250_times_in_six_blocks_are_claimed() -> None:
    """As one of four stages. The figures of an H200."""
    judged = judge(six_blocks_of([191.7, 279.6, 250.0, 263.0, 241.0, 268.0]))
    claims = {timing.name: timing.claim for timing in judged.stages}
    assert claims == dict.fromkeys(STAGES, Verdict.SAME) | {"preprocess": Verdict.FASTER}
    interval = next(timing.interval for timing in judged.stages if timing.name == "preprocess")
    assert interval is not None
    assert 150 < interval.low < interval.ratio < interval.high < 400
    assert interval.confidence == pytest.approx(0.9875), "of one of four that hold together in 95 of 100 sessions"


def test_intervals_are_simultaneous_over_the_stages_and_over_the_token_timings() -> None:
    judged = compared(0.5)
    assert {timing.name: timing.interval.confidence for timing in judged.timings() if timing.interval} == pytest.approx(
        {"end-to-end": 0.95, **dict.fromkeys(STAGES, 0.9875), **dict.fromkeys(("ttft", "prefill", "tpot"), 1 - 0.05 / 3)}
    )
    assert cycled(0.5).throughput is not None and cycled(0.5).throughput.interval.confidence == 0.95  # type: ignore[union-attr]
    among = judge(make_result(scaled(make_side(), 0.5)), comparisons=5)
    assert among.end_to_end.interval is not None and among.end_to_end.interval.confidence == pytest.approx(0.99)


def test_sides_measured_apart_are_never_claimed_to_differ() -> None:
    later = dataclasses.replace(scaled(make_side(), 0.1), session="2026-02-02T00:00:00Z")
    judged = judge(make_result(later, sessions=(make_session(), make_session(started="2026-02-02T00:00:00Z"))))
    assert judged.verdict == Verdict.INCONCLUSIVE
    assert judged.end_to_end.interval is None
    assert "MEASURED_APART" in judged.flags
    assert "drift looks like a difference" in judged.reasons[0]


def several_samples(gains: list[float], blocks_each: int = 2) -> Result:
    """Each sample is faster by its own factor."""
    numbers = range(len(gains) * blocks_each)
    samples = tuple(Sample(f"{index}.mp4", str(index), 4, 6) for index in range(len(gains)))
    session = dataclasses.replace(make_session(), blocks=tuple(Block(n, n % len(gains), 0, "ABBA", (), (), None) for n in numbers))
    sides = []
    for faster in (False, True):
        runs = [
            dataclasses.replace(one, block=number, sample=number % len(gains))
            for number in numbers
            for run in [make_run(seconds=0.1 / (gains[number % len(gains)] if faster else 1))]
            for one in (run, without_stage_sync(run))
        ]
        sides.append(make_side(*runs, samples=samples))
    return make_result(sides[1], baseline=sides[0], sessions=(session,))


def test_several_samples_count_as_samples_not_as_blocks() -> None:
    wide = judge(several_samples([1.0, 1.1, 1.2, 1.3, 1.4], blocks_each=1)).end_to_end.interval
    more = judge(several_samples([1.0, 1.1, 1.2, 1.3, 1.4], blocks_each=10)).end_to_end.interval
    assert wide is not None
    assert more is not None
    assert wide.low == pytest.approx(more.low), "ten blocks of the same five samples know no more samples"
    assert wide.ratio == pytest.approx((1.0 * 1.1 * 1.2 * 1.3 * 1.4) ** 0.2), "the geometric mean"
    judged = judge(several_samples([1.0, 2.0]))
    assert judged.ratio_of_sums == pytest.approx(2 / 1.5)


def test_the_parts_of_the_difference_add_up() -> None:
    side = make_side()
    other = scaled(side, 0.7)
    judged = judge(make_result(other, baseline=side))
    assert judged.difference is not None
    assert sum(part.share for part in judged.difference.parts) == pytest.approx(1)
    assert sum(part.seconds for part in judged.difference.parts) == pytest.approx(0.4 * 0.3)
    assert judged.difference.total.seconds == pytest.approx(0.4 * 0.3)
    overlapping = tuple(dataclasses.replace(run, seconds=run.seconds * (0.5 if run.stages is None else 1)) for run in other.runs)
    judged = judge(make_result(dataclasses.replace(other, runs=overlapping), baseline=side))
    assert judged.difference is not None
    parts = {part.name: part.seconds for part in judged.difference.parts}
    assert parts[OVERLAP_AND_SYNC] == pytest.approx(0.14)
    assert sum(part.share for part in judged.difference.parts) == pytest.approx(1)
    assert judged.metrics["stage-sync-overhead"].sides["optimized"] == pytest.approx(1.0)
    assert judged.overlapping == ("optimized",)


def test_a_longer_startup_is_paid_back_after_so_many_samples() -> None:
    side = make_side()
    slow_start = dataclasses.replace(scaled(side, 0.5).builds[0], seconds=11.5)
    other = dataclasses.replace(scaled(side, 0.5), builds=(slow_start,))
    judged = judge(make_result(other, baseline=side))
    startup = judged.metrics["startup-and-compile"].sides
    assert startup == {"baseline": pytest.approx(1.5), "optimized": pytest.approx(11.5)}
    assert judged.break_even is not None
    assert (judged.break_even.samples, judged.break_even.low, judged.break_even.high) == (50, 50, 50)
    never = judge(make_result(dataclasses.replace(side, builds=(slow_start,)), baseline=side)).break_even
    assert never is not None
    assert never.samples is None


def test_what_makes_a_number_doubtful_is_flagged() -> None:
    side = make_side()
    doubtful = dataclasses.replace(side, unsteady=("the memory pool still grew",))
    assert judge(make_result(doubtful)).flags["NOT_STEADY"].endswith("optimized: the memory pool still grew")
    reload = make_result(side, sessions=(make_session(order="reload"),))
    assert "ORDER=RELOAD" in judge(reload).flags
    blocked = dataclasses.replace(without_stage_sync(make_run("blocked")), block=None)

    def with_blocked(seconds: float) -> SideResult:
        runs = [dataclasses.replace(blocked, seconds=seconds * factor) for factor in (0.99, 1.0, 1.0, 1.01)]
        return dataclasses.replace(side, runs=(*side.runs, *runs))

    assert "ORDER_SENSITIVE" not in judge(make_result(with_blocked(0.4), baseline=with_blocked(0.4))).flags
    flag = judge(make_result(with_blocked(0.3), baseline=with_blocked(0.4))).flags["ORDER_SENSITIVE"]
    assert "1.333" in flag
    assert judge(make_result(side)).flags == {}


def test_two_groups_of_times_are_flagged() -> None:
    """In each block both sides are equal but for 5 %, yet the medians of all runs fall into different groups."""
    slow, quick = make_run(seconds=0.2), make_run(seconds=0.1)
    ours = tuple(
        run
        for block in range(10)
        for run in in_blocks(slow if block < 5 else quick, blocks=1)
        for run in [dataclasses.replace(run, block=block)]
    )
    side = make_side(*ours)
    runs = tuple(dataclasses.replace(run, seconds=run.seconds * (0.95 if run.block != 4 else 0.45)) for run in scaled(side, 1.0).runs)
    judged = judge(make_result(dataclasses.replace(side, runs=runs), baseline=side, sessions=(make_session(invocations=1),)))
    assert "MULTIMODAL" in judged.flags


@pytest.mark.parametrize(
    ("factor", "rules", "code"),
    [
        (1.05, {}, 3),
        (1.05, {"fail_if": ("slower:10%",)}, 0),
        (1.05, {"fail_if": ("slower:2%",)}, 3),
        (1.05, {"fail_if": ("slower:10%", "vision.slower:1%")}, 3),
        (1.0, {"require_speedup": True}, 3),
        (0.9, {"require_speedup": True}, 0),
        (0.9, {"targets": ("video-llava.vision<91ms",)}, 0),
        (0.9, {"targets": ("video-llava.vision<90ms",)}, 3),
        (0.9, {"targets": ("video-llava.end-to-end<1s", "video-llava.tpot<1us")}, 3),
        (0.5, {"noise_floors": {"end-to-end": 3.0}}, 4),
        (1.05, {"fail_if": ("slower:1%",), "noise_floors": {"end-to-end": 0.2}}, 4),
    ],
)
def test_what_is_demanded_decides_the_exit_code(factor: float, rules: dict[str, Any], code: int) -> None:
    assert compared(factor, **rules).exit_code == code


def test_a_demand_that_cannot_be_decided_is_inconclusive_and_one_of_another_model_refused() -> None:
    side = make_side(*in_blocks(make_run(), blocks=2))
    alone = judge(make_result(baseline=side, sessions=(make_session(2),), targets=("video-llava.load<1s",)))
    assert alone.verdict is None
    assert alone.demands[0].met is None
    assert alone.exit_code == 4
    with pytest.raises(UserError, match="is of eventgpt, and video-llava is measured"):
        compared(1.0, targets=("eventgpt.load<1s",))


def test_outputs_come_before_demands() -> None:
    other = make_side(*in_blocks(make_run(tokens=(1, 2))))
    assert judge(make_result(other, targets=("video-llava.load<100s",))).exit_code == 5


def cycled(factor: float, **rules: Any) -> Judgement:
    """Runs that are equally fast, and throughput runs of the optimized side that take `factor` times as long."""
    side = with_throughput_runs(make_side())
    other = dataclasses.replace(side, throughput_runs=scaled(side, factor).throughput_runs)
    return judge(make_result(other, baseline=side, **rules))


def test_without_throughput_runs_there_is_no_throughput() -> None:
    assert compared(0.5).throughput is None
    assert [timing.name for timing in compared(0.5).timings()] == ["end-to-end", *STAGES, "ttft", "prefill", "tpot"]


@pytest.mark.parametrize(
    ("factor", "claim"),
    [(0.5, Verdict.FASTER), (0.995, Verdict.SAME), (1.02, Verdict.SLOWER)],
)
def test_throughput_is_claimed_by_itself_and_the_verdict_stays_that_of_one_sample(factor: float, claim: Verdict) -> None:
    judged = cycled(factor)
    assert (judged.verdict, judged.exit_code) == (Verdict.SAME, 0)
    assert judged.throughput is not None
    assert judged.throughput.claim is claim
    assert judged.throughput.interval is not None
    assert judged.throughput.interval.ratio == pytest.approx(1 / factor)
    assert judged.throughput.sides["baseline"] is not None
    assert judged.throughput.sides["baseline"].median == pytest.approx(0.4), "seconds for each sample"
    assert judged.throughput.sides["baseline"].runs == 20, "the warm-up is none of them"
    assert judged.timings()[-1] == judged.throughput


def test_the_claim_threshold_of_the_throughput_is_no_lower_than_end_to_end() -> None:
    for noise_floors in ({"end-to-end": 0.1}, {"throughput": 0.1}):
        line = cycled(0.95, noise_floors=noise_floors).throughput
        assert line is not None
        assert (line.claim_threshold, line.claim) == (0.1, Verdict.INCONCLUSIVE)
    line = cycled(0.95, noise_floors={"load": 0.1}).throughput
    assert line is not None
    assert line.claim is Verdict.FASTER


def refusals() -> dict[str, Result]:
    """Everything that keeps a speedup from being claimed, with throughput runs twice as fast."""
    side = with_throughput_runs(make_side())
    other = scaled(side, 0.5)
    streams = list(other.throughput_runs)
    later = dataclasses.replace(other, session="2026-02-02T00:00:00Z")
    inactive = Activation("decode", "plain", False, "load: no call of it")
    few = {
        "baseline": with_throughput_runs(make_side(*in_blocks(make_run(), blocks=5)), *side.throughput_runs[:11]),
        "sessions": (make_session(5),),
    }
    return {
        "other tokens in a throughput run": make_result(
            with_throughput_runs(other, *streams[:-1], dataclasses.replace(streams[-1], tokens=((5, 6), (5, 7)))), side
        ),
        "other work in a throughput run": make_result(
            with_throughput_runs(other, *streams[:-1], dataclasses.replace(streams[-1], work=(Work(frame_indices=(0, 1)),) * 2)), side
        ),
        "another number of tokens in a throughput run": make_result(
            with_throughput_runs(other, *streams[:-1], make_throughput_run(0.4, tokens=(5, 6, 7), block=9)), side
        ),
        "not active": make_result(dataclasses.replace(other, activations=(inactive, GREEDY)), side),
        "outputs differ": make_result(
            other, side, outputs=dataclasses.replace(PRESERVED, checks=(*PRESERVED.checks, make_check(grade="fail")))
        ),
        "outputs not compared": make_result(other, side, outputs=None),
        "no reference": make_result(other, side, outputs=dataclasses.replace(PRESERVED, reference=None)),
        "disturbed": make_result(other, side, sessions=(disturbed(3, 10),)),
        "apart": make_result(later, side, sessions=(make_session(), make_session(started="2026-02-02T00:00:00Z"))),
        "too few blocks": make_result(scaled(few["baseline"], 0.5), **few),  # type: ignore[arg-type]
        "one side only": make_result(with_throughput_runs(other, make_throughput_run(block=None)), side),
        "no other side": make_result(baseline=side),
    }


@pytest.mark.parametrize("case", refusals())
def test_no_throughput_is_claimed_where_no_speedup_would_be(case: str) -> None:
    result = refusals()[case]
    judged = judge(result)
    assert judged.throughput is not None
    assert (judged.throughput.interval, judged.throughput.claim) == (None, None)
    found = judged.throughput.sides["baseline"]
    assert found is not None
    assert found.median == pytest.approx(0.4), "what was measured is there"
    expected = {
        "other tokens in a throughput run": Verdict.OUTPUT_DIFFERS,
        "other work in a throughput run": Verdict.INVALID,
        "another number of tokens in a throughput run": Verdict.INVALID,
        "not active": Verdict.INVALID,
        "outputs differ": Verdict.OUTPUT_DIFFERS,
        "disturbed": Verdict.INVALID,
        "one side only": Verdict.FASTER,
        "no other side": None,
    }
    assert judged.verdict == expected.get(case, Verdict.INCONCLUSIVE)
    second = described(result).second_headline
    assert not any(word in second for word in ("FASTER", "speedup"))
    assert (second == "") == (case == "no other side")


def test_throughput_runs_of_a_disturbed_block_do_not_count() -> None:
    side = with_throughput_runs(make_side())
    loud = tuple(dataclasses.replace(stream, seconds=9.0) if stream.block == 0 else stream for stream in side.throughput_runs)
    line = judge(make_result(dataclasses.replace(side, throughput_runs=loud), side, sessions=(disturbed(1, 10),))).throughput
    assert line is not None
    assert line.claim is Verdict.SAME
    assert line.sides["optimized"] is not None
    assert line.sides["optimized"].maximum < 1


def test_rows_of_several_samples_are_repetitions_of_one_thing() -> None:
    """Each row is of all samples, whichever the block is of: ten blocks are ten pairs, not two samples."""
    result = several_samples([1.0, 1.0], blocks_each=5)
    assert result.optimized is not None
    side = with_throughput_runs(result.baseline)
    other = dataclasses.replace(result.optimized, throughput_runs=scaled(side, 0.5).throughput_runs)
    result = dataclasses.replace(result, baseline=side, optimized=other)
    judged = judge(result)
    assert judged.throughput is not None
    assert judged.throughput.claim is Verdict.FASTER
    assert any("does not cover other samples" in note for note in described(result).notes)


def test_the_half_width_of_one_variant_is_that_of_its_median() -> None:
    assert half_width(make_session(), {"baseline": make_side()}) == 0
    assert half_width(make_session(2), {"baseline": make_side(*in_blocks(make_run(), blocks=2))}) is None


def test_what_generate_encodes_has_no_stage_of_its_own() -> None:
    as_one = [dataclasses.replace(run, work=dataclasses.replace(run.work, encoded_in="generate")) for run in make_side().runs]
    side = make_side(*as_one)
    judged = judge(make_result(scaled(side, 0.7), baseline=side))
    assert judged.verdict is Verdict.FASTER
    assert judged.flags["STAGES_AS_ONE"].startswith("with visual features computed apart this model answers otherwise, so on the baseline")
    vision = next(timing for timing in judged.stages if timing.name == "vision")
    assert vision.claim is None and vision.interval is None and not any(vision.sides.values())
    assert judged.difference is not None
    assert [part.name for part in judged.difference.parts] == ["load", "preprocess", "generate", OVERLAP_AND_SYNC]
    assert sum(part.share for part in judged.difference.parts) == pytest.approx(1)
    other = judge(make_result(make_side(), baseline=side))
    assert other.verdict is Verdict.INVALID and "encoded_in generate and None" in other.reasons[0]


@pytest.mark.parametrize(("disturbed", "invalid"), [(6, True), (5, False)])
def test_of_one_variant_nothing_is_told_if_no_block_counts(disturbed: int, invalid: bool) -> None:
    session = make_session(6)
    causes = ("other processes used 70% of the CPU",)
    blocks = tuple(dataclasses.replace(block, disturbances=causes if block.number < disturbed else ()) for block in session.blocks)
    result = dataclasses.replace(make_result(sessions=(dataclasses.replace(session, blocks=blocks),)), optimized=None, outputs=None)
    judged = judge(result)
    assert (judged.verdict, judged.exit_code) == ((Verdict.INVALID, 6) if invalid else (None, 0))
    reason = "6 of 6 blocks were disturbed: other processes used 70% of the CPU"
    assert judged.reasons == ((reason,) if invalid else ())
    told = f"No run counts, so nothing is told: {reason}." if invalid else "One variant was measured: one sample takes "
    assert in_plain_words(judged).startswith(told)
