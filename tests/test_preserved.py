"""Outputs preserved, or no speedup: what a verdict and a report make of the checks."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from evbench.report.render import to_markdown
from evbench.report.timings import latency, tokens
from evbench.results import Activation, Outputs, Result
from evbench.verdict.error_rule import OWN_ERROR
from evbench.verdict.judge import judge
from evbench.verdict.judgement import Verdict
from tests.examples import GREEDY, PRESERVED, described, make_check, make_result, make_run, make_side, scaled, without_stage_sync


def faster(**fields: Any) -> Result:
    """Twice as fast, with blocks that scatter a little."""
    runs = []
    for block in range(10):
        run = dataclasses.replace(make_run(seconds=0.1 + block * 1e-4), block=block)
        runs += [run, without_stage_sync(run)]
    side = make_side(*runs)
    return make_result(scaled(dataclasses.replace(side, variant="optimized"), 0.5), side, **fields)


def written(result: Result) -> str:
    return to_markdown(described(result), "now", "evbench compare")


def outputs(*checks: Any) -> Outputs:
    """Beside all that pass."""
    return dataclasses.replace(PRESERVED, checks=(*PRESERVED.checks, *checks))


def test_with_outputs_preserved_a_speedup_is_claimed() -> None:
    result = faster()
    assert judge(result).verdict == Verdict.FASTER
    assert "FASTER: end-to-end speedup 2.00x" in written(result)


def test_without_outputs_compared_no_speedup_is_claimed() -> None:
    result = faster(outputs=None)
    judged = judge(result)
    assert (judged.verdict, judged.exit_code, judged.preserved) == (Verdict.INCONCLUSIVE, 4, None)
    assert "outputs were not compared" in judged.reasons[0]
    assert "2.00x" not in written(result)


@pytest.mark.parametrize("mode", ["end-to-end", "stage-isolated"])
def test_a_failed_check_costs_the_headline_and_names_the_stage(mode: Any) -> None:
    result = faster(
        outputs=outputs(make_check("preprocess"), make_check("vision", mode, "fail"), make_check("generate", "end-to-end", "fail"))
    )
    judged = judge(result)
    assert (judged.verdict, judged.exit_code, judged.preserved) == (Verdict.OUTPUT_DIFFERS, 5, "fail")
    assert judged.reasons[0].startswith("the first stage to differ is vision")
    assert "max abs error 2.5 (threshold 1), at frame 0, token 3" in judged.reasons[0]
    assert "| vision | " in written(result)
    assert "2.00x" not in written(result)


def test_a_baseline_that_does_not_repeat_itself_is_named() -> None:
    judged = judge(faster(outputs=outputs(make_check("generate", "baseline-repeat", "fail"))))
    assert judged.verdict == Verdict.OUTPUT_DIFFERS
    assert judged.reasons[0].startswith("the baseline is not repeatable: generate, baseline-repeat")


def test_a_baseline_far_from_the_reference_is_not_said_to_repeat_itself_badly() -> None:
    far = dataclasses.replace(make_check("vision", "baseline-repeat", "fail"), rule=OWN_ERROR)
    judged = judge(faster(outputs=outputs(far)))
    assert judged.reasons[0].startswith(f"the baseline is too far from the reference: vision, baseline-repeat: {OWN_ERROR}")


def test_a_warning_is_flagged_with_the_speedup() -> None:
    judged = judge(faster(outputs=outputs(make_check("load", "end-to-end", "warn"), make_check("vision", "baseline-repeat", "warn"))))
    assert judged.verdict == Verdict.FASTER
    assert judged.flags["OUTPUT_NEARLY"].startswith("load, end-to-end")
    assert "(vision)" in judged.flags["NOT_REPEATABLE"]


def test_without_a_reference_no_speedup_is_claimed() -> None:
    judged = judge(faster(outputs=dataclasses.replace(PRESERVED, reference=None)))
    assert "REFERENCE_MISSING" in judged.flags
    assert judged.verdict == Verdict.INCONCLUSIVE
    assert "REFERENCE_MISSING" not in judge(faster()).flags
    assert all(timing.claim is None and timing.interval is None for timing in judged.timings())
    assert not any("faster" in row or "slower" in row for table in (latency(judged), tokens(judged)) for row in table.rows)
    assert any("faster" in row for row in latency(judge(faster())).rows)


@pytest.mark.parametrize("left_out", range(len(PRESERVED.checks)))
def test_a_stage_that_was_not_compared_is_not_preserved(left_out: int) -> None:
    some = tuple(check for place, check in enumerate(PRESERVED.checks) if place != left_out)
    assert judge(faster(outputs=dataclasses.replace(PRESERVED, checks=some))).verdict == Verdict.INCONCLUSIVE
    assert judge(faster(outputs=dataclasses.replace(PRESERVED, checks=()))).verdict == Verdict.INCONCLUSIVE


def not_active(result: Result, choice: str) -> Result:
    assert result.optimized is not None
    proof = Activation("decode", choice, False, "load: no call of it")
    side = dataclasses.replace(result.optimized, activations=(proof, GREEDY), choices={"decode": choice})
    return dataclasses.replace(result, optimized=side)


def test_a_choice_that_left_no_sign_earns_nothing() -> None:
    judged = judge(not_active(faster(), "threaded"))
    assert (judged.verdict, judged.exit_code) == (Verdict.INVALID, 6)
    assert judged.reasons == ("NOT_ACTIVE: decode=threaded of the optimized side (load: no call of it)",)


def test_a_shared_choice_that_is_active_on_one_side_only_earns_nothing() -> None:
    assert judge(not_active(faster(), "plain")).verdict == Verdict.INVALID


def test_a_choice_that_is_active_on_neither_side_is_only_flagged() -> None:
    result = not_active(faster(), "plain")
    assert result.optimized is not None
    judged = judge(dataclasses.replace(result, baseline=dataclasses.replace(result.baseline, activations=result.optimized.activations)))
    assert judged.verdict == Verdict.FASTER
    assert "decode=plain" in judged.flags["NOT_ACTIVE"]


def test_sampling_is_refused() -> None:
    result = faster()
    assert result.optimized is not None
    drawn = Activation("decoding", "greedy", False, "generate: random numbers: 71 x aten::multinomial, which this choice does not do")
    judged = judge(dataclasses.replace(result, optimized=dataclasses.replace(result.optimized, activations=(drawn,))))
    assert judged.verdict == Verdict.INVALID
    assert "decoding=greedy of the optimized side" in judged.reasons[0]


def test_unequal_work_is_reported_by_unit_and_not_as_a_ratio() -> None:
    result = faster()
    assert result.optimized is not None
    runs = tuple(dataclasses.replace(run, work=dataclasses.replace(run.work, frame_indices=(0,))) for run in result.optimized.runs)
    unequal = dataclasses.replace(result, optimized=dataclasses.replace(result.optimized, runs=runs))
    assert judge(unequal).verdict == Verdict.INVALID
    text = written(unequal)
    assert "By unit of work" in text
    assert "| load-per-frame | 50.2 ms | 50.2 ms |" in text, "100.45 ms for two frames, 50.2 ms for one"
    assert "By unit of work" not in written(result)
