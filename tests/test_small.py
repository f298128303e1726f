"""The two checkpoints that ship: they see, and their answers follow their input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from evbench.pipelines.build import build
from evbench.pipelines.generate.draft_head import FILE
from evbench.pipelines.generate.targets import StaticTarget
from evbench.pipelines.load.video import Frames, inclusive
from evbench.pipelines.registry import KINDS, SHIPPED
from evbench.pipelines.weights import trained
from evbench.results import InputKind, Workload
from evbench.scenes.captions import QUESTIONS, Register, describe
from evbench.scenes.index import INPUTS, TURNS, read_index
from evbench.scenes.world import imagine
from evbench.stages import Sampler, run_stages
from evbench.training.batches import ANSWER_TOKENS
from evbench.variants.named import parse
from evbench.verdict.captions import score
from tests import lossless
from tests.examples import NOWHERE
from tests.scene_files import make_scenes

SEED = 12  # held out, as every series that can be made by hand


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A scene as files."""
    folder = make_scenes(tmp_path_factory.mktemp("scenes"), SEED, 1, 1.0, 640, 480)
    return folder, read_index(folder)


def kind_of(model: str) -> InputKind:
    return cast(InputKind, SHIPPED[model].kinds[0])


def workload(model: str, register: Register, *, stop_at_end: bool = False, device: str = "cpu") -> Workload:
    """Asks the shipped weights by their folder, as --weights does."""
    pictures, policy = (8, "inclusive") if model == "video-llava" else (5, "all")
    weights = str(trained(model)["small"])
    tokens, dtype = ANSWER_TOKENS[register], {"cpu": "float32", "cuda": "bfloat16"}[device]
    asked: Any = (model, None, weights, (NOWHERE,), pictures, policy, QUESTIONS[register], tokens, stop_at_end, device, dtype, None)
    return Workload(*asked, kind=kind_of(model))


@pytest.mark.parametrize("model", list(SHIPPED))
def test_a_checkpoint_is_small(model: str) -> None:
    assert (trained(model)["small"] / "model.safetensors").stat().st_size <= 12_000_000


@pytest.mark.parametrize("model", list(SHIPPED))
def test_a_head_that_drafts_is_smaller(model: str) -> None:
    assert (trained(model)["small"] / FILE).stat().st_size <= 2_000_000


