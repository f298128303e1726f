"""Lossy choices: named so in every verdict and report, held against a reference that loses the same, and measured."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evbench import results
from evbench.errors import UserError
from evbench.report.junit import to_junit
from evbench.report.page import to_html
from evbench.report.pull_request import to_pull_request
from evbench.report.render import to_markdown
from evbench.report.summary import summarize
from evbench.results import ALLOW_LOSSY, Activation, Loss, Outputs, Result, SampleLoss, Side
from evbench.variants.named import parse
from evbench.verdict import ladder
from evbench.verdict.error_rule import FEW, rounded_either_way
from evbench.verdict.findings import SampleOutputs
from evbench.verdict.judge import judge
from evbench.verdict.judgement import Judgement, Verdict
from evbench.verdict.logit_rules import divergence
from evbench.verdict.loss import Estimate, _difference, measure
from evbench.verdict.reproduction import Outcome, reproduce
from tests.examples import PRESERVED, described, make_check, make_result, make_run, make_session, make_side, scaled, without_stage_sync
from tests.simulation import LIMITS
from tests.test_equivalence import Arrays, exact, failing, graded, rounded, seen, with_swapped

CHOSEN: dict[Side, dict[str, str]] = {"optimized": {"quantization": "int8"}}
CAPTION = "A street by day with houses. Far left, a blue car stands."
SAMPLE = SampleLoss(0, 72, {"baseline": 1e-9, "optimized": 0.0021}, {"baseline": 72, "optimized": 71})
MEASURED = dataclasses.replace(PRESERVED, loss=Loss(CHOSEN, (SAMPLE,)))


def compared(factor: float = 0.5, outputs: Outputs | None = MEASURED, scatter: float = 1e-4, text: str = CAPTION, **fields: Any) -> Result:
    """The optimized side has quantized weights, and takes `factor` as long."""
    runs = []
    for block in range(10):
        run = dataclasses.replace(make_run(seconds=0.1 + block * scatter), block=block, text=CAPTION)
        runs += [run, without_stage_sync(run)]
    ours = make_side(*runs)
    sample = dataclasses.replace(ours.workload.samples[0], caption=CAPTION)
    known = dataclasses.replace(ours.workload, samples=(sample,))
    active = [Activation("quantization", choice, True, "generate: products") for choice in ("none", "int8")]
    theirs = scaled(ours, factor)
    runs_of_theirs = tuple(dataclasses.replace(run, text=text) for run in theirs.runs)
    sides = [
        dataclasses.replace(
            side,
            choices=side.choices | {"quantization": choice},
            workload=known,
            activations=(*side.activations, shown),
            variant=name,
            runs=kept,
        )
        for side, name, choice, shown, kept in (
            (ours, "baseline", "none", active[0], ours.runs),
            (theirs, "baseline+quantization=int8", "int8", active[1], runs_of_theirs),
        )
    ]
    return make_result(sides[1], sides[0], outputs=outputs, **fields)


def everywhere(result: Result, judged: Judgement) -> str:
    """All that a reader may see of it."""
    report = described(result)
    summary = summarize(result, judged, report)
    told = [*summary.headlines, summary.subject, *summary.texts.values(), *summary.steps, summary.exit, *map(str, summary.table.rows)]
    pages = to_markdown(report, "now", "evbench compare"), to_html(result, judged, report), to_pull_request(result, judged, report)
    return "\n".join([*told, *pages, to_junit(result, judged), json.dumps(dataclasses.asdict(judged))])


@pytest.mark.parametrize(
    ("factor", "scatter", "claim", "words", "allowed"),
    [
        (0.5, 1e-4, Verdict.FASTER, "LOSSY, 2.00x faster: end-to-end 95% CI of the speedup", 0),
        (2.0, 1e-4, Verdict.SLOWER, "LOSSY, 2.00x slower: end-to-end 95% CI of the speedup", 3),
        (1.0, 1e-4, Verdict.SAME, "LOSSY, as fast, within 1.0%: end-to-end", 0),
    ],
)
def test_what_times_show_is_told_with_the_word_and_has_an_exit_code_of_its_own(
    factor: float, scatter: float, claim: Verdict, words: str, allowed: int
) -> None:
    result = compared(factor, scatter=scatter)
    judged = judge(result)
    assert (judged.verdict, judged.claim, judged.preserved, judged.exit_code) == (Verdict.LOSSY, claim, "lossy", 7)
    assert described(result).headline.startswith(words)
    assert "LOSSY_BY_DESIGN" in judged.flags
    accepted = judge(compared(factor, scatter=scatter, allowed=(ALLOW_LOSSY,)))
    assert (accepted.verdict, accepted.preserved, accepted.exit_code) == (Verdict.LOSSY, "lossy", allowed)


@pytest.mark.parametrize("allowed", [(), (ALLOW_LOSSY,)])
def test_nobody_is_told_faster_or_preserved_without_the_word(allowed: tuple[str, ...]) -> None:
    result = compared(allowed=allowed)
    judged = judge(result)
    told = everywhere(result, judged)
    for text in re.split(r"[<\n]", told):
        assert "FASTER" not in text or "LOSSY" in text, text
        assert not re.search(r"(?<!not )preserved[,.]", text), text
    assert "captions exactly right: 100.0%" in told
    rows = {row[0]: row[-1] for row in summarize(result, judged, described(result)).table.rows}
    assert (rows["load"], rows["vision"]) == ("faster", "faster"), "of stages in front, nothing is lost"
    assert (rows["generate"], rows["end-to-end"]) == ("LOSSY, faster", "LOSSY, faster")


def test_with_a_demand_a_lossy_side_still_has_its_own_exit_code() -> None:
    assert judge(compared(fail_if=("slower:2%",))).exit_code == 7
    assert judge(compared(0.5, fail_if=("slower:2%",), allowed=(ALLOW_LOSSY,))).exit_code == 0
    assert judge(compared(2.0, fail_if=("slower:2%",))).exit_code == 3
    for result, failures in ((compared(), 1), (compared(allowed=(ALLOW_LOSSY,)), 0)):
        assert f'failures="{failures}"' in to_junit(result, judge(result))


def test_a_side_that_does_more_than_lose_differs() -> None:
    wrong = dataclasses.replace(MEASURED, checks=(*MEASURED.checks, make_check("generate", "stage-isolated", "fail")))
    for allowed in ((), (ALLOW_LOSSY,)):
        judged = judge(compared(outputs=wrong, allowed=allowed))
        assert (judged.verdict, judged.preserved, judged.exit_code) == (Verdict.OUTPUT_DIFFERS, "fail", 5)
    told = everywhere(compared(outputs=wrong), judged)
    assert "2.00x" not in told
    assert "NOT as quantization=int8 alone makes them" in told


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        (None, "outputs were not compared"),
        (dataclasses.replace(MEASURED, reference=None, loss=Loss(CHOSEN, ())), "REFERENCE_MISSING"),
        (PRESERVED, "REFERENCE_MISSING"),
    ],
)
def test_without_a_reference_that_loses_the_same_nothing_is_claimed(outputs: Outputs | None, reason: str) -> None:
    judged = judge(compared(outputs=outputs))
    assert (judged.verdict, judged.preserved, judged.exit_code) == (Verdict.INCONCLUSIVE, None, 4)
    assert judged.reasons[0].startswith(reason)
    assert "2.00x" not in described(compared(outputs=outputs)).headline


def test_other_tokens_alone_are_no_fault_of_a_lossy_side() -> None:
    result = compared()
    assert result.optimized is not None
    runs = tuple(dataclasses.replace(run, tokens=(5, 9)) for run in result.optimized.runs)
    other = dataclasses.replace(result, optimized=dataclasses.replace(result.optimized, runs=runs))
    assert judge(other).verdict is Verdict.LOSSY
    full = dataclasses.replace(result.optimized, runs=runs, choices=result.baseline.choices)
    plain = dataclasses.replace(other, outputs=PRESERVED, optimized=full)
    assert judge(plain).verdict is Verdict.OUTPUT_DIFFERS


def test_the_loss_is_summed_up_over_samples_with_its_intervals() -> None:
    samples = tuple(
        dataclasses.replace(SAMPLE, sample=number, divergence={"baseline": 0.0, "optimized": 0.001 * (number + 1)}) for number in range(4)
    )
    found = judge(compared(outputs=dataclasses.replace(MEASURED, loss=Loss(CHOSEN, samples)), text="Something else.")).loss
    assert found is not None
    assert found.choices == {"optimized": ("quantization=int8",)}
    assert (found.samples, found.positions, found.captions, found.stages) == (4, 288, 1, ("generate",))
    lost = found.divergence["optimized"]
    assert lost.value == pytest.approx(0.0025)
    assert lost.low is not None
    assert lost.high is not None
    assert 0 <= lost.low < 0.0025 < lost.high
    agreement = found.same_top1["optimized"]
    assert agreement.value == pytest.approx(71 / 72)
    assert agreement.low is not None
    assert agreement.low < 71 / 72 - 0.005, "four samples that agree are not sure of the others"
    assert (found.exact["baseline"].value, found.exact["optimized"].value) == (1.0, 0.0)
    assert found.exact_lost is not None
    assert found.exact_lost.value == 1.0


def test_of_one_sample_there_is_no_interval_over_samples() -> None:
    found = judge(compared()).loss
    assert found is not None
    assert found.divergence["optimized"] == Estimate(0.0021, None, None)


def test_a_share_that_is_lost_has_newcombes_interval() -> None:
    """Table II of the paper, method 10: a = 36, b = 12, c = 2, d = 0 has 0.2 with -0.0569 to 0.3404 turned; and a zero that is not sure."""
    pairs = [(True, True)] * 36 + [(True, False)] * 12 + [(False, True)] * 2
    found = _difference(pairs)
    assert found.value == pytest.approx(0.2)
    assert found.low == pytest.approx(0.0569, abs=5e-4)
    assert found.high == pytest.approx(0.3404, abs=5e-4)
    alike = _difference([(True, True)] * 20)
    assert alike.value == 0
    assert alike.low is not None
    assert alike.high is not None
    assert alike.low < -0.1
    assert alike.high > 0.1


def test_a_result_keeps_what_was_measured(tmp_path: Path) -> None:
    results.write(compared(), tmp_path / "result.json")
    assert results.read(tmp_path).outputs == MEASURED
    with pytest.raises(ValueError, match="cannot be the same"):
        dataclasses.replace(SAMPLE, same_top1={"baseline": 73, "optimized": 0})
    with pytest.raises(ValueError, match="there is no loss"):
        Loss({}, ())


def test_a_lossy_comparison_is_reproduced_with_what_its_times_show() -> None:
    recorded, slower = compared(), compared(2.0)
    again = [reproduce((recorded, judge(recorded)), (now, judge(now))) for now in (recorded, slower)]
    assert [found.outcome for found in again] == [Outcome.REPRODUCED, Outcome.NOT_REPRODUCED]
    assert again[0].recorded_claim is Verdict.LOSSY


def test_a_side_that_reads_fewer_bytes_has_floors_of_its_own() -> None:
    session = dataclasses.replace(make_session(), limits=LIMITS)
    result = compared(sessions=(session,))
    sides = (
        dataclasses.replace(
            side, runs=tuple(dataclasses.replace(run, work=dataclasses.replace(run.work, prompt_tokens=9)) for run in side.runs)
        )
        for side in result.variants().values()
    )
    baseline, optimized = sides
    judged = judge(dataclasses.replace(result, baseline=baseline, optimized=optimized))
    # Two layers of 10,240 weights in 288 rows; a head of 32 x 384 in float32; keys and values of 10 positions.
    eight_bits, full = 2 * (10_240 + 4 * 288), 2 * 4 * 10_240
    rest = 4 * (32 * 384 + 10 * 128)
    assert judged.floors["tpot"] == pytest.approx((full + rest) / LIMITS.rates.read)
    assert list(judged.side_floors) == ["optimized"]
    assert judged.side_floors["optimized"]["tpot"] == pytest.approx((eight_bits + rest) / LIMITS.rates.read)
    shares = judged.floor_shares()["tpot"]
    medians = {side: found.median for timing in judged.tokens if timing.name == "tpot" for side, found in timing.sides.items() if found}
    assert shares["baseline"] == pytest.approx(judged.floors["tpot"] / medians["baseline"])
    assert shares["optimized"] == pytest.approx(judged.side_floors["optimized"]["tpot"] / medians["optimized"])


def test_a_ladder_refuses_what_is_lossy_and_says_what_to_do() -> None:
    lower, upper = parse("baseline"), parse("optimized+quantization=int8")
    for pair in ((lower, upper), (upper, lower)):
        with pytest.raises(UserError, match=r"quantization=int8 is lossy by design; compare it instead: evbench compare --baseline "):
            ladder.plan(*pair, "video-llava", "video", True)


# Outputs.

LOST = 0.05
"""RMS of what is lost: fifty times the rounding of the baseline."""


def what_is_lost() -> Arrays:
    random = np.random.default_rng(7)
    shape = exact()["generate"].shape
    return {name: LOST * random.normal(size=shape) for name in ("generate", "stage-isolated/generate")}


def lossy(less: float = 1.0, tokens: tuple[int, ...] | None = None, lost: Arrays | None = None) -> SampleOutputs:
    """The optimized side loses something, of which the reference loses `less` as much."""
    truth, lost = exact(), what_is_lost() if lost is None else lost
    theirs = with_swapped(rounded(truth, 2))
    theirs |= {name: theirs[name] + lost[name] for name in lost}
    known = {"optimized": {name: less * values for name, values in lost.items()}}
    ours = seen(rounded(truth, 1))
    side = seen(theirs) if tokens is None else seen(theirs, tokens)
    answers = () if tokens is None else (tokens,)
    return SampleOutputs(ours, ours, side, with_swapped(truth), answers, (), known)  # type: ignore[arg-type]


def test_what_a_side_loses_by_design_is_no_error() -> None:
    assert failing(lossy()) == set()
    held_as_it_is = failing(dataclasses.replace(lossy(), lost={}))
    assert ("generate", "stage-isolated", "RMS error") in held_as_it_is
    assert {stage for stage, _, _ in held_as_it_is} == {"generate"}


@pytest.mark.parametrize("less", [0.9, 1.1, 0.0])
def test_what_loses_less_or_more_than_it_says_is_an_error(less: float) -> None:
    assert ("generate", "stage-isolated", "RMS error") in failing(lossy(less))


def far() -> Arrays:
    """What is lost makes word 3 the most likely at position 2, in place of 7, by 2 nats."""
    logits = exact()["generate"]
    lost = np.zeros_like(logits)
    lost[2, 3] = logits[2, 7] - logits[2, 3] + 2
    return {"generate": lost, "stage-isolated/generate": lost}


def test_a_token_may_be_another_where_the_reference_that_loses_the_same_takes_it() -> None:
    found = graded(lossy(tokens=(4, 2, 3, 9, 9), lost=far()))[("generate", "end-to-end", "tokens")]
    assert (found.grade, found.location) == ("pass", "position 2")
    assert "tokens 7 and 3, 0 and 0 nats below" in found.detail


@pytest.mark.parametrize("tokens", [(4, 2, 7, 9, 9), (4, 2, 5, 9, 9), (4, 3, 3, 9, 9)])
def test_a_token_that_it_does_not_take_is_a_fault(tokens: tuple[int, ...]) -> None:
    found = graded(lossy(tokens=tokens, lost=far()))[("generate", "end-to-end", "tokens")]
    assert found.grade == "fail"


def test_nothing_that_is_not_finite_is_excused() -> None:
    given = lossy()
    broken = {name: values.copy() for name, values in given.optimized.arrays.items()}
    broken["stage-isolated/generate"][1, 1] = np.nan
    found = dataclasses.replace(given, optimized=dataclasses.replace(given.optimized, arrays=broken))
    assert ("generate", "stage-isolated", "NaN or infinity") in failing(found)
    assert measure(0, found) is None


def test_the_loss_of_a_sample_is_of_what_each_side_computed() -> None:
    given = lossy()
    found = measure(3, given)
    assert found is not None
    assert given.reference is not None
    assert (found.sample, found.positions, found.same_top1) == (3, 5, {"baseline": 5, "optimized": 5})
    theirs = divergence(given.reference["generate"], given.optimized.arrays["stage-isolated/generate"].astype(float))
    assert found.divergence["optimized"] == pytest.approx(float(theirs.mean()))
    assert found.divergence["optimized"] > 100 * found.divergence["baseline"]
    assert measure(0, dataclasses.replace(given, reference=None)) is None


# What is computed and then rounded goes either way.


def test_a_side_that_says_so_may_round_either_way_and_no_other_may() -> None:
    apart = failing(lossy(less=0.6))
    assert ("generate", "stage-isolated", "RMS error") in apart
    given = lossy(less=0.6)
    assert failing(dataclasses.replace(given, rounded=given.lost)) == set()
    assert failing(dataclasses.replace(given, rounded={"baseline": given.lost["optimized"]})) == apart
    by_weights_alone = {name: 0 * values for name, values in given.lost["optimized"].items()}
    assert failing(dataclasses.replace(given, rounded={"optimized": by_weights_alone})) == apart, "which are rounded alike by all"


def test_what_is_beyond_two_roundings_is_a_fault_for_it_too() -> None:
    given = lossy(less=0.6)
    name = "stage-isolated/generate"
    wrong = {**given.optimized.arrays, name: given.optimized.arrays[name] + 8 * what_is_lost()[name]}
    found = dataclasses.replace(given, optimized=dataclasses.replace(given.optimized, arrays=wrong), rounded=given.lost)
    assert ("generate", "stage-isolated", "RMS error") in failing(found)


@pytest.mark.parametrize(("error", "most"), [(1e-4, 1.1), (1e-3, 1.1), (1e-2, 1.1), (1.0, 1.5)])
def test_the_room_is_what_two_roundings_are_apart(error: float, most: float) -> None:
    """Of numbers that are spread evenly over the steps of a format, each off by an error in units of a step, in the mean."""
    random = np.random.default_rng(0)
    truth = random.uniform(0, 100, size=1_000_000)
    found, right = np.round(truth + error * random.normal(size=truth.shape)), np.round(truth)
    lost = float(np.mean((right - truth) ** 2))
    room = float(np.sqrt(rounded_either_way(error**2, lost)))
    assert 1 / most < room / float(np.sqrt(np.mean((found - right) ** 2))) < most if error < 1 else room == pytest.approx(np.sqrt(2 * lost))


def test_a_few_numbers_may_always_go_the_other_way() -> None:
    assert float(rounded_either_way(0.0, 1.0)) == FEW
    assert float(rounded_either_way(1.0, 0.0)) == 0


def test_a_divergence_that_rounding_takes_below_nothing_is_none() -> None:
    assert float(rounded_either_way(-1e-18, 1.0)) == FEW
    assert float(rounded_either_way(1.0, -1e-18)) == 0
