"""Each statement of the published comparison is checked: by its own figures, or by what was measured."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from evbench.report import statements
from evbench.report.published import PAGE, Figure
from evbench.report.statements import STATEMENTS, Finding, Measured, Span, examine, span
from evbench.results import EventWindow
from evbench.verdict.models import account
from tests.two_models import EVENTS, VIDEO, WINDOW, Model, make_models

NOTHING = Measured(None, None)


def measured(
    video: Model = VIDEO,
    events: Model = EVENTS,
    *,
    window: EventWindow | None = WINDOW,
    swapped: bool = False,
    noise: float = 0.01,
    disturbed: int = 0,
) -> Measured:
    equal = account(make_models(video, events, own=False, tokens=50, window=window, swapped=swapped, noise=noise, disturbed=disturbed))
    own = account(make_models(video, events, window=window, swapped=swapped, noise=noise, disturbed=disturbed))
    return Measured(equal, own, (("a red car", "a blue car"), ("a tree", "a tree stands")))


def check(number: int, found: Measured = NOTHING, changed: Mapping[str, str] | None = None) -> Finding:
    """`changed`: figure of the page -> another text."""
    page = PAGE | {name: replace(PAGE[name], text=text) for name, text in (changed or {}).items()}
    return STATEMENTS[number - 1].check(page, found)


def test_there_are_24_each_with_its_figures_lines_and_answer() -> None:
    assert [statement.number for statement in STATEMENTS] == list(range(1, 25))
    used = {name for statement in STATEMENTS for name in statement.figures}
    assert used <= PAGE.keys()
    for found in (NOTHING, measured()):
        answers = examine(PAGE, found)
        for statement in STATEMENTS:
            finding = answers[statement.number]
            assert finding.said and finding.found
            assert re.fullmatch(r"\d+(, \d+)*", statement.lines(PAGE))
            assert found is NOTHING or statement.basis != "measured here" or finding.found != statements.UNTOLD


def test_what_is_found_of_the_page_as_it_stands() -> None:
    answers = {number: finding.answer for number, finding in examine(PAGE, NOTHING).items()}
    untold = [9, 11, 13, 16, 19, 21, 22]
    assert [number for number, answer in answers.items() if answer == "cannot be told here"] == untold
    assert {answer for number, answer in answers.items() if number not in untold} == {"does not hold"}


COMPUTED = {1: "46.7x", 2: "3.15x", 3: "33 %", 4: "2.53 s", 5: "2.77 s", 6: "65 %", 7: "1.038 s", 8: "2.25x", 10: "301,056 B",
            12: "4.21 MB", 14: "1.13x", 15: "0.32", 17: "612 s", 18: "15:10 UTC"}  # fmt: skip


@pytest.mark.parametrize("number", COMPUTED)
def test_the_figure_beside_it_is_computed_from_the_others(number: int) -> None:
    assert COMPUTED[number] in check(number).found


RIGHT: dict[int, dict[str, str]] = {
    1: {"speedup of loading": "46.7"},
    2: {"speedup": "3.15"},
    3: {"loading's share of the speedup": "33"},
    4: {"generate, Video-LLaVA": "2.53"},
    5: {"mean, Video-LLaVA": "2.77"},
    6: {"share of generate, Video-LLaVA": "65"},
    7: {"total, EventGPT": "1.038"},
    8: {"speedup of generate": "2.25"},
    10: {"size of pixel values": "301", "size of features": "395", "size of an event image": "922"},
    12: {"width of a feature": "1024", "size of the features of all frames": "4"},
    14: {"time of a token, EventGPT": "0.000"},
    15: {"total, EventGPT": "3.07"},
    17: {"most time of all, Video-LLaVA": "620"},
    18: {"hour of the last update": "2026-01-23 15:05"},
    20: {"samples done, Video-LLaVA": "200", "samples done, EventGPT": "200"},
    23: {"type of Video-LLaVA": "bfloat16"},
    24: {"stages with memory told": "4"},
}


@pytest.mark.parametrize("number", RIGHT)
def test_another_figure_gives_another_answer(number: int) -> None:
    assert check(number).answer == "does not hold"
    assert check(number, changed=RIGHT[number]).answer == "holds"


def test_the_examples_have_at_least_as_many_tokens_as_words_and_marks() -> None:
    assert check(13).answer == "cannot be told here"
    assert check(13, changed={"tokens of the answer, Video-LLaVA": "75"}).answer == "does not hold"


HERE: dict[int, dict[str, str]] = {
    9: {},
    11: {"event images": "5", "side of an event image": "336", "tokens of an event image": "577"},
    19: {"vision, Video-LLaVA": "0.08"},
    22: {"new tokens, Video-LLaVA": "88.8"},
}


@pytest.mark.parametrize("number", HERE)
def test_what_is_of_the_world_this_measurement_answers(number: int) -> None:
    assert check(number).answer == "cannot be told here"
    assert check(number, measured(noise=0)).answer == "does not hold"
    if HERE[number]:
        assert check(number, measured(noise=0), HERE[number]).answer == "holds"


def test_a_vision_stage_that_rounds_to_what_is_said_is_that() -> None:
    for seconds, answer in ((0.049, "holds"), (0.051, "does not hold")):
        assert check(19, measured(replace(VIDEO, vision=seconds), noise=0)).answer == answer


def test_times_of_an_invalid_session_decide_nothing_and_those_of_the_other_do() -> None:
    fit, disturbed = measured(noise=0), measured(noise=0, disturbed=3)
    assert fit.equal is not None and disturbed.own is not None and disturbed.own.invalid
    assert (check(19, disturbed).answer, check(19, disturbed).found) == ("cannot be told here", statements.UNTOLD)
    assert check(19, replace(disturbed, own=fit.own)).found == "80.0 ms"
    assert "of Video-LLaVA's time" not in check(3, disturbed).told and not check(6, disturbed).told


def test_what_disturbs_takes_no_token_from_an_answer() -> None:
    told = check(22, measured(noise=0, disturbed=3))
    assert told.answer == "does not hold" and told.told.startswith("what disturbed the session took time, and no token")
    assert check(22, measured(noise=0, disturbed=3), HERE[22]).answer == "holds"


def test_a_share_of_one_session_is_told_of_that_one_alone() -> None:
    assert check(3, replace(measured(), own=None)).told.endswith("of the difference, at equal length")


def test_a_quotient_is_a_speedup_where_it_is_on_the_same_side_of_1() -> None:
    assert check(15).found == "0.32, beside a speedup of 5.1x"
    assert check(15, changed={"speedup": "0.3"}).answer == "holds"
    assert check(15, changed={"speedup": "0.3", "total, EventGPT": "4.0"}).answer == "does not hold"


def test_drafts_are_free_only_as_far_as_rounding_lets_them() -> None:
    assert check(14, changed={"time of a token, EventGPT": "0.0"}).answer == "holds"
    assert check(14, changed={"time of a token, EventGPT": "0.1"}).answer == "does not hold"


def test_a_stage_over_its_tokens_is_held_against_a_further_token() -> None:
    told = check(9, measured())
    assert "times the time of a further token" in told.found and "it is not arithmetic that bounds decoding" in told.told
    same = replace(VIDEO, prefill=VIDEO.token, rest=0.0)  # then a whole stage is as many times a token
    assert check(9, measured(same, noise=0)).answer == "holds"
    assert check(9, measured(), {"time of a token, Video-LLaVA": "10.0"}).answer == "cannot be told here"


def test_loading_is_compared_only_where_event_images_are_made_in_it() -> None:
    assert check(21, measured()).answer == "holds"
    assert check(21, measured(events=replace(EVENTS, load=0.3))).answer == "does not hold"
    assert check(21, measured(events=replace(EVENTS, load=0.1), noise=0.2)).answer == "cannot be told here"
    before = check(21, measured(window=None))
    assert before.answer == "cannot be told here" and "made before" in before.told


def test_the_length_of_answers_that_were_cut_off_is_not_known() -> None:
    assert "up to 100% of the answers were cut off" in check(22, measured(replace(VIDEO, stop="length"))).told
    assert check(22, measured(replace(VIDEO, stop="length"))).answer == "cannot be told here"


def test_whichever_model_is_the_baseline_the_answers_are_the_same() -> None:
    one, other = (examine(PAGE, measured(swapped=swapped, noise=0)) for swapped in (False, True))
    assert {number: (finding.answer, finding.told) for number, finding in one.items()} == {
        number: (finding.answer, finding.told) for number, finding in other.items()
    }


def test_similarity_is_told_and_is_no_acceptance_rate() -> None:
    told = check(16, measured())
    assert (told.answer, told.found) == ("cannot be told here", "67% of the words are the same, place by place")
    assert STATEMENTS[15].basis == "not comparable"


def test_measured_figures_stand_beside_the_computed_ones() -> None:
    assert "here loading takes Video-LLaVA 2.0" in check(1, measured(noise=0)).told
    assert "of the difference, at equal and at own length" in check(3, measured()).told
    assert "at equal length a further token takes Video-LLaVA 1.2" in check(8, measured(noise=0)).told
    assert check(24, measured()).told.startswith("here its peak (process) is told of each stage, at most 9.00 MiB")


def test_what_rounding_hides_decides_nothing() -> None:
    seven = span(Figure("0.7", "s", 1))
    assert (seven.low, seven.high) == pytest.approx((0.65, 0.75))
    assert span(Figure("0.0", "s", 1)).low == 0
    assert span(Figure("200", "samples", 1, exact=True)) == Span(200, 200)
    assert check(1, changed={"speedup of loading": "43"}).answer == "holds"
    assert check(1, changed={"speedup of loading": "40"}).answer == "does not hold"


def test_a_page_is_not_changed_by_looking_at_it() -> None:
    before = dict(PAGE)
    examine(PAGE, measured())
    assert before == PAGE
    assert all(dataclasses.is_dataclass(figure) for figure in PAGE.values())
