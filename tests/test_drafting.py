"""What drafts gave in timed runs, against what was to be expected of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from evbench.pipelines.build import build
from evbench.report import drafting as shown
from evbench.report.units import NOT_MEASURED
from evbench.results import Drafting, Result, Run, SideResult
from evbench.stages import Sampler
from evbench.variants.named import parse
from evbench.verdict.judge import judge
from evbench.worker.instruments import instruments
from evbench.worker.kept_rows import KeptRows
from evbench.worker.measure import HostStream, RunPosition, Stopwatch, measure
from tests.examples import make_result, make_run, make_session, make_side
from tests.test_judge import in_blocks
from tests.test_own_pipeline import asked

STEP, DRAFT, VERIFY, REST = 0.010, 0.004, 0.014, 0.002
TOKENS_OF_A_PASS = 4
PASSES = 6


def drafting_run(accepted: int = (TOKENS_OF_A_PASS - 1) * PASSES) -> Run:
    """24 tokens behind the prefill, in six passes that take as long as two steps each."""
    found = Drafting(PASSES, 4 * PASSES, accepted, DRAFT * PASSES, VERIFY * PASSES)
    gaps = tuple([DRAFT + VERIFY + REST, 0.0, 0.0, 0.0] * PASSES)
    return dataclasses.replace(make_run(), drafting=found, decode_step_seconds=gaps)


def compared(baseline: Run, optimized: Run, **choices: str) -> Result:
    def side(run: Run, **changed: str) -> SideResult:
        # Without synchronized stages nothing is known of single tokens.
        runs = (run if run.stages is not None else dataclasses.replace(run, drafting=None) for run in in_blocks(run))
        made = make_side(*runs)
        draft = "none" if run.drafting is None else "head-4"
        return dataclasses.replace(made, choices={**made.choices, "draft": draft, **changed})

    return make_result(side(optimized, **choices), baseline=side(baseline), sessions=(make_session(),))


PLAIN = dataclasses.replace(make_run(), decode_step_seconds=(STEP,) * 24)


def test_the_speedup_follows_from_tokens_per_pass_and_what_a_pass_takes() -> None:
    judged = judge(compared(PLAIN, drafting_run()))
    assert list(judged.drafting) == ["optimized"]
    found = judged.drafting["optimized"]
    assert found.tokens_per_pass.value == pytest.approx(4) and found.tokens_per_pass.interval is None, "one sample"
    assert found.accepted is not None and found.accepted.value == pytest.approx(0.75)
    parts = found.pass_seconds, found.draft_seconds, found.verify_seconds, found.rest_seconds
    assert parts == pytest.approx((0.020, DRAFT, VERIFY, REST))
    assert found.prediction is not None
    assert found.prediction.break_even == pytest.approx(1.8), "steps that drafting and verifying take"
    assert found.prediction.speedup == pytest.approx(4 / 1.8)
    assert found.prediction.measured == pytest.approx(4 / 2), "the rest takes the difference"
    cells = {name: cell for name, cell in shown.table(judged).rows}
    assert (cells["tokens per pass"], cells["drafts accepted"]) == ("4.00", "75.0%, of 4.00 in a pass")
    assert (cells["speedup of decoding, predicted"], cells["speedup of decoding, measured"]) == ("2.22x", "2.00x")
    assert judged.metrics["decode-step"].sides["optimized"] is None, "tokens that come together have no step each"


def test_nothing_is_predicted_against_a_side_that_differs_in_more_than_drafts() -> None:
    judged = judge(compared(PLAIN, drafting_run(), vision="compile"))
    assert judged.drafting["optimized"].prediction is None
    assert ("speedup of decoding, predicted", NOT_MEASURED) in shown.table(judged).rows


def test_without_drafts_there_is_no_table() -> None:
    judged = judge(compared(PLAIN, PLAIN))
    assert not judged.drafting and not shown.table(judged).rows


@pytest.mark.parametrize(("accepted", "passes"), [(25, 6), (-1, 6), (0, 0)])
def test_what_cannot_be_is_refused(accepted: int, passes: int) -> None:
    with pytest.raises(ValueError, match="drafts cannot be accepted"):
        Drafting(passes, 24, accepted, 0.0, 0.0)


def test_a_stopwatch_tells_drafting_from_verification() -> None:
    moments = iter([0, 10, 14, 24, 24, 24, 31, 40])
    using = dataclasses.replace(instruments("cpu"), stream=HostStream(lambda: next(moments) * 10**9))
    watch = Stopwatch(using)
    sampler = Sampler(mark=watch.mark, drafted=watch.drafted)
    next(moments)  # the stage begins
    sampler.passed()  # the prefill's token, at 10
    sampler.drafted(4)  # at 14
    for _ in range(3):
        sampler.passed()  # at 24: two are accepted
    sampler.drafted(0)  # at 31
    sampler.passed()  # at 40
    assert watch.drafting() == Drafting(passes=2, drafted=4, accepted=2, draft_seconds=4 + 7, verify_seconds=10 + 9)
    assert Stopwatch(using).drafting() is None


def test_timed_runs_count_what_is_drafted_and_others_nothing() -> None:
    workload = asked("video-llava", preset="tiny", new_tokens=9)
    path, using = Path(workload.samples[0].path), instruments("cpu")

    def timed(variant: str, *, stage_sync: bool) -> Run:
        pipeline: Any = build(parse(variant), workload)
        return measure(pipeline, path, 9, RunPosition("timed", 0, 0, 0), stage_sync, using, KeptRows())

    found = timed("baseline+generate=static+draft=lookup-4", stage_sync=True)
    assert found.drafting is not None and found.decode_step_seconds is not None
    assert found.drafting.passes + found.drafting.accepted == len(found.tokens) - 1 == 8
    assert 0 < found.drafting.draft_seconds + found.drafting.verify_seconds <= sum(found.decode_step_seconds)
    assert timed("baseline+generate=static+draft=lookup-4", stage_sync=False).drafting is None
    assert timed("baseline+generate=static", stage_sync=True).drafting is None
