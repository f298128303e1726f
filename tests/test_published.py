"""Each statement of the published comparison is checked: by its own figures, or by what was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from evbench.report import quantities
from evbench.report.expressions import Known, Quantity, evaluate, fill
from evbench.report.models_context import measured as measured_of
from evbench.report.published import NOT_MEASURED, Figure, Finding, examine, read_page
from evbench.results import EventWindow
from evbench.session import models
from evbench.verdict.models import judge_models
from tests.two_models import EVENTS, VIDEO, WINDOW, Model, make_models

ROOT = Path(__file__).parent.parent
PAGE = read_page()
NOTHING: Known = {}
TEXTS = (("a red car", "a blue car"), ("a tree", "a tree stands"))
UNTOLD = {9, 11, 13, 16, 19, 21, 22}
"""Statements that the page's own figures do not decide."""


def measured(
    video: Model = VIDEO,
    events: Model = EVENTS,
    *,
    window: EventWindow | None = WINDOW,
    swapped: bool = False,
    noise: float = 0.01,
    disturbed: int = 0,
    ended: tuple[str, ...] = ("equal", "own"),
) -> Known:
    """What two sessions of these models are known to take; `ended` names those that there are."""
    accounts = {
        "equal": judge_models(
            make_models(video, events, own=False, tokens=50, window=window, swapped=swapped, noise=noise, disturbed=disturbed)
        ),
        "own": judge_models(make_models(video, events, window=window, swapped=swapped, noise=noise, disturbed=disturbed)),
    }
    equal, own = (accounts[name] if name in ended else None for name in accounts)
    return quantities.measured(PAGE.models, equal, own, TEXTS)


def check(number: int, found: Known = NOTHING, changed: Mapping[str, str] | None = None) -> Finding:
    """`changed`: figure of the page -> another text."""
    figures = {**PAGE.figures, **{name: replace(PAGE.figures[name], text=text) for name, text in (changed or {}).items()}}
    return examine(replace(PAGE, figures=figures), found)[number]


def test_there_are_24_each_of_figures_that_the_page_has() -> None:
    assert len(PAGE.statements) == 24
    whole = measured(replace(VIDEO, stop="length")).keys() | measured().keys() | measured(disturbed=3).keys()
    assert not set().union(*(statement.names() for statement in PAGE.statements)) - PAGE.figures.keys() - whole
    for found in (NOTHING, measured()):
        findings = examine(PAGE, found)
        for number, statement in enumerate(PAGE.statements, 1):
            assert findings[number].said and findings[number].found
            assert re.fullmatch(r"\d+(, \d+)*", PAGE.lines(statement))
            assert found is NOTHING or statement.by != "measured here" or findings[number].found != NOT_MEASURED


def test_what_is_found_of_the_page_as_it_stands() -> None:
    verdicts = {number: finding.verdict for number, finding in examine(PAGE, NOTHING).items()}
    assert {number for number, verdict in verdicts.items() if verdict == "cannot be told"} == UNTOLD
    assert {verdict for number, verdict in verdicts.items() if number not in UNTOLD} == {"does not hold"}


@pytest.mark.parametrize(
    ("folder", "holding", "untold"), [("cpu/models", set(), {13, 16, 21}), ("h200/models-7b", {19}, {13, 16, 21})], ids=["cpu", "h200"]
)
def test_what_is_found_with_the_recorded_comparisons_of_models(folder: str, holding: set[int], untold: set[int]) -> None:
    sessions = models.read(ROOT / "profiles" / folder).sessions
    found = measured_of(sessions, {name: judge_models(result) for name, result in sessions.items()})
    verdicts = {number: finding.verdict for number, finding in examine(PAGE, found).items()}
    assert {number for number, verdict in verdicts.items() if verdict == "holds"} == holding
    assert {number for number, verdict in verdicts.items() if verdict == "cannot be told"} == untold


COMPUTED = {1: "46.7x", 2: "3.15x", 3: "33 %", 4: "2.53 s", 5: "2.77 s", 6: "65 %", 7: "1.038 s", 8: "2.25x", 10: "301,056 B",
            12: "4.21 MB", 14: "1.13x", 15: "0.32", 17: "612 s", 18: "15:10 UTC"}  # fmt: skip