@pytest.mark.slow
@pytest.mark.parametrize("model", list(SHIPPED))
def test_most_of_what_the_head_drafts_about_a_held_out_scene_is_accepted(
    model: str, scenes: tuple[Path, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder, (entry,)), passes, verify = scenes, list[int](), StaticTarget.verify

    def counted(target: StaticTarget, fed: Sequence[int], position: int) -> torch.Tensor:
        passes.append(len(fed))
        return verify(target, fed, position)

    monkeypatch.setattr(StaticTarget, "verify", counted)
    asked, file = workload(model, "concise", stop_at_end=True), folder / INPUTS[kind_of(model)](entry)
    alone, drafted = (
        run_stages(build(parse(f"baseline+generate=static+draft={draft}"), asked), file, asked.new_tokens)[0].tokens
        for draft in ("none", "head-4")
    )
    assert alone == drafted
    assert len(alone) - 1 >= 2.5 * len(passes) > 0, "tokens of a pass"


@pytest.mark.slow
@pytest.mark.parametrize("model", list(SHIPPED))
@pytest.mark.parametrize("register", ["concise", pytest.param("verbose", marks=pytest.mark.long)])
def test_held_out_scenes_are_captioned_correctly(model: str, register: Register, scenes: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, entries = scenes
    pipeline = build(parse("baseline"), workload(model, register))
    for entry in entries:
        answer, work = run_stages(pipeline, folder / INPUTS[kind_of(model)](entry), ANSWER_TOKENS[register])
        turns = entry[TURNS[KINDS[kind_of(model)].colours]]
        assert answer.text == turns[turns.index({"from": "human", "value": QUESTIONS[register]}) + 1]["value"]
        assert len(answer.tokens) == ANSWER_TOKENS[register], "a fixed length is kept behind the end"
        assert work.stop == "length"


@pytest.mark.gpu
@pytest.mark.parametrize("model", list(SHIPPED))
@pytest.mark.parametrize("variant", ["baseline", "optimized"])
def test_on_the_gpu_in_bfloat16_they_are_captioned_as_well(model: str, variant: str, scenes: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, entries = scenes
    pipeline = build(parse(variant), workload(model, "verbose", device="cuda"))
    for entry in entries:
        answer, _ = run_stages(pipeline, folder / INPUTS[kind_of(model)](entry), ANSWER_TOKENS["verbose"])
        assert answer.text == entry[TURNS[KINDS[kind_of(model)].colours]][3]["value"]


@pytest.mark.slow
@pytest.mark.parametrize("generate", ["dynamic", "static"])
def test_an_answer_may_end_by_itself(generate: str, scenes: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, entries = scenes
    pipeline = build(parse(f"baseline+generate={generate}"), workload("eventgpt", "concise", stop_at_end=True))
    answer, work = run_stages(pipeline, folder / INPUTS["event-images"](entries[0]), 72)
    assert work.stop == "end"
    assert answer.tokens[-1] == 2
    assert answer.text == entries[0]["event_conversations"][1]["value"]


def drawn(index: int) -> Frames:
    """Eight frames of a scene, without a codec in between."""
    import torch

    from evbench.scenes.draw import draw
    from evbench.scenes.pack import pack

    indices = inclusive(20, 8)
    pixels = draw(pack([imagine(SEED, index)], "cpu"), torch.tensor(indices) / 20, 1.0, 240, 320)[0]
    return Frames(pixels.permute(1, 2, 3, 0).add(0.5).clamp(0, 255).byte().numpy(), tuple(indices), tuple(i / 20 for i in indices), "none")


@pytest.mark.slow
def test_shuffled_videos_collapse_the_score_to_chance() -> None:
    count = 8
    pipeline: Any = build(parse("baseline+preprocess=direct"), workload("video-llava", "concise"))
    expected = [describe(imagine(SEED, index), "concise", colours=True) for index in range(count)]
    said = []
    for index in range(count):
        features, _ = pipeline.vision(pipeline.preprocess(drawn(index))[0])
        said.append(pipeline.generate(features, ANSWER_TOKENS["concise"], Sampler())[0].text)
    assert score(expected, said)["exact"].right >= count - 1
    shuffled, chance = (score(expected, answers[1:] + answers[:1]) for answers in (said, expected))
    assert shuffled["exact"].right == 0
    for name, share in shuffled.items():
        assert share.value <= chance[name].value + 0.1, name
    for name in ("kind", "colour", "place", "moves to", "relation"):
        assert shuffled[name].value < 0.65, name


@pytest.mark.slow
def test_a_grey_video_shows_nothing_of_the_scene() -> None:
    pipeline: Any = build(parse("baseline+preprocess=direct"), workload("video-llava", "concise"))
    scene = drawn(0)
    grey = Frames(np.full_like(scene.pixels, 128), scene.indices, scene.seconds, "none")
    texts = []
    for frames in (scene, grey):
        features, _ = pipeline.vision(pipeline.preprocess(frames)[0])
        texts.append(pipeline.generate(features, ANSWER_TOKENS["concise"], Sampler())[0].text)
    expected = describe(imagine(SEED, 0), "concise", colours=True)
    assert texts[0] == expected != texts[1]


def test_drafts_change_no_answer_on_scenes_that_are_drawn_anew() -> None:
    """`python -m tests.lossless` does the same on hundreds."""
    differing, counted, said = lossless.compare(2, ("lookup-4", "head-8"))
    assert differing == {"lookup-4": 0, "head-8": 0} and said == 2
    assert all(0 < found.right < found.drafts for found in counted.values())
