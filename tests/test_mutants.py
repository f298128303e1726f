"""Every fault that is planted is caught, and by the stage that it is in; what computes the same passes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.cache_utils import Cache

from evbench.inputs import sample
from evbench.microbenchmarks.false_alarms import expected_outputs
from evbench.pipelines.build import build
from evbench.pipelines.generate import loops
from evbench.pipelines.load import event_files
from evbench.pipelines.preprocess import pixels
from evbench.results import InputKind, Sample, Workload
from evbench.scenes.captions import QUESTIONS
from evbench.session import outputs
from evbench.session.mutation import require_mutable
from evbench.session.outputs import compare_with
from evbench.variants.named import parse
from evbench.verdict.findings import Finding, first_divergence, merge, worst
from evbench.verdict.refusal import work_differences
from evbench.worker.capture_outputs import capture_outputs
from evbench.worker.instruments import instruments
from evbench.worker.kept_rows import KeptRows
from evbench.worker.measure import RunPosition, measure
from evbench.worker.mutants import MUTANTS, Mutant
from evbench.worker.planting import replace_stages
from evbench.worker.throughput import measure_throughput
from tests import raw_events
from tests.checkpoints import least
from tests.examples import NOWHERE
from tests.scene_files import small_clip

UNCOMPILED = "optimized+vision=batched+generate=static"
NEW_TOKENS = 16
FRAMES = 4
"""Of the videos. With eight, as the model is used, it sees no fault that it does not see with four."""
PATHS = {
    "video": [small_clip(2), small_clip(1)],  # of the first, the other colour matrix leaves frames near enough for two decoders
    "event-images": [sample.EVENTS, sample.OTHER_EVENTS],
    "events": [raw_events.stored()],
}
OF_EVENTS = [name for name, mutant in MUTANTS.items() if mutant.kinds == ("events",)]
USING = instruments("cpu")


def workload(kind: InputKind, trained: bool = False) -> Workload:
    model, pictures, policy = ("video-llava", FRAMES, "inclusive") if kind == "video" else ("eventgpt", 5, "all")
    question = QUESTIONS["concise"]
    window = raw_events.WINDOW if kind == "events" else None
    weights = ("small", None) if trained else (None, str(least(model)))
    asked: Any = (model, *weights, (NOWHERE,), pictures, policy, question, NEW_TOKENS, False, "cpu", "float32", None, window)
    return Workload(*asked, kind=kind)


class Bench:
    """Samples of one kind: the baseline's outputs and the reference's, made once."""

    def __init__(self, workload: Workload, folder: Path) -> None:
        self.workload, self.kind, self.folder = workload, workload.kind, folder
        self.expected = expected_outputs(workload, PATHS[workload.kind], folder)

    def compare(self, variant: str, mutant: Mutant | None = None) -> dict[int, list[Finding]]:
        """Timed runs and then those that are judged, as evbench selftest --mutants has them."""
        pipeline = build(parse(variant), self.workload)
        if mutant is not None:
            mutant.plant(pipeline, PATHS[self.kind])
        count, kept = 1 if mutant is None else mutant.samples, KeptRows()
        found = {}
        for number, expected in enumerate(self.expected[:count]):
            path, file = PATHS[self.kind][number], self.folder / f"{number}-subject"
            runs = [
                measure(pipeline, path, NEW_TOKENS, RunPosition("timed", turn, number, None), bool(turn), USING, kept) for turn in range(2)
            ]
            captured = capture_outputs(pipeline, path, NEW_TOKENS, file, expected.baseline, True, kept)
            found[number] = compare_with(expected, captured, "float32", answers=[run.tokens for run in runs])
        return found


KINDS: tuple[InputKind, ...] = ("video", "event-images")
SMALLEST = [pytest.param((kind, False), id=kind) for kind in KINDS]
TRAINED = [pytest.param((kind, True), marks=pytest.mark.long, id=f"{kind}-trained") for kind in KINDS]


@pytest.fixture(scope="module", params=[*SMALLEST, *TRAINED])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(workload(*request.param), tmp_path_factory.mktemp("outputs"))


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a fault changes for the whole process is put back, as no worker has to."""
    monkeypatch.setattr(Cache, "update", Cache.update)
    monkeypatch.setattr(event_files, "read", event_files.read)
    monkeypatch.setattr(pixels, "functional", pixels.functional)  # type: ignore[attr-defined]
    monkeypatch.setattr(loops.StaticLoop, "_next", loops.StaticLoop._next)
    kernels = ("flash", "mem_efficient", "cudnn")
    before = [getattr(torch.backends.cuda, f"{kernel}_sdp_enabled")() for kernel in kernels]
    yield
    for kernel, enabled in zip(kernels, before, strict=True):
        getattr(torch.backends.cuda, f"enable_{kernel}_sdp")(enabled)


@pytest.fixture(scope="module")
def bench_of_events(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(workload("events"), tmp_path_factory.mktemp("outputs"))


@pytest.mark.slow
def test_rendering_in_another_way_passes(bench_of_events: Bench) -> None:
    found = bench_of_events.compare("baseline+render=vectorised")
    assert worst(merge(found)) == "pass"
    assert {finding.value for finding in found[0] if finding.rule == "differing pixels"} == {0.0}


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_EVENTS)
def test_a_fault_of_rendering_is_caught_in_load(bench_of_events: Bench, name: str) -> None:
    blamed = first_divergence(merge(bench_of_events.compare("baseline+render=vectorised", MUTANTS[name])))
    assert blamed is not None, "nothing caught it"
    assert blamed.stage == MUTANTS[name].stage == "load"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MUTANTS if name not in OF_EVENTS])