@pytest.mark.parametrize("number", COMPUTED)
def test_what_a_figure_should_be_is_computed_from_the_others(number: int) -> None:
    assert COMPUTED[number] in check(number).found


RIGHT: dict[int, dict[str, str]] = {
    1: {"speedup_of_loading": "46.7"},
    2: {"speedup": "3.15"},
    3: {"share_of_loading": "33"},
    4: {"video_generate": "2.53"},
    5: {"video_total": "2.77"},
    6: {"video_share_of_generate": "65"},
    7: {"events_total": "1.038"},
    8: {"speedup_of_generate": "2.25"},
    10: {"size_of_pixel_values": "301", "size_of_features": "395", "size_of_event_image": "922"},
    12: {"feature_width": "1024", "size_of_frame_features": "4"},
    14: {"events_tpot": "0.000"},
    15: {"events_total": "3.08"},
    17: {"video_most_for_all": "620"},
    18: {"last_update": "2026-01-23 15:05"},
    20: {"video_samples_done": "200", "events_samples_done": "200"},
    23: {"video_dtype": "bfloat16"},
    24: {"stages_with_memory": "4"},
}


@pytest.mark.parametrize("number", RIGHT)
def test_another_figure_gives_another_verdict(number: int) -> None:
    assert check(number).verdict == "does not hold"
    assert check(number, changed=RIGHT[number]).verdict == "holds"


def test_the_sizes_that_are_wrong_are_named() -> None:
    assert "size of frames" not in check(10).note and "size of pixel values" in check(10).note


def test_the_examples_have_at_least_as_many_tokens_as_words_and_marks() -> None:
    assert check(13).verdict == "cannot be told" and "43 and 76" in check(13).found
    assert check(13, changed={"video_answer_tokens": "75"}).verdict == "does not hold"


HERE: dict[int, dict[str, str]] = {
    9: {},
    11: {"event_images": "5", "event_image_side": "336", "event_image_tokens": "577"},
    19: {"video_vision": "0.08"},
    22: {"video_new_tokens": "88.8"},
}


@pytest.mark.parametrize("number", HERE)
def test_what_the_page_cannot_decide_this_measurement_does(number: int) -> None:
    assert check(number).verdict == "cannot be told"
    assert check(number, measured(noise=0)).verdict == "does not hold"
    if HERE[number]:
        assert check(number, measured(noise=0), HERE[number]).verdict == "holds"


def test_a_vision_stage_that_rounds_to_what_is_said_is_that() -> None:
    for seconds, verdict in ((0.049, "holds"), (0.051, "does not hold")):
        assert check(19, measured(replace(VIDEO, vision=seconds), noise=0)).verdict == verdict


def test_times_of_an_invalid_session_decide_nothing_and_those_of_the_other_do() -> None:
    disturbed = measured(noise=0, disturbed=3)
    assert (check(19, disturbed).verdict, check(19, disturbed).found) == ("cannot be told", NOT_MEASURED)
    own = {name: value for name, value in measured(noise=0).items() if name.startswith("own_")}
    here = {name.replace("own_", "here_"): value for name, value in own.items()}
    assert check(19, {**here, **disturbed, **own}).found == "80.0 ms"
    assert "of Video-LLaVA's time" not in check(3, disturbed).note and not check(6, disturbed).note


def test_what_disturbs_takes_no_token_from_an_answer() -> None:
    found = check(22, measured(noise=0, disturbed=3))
    assert found.verdict == "does not hold" and "took time, and no token" in found.note
    assert check(22, measured(noise=0, disturbed=3), HERE[22]).verdict == "holds"


def test_a_share_of_one_session_is_given_for_that_one_alone() -> None:
    note = check(3, measured(ended=("equal",))).note
    assert "at equal length" in note and "at own length" not in note


