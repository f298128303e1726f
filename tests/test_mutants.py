"""Every fault that is planted is caught, and by the stage that it is in; what computes the same passes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers.cache_utils import Cache

from evbench.inputs import sample
from evbench.microbenchmarks.false_alarms import expected_outputs
from evbench.pipelines.build import build
from evbench.pipelines.checkpoints.grown import layers_in
from evbench.pipelines.compute.cuda_graph import Replayed
from evbench.pipelines.generate import choices, tensor_parallel
from evbench.pipelines.generate.graph_loop import DecodeState
from evbench.pipelines.generate.llama import FusedLlama
from evbench.pipelines.generate.loops import StaticLoop
from evbench.pipelines.generate.speculative import SpeculativeLoop
from evbench.pipelines.load import event_files
from evbench.pipelines.load.video import Frames
from evbench.pipelines.registry import loses_as
from evbench.pipelines.vision.clip import FusedClip
from evbench.report.mutation import to_markdown
from evbench.results import InputKind, Sample, Workload
from evbench.scenes.captions import QUESTIONS
from evbench.session import outputs
from evbench.session.mutation import left_out, planted
from evbench.session.outputs import compare_with, outputs_of
from evbench.stages import Sampler, run_stages
from evbench.variants.named import VARIANTS, parse
from evbench.verdict import loss
from evbench.verdict.equivalence import compare_sample
from evbench.verdict.findings import Finding, first_divergence, merge, worst
from evbench.verdict.mutation import Idle, MutantOutcome, weighed
from evbench.verdict.refusal import work_differences
from evbench.worker.capture_outputs import capture_outputs
from evbench.worker.instruments import instruments
from evbench.worker.kept_rows import KeptRows
from evbench.worker.layers import adding, attended, mlp_output, nearest_to_the_middle
from evbench.worker.measure import RunPosition, measure
from evbench.worker.mutants import MUTANTS, Mutant
from evbench.worker.planting import replace_stages
from evbench.worker.throughput import measure_throughput
from evbench.worker.watched_faults import switch
from tests import raw_events
from tests.checkpoints import least
from tests.examples import NOWHERE
from tests.reference_kernels import over_references, uncompiled
from tests.scene_files import small_clip
from tests.test_grown import both
from tests.test_tensor_parallel import run_on_threads

UNCOMPILED = "optimized+vision=batched+generate=static"
DRAFTED = f"{UNCOMPILED}+draft=lookup-4"
NEW_TOKENS = 16
FRAMES = 4
"""Of the videos. With eight, as the model is used, it sees no fault that it does not see with four."""
PATHS = {
    "video": [small_clip(2), small_clip(1)],  # of the first, the other colour matrix leaves frames near enough for two decoders
    "event-images": [sample.EVENTS, sample.OTHER_EVENTS],
    "events": [raw_events.stored()],
}
SHIPPED = {"video": [sample.CLIP, sample.OTHER_CLIP], "event-images": [sample.EVENTS, sample.OTHER_EVENTS]}
OF_EVENTS = [name for name, mutant in MUTANTS.items() if mutant.kinds == ("events",)]


def workload(kind: InputKind, trained: bool = False) -> Workload:
    model, pictures, policy = ("video-llava", FRAMES, "inclusive") if kind == "video" else ("eventgpt", 5, "all")
    question = QUESTIONS["concise"]
    window = raw_events.WINDOW if kind == "events" else None
    weights = ("small", None) if trained else (None, str(least(model)))
    asked: Any = (model, *weights, (NOWHERE,), pictures, policy, question, NEW_TOKENS, False, "cpu", "float32", None, window)
    return Workload(*asked, kind=kind)


class Bench:
    """Samples of one kind: the baseline's outputs and the reference's, made once."""

    def __init__(
        self, workload: Workload, folder: Path, paths: Sequence[Path] | None = None, losing: Mapping[str, str] | None = None
    ) -> None:
        """
        Args:
            paths: those of PATHS if it is None.
            losing: for variants with these lossy choices, those of the reference that loses the same.
        """
        self.workload, self.kind, self.folder = workload, workload.kind, folder
        self.paths = paths or PATHS[workload.kind]
        self.expected = expected_outputs(workload, self.paths, folder, losing)
        self.using = instruments(workload.device)

    def compare(self, variant: str, mutant: Mutant | None = None) -> dict[int, list[Finding]]:
        """Timed runs and then those that are judged, as evbench selftest --mutants has them."""
        pipeline = build(parse(variant), self.workload)
        if mutant is not None:
            mutant.plant(pipeline, self.paths)
        # Always the same rows: by chance, all of them could be ones that a fault of timed runs does not change.
        count, kept = 1 if mutant is None else mutant.samples, KeptRows(random.Random(0))
        found = {}
        for number, expected in enumerate(self.expected[:count]):
            path, file = self.paths[number], self.folder / f"{number}-subject"
            runs = [
                measure(pipeline, path, NEW_TOKENS, RunPosition("timed", turn, number, None), bool(turn), self.using, kept)
                for turn in range(2)
            ]
            captured = capture_outputs(pipeline, path, NEW_TOKENS, file, expected.baseline, True, kept)
            seen = outputs_of(expected, captured, answers=[run.tokens for run in runs])
            found[number] = compare_sample(seen, self.workload.dtype)
            self.lost = loss.measure(number, seen)
        return found


CHANGED: dict[Any, tuple[str, ...]] = {
    Cache: ("update",),
    StaticLoop: ("_next",),
    SpeculativeLoop: ("_chosen", "_position"),
    FusedClip: ("__call__",),
    FusedLlama: ("prefill", "step"),
    DecodeState: ("__init__", "reset", "_step"),
    Replayed: ("__call__",),
    tensor_parallel: ("part_of",),
}
"""Methods and functions that faults replace."""
KINDS: tuple[InputKind, ...] = ("video", "event-images")
SMALLEST = [pytest.param((kind, False), id=kind) for kind in KINDS]
TRAINED = [pytest.param((kind, True), marks=pytest.mark.long, id=f"{kind}-trained") for kind in KINDS]


@pytest.fixture(scope="module", params=[*SMALLEST, *TRAINED])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(workload(*request.param), tmp_path_factory.mktemp("outputs"))


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a fault changes for the whole process is put back, as no worker has to."""
    monkeypatch.setattr(event_files, "read", event_files.read)
    for owner, names in CHANGED.items():
        for name in names:
            monkeypatch.setattr(owner, name, getattr(owner, name))
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
    if mutant.obstacle(parse(UNCOMPILED), bench.workload) is not None:
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
@pytest.mark.parametrize("name", [name for name, mutant in MUTANTS.items() if mutant.choices == choices.DRAFTED])
def test_a_fault_of_drafts_is_caught(bench: Bench, name: str) -> None:
    blamed = first_divergence(merge(bench.compare(DRAFTED, MUTANTS[name])))
    assert blamed is not None, "nothing caught it"
    assert blamed.stage == "generate"