def test_a_fault_is_caught_where_it_is(bench: Bench, name: str) -> None:
    mutant = MUTANTS[name]
    if not mutant.can_be_planted(bench.workload.model, bench.kind):
        return
    checks = merge(bench.compare(UNCOMPILED, mutant))
    if mutant.harmless or mutant.of_time:  # see tests/test_cache_check.py
        assert worst(checks) == "pass"
        return
    if name == "sampled":
        pytest.skip("a model that is this sure draws what is likeliest: the run's own signs catch it, see the next test")
    blamed = first_divergence(checks)
    assert blamed is not None, "nothing caught it"
    assert blamed.stage == mutant.stage


@pytest.mark.slow
@pytest.mark.parametrize("prefetch", ["off", "on"])
def test_a_fault_of_throughput_runs_alone_is_caught(bench: Bench, prefetch: str) -> None:
    """Their samples leave logits: what comes before shows in them, or in the tokens."""
    pipeline = build(parse(UNCOMPILED), bench.workload)
    right, faulty = pipeline.vision, [True]

    def vision(inputs: Any) -> Any:
        features, work = right(inputs)
        return (features.holding(torch.zeros_like(features.values())) if faulty[0] else features), work

    replace_stages(pipeline, vision=vision)
    path, expected, kept = PATHS[bench.kind][0], bench.expected[0], KeptRows(random.Random(0))
    run = measure_throughput(pipeline, prefetch, [path] * 8, NEW_TOKENS, 0, 0, USING, kept)
    faulty[0] = False
    assert [row.before for row in kept.logits(path)].count(()) >= 8
    assert kept.rows(path, "vision") == [], "outputs of other stages are not held on to"
    captured = capture_outputs(pipeline, path, NEW_TOKENS, bench.folder / "subject", expected.baseline, True, kept)
    blamed = first_divergence(merge({0: compare_with(expected, captured, "float32", answers=run.tokens)}))
    assert blamed is not None
    assert blamed.stage == "generate", "the first that these runs leave anything of"


@pytest.mark.slow
@pytest.mark.parametrize("change", ["attention=eager", "decode=threaded", "preprocess=direct", "vision=batched", "generate=static"])
def test_what_computes_the_same_passes(bench: Bench, change: str) -> None:
    assert worst(merge(bench.compare(f"baseline+{change}"))) == "pass"


@pytest.mark.long  # tests/test_cli.py compares its outputs once
def test_what_computes_the_same_compiled_passes(bench: Bench) -> None:
    assert worst(merge(bench.compare("optimized"))) == "pass"


@pytest.mark.slow
def test_the_same_variant_twice_passes(bench: Bench) -> None:
    found = bench.compare("baseline")
    assert worst(merge(found)) == "pass"
    exact = {finding.rule for finding in found[0] if finding.mode == "end-to-end" and finding.value == 0}
    frames = "max abs difference (8-bit levels)" if bench.kind == "video" else "differing pixels"
    assert {frames, "max abs difference (8-bit levels)", "tokens"} <= exact


@pytest.mark.slow
def test_logits_follow_the_tokens_they_are_given(bench: Bench) -> None:
    """What is forced is what the loop would have chosen: else logits and tokens were of two different things."""
    from safetensors.numpy import load_file

    for expected in bench.expected:
        logits = load_file(expected.baseline.file)["generate"]
        assert tuple(logits.argmax(axis=-1).tolist()) == expected.baseline.answer.tokens
    assert expected.baseline.answer.tokens != bench.expected[0].baseline.answer.tokens
    assert not work_differences(bench.expected[0].baseline.work, bench.expected[0].again.work)


@pytest.mark.parametrize("variant", ["baseline", "optimized+preprocess=processor", "optimized+vision=eager", "optimized+generate=dynamic"])
def test_faults_are_refused_where_they_could_not_be_planted(variant: str) -> None:
    from evbench.errors import UserError

    with pytest.raises(UserError, match="take such a variant, such as optimized"):
        require_mutable(parse(variant))
    require_mutable(parse("optimized"))


# The score.


def said(*texts: tuple[str, str]) -> dict[int, outputs.Compared]:
    return {number: outputs.Compared([], pair) for number, pair in enumerate(texts)}


def with_captions(*captions: str | None) -> list[Sample]:
    return [replace(NOWHERE, caption=caption) for caption in captions]


def test_what_is_said_is_scored_where_a_caption_is_known() -> None:
    from evbench.scenes.captions import describe
    from evbench.scenes.world import imagine

    captions = [describe(imagine(0, number), "concise", colours=True) for number in range(4)]
    right = said(*((caption, caption) for caption in captions))
    (check,) = outputs.task_score(right, with_captions(*captions))
    assert (check.grade, check.value, check.samples) == ("pass", 0.0, 4)
    worse = said(*((caption, caption.replace("red", "blue").replace("left", "right")) for caption in captions))
    (check,) = outputs.task_score(worse, with_captions(*captions))
    assert check.grade == "fail"
    assert check.value > 0.05
    assert outputs.task_score(right, with_captions(None, None, None, None)) == ()
    assert outputs.task_score(said(("?", "?")), with_captions(captions[0])) == (), "nothing is right that could be lost"
