"""Two models: ratios with intervals, and where a difference comes from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evbench.results import Activation, Result
from evbench.verdict.difference import NEW_TOKENS, OVERLAP_AND_SYNC
from evbench.verdict.model_difference import OUTSIDE, Decomposition
from evbench.verdict.models import judge_models
from tests.two_models import EVENTS, VIDEO, make_models


def parts(split: Decomposition | None) -> dict[str, float]:
    assert split is not None
    return {part.name: part.seconds for part in split.parts}


def total(split: Decomposition | None) -> float:
    assert split is not None
    return split.total.seconds


def adds_up(split: Decomposition | None) -> bool:
    assert split is not None
    shares = [part.share for part in split.parts]
    whole = sum(part.seconds for part in split.parts) == pytest.approx(split.total.seconds)
    return whole and (None in shares or sum(share for share in shares if share is not None) == pytest.approx(1))


def test_each_quantity_has_its_medians_and_the_ratio_of_the_baseline_over_the_other() -> None:
    judged = judge_models(make_models(noise=0))
    assert {one.name: one.medians["baseline"] for one in judged.stages} == pytest.approx(
        {"load": 0.1, "preprocess": 0.05, "vision": 0.08, "generate": 0.2 + 40 * 0.01 + 0.002}
    )
    ratios = {one.name: one.interval.ratio for one in (*judged.stages, *judged.token_timings, *judged.token_counts) if one.interval}
    assert ratios["load"] == pytest.approx(2)
    assert ratios["vision"] == pytest.approx(2 / 3)
    assert ratios["tpot"] == pytest.approx(1.25), "of single decode steps, whatever their number"
    assert ratios["prompt-tokens"] == pytest.approx(2076 / 641)
    assert ratios["new-tokens"] == pytest.approx(41 / 21)
    assert all(one.different for one in (*judged.stages, *judged.token_counts, *judged.memory["process"]))
    assert judged.memory["process"][2].medians == {"baseline": 9 * 2**20, "optimized": 13 * 2**20}


def test_at_equal_length_both_generate_as_many_tokens_and_length_explains_nothing() -> None:
    judged = judge_models(make_models(own=False, tokens=50))
    assert judged.quantity("new-tokens").medians == {"baseline": 50, "optimized": 50}
    assert judged.quantity("new-tokens").different is False
    assert parts(judged.generate_difference)[NEW_TOKENS] == 0
    other = make_models(own=False, tokens=50)
    short = replace(other.baseline, runs=tuple(replace(run, tokens=run.tokens[:-1]) for run in other.baseline.runs))
    assert judge_models(replace(other, baseline=short)).invalid == ("the baseline generated 49 tokens where 50 were requested",)


def test_the_parts_add_up_and_overlap_is_one_of_them() -> None:
    judged = judge_models(make_models(noise=0))
    assert adds_up(judged.difference) and adds_up(judged.generate_difference)
    found = parts(judged.difference)
    assert found["load"] == pytest.approx(0.05)
    assert found["vision"] == pytest.approx(-0.04), "a part may be the other way round"
    assert found[OVERLAP_AND_SYNC] == pytest.approx(0)
    saving = judge_models(make_models(replace(VIDEO, saved=0.06), noise=0))
    assert parts(saving.difference)[OVERLAP_AND_SYNC] == pytest.approx(-0.05)
    assert adds_up(saving.difference) and total(saving.difference) == pytest.approx(total(judged.difference) - 0.05)


def test_generate_is_split_into_prefill_length_and_tpot() -> None:
    judged = judge_models(make_models(noise=0))
    assert parts(judged.generate_difference) == pytest.approx(
        {
            "prefill": 0.14,
            NEW_TOKENS: 20 * 0.009,
            "tpot": 0.002 * 30,
            OUTSIDE: 0,
        }
    )
    one = judge_models(make_models(VIDEO, replace(EVENTS, tokens=1), noise=0))
    assert parts(one.generate_difference)[NEW_TOKENS] == pytest.approx(0.4), "an output of one token has no TPOT"
    assert parts(one.generate_difference)["tpot"] == 0
    assert one.quantity("tpot").medians["optimized"] is None and one.quantity("tpot").interval is None
    assert adds_up(one.generate_difference)


@pytest.mark.parametrize("scenes", [1, 2, 6])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_the_parts_add_up_for_any_number_of_scenes(scenes: int, noise: float) -> None:
    for own in (False, True):
        judged = judge_models(make_models(scenes=scenes, noise=noise, own=own))
        assert adds_up(judged.difference) and adds_up(judged.generate_difference)
        assert judged.difference is not None
        lone = judged.difference.total
        assert (lone.low is None) == (scenes == 1)


def test_where_the_interval_includes_1_no_difference_is_found_and_there_are_no_shares() -> None:
    judged = judge_models(make_models(VIDEO, VIDEO, noise=0.2))
    assert judged.difference is not None
    assert judged.end_to_end.interval is not None and judged.end_to_end.interval.low < 1 < judged.end_to_end.interval.high
    assert judged.end_to_end.different is False
    assert {part.share for part in judged.difference.parts} == {None}


def test_the_other_order_gives_the_inverse() -> None:
    ours, theirs = judge_models(make_models()), judge_models(make_models(swapped=True))
    assert ours.side("eventgpt") == "optimized" and theirs.side("eventgpt") == "baseline"
    one, other = ours.end_to_end.interval, theirs.end_to_end.interval
    assert one is not None and other is not None
    assert one.ratio * other.ratio == pytest.approx(1) and one.low * other.high == pytest.approx(1, rel=0.01)
    assert total(theirs.difference) == pytest.approx(-total(ours.difference))


def test_the_score_is_of_each_model_against_its_own_captions() -> None:
    judged = judge_models(make_models(VIDEO, replace(EVENTS, right=False)))
    ours, theirs = judged.sides["baseline"].score, judged.sides["optimized"].score
    assert ours is not None and theirs is not None
    assert (ours.share, ours.exact, ours.scenes) == (1, 6, 6)
    assert (theirs.share, theirs.exact) == (0, 0)
    alone = judge_models(make_models(scenes=1)).sides["baseline"].score
    assert alone is not None and (alone.share, alone.low, alone.high) == (1, None, None)


def test_generate_divided_by_its_tokens_is_not_the_tpot() -> None:
    measured = judge_models(make_models(noise=0)).sides["baseline"]
    assert measured.generate_per_token_over_tpot is not None and measured.tpot_over_prompt_token is not None
    assert measured.generate_per_token_over_tpot.ratio == pytest.approx(0.602 / 41 / 0.01)
    assert measured.tpot_over_prompt_token.ratio == pytest.approx(0.01 / (0.2 / 2076))


def test_answers_that_were_cut_off_are_counted() -> None:
    judged = judge_models(make_models(replace(VIDEO, stop="length")))
    assert (judged.sides["baseline"].cut_off, judged.sides["optimized"].cut_off) == (1, 0)


def inactive(result: Result) -> Result:
    measured = replace(result.baseline, activations=(Activation("decode", "plain", False, "nothing was seen"),))
    return replace(result, baseline=measured)


def test_of_disturbed_scenes_only_tokens_and_captions_are_known() -> None:
    judged = judge_models(make_models(disturbed=6))
    assert judged.invalid and judged.difference is None and judged.generate_difference is None
    assert {median for one in (judged.end_to_end, *judged.stages, *judged.token_timings) for median in one.medians.values()} == {None}
    assert judged.quantity("new-tokens").medians == {"baseline": 41, "optimized": 21} and judged.quantity("new-tokens").interval is not None
    score = judged.sides["baseline"].score
    assert score is not None and (score.share, score.scenes) == (1, 6)
    assert judged.sides["baseline"].generate_per_token_over_tpot is None


def test_interference_leaves_the_numbers_of_tokens_and_an_inactive_choice_does_not() -> None:
    judged = judge_models(make_models(noise=0, disturbed=3))
    found = judged.quantity("new-tokens").interval
    assert judged.invalid and judged.end_to_end.interval is None and found is not None
    assert found.ratio == pytest.approx(41 / 21)
    assert judged.memory["process"][2].interval is None
    assert judge_models(inactive(make_models())).quantity("new-tokens").interval is None


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (make_models(disturbed=2), "2 of 6 blocks were disturbed: it was busy"),
        (inactive(make_models()), "NOT_ACTIVE: decode=plain of the baseline (nothing was seen)"),
    ],
)
def test_an_invalid_session_has_no_ratio(result: Result, why: str) -> None:
    judged = judge_models(result)
    assert judged.invalid == (why,)
    assert judged.end_to_end.interval is None and judged.end_to_end.different is None
    assert judged.end_to_end.medians["baseline"] is not None
    assert judged.difference is not None and judged.generate_difference is not None
    assert not [part for part in (*judged.difference.parts, *judged.generate_difference.parts) if part.share is not None]
