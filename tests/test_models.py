"""What is told of two models: ratios with intervals, and where a difference comes from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evbench.results import Activation, Result
from evbench.verdict.models import Part, Split, account
from tests.two_models import EVENTS, VIDEO, make_models


def parts(split: Split) -> dict[str, float]:
    return {part.name: part.amount for part in split.parts}


def adds_up(split: Split) -> bool:
    shares = [part.share for part in split.parts]
    whole = sum(part.amount for part in split.parts) == pytest.approx(split.whole.amount)
    return whole and (None in shares or sum(share for share in shares if share is not None) == pytest.approx(1))


def test_each_quantity_has_its_medians_and_how_many_times_as_much_the_baseline_takes() -> None:
    told = account(make_models(noise=0))
    assert {line.name: line.medians["baseline"] for line in told.stages} == pytest.approx(
        {"load": 0.1, "preprocess": 0.05, "vision": 0.08, "generate": 0.2 + 40 * 0.01 + 0.002}
    )
    ratios = {line.name: line.interval.ratio for line in (*told.stages, *told.inside, *told.tokens) if line.interval}
    assert ratios["load"] == pytest.approx(2)
    assert ratios["vision"] == pytest.approx(2 / 3)
    assert ratios["further token"] == pytest.approx(1.25), "decoding over further tokens, whatever their number"
    assert ratios["tokens in the prompt"] == pytest.approx(2076 / 641)
    assert ratios["new tokens"] == pytest.approx(41 / 21)
    assert all(line.different for line in (*told.stages, *told.tokens, *told.memory["process"]))
    assert told.memory["process"][2].medians == {"baseline": 9 * 2**20, "optimized": 13 * 2**20}


def test_at_equal_length_both_make_as_many_tokens_and_length_explains_nothing() -> None:
    told = account(make_models(own=False, tokens=50))
    assert told.line("new tokens").medians == {"baseline": 50, "optimized": 50}
    assert told.line("new tokens").different is False
    assert parts(told.generate)["length of the answer"] == 0
    other = make_models(own=False, tokens=50)
    short = replace(other.baseline, runs=tuple(replace(run, tokens=run.tokens[:-1]) for run in other.baseline.runs))
    assert account(replace(other, baseline=short)).invalid == ("the baseline made 49 tokens where 50 were asked for",)


def test_the_parts_add_up_and_overlap_is_one_of_them() -> None:
    told = account(make_models(noise=0))
    assert adds_up(told.difference) and adds_up(told.generate)
    found = parts(told.difference)
    assert found["load"] == pytest.approx(0.05)
    assert found["vision"] == pytest.approx(-0.04), "a part may be the other way round"
    assert found["overlap of stages, barriers"] == pytest.approx(0)
    saving = account(make_models(replace(VIDEO, saved=0.06), noise=0))
    assert parts(saving.difference)["overlap of stages, barriers"] == pytest.approx(-0.05)
    assert adds_up(saving.difference) and saving.difference.whole.amount == pytest.approx(told.difference.whole.amount - 0.05)


def test_generate_is_split_into_prefill_length_and_time_of_a_token() -> None:
    told = account(make_models(noise=0))
    assert parts(told.generate) == pytest.approx(
        {
            "prefill": 0.14,
            "length of the answer": 20 * 0.009,
            "time of a further token": 0.002 * 30,
            "before prefill, and behind the last token": 0,
        }
    )
    one = account(make_models(VIDEO, replace(EVENTS, tokens=1), noise=0))
    assert parts(one.generate)["length of the answer"] == pytest.approx(0.4), "an answer of one token has no time of a further one"
    assert parts(one.generate)["time of a further token"] == 0
    assert one.line("further token").medians["optimized"] is None and one.line("further token").interval is None
    assert adds_up(one.generate)


@pytest.mark.parametrize("scenes", [1, 2, 6])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_the_parts_add_up_for_any_number_of_scenes(scenes: int, noise: float) -> None:
    for own in (False, True):
        told = account(make_models(scenes=scenes, noise=noise, own=own))
        assert adds_up(told.difference) and adds_up(told.generate)
        lone = told.difference.whole
        assert (lone.low is None) == (scenes == 1)


def test_where_the_interval_includes_1_no_difference_is_found_and_nothing_shared_out() -> None:
    told = account(make_models(VIDEO, VIDEO, noise=0.2))
    assert told.total.interval is not None and told.total.interval.low < 1 < told.total.interval.high
    assert told.total.different is False
    assert {part.share for part in told.difference.parts} == {None}


def test_the_other_order_gives_the_inverse() -> None:
    ours, theirs = account(make_models()), account(make_models(swapped=True))
    assert ours.side("eventgpt") == "optimized" and theirs.side("eventgpt") == "baseline"
    one, other = ours.total.interval, theirs.total.interval
    assert one is not None and other is not None
    assert one.ratio * other.ratio == pytest.approx(1) and one.low * other.high == pytest.approx(1, rel=0.01)
    assert theirs.difference.whole.amount == pytest.approx(-ours.difference.whole.amount)


def test_the_score_is_of_each_model_against_its_own_captions() -> None:
    told = account(make_models(VIDEO, replace(EVENTS, right=False)))
    ours, theirs = told.sides["baseline"].score, told.sides["optimized"].score
    assert ours is not None and theirs is not None
    assert (ours.share, ours.exact, ours.scenes) == (1, 6, 6)
    assert (theirs.share, theirs.exact) == (0, 0)
    alone = account(make_models(scenes=1)).sides["baseline"].score
    assert alone is not None and (alone.share, alone.low, alone.high) == (1, None, None)


def test_a_whole_stage_over_its_tokens_is_not_the_time_of_a_token() -> None:
    measured = account(make_models(noise=0)).sides["baseline"]
    assert measured.mixed is not None and measured.over_prompt is not None
    assert measured.mixed.ratio == pytest.approx(0.602 / 41 / 0.01)
    assert measured.over_prompt.ratio == pytest.approx(0.01 / (0.2 / 2076))


def test_answers_that_were_cut_off_are_counted() -> None:
    told = account(make_models(replace(VIDEO, stop="length")))
    assert (told.sides["baseline"].cut, told.sides["optimized"].cut) == (1, 0)


def inactive(result: Result) -> Result:
    measured = replace(result.baseline, activations=(Activation("decode", "plain", False, "nothing was seen"),))
    return replace(result, baseline=measured)


def test_what_disturbs_leaves_the_numbers_of_tokens_and_what_is_not_at_work_does_not() -> None:
    told = account(make_models(noise=0, disturbed=3))
    found = told.line("new tokens").interval
    assert told.invalid and told.total.interval is None and found is not None
    assert found.ratio == pytest.approx(41 / 21)
    assert told.memory["process"][2].interval is None
    assert account(inactive(make_models())).line("new tokens").interval is None


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (make_models(disturbed=2), "2 of 6 blocks were disturbed: it was busy"),
        (inactive(make_models()), "NOT_ACTIVE: decode=plain of the baseline (nothing was seen)"),
    ],
)
def test_where_the_measurement_is_not_fit_no_ratio_is_told(result: Result, why: str) -> None:
    told = account(result)
    assert told.invalid == (why,)
    assert told.total.interval is None and told.total.different is None
    assert told.total.medians["baseline"] is not None
    assert not [part for part in (*told.difference.parts, *told.generate.parts) if part.share is not None]
    assert isinstance(told.difference.whole, Part)
