"""What drafts gave in timed runs, against what was to be expected of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from evbench.pipelines.build import build
from evbench.pipelines.generate.language import LanguageModel
from evbench.pipelines.generate.speculative import SpeculativeLoop
from evbench.report import drafting as shown
from evbench.results import Drafting, Result, Run, SideResult
from evbench.stages import Passes, Sampler
from evbench.variants.named import parse
from evbench.verdict import speculation
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


def drafting_run() -> Run:
    """24 tokens behind the prefill, in six passes that take as long as two steps each. Of four drafts three are accepted."""
    found = Drafting(PASSES, 4 * PASSES, 3 * PASSES, PASSES, DRAFT * PASSES, VERIFY * PASSES)
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
    assert found.acceptance is not None and found.acceptance.value == pytest.approx(0.75), "three of the four that were looked at"
    parts = found.pass_seconds, found.draft_seconds, found.verify_seconds, found.rest_seconds
    assert parts == pytest.approx((0.020, DRAFT, VERIFY, REST))
    expected = (1 - 0.75**5) / (1 - 0.75)
    assert found.expected_tokens == pytest.approx(expected)
    assert found.expectation is not None
    assert found.expectation.speedup == pytest.approx(expected / 1.8), "drafting and verifying take 1.8 steps"
    assert found.expectation.break_even == pytest.approx(speculation.break_even(4, 0.1, 1.4))
    assert found.expectation.measured == pytest.approx(4 / 2)
    gains = {gamma: (1 - 0.75 ** (gamma + 1)) / 0.25 / (gamma * 0.1 + 1.4) for gamma in range(1, 9)}
    assert found.expectation.best_gamma == 6
    assert found.expectation.best_speedup == pytest.approx(max(gains.values()))
    cells = dict(shown.table(judged).rows)  # type: ignore[arg-type, var-annotated]
    assert (cells["tokens per pass"], cells["acceptance"], cells["drafts in a pass"]) == ("4.00", "75.0%", "4.00")
    assert cells["the most that is expected"] == f"{max(gains.values()):.2f}x, with 6 in a pass"
    assert (cells["speedup of decoding, expected"], cells["speedup of decoding, measured"]) == ("1.69x", "2.00x")
    assert judged.metrics["decode-step"].sides["optimized"] is None, "tokens that come together have no step each"


def test_nothing_is_expected_against_a_side_that_differs_in_more_than_drafts() -> None:
    judged = judge(compared(PLAIN, drafting_run(), vision="compile"))
    assert judged.drafting["optimized"].expectation is None
    assert "speedup of decoding, expected" not in {row[0] for row in shown.table(judged).rows}


def test_of_a_choice_that_is_not_known_here_nothing_is_expected() -> None:
    """Such as that of a plug-in, in a recorded result."""
    judged = judge(compared(PLAIN, drafting_run(), draft="of-a-plug-in"))
    assert not judged.drafting and not shown.table(judged).rows


@pytest.mark.parametrize("optimized", ["drafting", "plain"])
def test_answers_of_one_token_have_no_step_to_compare_with(optimized: str) -> None:
    one = dataclasses.replace(make_run(), decode_step_seconds=())
    judged = judge(compared(one, drafting_run() if optimized == "drafting" else one))
    assert [found.expectation for found in judged.drafting.values()] == ([None] if optimized == "drafting" else [])


def test_without_drafts_there_is_no_table() -> None:
    judged = judge(compared(PLAIN, PLAIN))
    assert not judged.drafting and not shown.table(judged).rows


@pytest.mark.parametrize(("accepted", "rejecting", "passes"), [(25, 0, 6), (-1, 0, 6), (0, 0, 0), (20, 5, 6), (3, 7, 6)])
def test_what_cannot_be_is_refused(accepted: int, rejecting: int, passes: int) -> None:
    with pytest.raises(ValueError, match="drafts cannot be accepted"):
        Drafting(passes, 24, accepted, rejecting, 0.0, 0.0)


def test_a_stopwatch_tells_drafting_from_verification() -> None:
    moments = iter([10, 14, 22, 24, 24, 24, 31, 38, 40])
    using = dataclasses.replace(instruments("cpu"), stream=HostStream(lambda: next(moments) * 10**9))
    watch = Stopwatch(using)
    sampler = Sampler(mark=watch.mark, passes=watch.passes)
    sampler.passed()  # the prefill's token, at 10
    sampler.passes.drafted(4)  # at 14
    sampler.passes.verified()  # at 22
    for _ in range(3):
        sampler.passed()  # at 24
    sampler.passes.accepted(2)
    sampler.passes.drafted(0)  # at 31
    sampler.passes.verified()  # at 38
    sampler.passed()  # at 40
    sampler.passes.accepted(0)
    seconds = {"draft_seconds": 4 + 7, "verify_seconds": 8 + 7}
    assert watch.passes.read() == Drafting(passes=2, drafted=4, accepted=2, rejecting=1, **seconds)
    assert Stopwatch(using).passes.read() is None


class Recorded(Passes):
    """All that a loop tells."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def drafted(self, count: int) -> None:
        self.told.append(("drafted", count))

    def accepted(self, count: int) -> None:
        self.told.append(("accepted", count))


class Said:
    """Says 6, 2 and what follows, whatever it is fed."""

    hidden = torch.zeros(1, 1)
    answer = (5, 6, 2, 7, 8, 9)

    def prefill(self, embeddings: torch.Tensor, new_tokens: int, /) -> torch.Tensor:
        return self._logits(0, 1)

    def verify(self, fed: Sequence[int], position: int, /) -> torch.Tensor:
        return self._logits(position - 2, len(fed))  # a prompt of three tokens, and the first of the answer stands behind it

    def _logits(self, place: int, count: int) -> torch.Tensor:
        said = torch.tensor(self.answer[place : place + count])
        return torch.nn.functional.one_hot(said, 10)[None].float()


@pytest.mark.parametrize(("stops", "told"), [(True, [("drafted", 4), ("accepted", 2)]), (False, [("drafted", 4), ("accepted", 4)])])
def test_an_end_token_that_was_drafted_is_accepted(stops: bool, told: list[tuple[str, int]]) -> None:
    language = LanguageModel(None, None, torch.nn.Identity(), end_token=2, stop_at_end=stops)
    passes, loop = Recorded(), SpeculativeLoop(language, Said(), gamma=4)
    answer = loop(torch.zeros(1, 3, 1), 6, Sampler(passes=passes), lambda tokens, count: [6, 2, 7, 8][:count])
    assert (answer, passes.told) == (([5, 6, 2] if stops else list(Said.answer)), told)


def test_timed_runs_count_what_is_drafted_and_others_nothing() -> None:
    workload = asked("video-llava", preset="tiny", new_tokens=9)
    path, using = Path(workload.samples[0].path), instruments("cpu")

    def timed(variant: str, *, stage_sync: bool) -> Run:
        pipeline: Any = build(parse(variant), workload)
        return measure(pipeline, path, 9, RunPosition("timed", 0, 0, 0), stage_sync, using, KeptRows())

    found = timed("baseline+generate=static+draft=lookup-4", stage_sync=True)
    assert found.drafting is not None and found.decode_step_seconds is not None
    assert found.drafting.passes + found.drafting.accepted == len(found.tokens) - 1 == 8, "each pass gives one token more"
    assert 0 < found.drafting.draft_seconds + found.drafting.verify_seconds <= sum(found.decode_step_seconds)
    assert timed("baseline+generate=static+draft=lookup-4", stage_sync=False).drafting is None
    assert timed("baseline+generate=static", stage_sync=True).drafting is None
