from __future__ import annotations

import dataclasses

import pytest

from evbench.errors import UserError
from evbench.report import timings
from evbench.report.exit_reason import exit_reason
from evbench.results import STAGES, FailedSample, Result
from evbench.verdict import refusal
from evbench.verdict.demands import NAMES, Demand, DemandOutcome, decide_slower, decide_target, read
from evbench.verdict.judge import judge
from evbench.verdict.statistics import Interval, median_interval
from tests.simulation import PLAN, Noise, SimulatedMachine, simulate

MODEL = "video-llava"


def target(seconds: float) -> Demand:
    return Demand("text", "end-to-end", seconds, None)


def slower(share: float) -> Demand:
    return Demand("text", "end-to-end", None, share)


def interval(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high, 0.01)


@pytest.mark.parametrize(
    ("text", "what", "seconds"),
    [
        ("video-llava.end-to-end<2.5s", "end-to-end", 2.5),
        ("video-llava.generate<3s", "generate", 3.0),
        ("video-llava.load<120ms", "load", 0.12),
        ("video-llava.preprocess<1.5ms", "preprocess", 0.0015),
        ("video-llava.vision<900us", "vision", 0.0009),
        ("video-llava.tpot<900µs", "tpot", 0.0009),
        ("video-llava.ttft<0.5s", "ttft", 0.5),
        ("video-llava.prefill<0.5s", "prefill", 0.5),
        ("  video-llava.end-to-end < 2.5 s ", "end-to-end", 2.5),
    ],
)
def test_a_target_is_read_in_its_unit(text: str, what: str, seconds: float) -> None:
    (demand,) = read([text], [], MODEL)
    assert (demand.text, demand.timing, demand.slower) == (text.strip(), what, None)
    assert demand.seconds == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "what", "share"),
    [
        ("slower:2%", "end-to-end", 0.02),
        ("slower:0%", "end-to-end", 0.0),
        ("slower:2.5%", "end-to-end", 0.025),
        ("end-to-end.slower:2%", "end-to-end", 0.02),
        ("vision.slower:5%", "vision", 0.05),
        ("tpot.slower:150%", "tpot", 1.5),
        (" slower:2% ", "end-to-end", 0.02),
    ],
)
def test_a_reason_to_fail_is_read(text: str, what: str, share: float) -> None:
    (demand,) = read([], [text], MODEL)
    assert (demand.text, demand.timing, demand.seconds) == (text.strip(), what, None)
    assert demand.slower == pytest.approx(share, rel=1e-12)


def test_targets_come_first_and_each_in_its_order() -> None:
    demands = read(["video-llava.load<2s", "video-llava.end-to-end<1s"], ["vision.slower:5%", "slower:2%"], MODEL)
    assert [demand.timing for demand in demands] == ["load", "end-to-end", "vision", "end-to-end"]
    assert read([], [], MODEL) == []


def test_every_stage_can_be_named() -> None:
    assert set(STAGES) < set(NAMES)
    assert len(read([f"{MODEL}.{name}<1s" for name in NAMES], [f"{name}.slower:1%" for name in NAMES], MODEL)) == 2 * len(NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "end-to-end<1s",
        "video-llava.end-to-end",
        "video-llava.end-to-end<1",
        "video-llava.end-to-end<s",
        "video-llava.end-to-end<1 minute",
        "video-llava.end-to-end<=1s",
        "video-llava.end-to-end>1s",
        "video-llava.end-to-end<-1s",
        "video-llava.end-to-end<1e3s",
        "video-llava.end-to-end<1,5s",
        "video-llava.end-to-end<nans",
        "video-llava.decode<1s",
        "video-llava.ttft token<1s",
        "video-llava.end-to-end<1s and more",
    ],
)
def test_a_target_that_cannot_be_read_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError) as caught:
        read([text], [], MODEL)
    message = str(caught.value)
    assert message.startswith(f"--target {text!r} cannot be read")
    assert "'video-llava.ttft<0.5s'" in message and all(name in message for name in NAMES)


@pytest.mark.parametrize(
    "text",
    ["", "slower", "slower:2", "slower:%", "slower:-2%", "slower:2 %%", "faster:2%", "decode.slower:2%", ".slower:2%", "slower:2% or more"],
)
def test_a_reason_to_fail_that_cannot_be_read_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError) as caught:
        read([], [text], MODEL)
    message = str(caught.value)
    assert message.startswith(f"--fail-if {text!r} cannot be read")
    assert "slower:2%" in message and all(name in message for name in NAMES)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("total", "end-to-end"), ("first-token", "ttft"), ("further-token", "tpot"), ("visoin", "vision")],
)
def test_a_former_or_misspelt_name_is_refused_with_the_name_that_was_meant(name: str, meant: str) -> None:
    for targets, fail_if in (([f"{MODEL}.{name}<1s"], []), ([], [f"{name}.slower:2%"])):
        with pytest.raises(UserError, match=f"Did you mean {meant}\\?$"):
            read(targets, fail_if, MODEL)