QUANTIZED = ("int8", "fp8")
KINDS_OF_QUANTIZED = [pytest.param((kind, choice), id=f"{kind}-{choice}") for kind in KINDS for choice in QUANTIZED]


@pytest.fixture(scope="module", params=KINDS_OF_QUANTIZED)
def quantized_bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, str]:
    kind, choice = request.param
    losing = loses_as(parse(f"baseline+quantization={choice}").choices(), workload(kind).model)
    return Bench(workload(kind), tmp_path_factory.mktemp("outputs"), losing=losing), choice


@pytest.mark.slow
@pytest.mark.parametrize("base", ["baseline", UNCOMPILED, "baseline+generate=static-generate", DRAFTED])
def test_what_is_quantized_passes_less_what_that_loses(quantized_bench: tuple[Bench, str], base: str) -> None:
    bench, choice = quantized_bench
    assert worst(merge(bench.compare(f"{base}+quantization={choice}"))) == "pass"
    assert bench.lost is not None
    own, other = bench.lost.divergence["baseline"], bench.lost.divergence["optimized"]
    assert other > 1e6 * abs(own), "and it loses more than rounding does"


@pytest.mark.slow
def test_what_is_quantized_fails_as_it_is(quantized_bench: tuple[Bench, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Held against the reference with nothing lossy, and against that of the other choice, nothing but its own passes."""
    bench, choice = quantized_bench
    other = next(one for one in QUANTIZED if one != choice)
    for wrong in (f"{UNCOMPILED}+quantization={other}", UNCOMPILED):
        blamed = first_divergence(merge(bench.compare(wrong)))
        assert blamed is not None, wrong
        assert blamed.stage == "generate"
    monkeypatch.setattr(bench, "expected", [replace(one, lossy={}) for one in bench.expected])
    blamed = first_divergence(merge(bench.compare(f"{UNCOMPILED}+quantization={choice}")))
    assert blamed is not None
    assert blamed.stage == "generate"


OF_QUANTIZATION = ("scales of the next row", "quantized layer left out", "four bits called eight", "layer not quantized")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*OF_QUANTIZATION, "another path when forced", "honest when profiled", "honest when judged"])
def test_a_fault_in_what_is_quantized_is_caught(quantized_bench: tuple[Bench, str], name: str) -> None:
    bench, choice = quantized_bench
    variant = f"{UNCOMPILED}+quantization={choice}"
    assert MUTANTS[name].obstacle(parse(variant), bench.workload) is None
    blamed = first_divergence(merge(bench.compare(variant, MUTANTS[name])))
    assert blamed is not None, "nothing caught it"
    assert blamed.stage == "generate"


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
    path, expected, kept = bench.paths[0], bench.expected[0], KeptRows(random.Random(0))
    run = measure_throughput(pipeline, prefetch, [path] * 8, NEW_TOKENS, 0, 0, bench.using, kept)
    faulty[0] = False
    assert [row.before for row in kept.logits(path)].count(()) >= 8
    assert kept.rows(path, "vision") == [], "outputs of other stages are not held on to"
    captured = capture_outputs(pipeline, path, NEW_TOKENS, bench.folder / "subject", expected.baseline, True, kept)
    blamed = first_divergence(merge({0: compare_with(expected, captured, "float32", run.tokens)}))
    assert blamed is not None
    assert blamed.stage == "generate", "the first that these runs leave anything of"


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    ["attention=eager", "decode=threaded", "preprocess=direct", "vision=batched", "generate=static", "generate=static+draft=lookup-4"],
)
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


# Variants that are captured as CUDA graphs.


@pytest.fixture
def on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU: what is captured and compiled there runs as it is, with the references of its kernels."""
    over_references(monkeypatch)
    uncompiled(monkeypatch)


def caught(bench: Bench, variant: str, name: str) -> bool:
    """Whether the fault is, or need not be; it is skipped where it is not planted."""
    mutant = MUTANTS[name]
    if (obstacle := mutant.obstacle(parse(variant), bench.workload)) is not None:
        pytest.skip(obstacle)
    blamed = first_divergence(merge(bench.compare(variant, mutant)))
    return (blamed.stage if blamed else None) == (None if mutant.harmless or mutant.of_time else mutant.stage)


@pytest.mark.slow
@pytest.mark.parametrize("prefill", ["eager", "compile"])
@pytest.mark.parametrize("name", list(MUTANTS))
def test_a_fault_of_graphs_is_caught_where_it_is(bench: Bench, name: str, prefill: str, on_the_host: None) -> None:
    assert caught(bench, f"optimized+vision=graph+generate=graph+prefill={prefill}", name)


@pytest.mark.slow
@pytest.mark.parametrize("prefill", ["eager", "compile"])
@pytest.mark.parametrize("name", ["", *OF_QUANTIZATION[:3], "stale logits", "honest when judged"])
def test_a_fault_of_quantized_graphs_is_caught(quantized_bench: tuple[Bench, str], name: str, prefill: str, on_the_host: None) -> None:
    bench, choice = quantized_bench
    variant = f"optimized+vision=batched+generate=graph+prefill={prefill}+quantization={choice}"
    blamed = first_divergence(merge(bench.compare(variant, MUTANTS[name] if name else None)))
    assert (blamed.stage if blamed else "") == ("generate" if name else "")


OF_THE_CACHE = ("cache without mantissa",)


ROUNDED_KINDS = [pytest.param((kind, dtype), id=f"{kind}-{dtype}") for kind in KINDS for dtype in ("float32", "bfloat16")]


def bench_of_rounded(kind: InputKind, dtype: str, folder: Path, seed: int = 0, chosen: str = "cache=fp8") -> Bench:
    work = replace(workload(kind), dtype=dtype)
    losing = loses_as(parse(f"optimized-gpu+{chosen}").choices(), work.model)
    return Bench(replace(work, weights=str(least(work.model, seed))), folder, losing=losing)


@pytest.fixture(scope="module", params=ROUNDED_KINDS)
def rounded_bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    kind, dtype = request.param
    return bench_of_rounded(kind, dtype, tmp_path_factory.mktemp("outputs"))


@pytest.mark.slow
@pytest.mark.usefixtures("on_the_host")
@pytest.mark.parametrize("prefill", [pytest.param("eager", marks=pytest.mark.long), "compile"])
@pytest.mark.parametrize("name", ["", *(name for name, mutant in MUTANTS.items() if mutant.stage == "generate" and not mutant.of_time)])
def test_a_fault_of_a_cache_of_eight_bits_is_caught(rounded_bench: Bench, name: str, prefill: str) -> None:
    require_caught_if_planted(rounded_bench, f"optimized+vision=batched+generate=graph+prefill={prefill}+cache=fp8", name)


@pytest.fixture(scope="module", params=[(choice, dtype) for choice in ("int8", "fp8") for dtype in ("float32", "bfloat16")])
def quantized_and_rounded_bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, str]:
    choice, dtype = request.param
    chosen = f"quantization={choice}+cache=fp8"
    return bench_of_rounded("event-images", dtype, tmp_path_factory.mktemp("outputs"), chosen=chosen), chosen


@pytest.mark.slow
@pytest.mark.usefixtures("on_the_host")
@pytest.mark.parametrize("name", ["", *OF_QUANTIZATION[:3], *OF_THE_CACHE, "stale logits"])
def test_a_fault_of_quantized_weights_over_a_cache_of_eight_bits_is_caught(
    quantized_and_rounded_bench: tuple[Bench, str], name: str
) -> None:
    bench, chosen = quantized_and_rounded_bench
    require_caught_if_planted(bench, f"optimized+vision=batched+generate=graph+prefill=compile+{chosen}", name)


@pytest.mark.slow
@pytest.mark.usefixtures("on_the_host")
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_of_eight_bits_passes_with_any_weights_and_its_loss_is_measured(
    kind: InputKind, dtype: str, seed: int, tmp_path: Path
) -> None:
    bench = bench_of_rounded(kind, dtype, tmp_path, seed)
    variant = "optimized+vision=batched+generate=graph+prefill=compile"
    require_caught_if_planted(bench, f"{variant}+cache=fp8", "")
    assert bench.lost is not None
    assert bench.lost.divergence["optimized"] > 5 * abs(bench.lost.divergence["baseline"])
    if dtype == "float32":  # in bfloat16 a full cache is nearer to it than another rounding is: there only its evidence tells
        assert worst(merge(bench.compare(variant))) == "fail", "a full cache is not what the choice says"


def test_a_prefix_that_is_kept_is_filled_once(on_the_host: None, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, right, path = [0], FusedLlama.prefill, PATHS["event-images"][0]

    def counted(*arguments: Any) -> torch.Tensor:
        calls[0] += 1
        return right(*arguments)

    monkeypatch.setattr(FusedLlama, "prefill", counted)
    pipeline = build(parse("optimized+vision=batched+generate=graph+prefill=compile"), workload("event-images"))
    MUTANTS["prefix kept for a graph"].plant(pipeline, [path])
    (_, first), (_, again) = (computed(pipeline, path) for _ in range(2))
    assert torch.equal(first, again)
    assert calls == [1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["", "one GPU's part left out", "stale logits", "one head left out"])
def test_of_a_divided_model_a_fault_is_caught_and_without_one_outputs_pass(
    bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With threads in the place of GPUs."""
    run_on_threads(monkeypatch)
    require_caught_if_planted(bench, "optimized+vision=graph+generate=graph+prefill=compile+parallel=tensor-2", name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["", "one GPU's part left out"])
def test_of_a_divided_model_over_a_cache_of_eight_bits_too(rounded_bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run_on_threads(monkeypatch)
    require_caught_if_planted(rounded_bench, "optimized+vision=graph+generate=graph+prefill=compile+parallel=tensor-2+cache=fp8", name)


def require_caught_if_planted(bench: Bench, variant: str, name: str) -> None:
    """`name` is empty where nothing is."""
    if name:
        assert caught(bench, variant, name)
    else:
        assert worst(merge(bench.compare(variant))) != "fail"


@pytest.fixture(scope="module", params=KINDS)
def bench_on_gpu(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    shipped = replace(workload(request.param), preset="tiny", weights=None, seed=0, device="cuda", dtype="bfloat16")
    return Bench(shipped, tmp_path_factory.mktemp("outputs"), SHIPPED[request.param])


@pytest.mark.gpu
def test_on_the_gpu_what_is_captured_passes(bench_on_gpu: Bench) -> None:
    assert worst(merge(bench_on_gpu.compare("optimized-gpu"))) != "fail"


@pytest.mark.gpu
@pytest.mark.parametrize("name", list(MUTANTS))
def test_on_the_gpu_a_fault_is_caught_in_what_is_captured(bench_on_gpu: Bench, name: str) -> None:
    assert caught(bench_on_gpu, "optimized-gpu", name)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("name", ["", "one GPU's part left out", "stale logits", "cache slot before", "one head left out"])
def test_over_two_gpus_a_fault_is_caught_and_without_one_outputs_pass(bench_on_gpu: Bench, name: str) -> None:
    require_caught_if_planted(bench_on_gpu, "optimized-gpu+parallel=tensor-2", name)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["", *OF_THE_CACHE, "cache of the prompt lost", "cache slot before", "rotary offset + 1", "stale logits"])
@pytest.mark.parametrize("kind", KINDS)
def test_on_the_gpu_a_cache_of_eight_bits_passes_and_a_fault_in_it_is_caught(kind: InputKind, name: str, tmp_path: Path) -> None:
    shipped = replace(workload(kind), preset="tiny", weights=None, seed=0, device="cuda", dtype="bfloat16")
    losing = loses_as(parse("optimized-gpu+cache=fp8").choices(), shipped.model)
    require_caught_if_planted(Bench(shipped, tmp_path, SHIPPED[kind], losing), "optimized-gpu+cache=fp8", name)


# Which faults are planted.

OF_GRAPHS = {
    "tower's graph not fed", "causal mask off by one, compiled", "cache slot before", "cache of the prompt lost", "stale logits",
    "prefix kept for a graph",
}  # fmt: skip
OF_LOOPS = {"causal mask off by one", "rotary offset + 1", "cache slot not written", "sampled", "prefix kept"}
OF_DRAFTS = {name for name, mutant in MUTANTS.items() if mutant.choices == choices.DRAFTED}
OF_SEVERAL_GPUS = "one GPU's part left out"
LEFT_OUT = {
    name: OF_DRAFTS | {*OF_QUANTIZATION, *OF_THE_CACHE, OF_SEVERAL_GPUS} | others
    for name, others in {
        "baseline": {"feature layer -1"} | OF_LOOPS | OF_GRAPHS,
        "fast-decode": {"feature layer -1"} | OF_LOOPS | OF_GRAPHS,
        "fast-pixels": {"feature layer -1"} | OF_LOOPS | OF_GRAPHS,
        "fast-vision": OF_LOOPS | OF_GRAPHS,
        "ready-made": OF_LOOPS | OF_GRAPHS,
        "static-cache": OF_GRAPHS,
        "optimized": OF_GRAPHS,
        "optimized-gpu": {"causal mask off by one", "sampled", "prefix kept", "math attention"},
        "optimized-h100": {"causal mask off by one", "sampled", "prefix kept", "math attention"},
    }.items()
}


@pytest.mark.parametrize("name", list(VARIANTS))
def test_a_variant_gets_the_faults_that_fit_it(name: str) -> None:
    assert set(left_out(VARIANTS[name], workload("video"))) - set(OF_EVENTS) == LEFT_OUT[name]
    needing_more = {name for name, mutant in MUTANTS.items() if mutant.kinds == ("video",) or "token" in mutant.trait}
    of_events = LEFT_OUT[name] | needing_more | {"feature layer -1"}
    assert set(left_out(VARIANTS[name], workload("events"))) == of_events
    tried = {case.name for case in planted(VARIANTS[name], workload("video"))}
    assert tried == set(MUTANTS) - LEFT_OUT[name] - set(OF_EVENTS)


def test_what_is_not_planted_is_told_with_its_reason() -> None:
    told = left_out(parse("optimized-h100"), workload("video"))
    assert told["sampled"] == "needs generate=static or static-compile"
    assert told["causal mask off by one"] == "needs prefill=eager"
    assert told["polarity swapped"] == "needs raw events"
    assert "one head scaled by 1.01" not in told
    assert told["scales of the next row"] == "needs quantization=int8 or fp8"
    assert told["cache without mantissa"] == "needs cache=fp8"
    of_quantized = left_out(parse("baseline+quantization=int8"), workload("video"))
    assert of_quantized["one head scaled by 1.01"] == "needs quantization=none"
    assert not {*OF_QUANTIZATION} & set(of_quantized)
    assert left_out(parse("baseline"), workload("events"))["class token dropped"] == "needs a model with class token"
    rounded = replace(workload("events"), dtype="bfloat16")
    assert left_out(parse("baseline"), rounded)["one head scaled by 1.01"] == "smaller than the rounding of bfloat16"
    assert "float8 called float" not in left_out(parse("baseline"), rounded)
    grown = left_out(parse("baseline"), replace(rounded, preset="7b", weights=None))
    assert grown["float8 called float"] == "smaller than the rounding of bfloat16 where weights are grown"
    page = to_markdown([], {"one": "needs this", "two": "needs that", "three": "needs this"}, workload("video"), "today", "evbench")
    assert page.splitlines()[-1] == "Not planted, and not counted: one, three (needs this); two (needs that)."


def timed(name: str, caught: tuple[str, ...] = (), **seen: float) -> MutantOutcome:
    return MutantOutcome(name, "optimized", False, caught, None, None, (), seen)


def test_a_fault_of_time_that_saves_none_is_not_counted() -> None:
    honest = replace(timed("baseline / optimized", vision=0.0005, prefill=0.002), harmless=True)
    slow = weighed(timed("features kept", vision=0.0013, prefill=0.002), "vision", honest)
    missed = weighed(timed("prefix kept", vision=0.0005, prefill=0.0018), "prefill", honest)
    caught = weighed(timed("frames kept", ("CACHED",), vision=0.0013), "vision", honest)
    assert slow.idle == Idle("vision", 0.0013, 0.0005)
    assert (slow.right, missed.right, caught.right) == (True, False, True)
    assert missed.idle is None
    assert caught.idle is None
    page = to_markdown([honest, slow, missed, caught], {}, workload("video"), "today", "evbench")
    told = "none here, and not counted: on input that was seen vision takes 1.30 ms, and 500 µs without it"
    assert f"| features kept | fault | - | {told} | - | - | - |" in page
    assert "**FAILED: 1 of 2 faults caught, 1 of 1 equal computations passed**" in page


# Where they are planted.


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("model", ["video-llava", "eventgpt"])
@torch.no_grad()
def test_faults_hit_a_layer_that_adds_something(model: str, dtype: torch.dtype) -> None:
    """Of a network with inserted layers, whose heads and hidden units cancel."""
    grown = both(model)[1].to(dtype)
    decoder, tower = (
        (grown.language.model, grown.visual_tower) if model == "eventgpt" else (grown.model.language_model, grown.model.video_tower)
    )
    assert layers_in(3, 9) == [0, 4, 8]
    assert adding(decoder.layers, mlp_output) == adding(decoder.layers, attended) == [0, 4, 8]
    assert adding(tower.encoder.layers, mlp_output) == layers_in(4, 11, 0 if model == "eventgpt" else 1)
    assert nearest_to_the_middle(decoder.layers[1:], mlp_output) == 3


# What hooks did before they were changes of weights.


def hook_head(pipeline: Any) -> None:
    layers = pipeline.decoder.layers
    attention = layers[len(layers) // 2].self_attn
    width = attention.head_dim

    def scale(module: nn.Module, inputs: Any) -> Any:
        return (torch.cat([inputs[0][..., :width] * 1.01, inputs[0][..., width:]], dim=-1),)

    attention.o_proj.register_forward_pre_hook(scale)


def hook_scale(pipeline: Any) -> None:
    attention = pipeline.decoder.layers[0].self_attn
    attention.scaling = (attention.head_dim * attention.config.num_attention_heads) ** -0.5


def hook_last_layer(pipeline: Any) -> None:
    pipeline.tower.encoder.layers[pipeline.used_layers - 1].register_forward_hook(lambda layer, inputs, output: inputs[0])


def hook_mlp(pipeline: Any) -> None:
    layers = pipeline.decoder.layers
    layers[len(layers) // 2].mlp.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("one head scaled by 1.01", hook_head),
        ("attention scale wrong", hook_scale),
        ("last vision layer dropped", hook_last_layer),
        ("vision honest when judged", hook_last_layer),
        ("another path when forced", hook_mlp),
    ],
)
def test_changed_weights_are_what_hooks_would_do(name: str, hook: Callable[[Any], None]) -> None:
    asked, path = workload("event-images"), PATHS["event-images"][0]
    right, ours, theirs = (build(parse(UNCOMPILED), asked) for _ in range(3))
    MUTANTS[name].plant(ours, [path])
    hook(theirs)
    expected, found, unchanged = (computed(pipeline, path) for pipeline in (theirs, ours, right))
    assert apart(found, expected) < 1e-3 * apart(unchanged, expected)


def apart(some: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> float:
    return max(float((one - other).abs().max()) for one, other in zip(some, others, strict=True))


def computed(pipeline: Any, path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Features, and the logits of the first tokens."""
    outputs: dict[str, Any] = {}
    sampler = Sampler(keep=range(4))
    run_stages(pipeline, path, 4, sampler=sampler, observe=outputs.__setitem__)
    return outputs["vision"].values(), torch.cat([sampler.kept[position] for position in range(4)])


def test_what_is_switched_off_is_put_back() -> None:
    weights = [torch.ones(3), torch.full((2, 2), 5.0)]
    addresses = [weight.data_ptr() for weight in weights]
    turn = switch(weights)
    turn(True)
    assert all(not weight.any() for weight in weights)
    turn(False)
    assert (weights[0].tolist(), weights[1].tolist()) == ([1, 1, 1], [[5, 5], [5, 5]])
    assert addresses == [weight.data_ptr() for weight in weights], "captured graphs read there"


def test_changed_frames_are_of_the_kind_that_was_loaded() -> None:
    for values in (np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3), torch.arange(24, dtype=torch.uint8).view(2, 2, 2, 3)):
        pipeline = SimpleNamespace(load=lambda path, values=values: (Frames(values, (0, 1), (0.0, 0.1), "none"), None))
        MUTANTS["frames reversed"].plant(pipeline, [])
        found = pipeline.load(None)[0].values()
        assert type(found) is type(values)
        assert torch.as_tensor(found).tolist() == torch.as_tensor(values).flip(0).tolist()


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