def test_a_quotient_is_a_speedup_where_it_is_on_the_same_side_of_1() -> None:
    assert "0.32" in check(15).found and "5.1x" in check(15).found
    assert check(15, changed={"speedup": "0.3"}).verdict == "holds"
    assert check(15, changed={"speedup": "0.3", "events_total": "4.0"}).verdict == "does not hold"


def test_drafts_are_free_only_as_far_as_rounding_lets_them() -> None:
    assert check(14, changed={"events_tpot": "0.0"}).verdict == "holds"
    assert check(14, changed={"events_tpot": "0.1"}).verdict == "does not hold"


def test_a_stage_over_its_tokens_is_compared_with_the_tpot() -> None:
    found = check(9, measured())
    assert "the TPOT" in found.found and "times as long as a token of the prompt" in found.note
    same = replace(VIDEO, prefill=VIDEO.token, rest=0.0)  # then a whole stage is as many times a token
    assert check(9, measured(same, noise=0)).verdict == "holds"
    assert check(9, measured(), {"video_tpot": "10.0"}).verdict == "cannot be told"


def test_loading_is_compared_only_where_event_images_are_rendered_in_it() -> None:
    assert check(21, measured()).verdict == "holds"
    assert check(21, measured(events=replace(EVENTS, load=0.3))).verdict == "does not hold"
    assert check(21, measured(events=replace(EVENTS, load=0.1), noise=0.2)).verdict == "cannot be told"
    assert check(21, measured(window=None)).verdict == "cannot be told"


def test_the_length_of_answers_that_were_cut_off_is_not_known() -> None:
    assert "up to 100% of the answers were cut off" in check(22, measured(replace(VIDEO, stop="length"))).note
    assert check(22, measured(replace(VIDEO, stop="length"))).verdict == "cannot be told"


def test_whichever_model_is_the_baseline_the_findings_are_the_same() -> None:
    one, other = (examine(PAGE, measured(swapped=swapped, noise=0)) for swapped in (False, True))
    assert one == other


def test_similarity_is_no_acceptance_rate() -> None:
    found = check(16, measured())
    assert found.verdict == "cannot be told" and "67% of the words" in found.found
    assert PAGE.statements[15].by == "not comparable"


def test_measured_values_stand_next_to_the_computed_ones() -> None:
    assert "takes Video-LLaVA 2.0" in check(1, measured(noise=0)).note
    assert "at equal length a decode step takes Video-LLaVA 1.2" in check(8, measured(noise=0)).note.replace(",", "")
    assert "9.00 MiB" in check(24, measured()).note


def test_what_rounding_hides_decides_nothing() -> None:
    seven = Figure("0.7", "s", 1).value
    assert isinstance(seven, Quantity) and (seven.low, seven.high) == pytest.approx((0.65, 0.75))
    assert Figure("0.0", "s", 1).value == Quantity(0, 0, 0.05)
    assert Figure("200", "samples", 1, exact=True).value == Quantity(200)
    assert check(1, changed={"speedup_of_loading": "43"}).verdict == "holds"
    assert check(1, changed={"speedup_of_loading": "40"}).verdict == "does not hold"


def test_expressions_are_arithmetic_of_what_may_lie_between_two_values() -> None:
    known: Known = {"a": Quantity(4, 3, 5), "b": Quantity(2, 1, 3), "word": "bfloat16"}
    assert evaluate("a - b", known) == Quantity(2, 0, 4)
    assert evaluate("2 * a / b", known) == Quantity(4, 2, 10)
    assert evaluate("1 | 3", known) == Quantity(2, 1, 3)
    assert evaluate("a / (b - b)", {"a": Quantity(1), "b": Quantity(2)}) == Quantity(float("inf"))
    assert evaluate("word", known) == "bfloat16"
    for wrong in ("word + 1", "a ** 2", "print(a)"):
        with pytest.raises(ValueError, match="no arithmetic"):
            evaluate(wrong, known)
    with pytest.raises(KeyError):
        evaluate("a + c", known)
    assert fill("{a / b:.1f} of {word}, {a}", known, {"a": "four"}) == "2.0 of bfloat16, four"
    assert fill("{a} and {c}", known, {}) is None
