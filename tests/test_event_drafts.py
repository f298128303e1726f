"""EventGPT drafts for Video-LLaVA, from the events of the same moment, and the answer stays the same."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evbench.errors import UserError
from evbench.inputs import drafter as checked
from evbench.inputs import sample
from evbench.machine import machine as this_machine
from evbench.pipelines import weights
from evbench.pipelines.build import build
from evbench.pipelines.eventgpt import EventGPT
from evbench.pipelines.generate import drafts
from evbench.pipelines.generate.speculative import Propose, SpeculativeLoop
from evbench.pipelines.load import beside, png
from evbench.pipelines.registry import MODELS
from evbench.results import Sample, Workload
from evbench.session import memory_fit
from evbench.session.memory_fit import choose_order, reference_dtype
from evbench.stages import Sampler, run_stages
from evbench.variants.named import parse
from evbench.variants.obstacles import require
from evbench.verdict import ladder
from evbench.verdict.findings import first_divergence, merge, worst
from evbench.worker import handlers
from evbench.worker.cache_check import check_cache
from evbench.worker.instruments import instruments
from evbench.worker.kept_rows import KeptRows
from evbench.worker.mutants import MUTANTS
from evbench.worker.unseen import copy_sample
from tests import test_mutants
from tests.checkpoints import least, tiny_video_llava, with_head
from tests.command import refused
from tests.scene_files import make_scenes, small_clip

PLAIN, DRAFTING = parse("baseline+generate=static"), parse("baseline+generate=static+draft=eventgpt-4")
SMALL_DRAFTING = parse("baseline+generate=static+draft=eventgpt-small-4")
NEW_TOKENS = 16
CLIPS = sample.CLIP, sample.OTHER_CLIP


def workload(*clips: Path, **changes: Any) -> Workload:
    samples = tuple(Sample(str(clip), "", 240, 320) for clip in clips or (small_clip(0),))
    asked = tiny_video_llava(preset=None, weights=str(with_head("video-llava")), seed=None, samples=samples, new_tokens=NEW_TOKENS)
    return dataclasses.replace(asked, **changes)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """What EventGPT got of each sample, by stage, in every pipeline that is built after this."""
    seen: list[dict[str, torch.Tensor]] = []
    really = {stage: getattr(EventGPT, stage) for stage in ("event_images", "preprocess", "vision", "embeddings")}

    def watched(stage: str) -> Callable[..., Any]:
        def call(self: EventGPT, given: Any) -> Any:
            made = really[stage](self, given)
            if stage == "event_images":
                seen.append({})
            output = made[0] if isinstance(made, tuple) else made
            seen[-1][stage] = torch.as_tensor(output if stage == "embeddings" else output.values()).clone()
            return made

        return call

    for stage in really:
        monkeypatch.setattr(EventGPT, stage, watched(stage))
    return seen


# The answer.


def test_the_answer_is_the_model_s_own_and_some_drafts_are_accepted_and_some_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the drafting model is near to the target, so that its cache is cut back at every length."""
    really, found = drafts.model_drafter, dict[str, list[tuple[int, int]]]()
    passes: list[tuple[int, int]] = []

    class Near:
        """Says what the target would, but for some places."""

        def __init__(self, name: str, answer: tuple[int, ...]) -> None:
            self._name, self._answer = name, answer

        def begin(self, features: Any, new_tokens: int) -> Propose:
            def propose(answer: Any, count: int) -> list[int]:
                own = list(self._answer[len(answer) : len(answer) + count])
                return {"right": own, "wrong": [(token + 1) % 300 for token in own], "some": [*own[:2], *[5] * len(own[2:])]}[self._name]

            return propose

    class Counting(Sampler):
        def __init__(self) -> None:
            super().__init__()
            self.passes = self  # type: ignore[assignment]

        def drafted(self, count: int) -> None:
            self.count = count

        def verified(self) -> None: ...

        def accepted(self, count: int) -> None:
            passes.append((self.count, count))

    path = small_clip(0)
    expected, _ = run_stages(build(PLAIN, workload()), path, NEW_TOKENS)
    for name in ("itself", "right", "wrong", "some"):
        make = really if name == "itself" else lambda *given, name=name: Near(name, expected.tokens)
        monkeypatch.setattr("evbench.pipelines.event_drafts.model_drafter", make)
        passes.clear()
        answer, _ = run_stages(build(DRAFTING, workload()), path, NEW_TOKENS, sampler=Counting())
        assert answer == expected
        found[name] = list(passes)
    assert all(accepted == drafted for drafted, accepted in found["right"])
    assert not any(accepted for _, accepted in found["wrong"])
    assert {accepted for _, accepted in found["some"]} >= {2}
    assert sum(drafted for drafted, _ in found["itself"]) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "choices", ["decode=threaded+preprocess=direct+vision=batched+pooling=first", "attention=eager", "quantization=int8"]
)
def test_with_other_choices_each_answer_is_the_one_without_drafts(choices: str) -> None:
    for clip in map(small_clip, (0, 1)):
        expected, _ = run_stages(build(parse(f"{PLAIN.name}+{choices}"), workload()), clip, NEW_TOKENS)
        answer, _ = run_stages(build(parse(f"{DRAFTING.name}+{choices}"), workload()), clip, NEW_TOKENS)
        assert answer == expected


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_at_a_preset_it_drafts_by_the_same_one(preset: str) -> None:
    """The trained ones agree on much of what there is to see; random ones on nothing."""
    changes = {
        "preset": preset,
        "weights": None,
        "seed": 0 if preset == "tiny" else None,
        "prompt": "What are the key elements in this scene?",
    }
    for clip in CLIPS:
        expected, work = run_stages(build(PLAIN, workload(**changes)), clip, 24)
        answer, same = run_stages(build(DRAFTING, workload(**changes)), clip, 24)
        assert (answer, work) == (expected, same), "and what was done is that of the target"


