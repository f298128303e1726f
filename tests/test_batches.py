"""Samples that go through the stages together: each gets what it gets by itself, and what exchanges two of them is found."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evbench.encoding import from_json, to_json
from evbench.errors import UserError
from evbench.inputs import batches
from evbench.inputs.recorded import workload_here
from evbench.inputs.workload import describe
from evbench.kernels.matvec import MOST_INPUTS
from evbench.pipelines.batched import Rows
from evbench.pipelines.build import build
from evbench.pipelines.generate.choices import GAMMA
from evbench.pipelines.registry import PARTS
from evbench.results import STAGES, Sample, Work, Workload
from evbench.session.outputs import Expected, outputs_of
from evbench.stages import Sampler, in_turn, run_stages
from evbench.variants.named import change, parse
from evbench.verdict import caches
from evbench.verdict.blocks import TPOT
from evbench.verdict.equivalence import compare_sample
from evbench.verdict.findings import Finding
from evbench.worker.cache_check import check_cache
from evbench.worker.capture_outputs import capture_outputs, capture_reference, teacher_forced_logits
from evbench.worker.evidence import gather, prove
from evbench.worker.instruments import instruments
from evbench.worker.kept_rows import KeptRows
from evbench.worker.measure import RunPosition, measure
from tests.checkpoints import least, least_model
from tests.command import refused
from tests.conftest import MakeClip

NEW_TOKENS = 6
FASTER = {
    "video-llava": "baseline+preprocess=direct+vision=batched+generate=static",
    "eventgpt": "baseline+preprocess=direct+vision=batched+pooling=first+generate=static",
}
"""Model -> a variant that runs on a CPU."""


def asked(model: str, batch: int = 1, files: tuple[Path, ...] = ()) -> Workload:
    given: dict[str, Any] = {"videos": files, "events_folders": ()} if model == "video-llava" else {"videos": (), "events_folders": files}
    return describe(
        model=model, preset=None, weights=least(model), data=None, frame_policy="inclusive", prompt="What is it?", new_tokens=NEW_TOKENS,
        stop_at_end=False, device="cpu", seed=None, batch=batch, **given,
    )  # fmt: skip


def places(workload: Workload) -> list[Path]:
    return [Path(row.path) for sample in workload.samples for row in sample.rows()]


# Which samples are together.


def rows(*names: str, sequence: str | None = None) -> list[Sample]:
    return [Sample(f"{name}.mp4", name, 4, 6, "A street.", sequence=sequence) for name in names]


def test_neighbours_are_together_and_too_few_are_repeated() -> None:
    made = batches.of(rows(*"abcdef"), 3)
    assert [[row.sha256 for row in one.rows()] for one in made] == [["a", "b", "c"], ["d", "e", "f"]]
    assert [one.caption for one in made] == [None, None], "it is of one sample only"
    (one,) = batches.of(rows("a", "b"), 5)
    assert [row.sha256 for row in one.rows()] == ["a", "b", "a", "b", "a"]
    assert batches.of(rows("a", "b"), 1) == tuple(rows("a", "b"))


def test_batches_that_share_a_recording_are_not_independent() -> None:
    chained = [*rows("a", sequence="1"), *rows("b", "c", sequence="2"), *rows("d", sequence="3"), *rows("e", "f", sequence="4")]
    alone = rows("g", "h")
    assert [one.sequence for one in batches.of([*chained, *alone], 2)] == ["1", "1", "4", None]


def test_samples_that_make_no_whole_number_of_batches_are_refused() -> None:
    with pytest.raises(UserError, match="5 samples make no whole number of batches of 2; give 4 or 6 samples, or another batch"):
        batches.of(rows(*"abcde"), 2)
    with pytest.raises(UserError, match=r"b\.mp4 is given more than once, and would be in two batches of 2; give each file once"):
        batches.of(rows(*"abcb"), 2)


def test_a_workload_tells_its_batch_and_is_read_again() -> None:
    workload = asked("video-llava", 3)
    assert workload.batch == 3 and len(workload.samples) == 1
    assert [path.name for path in places(workload)] == ["scene.mp4", "other-scene.mp4", "scene.mp4"]
    assert from_json(Workload, json.loads(to_json(workload)), "workload") == workload
    with pytest.raises(ValueError, match="the batches of a workload are of one size"):
        replace(workload, samples=(*workload.samples, replace(workload.samples[0], others=())))


def test_the_files_of_a_recorded_batch_are_all_looked_for(tmp_path: Path) -> None:
    workload = asked("video-llava", 2)
    for number, path in enumerate(places(workload)):
        (tmp_path / f"{number}.mp4").write_bytes(path.read_bytes())
    files = tmp_path / "0.mp4", tmp_path / "1.mp4"
    recorded = asked("video-llava", 2, files)
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in files:
        path.rename(moved / path.name)
    assert [path.parent for path in places(workload_here(recorded, [moved], None))] == [moved, moved]
    (moved / "1.mp4").unlink()
    with pytest.raises(UserError, match=r"the input .*1\.mp4 of the result is not here"):
        workload_here(recorded, [moved], None)


# What each sample gets.


@pytest.mark.parametrize("model", FASTER)
@pytest.mark.parametrize("choices", ["baseline", "faster", "baseline+generate=transformers-static"])
def test_each_sample_of_a_batch_gets_what_it_gets_by_itself(model: str, choices: str) -> None:
    variant = parse(FASTER[model] if choices == "faster" else choices)
    together, each = asked(model, 3), asked(model)
    alone = build(variant, each)
    outputs: dict[str, list[Any]] = {stage: [] for stage in STAGES[:-1]}
    answers, works, samplers = [], [], [Sampler(keep={0}) for _ in range(3)]
    for path, sampler in zip(places(together), samplers, strict=True):
        answer, work = run_stages(alone, path, NEW_TOKENS, sampler=sampler, observe=lambda stage, it: outputs[stage].append(it.values()))
        answers.append(answer)
        works.append(work)
    logits = [sampler.kept[0] for sampler in samplers]
    assert not torch.allclose(logits[0], logits[1], rtol=1e-3), "two different samples of three"

    found: dict[str, Any] = {}
    pipeline = build(variant, together)
    sampler = Sampler(keep=range(3))
    answer, work = run_stages(pipeline, places(together)[0], NEW_TOKENS, sampler=sampler, observe=found.__setitem__)
    assert torch.allclose(torch.cat([*sampler.kept.values()]), torch.cat(logits), rtol=1e-4, atol=1e-4)
    assert list(answer.tokens) == in_turn([one.tokens for one in answers])
    assert answer.text == " ".join(f"[{number}] {one.text}" for number, one in enumerate(answers, 1))
    for stage, values in outputs.items():
        assert np.allclose(found[stage].values(), np.concatenate([np.asarray(one) for one in values]), rtol=1e-4, atol=1e-5), stage
    assert found["preprocess"].prompt() == 3 * build(variant, each).preprocess(alone.load(places(together)[0])[0])[0].prompt()
    first = works[0]
    assert (work.prompt_tokens, work.new_tokens, work.stop, work.dtype) == (first.prompt_tokens, NEW_TOKENS, "length", first.dtype)
    assert work.visual_tokens == sum(one.visual_tokens or 0 for one in works)
    assert work.frame_indices == sum((one.frame_indices or () for one in works), ())
    assert pipeline.axes["generate"] == ("position of the batch", "token")


@pytest.mark.parametrize("generate", ["dynamic", "static", "at-once"])
def test_each_sample_is_forced_to_tokens_of_its_own(generate: str) -> None:
    variant, together = change(parse("baseline"), {"generate": generate}), asked("video-llava", 2)
    forced = [[5, 9, 11, 4], [8, 8, 3, 7]]
    alone = build(variant, asked("video-llava"))
    expected = []
    for path, tokens in zip(places(together), forced, strict=True):
        features, _ = alone.vision(alone.preprocess(alone.load(path)[0])[0])
        expected.append(teacher_forced_logits(alone, features, tokens))
    pipeline = build(variant, together)
    features, _ = pipeline.vision(pipeline.preprocess(pipeline.load(places(together)[0])[0])[0])
    logits = teacher_forced_logits(pipeline, features, in_turn(forced), 2)
    assert torch.allclose(logits, torch.stack(expected, dim=1).flatten(0, 1), rtol=1e-4, atol=1e-4)


def test_a_file_that_begins_no_batch_is_repeated(tmp_path: Path) -> None:
    """As the runs are that look for caches: no file of theirs was seen before."""
    workload = asked("video-llava", 3)
    (tmp_path / "new.mp4").write_bytes(places(workload)[1].read_bytes())
    loaded, work = build(parse("baseline"), workload).load(tmp_path / "new.mp4")
    frames = np.split(loaded.values(), 3)
    assert len(work.frame_indices or ()) == 24 and np.array_equal(frames[0], frames[1]) and np.array_equal(frames[0], frames[2])


def test_a_batch_of_several_sizes_is_refused(make_clip: MakeClip) -> None:
    small, large = make_clip("small.mp4"), make_clip("large.mp4", width=96)
    workload = asked("video-llava", 2, (small, large))
    with pytest.raises(UserError, match=r"64x48.* and .*96x48; give a batch samples of one size"):
        build(parse("baseline"), workload).load(small)


def test_pixel_values_that_are_written_over_by_the_next_sample_are_copied_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """As preprocessing that is replayed does, where images lie at the same address again."""
    workload = asked("eventgpt", 2)
    pipeline: Any = build(parse("baseline"), workload)
    loaded, _ = pipeline.load(places(workload)[0])
    expected = pipeline.preprocess(loaded)[0].values()
    right, memory = pipeline._pipeline.preprocess, torch.zeros_like(expected[:5])

    def replayed(images: Any) -> Any:
        inputs, work = right(images)
        return inputs.holding(memory.copy_(inputs.pixels)), work

    monkeypatch.setattr(pipeline._pipeline, "preprocess", replayed)
    assert torch.equal(pipeline.preprocess(loaded)[0].values(), expected)
    assert not torch.equal(expected[:5], expected[5:])


# What is checked of it.


def judged(model: str, folder: Path, fault: Callable[[Any], None]) -> list[Finding]:
    """Findings of a faster variant that was changed."""
    workload, kept = asked(model, 2), KeptRows(batch=2)
    path = places(workload)[0]
    baseline, optimized = build(parse("baseline"), workload), build(parse(FASTER[model]), workload)
    fault(optimized)
    ours = capture_outputs(baseline, path, NEW_TOKENS, folder / "ours", None, False, kept, 2)
    again = capture_outputs(baseline, path, NEW_TOKENS, folder / "again", ours, False, kept, 2)
    capture_reference(build(parse("baseline"), workload, "float64"), path, folder / "exact", ours, "float64", 2)
    watched = kept.watch(path, NEW_TOKENS)
    answer, _ = run_stages(optimized, path, NEW_TOKENS, sampler=watched.sampler, observe=watched.observe)
    watched.ended(answer)
    theirs = capture_outputs(optimized, path, NEW_TOKENS, folder / "theirs", ours, True, kept, 2)
    return compare_sample(outputs_of(Expected(ours, again, folder / "exact"), theirs, answers={answer.tokens}), "float32")


@pytest.mark.parametrize("model", FASTER)
def test_a_faster_variant_passes_all_checks(model: str, tmp_path: Path) -> None:
    found = judged(model, tmp_path, lambda pipeline: None)
    assert len(found) > 50 and {one.grade for one in found} == {"pass"}


def exchanged_features(pipeline: Any) -> None:
    vision = pipeline.vision

    def changed(inputs: Any) -> tuple[Rows, Work]:
        features, work = vision(inputs)
        one, other = features.each
        return Rows((one.holding(other.values()), other.holding(one.values()))), work

    pipeline.vision = changed


def first_answer_for_all(pipeline: Any) -> None:
    generate = pipeline.generate

    def changed(features: Rows, new_tokens: int, sampler: Sampler) -> Any:
        return generate(Rows((features.each[0], features.each[0])), new_tokens, sampler)

    pipeline.generate = changed


@pytest.mark.parametrize("model", FASTER)
@pytest.mark.parametrize(("fault", "stage"), [(exchanged_features, "vision"), (first_answer_for_all, "generate")])
def test_what_exchanges_the_samples_of_a_batch_is_found(model: str, fault: Callable[[Any], None], stage: str, tmp_path: Path) -> None:
    failed = {(one.stage, one.mode) for one in judged(model, tmp_path, fault) if one.grade == "fail"}
    assert (stage, "stage-isolated") in failed and (stage, "end-to-end") in failed


def test_a_wrong_token_of_one_sample_is_told_by_its_place(tmp_path: Path) -> None:
    def wrong(pipeline: Any) -> None:
        generate = pipeline.generate

        def changed(features: Any, new_tokens: int, sampler: Sampler) -> Any:
            answer, work = generate(features, new_tokens, sampler)
            tokens = list(answer.tokens)
            tokens[2 * 3 + 1] += 1
            return replace(answer, tokens=tuple(tokens)), work

        pipeline.generate = changed

    (found,) = [one for one in judged("video-llava", tmp_path, wrong) if one.rule == "tokens" and one.mode == "end-to-end"]
    assert (found.grade, found.location) == ("fail", "position 3 of sample 2 of the batch")


@pytest.mark.parametrize("model", FASTER)
def test_its_choices_leave_their_evidence(model: str) -> None:
    for variant in (parse("baseline"), parse(FASTER[model])):
        workload = asked(model, 2)
        observed = gather(build(variant, workload), "off", places(workload)[:1], NEW_TOKENS, instruments("cpu"), 2)
        found = prove(variant, model, workload.kind, "cpu", observed)
        assert found and [one for one in found if not one.active] == []


# What is refused.


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("run baseline --batch 0", "--batch 0 is out of range; give 1 to 1,024"),
        ("run baseline --batch 2 --stop-at-end", "--stop-at-end lets each answer of a --batch end at another token; leave one of them out"),
        ("run baseline --batch 2 --throughput 4", "--throughput runs samples one after the other, and --batch together; leave one"),
        ("run baseline+generate=static+draft=lookup-4 --batch 2", "draft=lookup-4 takes 1 sample at a time, not 2; choose another draft"),
        ("sweep --over batch=1,2 --variant baseline+generate=static+draft=lookup-4", "draft=lookup-4 takes 1 sample at a time"),
        ("selftest --mutants --batch 2", "--mutants plants faults into the stages of one sample at a time; leave --batch 2 out"),
        ("run baseline --batch 2 --gpus 2", "each rank takes one sample at a time: leave --batch 2 out, or do not spread the samples"),
        ("sweep --over batch=1,2 --batch 2", "--batch and --over batch exclude each other; give one of them"),
    ],
)  # fmt: skip
def test_what_a_batch_cannot_be_is_refused_in_one_line(
    command: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in refused(f"{command} {least_model('video-llava')}", monkeypatch, capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_choice_says_how_many_samples_it_takes() -> None:
    assert PARTS["generate"].entries["graph"].most_together == MOST_INPUTS
    assert {PARTS["draft"].entries[name].most_together for name in GAMMA} == {1}
    with pytest.raises(UserError, match="generate=graph takes 16 samples at a time, not 17; choose another generate"):
        batches.require_takes(change(parse("baseline"), {"generate": "graph"}), 17)


def test_a_decode_step_is_looked_at_for_caches_as_one_of_all_samples() -> None:
    """What is kept of `generate` is for each step, and not for each token of each sample."""
    workload = asked("video-llava", 3)
    pipeline = build(parse("baseline"), workload)
    using = instruments("cpu")
    check = check_cache(pipeline, places(workload)[0], NEW_TOKENS, 1, 1, using, batch=3)
    run = measure(pipeline, places(workload)[0], NEW_TOKENS, RunPosition("timed", 0, 0, 0), True, using, KeptRows(batch=3))
    assert run.stages is not None and run.decode_step_seconds is not None
    (pair,) = check.pairs
    assert 0.2 < pair.seen["generate"] * NEW_TOKENS / run.stages["generate"].seconds < 5
    seen = caches._seen(check, TPOT, [run])
    assert seen is not None and 0.1 < seen / statistics.median(run.decode_step_seconds) < 10


def test_another_model_takes_one_sample_at_a_time() -> None:
    with pytest.raises(UserError, match="--batch 2: --model auto takes one sample at a time; leave it out, or use --model vid"):
        batches.require(2, "auto", stop_at_end=False)
