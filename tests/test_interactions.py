"""Which gains of a ladder depend on each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from evbench.choices import Conflict
from evbench.report import ladder as report
from evbench.report.ladder import to_markdown
from evbench.variants.named import conflict, parse
from evbench.verdict.interactions import dependences, pairs, together
from evbench.verdict.judgement import MIN_CLAIM, Verdict
from evbench.verdict.ladder import Rung, RungOutcome, RungTiming, Step, account, choices, factors, plan
from evbench.verdict.statistics import Interval
from tests.command import refused
from tests.conflicts import Conflicts, only
from tests.simulation import PLAN, simulated_workload

GAINS = {"decode": 1.5, "preprocess": 1.2, "vision": 1.1, "generate": 2.0}
"""Of `optimized` on a video: part -> its speedup."""
NEEDS_DECODE: Conflicts = {("preprocess", "direct"): Conflict("decode", ("plain",), "it cannot")}
Speedup = Callable[[tuple[str, ...]], float]


def steps(*asked: str, lower: str = "baseline", upper: str = "optimized") -> tuple[Step, ...]:
    return plan(parse(lower), parse(upper), "video-llava", "video", True, asked)


def multiplied(parts: tuple[str, ...]) -> float:
    return math.prod(GAINS[part] for part in parts)


def has(step: Step) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Parts in which the two sides of a comparison have the upper choice."""
    upper = parse("optimized")
    one, other = (tuple(part for part in GAINS if side.choices()[part] == upper[part]) for side in (step.baseline, step.optimized))
    return one, other


def climbed(asked: tuple[Step, ...], speedup: Speedup, width: float = 1.01, threshold: float = MIN_CLAIM) -> tuple[Rung, ...]:
    """Each comparison with its true speedup, by that of each set of parts against none."""
    outcomes = {}
    for step in asked:
        below, above = has(step)
        ratio = speedup(above) / speedup(below)
        seconds = 1.0 / speedup(below), 1.0 / speedup(above)
        timing = RungTiming(*seconds, Interval(ratio, ratio / width, ratio * width, 0.99), Verdict.FASTER, threshold)
        outcomes[step.folder] = RungOutcome(Verdict.FASTER, (), "pass", timing, timing, {}, (), 0)
    return account(asked, outcomes)


def with_interaction(parts: tuple[str, ...]) -> float:
    return multiplied(parts) * (0.8 if {"decode", "generate"} <= set(parts) else 1.0)


# Free of further runs.


def test_gains_that_multiply_show_no_dependence() -> None:
    rungs = climbed(steps(), multiplied)
    assert [found.choice for found in dependences(rungs)] == ["decode=threaded", "preprocess=direct", "vision=compile"]
    assert not any(found.differs for found in dependences(rungs))
    whole = together(rungs)
    assert whole is not None and not whole.differs
    assert whole.expected.ratio == pytest.approx(whole.measured.ratio) == pytest.approx(1.5 * 1.2 * 1.1 * 2.0)
    assert "no difference from gains that multiply is found" in report.together_sentence(rungs)


def test_a_choice_that_gains_less_behind_the_others_is_named() -> None:
    rungs = climbed(steps(), with_interaction)
    assert [found.choice for found in dependences(rungs) if found.differs] == ["decode=threaded"]
    (decode, *_) = dependences(rungs)
    assert decode.ratio.ratio == pytest.approx(0.8)
    whole = together(rungs)
    assert whole is not None and whole.differs
    assert whole.ratio.ratio == pytest.approx(1 / 0.8), "each of the two, added last, gains 0.8 of what it does alone"
    assert "Together: gains do not multiply: those of 4 choices, each added last, have the product 2.53x" in report.together_sentence(rungs)


def test_intervals_of_independent_comparisons_add_as_squares() -> None:
    whole = together(climbed(steps(), multiplied, width=1.1))
    assert whole is not None
    assert math.log(whole.ratio.high / whole.ratio.ratio) == pytest.approx(math.log(1.1) * math.sqrt(5))
    decode = dependences(climbed(steps(), multiplied, width=1.1))[0]
    assert math.log(decode.ratio.ratio / decode.ratio.low) == pytest.approx(math.log(1.1) * math.sqrt(2))


def test_no_difference_below_the_noise_floors_is_claimed() -> None:
    def slightly(parts: tuple[str, ...]) -> float:
        return multiplied(parts) * (0.95 if {"decode", "generate"} <= set(parts) else 1.0)

    assert dependences(climbed(steps(), slightly, 1.001))[0].differs
    assert not dependences(climbed(steps(), slightly, 1.001, threshold=0.05))[0].differs


def test_choices_that_are_taken_back_with_others_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, NEEDS_DECODE)
    rungs = climbed(steps(), multiplied)
    whole = together(rungs)
    assert whole is not None and not whole.differs
    assert "decode=threaded, and with it preprocess=direct" in whole.choices
    assert "preprocess=direct" not in whole.choices


def test_without_what_was_left_out_nothing_is_said() -> None:
    rungs = climbed(plan(parse("baseline"), parse("optimized"), "video-llava", "video", False), multiplied)
    assert (dependences(rungs), together(rungs), report.together_sentence(rungs), pairs(rungs)) == ((), None, "", ())
    assert not any("Interactions" in note for note in report.notes(rungs))
    one = climbed(plan(parse("baseline"), parse("fast-decode"), "video-llava", "video", True), multiplied)
    assert together(one) is None


def test_a_comparison_without_an_interval_says_nothing() -> None:
    rungs = climbed(steps("decode", "generate"), multiplied)
    broken = tuple(
        Rung(rung.step, None if rung.step.folder in ("without-vision-compile", "with-decode-generate") else rung.outcome, rung.claim)
        for rung in rungs
    )
    assert together(broken) is None and pairs(broken) == ()
    assert "vision=compile" not in [found.choice for found in dependences(broken)]
    assert "not run yet" in to_markdown(broken, simulated_workload(), PLAN, "2026", "evbench ladder")