def test_a_target_of_another_model_is_refused() -> None:
    with pytest.raises(UserError, match=r"is of eventgpt, and video-llava is measured; leave it out, or choose that --model"):
        read(["video-llava.end-to-end<1s", "eventgpt.end-to-end<1s"], [], MODEL)


SIX = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]
"""So few that the interval of their median is all of them."""


@pytest.mark.parametrize(
    ("seconds", "met"),
    [(1.6, True), (1.51, True), (1.5, None), (1.25, None), (1.01, None), (1.0, False), (0.9, False)],
)
def test_a_target_is_met_if_the_whole_interval_is_below_it_and_missed_if_none_of_it_is(seconds: float, met: bool | None) -> None:
    outcome = decide_target(target(seconds), SIX, median_interval(SIX))
    assert outcome.met is met
    assert outcome.measured == pytest.approx(1.25)
    assert (outcome.low, outcome.high, outcome.unit, outcome.text) == (1.0, 1.5, "seconds", "text")


@pytest.mark.parametrize(("values", "measured"), [([], None), ([0.1], 0.1), ([0.1, 0.3, 0.2, 0.5, 0.4], 0.3)])
def test_too_few_values_decide_no_target(values: list[float], measured: float | None) -> None:
    outcome = decide_target(target(100.0), values, median_interval(values))
    assert outcome.met is None
    assert (outcome.measured, outcome.low, outcome.high) == (measured, None, None)


@pytest.mark.parametrize(
    ("low", "high", "met"),
    [(1.1, 1.2, True), (0.99, 1.2, True), (1 / 1.02, 1.2, True), (0.97, 1.2, None), (0.97, 1 / 1.02, None), (0.9, 0.97, False)],
)
def test_slower_by_two_per_cent_is_judged_by_the_whole_interval(low: float, high: float, met: bool | None) -> None:
    outcome = decide_slower(slower(0.02), interval(low, high), 0.01)
    assert outcome.met is met
    assert (outcome.low, outcome.high, outcome.unit) == (low, high, "ratio")
    assert outcome.measured == pytest.approx((low + high) / 2)


def test_half_as_fast_is_slower_by_a_hundred_per_cent() -> None:
    assert decide_slower(slower(1.0), interval(0.45, 0.49), 0.01).met is False
    assert decide_slower(slower(1.0), interval(0.51, 0.55), 0.01).met is True


def test_without_an_interval_nothing_is_decided() -> None:
    outcome = decide_slower(slower(0.02), None, 0.01)
    assert (outcome.measured, outcome.low, outcome.high, outcome.met) == (None, None, None, None)


# The targets of a set: so many samples in a time, in a memory, all of them.


@pytest.mark.parametrize(
    ("text", "demand"),
    [
        ("video-llava.200-samples<15min", Demand("video-llava.200-samples<15min", "200-samples", 900.0, None, samples=200)),
        ("video-llava.1-samples<90s", Demand("video-llava.1-samples<90s", "1-samples", 90.0, None, samples=1)),
        ("video-llava.memory<24GiB", Demand("video-llava.memory<24GiB", "memory", None, None, most=24 * 2.0**30)),
        ("video-llava.memory < 0.5 GB", Demand("video-llava.memory < 0.5 GB", "memory", None, None, most=5e8)),
        ("video-llava.failed-samples<1", Demand("video-llava.failed-samples<1", "failed-samples", None, None, most=1.0)),
        ("video-llava.end-to-end<1min", Demand("video-llava.end-to-end<1min", "end-to-end", 60.0, None)),
    ],
)
def test_targets_of_a_set_are_read(text: str, demand: Demand) -> None:
    assert read([text], [], MODEL) == [demand]


@pytest.mark.parametrize(
    "text",
    [
        "video-llava.0-samples<15min", "video-llava.samples<15min", "video-llava.200-samples<15", "video-llava.200-samples<15GiB",
        "video-llava.99999999999-samples<1s", "video-llava.memory<24", "video-llava.memory<24s", "video-llava.memory<0GiB",
        "video-llava.failed-samples<1s", "video-llava.failed-samples<0", "video-llava.failed-samples<", "video-llava.memory<24gib",
        "video-llava.end-to-end<3GiB", f"video-llava.end-to-end<{'9' * 400}s",
    ],
)  # fmt: skip
def test_targets_of_a_set_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"cannot be read; .* or MODEL.200-samples<15min, MODEL.memory<24GiB, MODEL.failed-samples<1\."):
        read([text], [], MODEL)


def demanded(result: Result, *targets: str) -> list[DemandOutcome]:
    rules = dataclasses.replace(result.rules, targets=tuple(f"{MODEL}.{target}" for target in targets))
    return list(judge(dataclasses.replace(result, rules=rules)).demands)


