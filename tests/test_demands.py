from __future__ import annotations

import pytest

from evbench.errors import UserError
from evbench.results import STAGES
from evbench.verdict.demands import NAMES, Demand, decide_slower, decide_target, read
from evbench.verdict.statistics import Interval, median_interval

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
    assert (outcome.low, outcome.high, outcome.is_time, outcome.text) == (1.0, 1.5, True, "text")


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
    assert (outcome.low, outcome.high, outcome.is_time) == (low, high, False)
    assert outcome.measured == pytest.approx((low + high) / 2)


def test_half_as_fast_is_slower_by_a_hundred_per_cent() -> None:
    assert decide_slower(slower(1.0), interval(0.45, 0.49), 0.01).met is False
    assert decide_slower(slower(1.0), interval(0.51, 0.55), 0.01).met is True


def test_without_an_interval_nothing_is_decided() -> None:
    outcome = decide_slower(slower(0.02), None, 0.01)
    assert (outcome.measured, outcome.low, outcome.high, outcome.met) == (None, None, None, None)