# Combinations.


@pytest.mark.parametrize("count", [2, 3, 4])
def test_up_to_four_choices_are_combined_in_all_ways(count: int) -> None:
    asked = list(GAINS)[:count]
    subsets = [step for step in steps(*asked) if step.kind == "subset"]
    wanted = [some for size in range(1, count + 1) for some in itertools.combinations(asked, size)]
    assert [step.parts for step in subsets] == wanted
    assert all(has(step) == ((), step.parts) for step in subsets)
    assert factors(subsets) == tuple((part,) for part in asked)
    shared = {step.folder for step in subsets} & {step.folder for step in steps(*asked) if step.kind != "subset"}
    assert "1-decode-threaded" in shared, "what a ladder compares anyway is not run twice"
    assert ("whole" in shared) == (count == 4)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_pair_that_depends_is_found_and_no_other(count: int) -> None:
    asked = ("generate", "decode", "vision", "preprocess")[:count]
    none = pairs(climbed(steps(*asked), multiplied, 1.001))
    assert len(none) == math.comb(count, 2) and not any(pair.differs for pair in none)
    assert all(pair.ratio.ratio == pytest.approx(1.0) for pair in none)
    found = pairs(climbed(steps(*asked), with_interaction, 1.001))
    assert [pair.choices for pair in found if pair.differs] == [("generate=static-compile", "decode=threaded")]
    assert found[0].ratio.ratio == pytest.approx(0.8)


def test_times_that_add_up_are_told_apart_from_speedups_that_multiply() -> None:
    """Two stages of half a second: each choice takes half of its own."""

    def of_stages(parts: tuple[str, ...]) -> float:
        return 1 / (1.0 - 0.25 * len({"decode", "generate"} & set(parts)))

    (pair,) = pairs(climbed(steps("decode", "generate"), of_stages, 1.001))
    assert pair.differs and pair.ratio.ratio == pytest.approx(2.0 / (4 / 3) ** 2)
    assert pair.saved == pytest.approx(0.0, abs=1e-12)


def test_of_five_choices_half_of_the_combinations_tell_pairs_apart() -> None:
    """A half fraction of resolution V: interactions of two are not mixed with those of two others."""
    names = ("decode", "preprocess", "attention", "vision", "generate")
    lower = "baseline+attention=eager"
    subsets = [step for step in steps(*names, lower=lower) if step.kind == "subset"]
    assert len(subsets) == 15 and {len(step.parts) for step in subsets} == {2, 4}
    gains = dict(zip(names, (1.5, 1.2, 1.3, 1.1, 2.0), strict=True))
    timings: Mapping[str, RungOutcome] = {}
    for step in subsets:
        ratio = math.prod(gains[part] for part in step.parts) * (0.9 if {"attention", "vision"} <= set(step.parts) else 1.0)
        timing = RungTiming(1.0, 1 / ratio, Interval(ratio, ratio / 1.001, ratio * 1.001, 0.99), Verdict.FASTER)
        timings = {**timings, step.folder: RungOutcome(Verdict.FASTER, (), "pass", timing, timing, {}, (), 0)}
    found = pairs(account(subsets, timings))
    assert len(found) == 10
    assert {pair.choices: round(pair.ratio.ratio, 6) for pair in found if pair.differs} == {("attention=sdpa", "vision=compile"): 0.9}


def test_choices_that_cannot_be_without_each_other_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, NEEDS_DECODE)
    asked = steps("preprocess", "decode", "vision", "generate")
    assert factors(asked) == (("preprocess", "decode"), ("vision",), ("generate",))
    for step in asked:
        assert conflict(step.baseline) is None and conflict(step.optimized) is None
    (first, *_) = pairs(climbed(asked, multiplied))
    assert first.choices == ("preprocess=direct with decode=threaded", "vision=compile")


def test_intervals_are_simultaneous_over_all_pairs() -> None:
    assert choices(steps()) == 4
    assert choices(steps("decode", "generate")) == 4
    assert choices(steps(*GAINS)) == 6


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("decode", "--interactions has 1 choices that can be taken one by one (decode); name 2 to 5"),
        ("decode,decode", "--interactions names decode twice; name it once"),
        ("decode,attention", "--interactions attention: both sides have the same choice of it, or it has no effect"),
        ("decode,visoin", "--interactions 'decode,visoin': unknown part 'visoin'; did you mean 'vision'?"),
        ("", "--interactions '': unknown part ''"),
        ("decode,render", "--interactions render: both sides have the same choice of it, or it has no effect"),
    ],
)
def test_what_cannot_be_combined_is_refused_in_one_line(
    text: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in refused(f"ladder --device cpu --preset tiny --interactions '{text}'", monkeypatch, capsys)
    assert list(tmp_path.iterdir()) == []


def test_the_report_tells_pairs_and_is_read_again(tmp_path: Path) -> None:
    rungs = climbed(steps("decode", "generate"), with_interaction, 1.001)
    text = to_markdown(rungs, simulated_workload(), PLAN, "2026", "evbench ladder")
    sentence = "decode=threaded and generate=static-compile: both together have 0.80x the product of their speedups, 95% CI"
    assert f"- {sentence}" in text
    assert "## Combinations: baseline against itself with some of the choices" in text
    assert "| decode=threaded and generate=static-compile | 0.80x |" in text
    none = climbed(steps("decode", "generate"), multiplied)
    assert report.pair_sentences(none) == ("Of the choices that were combined, no two are found whose gains depend on each other.",)
