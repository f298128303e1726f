"""What a ladder compares, and what it reports of the outcomes."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest

from evbench.choices import Conflict, Variant
from evbench.errors import UserError
from evbench.pipelines.registry import KINDS, MODELS
from evbench.report import ladder as report_ladder
from evbench.report.ladder import sentences, tables, to_markdown, verdict_sentence, whole_sentence
from evbench.variants.named import conflict, effective, parse
from evbench.verdict import ladder
from evbench.verdict.judge import judge
from evbench.verdict.judgement import Verdict
from evbench.verdict.ladder import RungOutcome, RungTiming, Step, account, choices, exit_code, plan
from evbench.verdict.statistics import Interval
from tests.conflicts import Conflicts, only
from tests.examples import PRESERVED, make_check, make_result, make_run, make_side, scaled, without_stage_sync
from tests.simulation import PLAN, simulated_workload

MODEL_OF = {kind: model for model, known in reversed(MODELS.items()) for kind in known.kinds}


def made(lower: str = "baseline", upper: str = "optimized", leave_one_out: bool = True, kind: str = "video") -> tuple[Step, ...]:
    return plan(parse(lower), parse(upper), MODEL_OF[kind], kind, leave_one_out)


def of(kind: str, steps: tuple[Step, ...]) -> list[Step]:
    return [step for step in steps if step.kind == kind]


def different(one: Variant, other: Variant) -> list[str]:
    """In parts that have an effect on a video."""
    return [part for part, choice in effective(one, "video-llava", "video").items() if other.choices()[part] != choice]


# What is compared.


def test_a_ladder_goes_up_one_choice_at_a_time_in_the_order_of_the_parts() -> None:
    steps = made("baseline+attention=eager", "optimized")
    up = of("rung", steps)
    names = ["1-decode-threaded", "2-preprocess-direct", "3-attention-sdpa", "4-vision-compile", "5-generate-static-compile"]
    assert [step.name for step in up] == names
    for step in up:
        assert different(step.baseline, step.optimized) == list(step.parts)
        assert len(step.parts) == 1
    for below, above in pairwise(up):
        assert above.baseline == below.optimized
    assert up[0].baseline == parse("baseline+attention=eager")
    assert up[-1].optimized == parse("optimized+prefetch=off")
    assert up[1].optimized == parse("baseline+attention=eager+decode=threaded+preprocess=direct"), "its name can be given to compare"


def test_the_whole_is_the_lowest_against_the_top() -> None:
    (whole,) = of("whole", made())
    assert (whole.name, whole.folder, whole.baseline, whole.optimized) == (
        "whole",
        "whole",
        parse("baseline"),
        parse("optimized+prefetch=off"),
    )
    assert whole.stages() == ("load", "preprocess", "vision", "generate")


def test_leaving_one_out_takes_one_choice_back_from_the_top() -> None:
    without = of("without", made())
    assert [step.parts for step in without] == [("decode",), ("preprocess",), ("vision",), ("generate",)]
    for step in without:
        assert step.optimized == parse("optimized+prefetch=off")
        assert step.baseline.choices() == parse("optimized+prefetch=off").choices() | {
            step.parts[0]: parse("baseline").choices()[step.parts[0]]
        }
    assert without[0].baseline == parse("optimized+prefetch=off+decode=plain")
    assert not of("without", made(leave_one_out=False))


def test_the_same_two_sides_are_compared_once() -> None:
    steps = made()
    assert of("without", steps)[-1].folder == "4-generate-static-compile", "the last rung is the top with the last choice taken back"
    assert len({step.folder for step in steps}) == 4 + 1 + 3
    single = made("baseline", "fast-decode")
    assert [(step.name, step.folder) for step in single] == [
        ("1-decode-threaded", "1-decode-threaded"),
        ("whole", "1-decode-threaded"),
        ("without-decode-threaded", "1-decode-threaded"),
    ]


def test_attention_is_looked_at_in_both_stages_that_have_it() -> None:
    assert [step.stages() for step in of("rung", made("baseline+attention=eager", "fast-decode"))] == [("load",), ("vision", "generate")]


@pytest.mark.parametrize("upper", ["baseline", "baseline+decode=plain", "baseline+prefetch=on"])
def test_two_variants_with_the_same_choices_are_refused(upper: str) -> None:
    with pytest.raises(UserError, match="have the same choices: there is no rung between them"):
        made("baseline", upper)


def test_what_has_no_effect_on_the_input_is_no_rung() -> None:
    rungs = {kind: [step.name for step in of("rung", made("baseline", "fast-pixels+pooling=first", kind=kind))] for kind in KINDS}
    assert rungs == {
        "video": ["1-decode-threaded", "2-preprocess-direct"],
        "event-images": ["1-decode-threaded", "2-preprocess-direct", "3-pooling-first"],
        "events": ["1-render-vectorised", "2-preprocess-direct", "3-pooling-first"],
    }
    with pytest.raises(UserError, match="have the same choices of what has an effect on a video: there is no rung"):
        made("baseline", "baseline+render=vectorised+pooling=first")
    with pytest.raises(UserError, match="have the same choices of what has an effect on raw events: there is no rung"):
        made("baseline", "baseline+decode=threaded", kind="events")


NEEDS_STATIC: Conflicts = {("vision", "compile"): Conflict("generate", ("dynamic",), "it is so in this test")}


def test_a_choice_waits_for_the_one_that_it_cannot_be_without(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, NEEDS_STATIC)
    steps = made()
    up = of("rung", steps)
    assert [step.parts for step in up] == [("decode",), ("preprocess",), ("generate",), ("vision",)]
    assert up[3].name == "4-vision-compile"
    assert up[3].remark == "vision had to wait: vision=compile cannot be with generate=dynamic, because it is so in this test"
    assert not any(step.remark for step in up[:3])
    assert not any(conflict(side) for step in steps for side in (step.baseline, step.optimized))


def test_what_cannot_be_without_a_choice_is_taken_back_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, NEEDS_STATIC)
    without = {step.name: step for step in of("without", made())}
    both = without["without-generate-static-compile"]
    assert both.parts == ("generate", "vision")
    assert both.choice() == "generate=static-compile, and with it vision=compile"
    assert both.stages() == ("vision", "generate")
    assert different(both.baseline, both.optimized) == ["vision", "generate"]
    assert both.remark.startswith("vision had to be taken back with generate: vision=compile cannot be with generate=dynamic")
    assert without["without-vision-compile"].parts == ("vision",)
    assert without["without-vision-compile"].remark == ""


def test_choices_that_only_go_together_are_one_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    apart = {
        ("decode", "threaded"): Conflict("vision", ("eager",), "of a reason"),
        ("vision", "compile"): Conflict("decode", ("plain",), "of another"),
    }
    only(monkeypatch, apart)
    steps = made("baseline", "fast-vision")
    up = of("rung", steps)
    assert [step.parts for step in up] == [("preprocess",), ("decode", "vision")]
    assert up[1].choice() == "decode=threaded, and with it vision=compile"
    assert "of a reason" in up[1].remark
    assert "of another" in up[1].remark
    assert [step.parts for step in of("without", steps)] == [("decode", "vision"), ("preprocess",), ("vision", "decode")]
    assert {step.folder for step in of("without", steps) if "vision" in step.parts} == {"2-decode-threaded"}


def test_the_intervals_of_as_many_choices_are_simultaneous_as_are_looked_at_together() -> None:
    assert choices(made("baseline", "fast-decode")) == 1
    assert choices(made()) == choices(made(leave_one_out=False)) == 4


# Outcomes.


def outcome(
    verdict: Verdict, ratio: float = 1.2, among: Verdict | None = None, *, reasons: tuple[str, ...] = (), code: int = 0
) -> RungOutcome:
    """`among`: what it shows as one of several choices, by an interval three times as wide. Default: the same."""

    def timing(reach: float, claim: Verdict) -> RungTiming:
        interval = None if reasons else Interval(ratio, ratio - reach, ratio + reach, 0.95)
        return RungTiming(0.6, 0.5, interval, None if reasons else claim)

    alone = timing(0.004, verdict)
    return RungOutcome(verdict, reasons, "pass", alone, timing(0.012, among) if among else alone, {"load": alone}, (), code)


FASTER = outcome(Verdict.FASTER)
SAME = outcome(Verdict.SAME, 1.0)
SLOWER = outcome(Verdict.SLOWER, 0.9, code=3)
UNCLEAR = outcome(Verdict.INCONCLUSIVE, 1.009, code=4)
ALONE = outcome(Verdict.FASTER, 1.015, Verdict.INCONCLUSIVE)
"""Faster alone, and not among others."""
DIFFERS = outcome(Verdict.OUTPUT_DIFFERS, reasons=("the first stage to differ is vision",), code=5)
INACTIVE = outcome(Verdict.INVALID, reasons=("NOT_ACTIVE: decode=threaded of the optimized side (nothing was seen)",), code=6)
DEAD = ladder.failed("the worker of optimized ended with code -9: it said nothing (all of it in a.log)")


def sentence_of(first: RungOutcome | None) -> str:
    """The sentence on the first of two choices, of which the other pays."""
    steps = made("baseline", "fast-pixels", leave_one_out=False)
    outcomes = {"2-preprocess-direct": FASTER} | ({"1-decode-threaded": first} if first else {})
    return sentences(account(steps, outcomes))[0]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (FASTER, "faster: speedup 1.20x, 95% CI 1.20x - 1.20x."),
        (SAME, "no speedup: speedup (1.000x), 95% CI 0.996x - 1.004x, within 1.0% of none."),
        (SLOWER, "slower: speedup 0.900x, 95% CI 0.896x - 0.904x."),
        (UNCLEAR, "unclear: speedup (1.009x), 95% CI 1.005x - 1.013x."),
        (DIFFERS, "OUTPUT_DIFFERS: the first stage to differ is vision."),
        (INACTIVE, "INVALID: NOT_ACTIVE: decode=threaded of the optimized side (nothing was seen)."),
        (DEAD, "could not be measured: the worker of optimized ended with code -9: it said nothing (all of it in a.log)."),
        (None, "not measured yet."),
    ],
)
def test_a_sentence_for_each_choice_says_whether_it_is_a_speedup(found: RungOutcome | None, text: str) -> None:
    assert sentence_of(found) == f"decode=threaded, added to the rung below: {text}"


def test_a_gain_that_chance_may_make_among_so_many_is_not_claimed() -> None:
    steps = made(leave_one_out=False)
    rungs = account(steps, dict.fromkeys([step.folder for step in steps], ALONE))
    assert {rung.claim for rung in rungs if rung.step.kind == "rung"} == {Verdict.INCONCLUSIVE}
    assert next(rung.claim for rung in rungs if rung.step.kind == "whole") is Verdict.FASTER, "of it is asked once"
    assert {rung.outcome.verdict for rung in rungs if rung.outcome} == {Verdict.FASTER}, "its own verdict stays"
    assert sentences(rungs)[0].endswith("unclear: speedup (1.015x), 95% CI 1.003x - 1.027x; FASTER alone, but not among 4 choices."), (
        "the interval that the claim follows from"
    )
    shown = [row[5:7] for row in tables(rungs)[0].rows if row[2] == "end-to-end"]
    assert shown == [("(1.015x)", "1.003x - 1.027x")] * 4, "a ratio that is not claimed is marked"
    assert whole_sentence(rungs).endswith("FASTER: speedup 1.015x, 95% CI 1.011x - 1.019x")


def test_what_is_claimed_before_the_end_is_claimed_at_the_end() -> None:
    steps = made(leave_one_out=False)
    found: dict[str, RungOutcome] = {}
    claims: dict[str, Verdict | None] = {}
    for step, one in zip(of("rung", steps), (FASTER, ALONE, SAME, SLOWER), strict=True):
        found[step.folder] = one
        now = {rung.step.name: rung.claim for rung in account(steps, found)}
        assert now.items() >= claims.items()
        claims[step.name] = now[step.name]
    assert list(claims.values()) == [Verdict.FASTER, Verdict.INCONCLUSIVE, Verdict.SAME, Verdict.SLOWER]


def test_a_shared_comparison_stands_in_both_tables() -> None:
    steps = made("baseline", "fast-pixels")
    up, without, *_ = tables(account(steps, dict.fromkeys({step.folder for step in steps}, FASTER)))
    assert [row[1] for row in up.rows if row[0]] == ["decode=threaded", "preprocess=direct"]
    assert [row[0] for row in without.rows if row[0]] == ["decode=threaded", "preprocess=direct"]
    assert {row[-1] for row in (*up.rows, *without.rows) if row[-2]} == {"FASTER"}


def test_without_an_interval_among_the_choices_nothing_is_claimed_of_one() -> None:
    """As in a ladder.json of before, whose results are gone."""
    steps = made("baseline", "fast-pixels")
    for found, claim in ((FASTER, Verdict.INCONCLUSIVE), (DIFFERS, Verdict.OUTPUT_DIFFERS), (DEAD, None)):
        before = dataclasses.replace(found, among_choices=None)
        rungs = account(steps, dict.fromkeys({step.folder for step in steps}, before))
        assert {rung.claim for rung in rungs if rung.step.kind != "whole"} == {claim}


def test_the_tables_have_time_outputs_and_verdict_of_each() -> None:
    steps = made("baseline", "fast-pixels", leave_one_out=False)
    (up,) = tables(account(steps, {"1-decode-threaded": FASTER, "2-preprocess-direct": DEAD}))
    assert up.title == "Going up from baseline: each rung against the one below"
    assert up.rows == (
        ("1", "decode=threaded", "end-to-end", "600 ms", "500 ms", "1.20x", "1.20x - 1.20x", "pass", "FASTER"),
        ("", "", "load", "600 ms", "500 ms", "1.20x", "1.20x - 1.20x", "", "faster"),
        ("2", "preprocess=direct", "end-to-end", "n/a", "n/a", "-", "-", "n/a", "COULD NOT BE RUN"),
    )
    (waiting,) = tables(account(steps, {}))
    assert [row[-1] for row in waiting.rows] == ["not run yet"] * 2
    assert all(len(row) == len(up.columns) for row in (*up.rows, *waiting.rows))


def test_the_exit_code_is_that_of_the_whole_unless_something_could_not_be_run() -> None:
    steps = made("baseline", "fast-pixels")
    found = dict.fromkeys({step.folder for step in steps}, UNCLEAR)
    assert exit_code(account(steps, found | {"whole": FASTER})) == 0
    assert exit_code(account(steps, found | {"whole": SLOWER})) == 3
    assert exit_code(account(steps, found | {"whole": FASTER, "1-decode-threaded": DEAD})) == 1
    assert exit_code(account(steps, found | {"whole": DEAD})) == 1


def test_the_line_of_the_whole() -> None:
    steps = made("baseline", "fast-pixels")
    assert whole_sentence(account(steps, {})) == "fast-pixels against baseline: not run yet"
    text = whole_sentence(account(steps, {"whole": FASTER}))
    assert text == "fast-pixels against baseline: FASTER: speedup 1.20x, 95% CI 1.20x - 1.20x"
    assert whole_sentence(account(steps, {"whole": DEAD})).startswith("fast-pixels against baseline: could not be run: the worker of")
    assert verdict_sentence(DIFFERS) == "OUTPUT_DIFFERS: the first stage to differ is vision"


def test_the_file_has_everything_and_what_to_know_before(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, {("decode", "threaded"): Conflict("preprocess", ("processor",), "it is so")})
    steps = made("baseline", "fast-pixels")
    found = {step.folder: dataclasses.replace(FASTER, flags=("NOT_STEADY",)) for step in steps if step.folder != "whole"}
    text = to_markdown(account(steps, found), simulated_workload(), PLAN, "2026-01-01", "evbench ladder\x1b").splitlines()
    assert text[2] == "2026-01-01, `evbench ladder·`: video-llava, tiny, float32 on cpu; planned for each comparison: at least 10 blocks"
    assert text[4] == "**fast-pixels against baseline: not run yet**"
    assert "- preprocess=direct, added to the rung below: faster: speedup 1.20x, 95% CI 1.20x - 1.20x." in text
    assert "- 2-decode-threaded: decode had to wait: decode=threaded cannot be with preprocess=processor, because it is so." in text
    assert "- without-decode-threaded is identical to 2-decode-threaded, and was not run again." in text
    assert (
        "- without-preprocess-direct: decode had to be taken back with preprocess: decode=threaded cannot be with preprocess=processor, "
        "because it is so." in text
    )
    assert "- without-preprocess-direct is identical to whole, and was not run again." in text
    assert "- NOT_STEADY: see the report of 1-preprocess-direct, 2-decode-threaded." in text


# Of real judgements.


def test_an_outcome_is_what_the_judge_says_of_the_stages_concerned() -> None:
    (step,) = made("baseline", "fast-decode", leave_one_out=False)[:1]
    result = make_result(scaled(make_side(variant="fast-decode"), 0.5))
    judged, among = judge(result), judge(result, 4)
    found = ladder.outcome(step, judged, among)
    assert (found.verdict, found.preserved, found.exit_code) == (judged.verdict, "pass", judged.exit_code)
    assert found.end_to_end is not None
    assert found.end_to_end.interval == judged.end_to_end.interval
    assert found.among_choices is not None and found.among_choices.interval == among.end_to_end.interval
    assert found.among_choices.interval is not None and found.among_choices.interval.confidence == pytest.approx(0.9875)
    assert found.end_to_end.baseline_seconds == pytest.approx(0.4)
    assert found.end_to_end.optimized_seconds == pytest.approx(0.2)
    assert list(found.stages) == ["load"]
    assert found.stages["load"].interval == judged.stages[0].interval
    assert found.flags == tuple(judged.flags)


def test_there_is_no_speedup_where_outputs_or_work_differ() -> None:
    (step,) = made("baseline", "fast-decode", leave_one_out=False)[:1]
    bad = dataclasses.replace(PRESERVED, checks=(*PRESERVED.checks, make_check(grade="fail")))
    run = make_run(tokens=(5, 6, 7))
    runs = [dataclasses.replace(one, block=block) for block in range(10) for one in (run, without_stage_sync(run))]
    longer = make_side(*runs, variant="fast-decode")
    results = {
        Verdict.OUTPUT_DIFFERS: make_result(scaled(make_side(variant="fast-decode"), 0.5), outputs=bad),
        Verdict.INVALID: make_result(longer),
    }
    for verdict, result in results.items():
        found = ladder.outcome(step, judge(result), judge(result, 4))
        assert found.verdict is verdict
        assert found.reasons
        (rung,) = account([step], {step.folder: found})
        assert f": {verdict}: " in sentences([rung])[0]
        (table,) = tables([rung])
        assert {row[5:7] for row in table.rows} == {("-", "-")}


def test_notes_and_sentences_end_once() -> None:
    steps = made()
    rungs = account(steps, {step.folder: INACTIVE for step in steps})
    for text in (*sentences(rungs), *report_ladder.notes(rungs)):
        assert text.endswith(".")
        assert not text.endswith("..")


def test_how_to_measure_a_disturbed_comparison_again_is_said_once() -> None:
    steps = made("baseline", "fast-pixels")
    found = dict.fromkeys({step.folder for step in steps}, FASTER) | {"2-preprocess-direct": INACTIVE}
    text = report_ladder.notes(account(steps, found))
    assert "To measure 2-preprocess-direct again, remove its folder and continue with --resume." in text
    assert not any("again, remove" in note for note in report_ladder.notes(account(steps, {})))