def test_so_many_samples_take_the_start_and_the_mean_of_each() -> None:
    """Of the simulated machine each sample takes 0.63 s, and a start 1 s; the optimized side is twice as fast."""
    machine = SimulatedMachine(3, Noise(variation=0.001, drift=0, first_slot=0, outliers=0), faster=2.0)
    result = simulate(machine, PLAN, 10)
    assert result.optimized is not None
    (met, missed, unclear) = demanded(result, "200-samples<70s", "200-samples<60s", "200-samples<64s")
    assert (met.met, missed.met) == (True, False)
    assert met.measured == pytest.approx(1 + 200 * 0.63 / 2, rel=0.01)
    assert met.measured is not None and met.low is not None and met.high is not None and met.low < met.measured < met.high
    assert (
        unclear.low is not None
        and unclear.high is not None
        and unclear.met is ((unclear.high < 64) or (None if unclear.low < 64 else False))
    )
    alone = dataclasses.replace(result, optimized=None, outputs=None)
    (whole,) = demanded(alone, "200-samples<15min")
    assert whole.met is True and whole.measured == pytest.approx(1 + 200 * 0.63, rel=0.01)


def test_a_batch_is_as_many_samples_as_it_has() -> None:
    result = simulate(SimulatedMachine(3, Noise(variation=0.001, drift=0, first_slot=0, outliers=0)), PLAN, 10)
    alone = dataclasses.replace(result, optimized=None, outputs=None)
    workload = alone.baseline.workload
    batches = tuple(dataclasses.replace(one, others=(one,) * 3) for one in workload.samples)
    failed = (FailedSample(1, "b.mp4", "b.mp4 is damaged"),)
    side = dataclasses.replace(alone.baseline, workload=dataclasses.replace(workload, samples=batches), failed=failed)
    several, left_out = demanded(dataclasses.replace(alone, baseline=side), "200-samples<15min", "failed-samples<4")
    (one_by_one,) = demanded(alone, "200-samples<15min")
    assert several.measured == pytest.approx(1 + 200 * 0.63 / 4, rel=0.01)
    assert several.measured is not None and several.low is not None and several.high is not None and one_by_one.low is not None
    assert several.low < several.measured < several.high < one_by_one.low
    assert (left_out.measured, left_out.met) == (4.0, False)
    assert "1 of 11 batches of 4 samples of the baseline side could not be used" in refusal.failed({"baseline": side})


def test_the_interval_of_several_samples_is_over_sequences() -> None:
    machine = SimulatedMachine(3, Noise(samples=0.3), faster=1.0)
    result = simulate(machine, PLAN, 12)
    assert result.optimized is not None
    streets = tuple(dataclasses.replace(one, sequence=str(number // 4)) for number, one in enumerate(result.optimized.workload.samples))
    workload = dataclasses.replace(result.optimized.workload, samples=streets)
    windows = dataclasses.replace(result, optimized=dataclasses.replace(result.optimized, workload=workload))
    (ours,), (theirs,) = demanded(windows, "200-samples<15min"), demanded(result, "200-samples<15min")
    assert ours.high is not None and ours.low is not None and theirs.high is not None and theirs.low is not None
    assert ours.high - ours.low > theirs.high - theirs.low


def test_of_one_sample_too_few_blocks_decide_nothing() -> None:
    few = simulate(SimulatedMachine(1), dataclasses.replace(PLAN, blocks=5))
    (outcome,) = demanded(few, "200-samples<15min")
    assert outcome.met is None and outcome.low is None and outcome.measured is not None
    (enough,) = demanded(simulate(SimulatedMachine(1)), "200-samples<15min")
    assert enough.met is True


def test_memory_and_failed_samples_are_counted() -> None:
    result = simulate(SimulatedMachine(1), PLAN, 4)
    assert result.optimized is not None
    (fits, too_much, none_failed) = demanded(result, "memory<1GiB", "memory<0.0000000001GiB", "failed-samples<1")
    assert (fits.met, too_much.met, none_failed.met) == (True, False, True)
    assert (fits.measured, fits.unit, none_failed.measured, none_failed.unit) == (1.0, "bytes", 0.0, "count")
    side = dataclasses.replace(result.optimized, failed=(FailedSample(4, "4.mp4", "4.mp4 is cut off"),))
    lost = dataclasses.replace(result, optimized=side, baseline=dataclasses.replace(result.baseline, failed=side.failed))
    (missed,) = demanded(lost, "failed-samples<1")
    assert missed.met is False and missed.measured == 1
    rules = dataclasses.replace(lost.rules, targets=(f"{MODEL}.failed-samples<1", f"{MODEL}.memory<24GiB"))
    judged = judge(dataclasses.replace(lost, rules=rules))
    assert exit_reason(dataclasses.replace(lost, rules=rules), judged) == "exit 3: failed-samples 1, target below 1"
    rows = timings.demands(judged).rows
    assert rows == (("video-llava.failed-samples<1", "1", "-", "NO"), ("video-llava.memory<24GiB", "0.00 MiB", "-", "yes"))