# What it sees.


def test_it_sees_the_events_of_the_sample_that_is_asked_about_and_no_stale_ones(asked: list[dict[str, torch.Tensor]]) -> None:
    pipeline, alone = (
        build(DRAFTING, workload(*CLIPS)),
        build(parse("baseline"), workload(*CLIPS, model="eventgpt", weights=str(least("eventgpt")))),
    )
    for clip in (*CLIPS, CLIPS[0]):
        run_stages(pipeline, clip, 4)
    first, other, again = asked
    assert [list(one) for one in asked] == [["event_images", "preprocess", "vision", "embeddings"]] * 3
    for stage, values in first.items():
        assert torch.equal(values, again[stage])
        assert not torch.equal(values, other[stage]), stage
    for one, events in ((first, sample.EVENTS), (other, sample.OTHER_EVENTS)):
        loaded, _ = alone.load(events)
        inputs, _ = alone.preprocess(loaded)
        features, _ = alone.vision(inputs)
        for stage, output in (("event_images", loaded), ("preprocess", inputs), ("vision", features)):
            assert torch.equal(one[stage], torch.as_tensor(output.values())), "as EventGPT itself sees them"


def test_what_it_made_goes_with_values_of_another_variant() -> None:
    """Stages are also judged on what the baseline put into them."""
    pipeline = build(DRAFTING, workload())
    loaded, _ = pipeline.load(small_clip(0))
    loaded = loaded.holding(loaded.values() // 2)
    inputs, _ = pipeline.preprocess(loaded)
    inputs = inputs.holding(inputs.values() * 0.5)
    features, _ = pipeline.vision(inputs)
    features = features.holding(features.values() * 0.5)
    answer, _ = pipeline.generate(features, 5, Sampler())
    plain = build(PLAIN, workload())
    assert plain.generate(dataclasses.replace(features, beside=None), 5, Sampler())[0] == answer


def test_several_samples_in_one_call_of_the_decoder_have_their_own_events(
    asked: list[dict[str, torch.Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evbench.pipelines.clips.decoder", lambda choice: Many())
    pipeline = build(DRAFTING, workload(*CLIPS))
    assert pipeline.load_many is not None
    found = pipeline.load_many(CLIPS)
    for (frames, work), events in zip(found, (sample.EVENTS, sample.OTHER_EVENTS), strict=True):
        assert work.frame_indices is not None and len(work.frame_indices) == 8
        assert np.array_equal(frames.beside.values(), png.read_plain(events).values())


class Many:
    """A decoder that takes several files."""

    def __call__(self, path: Path, count: int, policy: str) -> Any:
        from evbench.pipelines.load.video import decode_plain

        return decode_plain(path, count, policy)

    def many(self, paths: Any, count: int, policy: str) -> list[Any]:
        return [self(path, count, policy) for path in paths]


def test_a_stage_of_a_plug_in_that_makes_nothing_for_it_is_told() -> None:
    pipeline = build(DRAFTING, workload())
    loaded, _ = pipeline.load(small_clip(0))
    line = "a stage of a plug-in makes nothing for the model that drafts; leave the plug-in out, or use another draft"
    with pytest.raises(UserError) as refusal:
        pipeline.preprocess(dataclasses.replace(loaded, beside=None))
    assert str(refusal.value) == line


# Seen against unseen input.


def test_a_copy_of_a_clip_has_a_copy_of_its_events_beside_it(tmp_path: Path) -> None:
    copy, other = copy_sample(small_clip(0), tmp_path / "unseen", 7, beside.find(small_clip(0)))
    events = beside.find(copy)
    assert other and events is not None and events.parent == copy.parent
    before = png.find(sample.EVENTS)
    assert [file.name for file in png.find(events)] == [file.name for file in before]
    assert all(one.read_bytes() != file.read_bytes() for one, file in zip(png.find(events), before, strict=True))
    assert np.array_equal(png.read_plain(events).values(), png.read_plain(sample.EVENTS).values())


def test_input_that_was_not_seen_has_other_events_too(asked: list[dict[str, torch.Tensor]]) -> None:
    pipeline = build(DRAFTING, workload())
    check = check_cache(pipeline, small_clip(0), 3, 0, 2, instruments("cpu"), small_clip(1), beside.find(small_clip(0)))
    assert check.other_bytes and len(check.pairs) == 2
    distinct = {stage: len({one[stage].numpy().tobytes() for one in asked if stage in one}) for stage in asked[0]}
    assert distinct == {"event_images": 2, "preprocess": 3, "vision": 3, "embeddings": 3}, "of the other sample events are loaded alone"


def test_a_cold_file_is_cold_with_its_events(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[str] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda number, *given: dropped.append(Path(f"/proc/self/fd/{number}").readlink().name))
    handlers.drop_from_page_cache(small_clip(0), beside.find(small_clip(0)))
    assert dropped == ["0.mp4", *(file.name for file in png.find(sample.EVENTS))]


def test_without_drafts_what_lies_beside_a_clip_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pictures that somebody has taken out of it, under its name."""
    clip, beside_it = Path(shutil.copyfile(small_clip(0), tmp_path / "street.mp4")), tmp_path / "street"
    beside_it.mkdir()
    for number in range(png.LIMIT + 1):
        (beside_it / f"{number}.png").touch()
    read: list[str] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda number, *given: read.append(Path(f"/proc/self/fd/{number}").readlink().name))
    of = {variant: handlers.WorkerState(None, variant, workload(clip), instruments("cpu"), KeptRows()) for variant in (PLAIN, DRAFTING)}
    assert (of[PLAIN].events(0), of[DRAFTING].events(0)) == (None, beside_it)
    handlers.drop_from_page_cache(clip, of[PLAIN].events(0))
    assert read == ["street.mp4"]
    copy, _ = copy_sample(clip, tmp_path / "seen", None, of[PLAIN].events(0))
    assert list(copy.parent.iterdir()) == [copy]


# Where it looks for them.


def test_events_lie_beside_a_clip_or_under_its_name_in_a_set_of_scenes(tmp_path: Path) -> None:
    for clip, events in (
        ("a/street.mp4", "a/street-events/0.png"),
        ("b/1.mp4", "b/1/0.png"),
        ("c/1.mp4", "c/1_0.png"),
        ("d/mp4/night/1.mp4", "d/event_images/night/1/0.png"),
        ("e/mp4/night/1.mp4", "e/event_image/night/1_0.png"),
        ("mp4/mp4/1.mp4", "mp4/event_image/1/0.png"),
    ):
        for file in (clip, events):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).touch()
        assert png.find(beside.events_of(tmp_path / clip)) == [tmp_path / events]
    (tmp_path / "none.mp4").touch()
    assert beside.find(tmp_path / "none.mp4") is None
    assert beside.events_of(sample.CLIP) == sample.EVENTS and beside.events_of(sample.OTHER_CLIP) == sample.OTHER_EVENTS


def test_the_scenes_that_evbench_makes_are_found(tmp_path: Path) -> None:
    folder = make_scenes(tmp_path / "set", 3, 2, 0.5, 64, 48)
    clips = sorted((folder / "mp4").iterdir())
    found = checked.drafter(DRAFTING, workload(*clips))
    assert found is not None and (found.model, found.kind, found.preset) == ("eventgpt", "event-images", None)
    assert [Path(one.path) for one in found.samples] == [folder / "event_images" / clip.stem for clip in clips]
    assert checked.drafter(PLAIN, workload(*clips)) is None


# What is refused.


def refusal(variant: str, asked: Workload) -> str:
    with pytest.raises(UserError) as caught:
        checked.drafter(parse(variant), asked)
    (line,) = str(caught.value).splitlines()
    return line


def test_a_sample_without_events_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = shutil.copyfile(sample.CLIP, tmp_path / "street.mp4")
    told = refused(
        f"compare --baseline {PLAIN.name} --optimized {DRAFTING.name} --video {clip} --device cpu --out {tmp_path / 'out'}",
        monkeypatch,
        capsys,
    )
    assert f"{clip} has no event images beside it, which the drafting model sees: put them into {tmp_path / 'street-events'}" in told
    assert "give scenes of `evbench scenes make` by --data, or use another draft" in told
    assert not (tmp_path / "out").exists()
    assert "no event images beside it" in refused(
        f"trace {DRAFTING.name} --video {clip} --device cpu --out {tmp_path / 'out'}", monkeypatch, capsys
    )


def test_events_that_cannot_be_taken_are_refused(tmp_path: Path) -> None:
    clips = [shutil.copyfile(small_clip(0), tmp_path / f"{name}.mp4") for name in ("a", "b")]
    for clip in clips:
        shutil.copytree(sample.EVENTS, beside.places(clip)[0])
    (tmp_path / "b-events" / "4.png").unlink()
    assert (
        refusal(DRAFTING.name, workload(*clips))
        == f"{tmp_path / 'b-events'} holds 4 event images and {tmp_path / 'a-events'} 5; give samples of one kind"
    )
    (tmp_path / "b-events" / "4.png").write_bytes(b"no image")
    assert f"{tmp_path / 'b-events' / '4.png'} is no PNG image" in refusal(DRAFTING.name, workload(*clips))


def test_weights_without_a_checkpoint_of_it_are_refused(tmp_path: Path) -> None:
    bare = least("video-llava")
    told = refusal(DRAFTING.name, workload(weights=str(bare)))
    assert told == (
        f"draft=eventgpt-4 takes the checkpoint of eventgpt from {bare / 'eventgpt'}, which is no folder; "
        "put it there, or a link to it, or use another draft"
    )
    folder = shutil.copytree(bare, tmp_path / "weights")
    shutil.copytree(bare, folder / "eventgpt")
    assert "model_type 'video_llava'" in refusal(DRAFTING.name, workload(weights=str(folder)))


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(with_head("video-llava"), tmp_path / "weights", symlinks=True)
    (folder / "eventgpt").unlink()
    drafting = shutil.copytree(least("eventgpt"), folder / "eventgpt")
    stored = (drafting / "tokenizer.json").read_text()
    (drafting / "tokenizer.json").write_text(stored.replace('"▁street"', '"▁strasse"'))
    with pytest.raises(UserError, match="is '▁street' for the target and '▁strasse' for the drafter; give two models of one vocabulary"):
        build(DRAFTING, workload(weights=str(folder)))


def test_the_small_one_drafts_for_a_target_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    found = checked.drafter(SMALL_DRAFTING, workload(preset="7b", weights=None))
    assert found is not None and (found.model, found.preset, found.weights, found.seed) == ("eventgpt", "small", None, None)
    assert checked.drafter(SMALL_DRAFTING, workload(preset="tiny", weights=None, seed=3)) == dataclasses.replace(
        found, prompt="What is it?"
    )
    expected, _ = run_stages(build(PLAIN, workload()), small_clip(0), NEW_TOKENS)
    answer, _ = run_stages(build(SMALL_DRAFTING, workload()), small_clip(0), NEW_TOKENS)
    assert answer == expected, "here it is larger than the target, and a token of one is that of the other"
    with pytest.raises(UserError, match="give two models of one vocabulary"):
        build(SMALL_DRAFTING, workload(preset="tiny", weights=None, seed=0))


def test_placeholders_of_pictures_are_never_drafted(monkeypatch: pytest.MonkeyPatch) -> None:
    """They, and all that may stand behind them, may be other tokens for the drafting model."""
    told: list[int] = []
    monkeypatch.setattr("evbench.pipelines.event_drafts.model_drafter", lambda drafting, variant, words, name: told.append(words))
    model: Any = build(DRAFTING, workload())
    build(DRAFTING, workload(preset="tiny", weights=None, seed=0))
    first = model.model.config.image_token_id
    assert model.tokenizer.convert_ids_to_tokens(first) == "<image>"
    assert told == [first, 380]


def test_only_a_model_of_clips_has_it() -> None:
    with pytest.raises(UserError, match="draft=eventgpt-4 is for a video only"):
        require(DRAFTING, "eventgpt", "event-images", "cpu")
    assert checked.drafter(DRAFTING, dataclasses.replace(workload(Path("nowhere.mp4")), model="auto")) is None, "it has no drafts at all"


# Memory, and what a ladder says of it.


def test_the_memory_of_both_models_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A side that drafts holds its model and the other one, both of them at the preset 7b."""
    presets = (MODELS[name].presets["7b"].parameters for name in ("video-llava", "eventgpt"))
    ours, theirs = (4 * count for count in presets)
    work = workload(preset="7b", weights=None)
    found = [checked.drafter(variant, work) for variant in (PLAIN, DRAFTING)]
    assert [weights.parameter_count(one) * 4 for one in found if one is not None] == [theirs]
    room = 2 * memory_fit.ROOM_PER_WORKER

    def remembering(amount: int) -> None:
        monkeypatch.setattr(this_machine, "_memory_bytes", lambda: amount)

    remembering(2 * ours + theirs + room)
    assert choose_order("auto", [work] * 2, found) == "interleaved"
    remembering(2 * ours + theirs + room - 1)
    assert choose_order("auto", [work] * 2, found) == "reload"
    assert choose_order("auto", [work] * 2) == "interleaved"
    remembering(ours + theirs - 1)
    with pytest.raises(UserError, match=r"14.4 billion float32 weights need 54 GiB"):
        choose_order("auto", [work] * 2, found)
    remembering(2 * ours + theirs + room + 3 * ours + memory_fit.ROOM_PER_WORKER)
    assert reference_dtype("interleaved", work, theirs // 4) == "float64"
    remembering(2 * ours + theirs + room + 3 * ours + memory_fit.ROOM_PER_WORKER - 1)
    assert reference_dtype("interleaved", work, theirs // 4) == "float32"
    assert reference_dtype("interleaved", work) == "float64"


def test_a_ladder_tells_of_each_stage_that_it_works_in() -> None:
    (step,) = ladder.plan(PLAIN, DRAFTING, "video-llava", "video", leave_one_out=False)[:1]
    assert step.stages() == ("load", "preprocess", "vision", "generate")
    (lookup,) = ladder.plan(PLAIN, parse(f"{PLAIN.name}+draft=lookup-4"), "video-llava", "video", leave_one_out=False)[:1]
    assert lookup.stages() == ("generate",)


# What is judged.


@pytest.mark.slow
def test_outputs_pass_and_each_fault_of_drafts_is_found(tmp_path: Path) -> None:
    clips = test_mutants.PATHS["video"]
    samples = tuple(Sample(str(clip), "", 240, 320) for clip in clips)
    work = dataclasses.replace(test_mutants.workload("video"), weights=str(with_head("video-llava")), samples=samples)
    bench = test_mutants.Bench(work, tmp_path)
    assert worst(merge(bench.compare(DRAFTING.name))) == "pass"
    for name in test_mutants.OF_DRAFTS:
        with pytest.MonkeyPatch.context() as patch:  # a fault changes the class
            for method in ("_chosen", "_position"):
                patch.setattr(SpeculativeLoop, method, getattr(SpeculativeLoop, method))
            blamed = first_divergence(merge(bench.compare(DRAFTING.name, MUTANTS[name])))
        assert blamed is not None and blamed.stage == "generate", name
