"""The training script, at reduced length, on a CPU."""

from __future__ import annotations

import itertools
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evbench.errors import UserError
from evbench.inputs import sample
from evbench.pipelines.build import build
from evbench.pipelines.generate.draft_head import DraftHead, DraftState
from evbench.pipelines.load import video
from evbench.pipelines.load.event_images import vectorised
from evbench.pipelines.load.event_stream import EventStream
from evbench.pipelines.load.png import read_plain
from evbench.pipelines.preprocess.pixels import Recipe, pixel_values
from evbench.pipelines.registry import SHIPPED
from evbench.results import InputKind, Workload
from evbench.scenes import dataset
from evbench.scenes.captions import QUESTIONS, describe
from evbench.scenes.words import make_tokenizer
from evbench.scenes.world import KINDS, ROWS, imagine
from evbench.stages import Sampler, run_stages
from evbench.training import answers, batches, draft_head, evaluate, fit, learners
from evbench.training.batches import ANSWER_TOKENS, TRAITS, Studio
from evbench.training.fit import Course
from evbench.variants.named import parse
from tests.examples import NOWHERE

REDUCED: dict[str, dict[str, Any]] = {
    "text": {"hidden": 32, "layers": 1, "heads": 2, "intermediate": 64},
    "vision": {"hidden": 32, "layers": 2, "heads": 2, "intermediate": 64},
}
EDGE = 56
"""Of the images that the reduced models are given, in pixels: 17 visual tokens each."""


def workload(model: str, weights: Path, question: str, tokens: int) -> Workload:
    kind: InputKind = "video" if model == "video-llava" else "event-images"
    policy, images = ("inclusive", 8) if kind == "video" else ("all", 5)
    asked: Any = (model, None, str(weights), (NOWHERE,), images, policy, question, tokens, False, "cpu", "float32", None)
    return Workload(*asked, kind=kind)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer()


def reduced(model: str, tokenizer: Any) -> learners.Learner:
    sizes = {"text": REDUCED["text"], "vision": REDUCED["vision"] | {"image": EDGE}}
    return learners.new(model, tokenizer, sizes, "cpu", 0, compiled=False)


@pytest.mark.slow
@pytest.mark.parametrize("model", [pytest.param(model, marks=pytest.mark.long if number else ()) for number, model in enumerate(SHIPPED)])
def test_it_learns_and_leaves_a_checkpoint_that_runs(model: str, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "EVENT_STEPS", 8)
    steps = 10
    learner = reduced(model, tokenizer)
    batch = batches.make(tokenizer, [imagine(9, 0), imagine(9, 1)], colours=learner.colours)
    course = Course(steps, 3600, 1e-2)
    steps_taken = list(fit.fit(learner, itertools.repeat(batch), course, "cpu", every=1))
    assert [progress.step for progress in steps_taken] == list(range(1, steps + 1))
    first, last = steps_taken[0], steps_taken[-1]
    assert last.words < first.words - 0.2
    assert last.hint < first.hint - 0.2
    scores = fit.score(learner, itertools.repeat(batch), 1, "cpu")
    assert set(scores) == set(QUESTIONS)

    learners.convert(learner, torch.bfloat16)
    learner.save(tmp_path / "weights")
    path = sample.CLIP if model == "video-llava" else sample.EVENTS

    asked = workload(model, tmp_path / "weights", QUESTIONS["concise"], 8)
    pipeline = build(parse("baseline"), asked)
    assert pipeline.parameters == learners.parameter_count(learner)
    answer, work = run_stages(pipeline, path, 8)
    assert len(answer.tokens) == 8
    assert work.visual_tokens == {"video-llava": 8 * 17, "eventgpt": 5 + 17}[model]


@pytest.mark.parametrize("model", list(SHIPPED))
def test_the_network_sees_while_it_learns_what_the_pipeline_sees(model: str, tokenizer: Any, tmp_path: Path) -> None:
    """Training code and pipeline, given equal pixels and prompt, agree on visual tokens and on each next token."""
    learner = reduced(model, tokenizer)
    learner.model.eval()
    learner.save(tmp_path)

    asked = workload(model, tmp_path, QUESTIONS["verbose"], 4)
    pipeline: Any = build(parse("baseline"), asked)
    path = sample.CLIP if model == "video-llava" else sample.EVENTS
    inputs, _ = pipeline.preprocess(pipeline.load(path)[0])
    features, _ = pipeline.vision(inputs)
    answer, _ = pipeline.generate(features, 4, Sampler())
    pixels = inputs.pixels if model == "video-llava" else inputs.pixels[None]
    with torch.inference_mode():
        visual, _ = learner.see(pixels)
        logits = fit._logits(learner, visual, QUESTIONS["verbose"], torch.tensor([answer.tokens]))
    assert torch.allclose(visual.flatten(0, 1), features.visual.flatten(0, 1), atol=2e-3)
    assert logits[0].argmax(-1).tolist() == list(answer.tokens)


@pytest.mark.slow
@pytest.mark.parametrize("model", [pytest.param(model, marks=pytest.mark.long if number else ()) for number, model in enumerate(SHIPPED)])
def test_a_head_learns_to_draft_what_the_model_says(model: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "EVENT_STEPS", 8)
    learner = reduced(model, tokenizer)
    learner.model.eval().requires_grad_(False)
    learner.head.weight.mul_(20)  # else each next token would be nearly a tie
    batch = batches.make(tokenizer, [imagine(9, 0), imagine(9, 1)], colours=learner.colours)
    said = list(answers.answers(learner, batch))
    assert [one.register for one in said] == list(QUESTIONS)
    for one in said:
        assert one.tokens.shape == (2, ANSWER_TOKENS[one.register])
        assert one.hidden.shape == (*one.tokens.shape, 32)
        assert bool((one.known >= answers.ROUNDS - 1).all())
        logits = learner.head(one.hidden.float())
        for row, tokens, known in zip(logits.argmax(-1), one.tokens, one.known, strict=True):
            assert torch.equal(row[:known], tokens[:known])
    head = draft_head.beginning(learner)
    before = draft_head._loss(learner, head, said[0]).item()
    told = list(draft_head.fit(learner, head, said, Course(30, 3600, 1e-2), 0))
    assert len(told) == 15, "an epoch has two steps"
    assert draft_head._loss(learner, head, said[0]).item() < before - 1


def test_what_a_head_is_trained_on_is_what_it_drafts(tokenizer: Any) -> None:
    """Along an answer, in a pass over all of it, and with its cache block by block."""
    learner = reduced("video-llava", tokenizer)
    learner.model.eval().requires_grad_(False)
    head, count = draft_head.beginning(learner).requires_grad_(False), 12
    random = torch.Generator().manual_seed(1)
    tokens, hidden = torch.randint(3, 200, (1, count), generator=random), torch.randn(1, count, 32, generator=random)
    said = answers.Answers("concise", tokens, hidden.half(), torch.tensor([count]))
    along = draft_head.drafted(learner, head, said)
    state = DraftState(draft_head._language(learner), head, draft_head.BLOCK, 40, captured=False)
    for place in range(count - draft_head.BLOCK):
        state.feed(said.hidden[0, place : place + 1].float(), tokens[0, place : place + 1].tolist(), place)
        drafted = state._layer(state._hidden, state._tokens, place + torch.arange(5))[:, :1]
        assert torch.allclose(drafted[0], along[0][0, place : place + 1], atol=1e-5)
        for depth in range(1, draft_head.BLOCK):  # behind its own drafts, as if each was the token that is said
            drafted = state._layer(drafted, tokens[0, place + depth : place + depth + 1], torch.tensor([place + depth]))
            assert torch.allclose(drafted[0], along[depth][0, place + depth : place + depth + 1], atol=1e-5)


def test_drafts_are_accepted_as_far_as_they_are_the_answer(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = reduced("video-llava", tokenizer)
    tokens = torch.tensor([[5, 6, 7, 8, 9, 10, fit.END, fit.END]])
    said = answers.Answers("concise", tokens, torch.zeros(1, 8, 32), torch.tensor([8]))
    assert said.ends().tolist() == [7]
    right = torch.nn.functional.one_hot(tokens[:, 1:], 208).float()
    wrong_at_third = [right, right, right.roll(1, 2), right]
    learner.head = torch.nn.Identity()
    monkeypatch.setattr(draft_head, "drafted", lambda *_: wrong_at_third)
    found = draft_head.accepted(learner, DraftHead(learner.llama.config), [said])
    assert (found.passes, found.drafted, found.accepted_at) == (2, 6, (1.0, 1.0, 0.0, None))
    assert found.tokens_per_pass.value == 3


def test_frames_drawn_for_training_are_those_of_the_stored_clip() -> None:
    """But for what imitates the codec, which is at most a few levels."""
    indices = video.inclusive(20, 8)
    batch = batches.make(make_tokenizer(), [imagine(sample.SEED, sample.INDEX)], colours=True)
    drawn = Studio("cpu", 0, compiled=False).frames(batch.packed, torch.tensor(indices) / 20, 224)[0]
    stored = video.decode_threaded(sample.CLIP, 8, "inclusive").pixels
    recipe = Recipe(224, (224, 224), (0.0,) * 3, (1 / 255,) * 3)
    expected = pixel_values(stored, recipe, "cpu", torch.float32)
    difference = (drawn - expected).abs().mean()
    assert difference < 5
    assert (drawn - expected.roll(4, 0)).abs().mean() > 1.5 * difference, "other moments are other frames"


@pytest.mark.long
def test_event_images_drawn_for_training_are_like_the_stored_ones() -> None:
    batch = batches.make(make_tokenizer(), [imagine(sample.SEED, sample.INDEX)], colours=False)
    drawn = Studio("cpu", 0, compiled=False).event_images(batch.packed)[0].permute(0, 2, 3, 1).numpy()
    stored = np.stack(read_plain(sample.EVENTS).pixels)
    share = [(images != 255).any(-1).mean(axis=(1, 2)) for images in (drawn, stored)]
    assert share[0] == pytest.approx(share[1], rel=0.1)
    # Where the stored image has many events close to each other, the drawn one has them too.
    dense = [torch.nn.functional.avg_pool2d(torch.tensor((images != 255).any(-1)).float(), 8) > 0.5 for images in (drawn, stored)]
    assert (dense[0] & dense[1]).sum() > 0.85 * (dense[0] | dense[1]).sum()


def test_the_last_event_wins_in_slices_of_equal_count() -> None:
    random = np.random.default_rng(0)
    steps, rows, columns = 40, 6, 8
    place = random.integers(0, rows * columns, steps)
    polarity = random.integers(0, 2, steps)
    signs = np.zeros((steps, rows * columns), np.int8)
    signs[np.arange(steps), place] = polarity * 2 - 1  # one event in each step
    made = batches._last_wins(torch.tensor(signs.reshape(1, steps, rows, columns)), torch.ones(1, steps))[0]
    x, y = (part.astype(np.uint16) for part in (place % columns, place // columns))
    expected = vectorised(EventStream(x, y, np.arange(steps), polarity.astype(np.uint8), (rows, columns)), "sensor")
    assert np.array_equal(made.permute(0, 2, 3, 1).numpy(), expected.values())


def test_patches_are_named_by_what_stands_there(tokenizer: Any) -> None:
    scenes = [imagine(5, index) for index in range(8)]
    shown = batches.patch_traits(batches.make(tokenizer, scenes, colours=True), torch.zeros(1, 1), 16)[:, 0].view(8, 16, 16, len(TRAITS))
    for scene, patches in zip(scenes, shown, strict=True):
        for actor in scene.actors:
            mine = (patches[..., 0] == KINDS.index(actor.kind) + 1) & (patches[..., 2] == ROWS.index(actor.row) + 1)
            assert mine.any(), "none is hidden in the middle of the clip"
        assert (patches[..., 0] == 0).float().mean() > 0.5
        assert (patches[0] == 0).all(), "nothing stands in the sky"


def test_an_answer_ends_and_stays_quiet(tokenizer: Any) -> None:
    caption = describe(imagine(5, 0), "concise", colours=True)
    ids = batches.answer(tokenizer, caption, "concise")
    assert len(ids) == ANSWER_TOKENS["concise"]
    text = tokenizer(caption, add_special_tokens=False)["input_ids"]
    assert ids[: len(text)] == text
    assert set(ids[len(text) :]) == {fit.END} == {tokenizer.eos_token_id}
    with pytest.raises(ValueError, match="room"):
        batches.answer(tokenizer, caption * 3, "concise")


def test_exact_counts_up_to_the_first_end() -> None:
    answers = torch.tensor([[5, 6, 2, 2, 2]])
    logits = torch.nn.functional.one_hot(torch.tensor([[5, 6, 2, 7, 7]]), 8).float()
    assert fit._exact(logits, answers).tolist() == [1]
    assert fit._exact(logits.roll(1, 1), answers).tolist() == [0]


def test_the_rate_rises_and_falls() -> None:
    course = Course(100, 60, 1.0)
    rates = [course.rate_at(course.done(step, 0.0)) for step in range(101)]
    assert max(rates) == pytest.approx(1.0, abs=0.01)
    assert rates[0] < 0.05
    assert rates[-1] == pytest.approx(0.01)
    assert course.done(10, 30.0) == 0.5, "whichever is sooner"


def test_no_scene_that_a_user_can_make_was_trained_on() -> None:
    from evbench.training.batches import HELD_OUT_FIRST, HELD_OUT_SERIES, TRAINING_FIRST, TRAINING_SERIES

    def places(seed: int, first: int, count: int) -> set[tuple[float, ...]]:
        return {tuple(actor.x for actor in imagine(seed, index).actors) for index in range(first, first + count)}

    trained = places(TRAINING_SERIES, TRAINING_FIRST, 1000)
    assert len(trained) == 1000
    for seed in (0, 1, 2, 2**32 - 1):
        assert not trained & places(seed, 0, 500)
    # The checkpoints that ship were trained from scene 0 on, which is scene 1 of series 0: NumPy pads seeds with zeros.
    assert places(TRAINING_SERIES, 0, 1) == places(0, 1, 1)
    assert not places(TRAINING_SERIES, 0, 1) & places(HELD_OUT_SERIES, HELD_OUT_FIRST, 1000)


@pytest.mark.long
def test_the_script_runs_and_what_it_leaves_can_be_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(learners.SIZES, "video-llava", {"text": REDUCED["text"], "vision": REDUCED["vision"] | {"image": EDGE}})
    train(tmp_path / "out", steps=1, scenes=1, workers=0, compiled=False, held_out=1)
    lines = (tmp_path / "out" / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 1
    with pytest.raises(UserError, match="holds a checkpoint already"):
        train(tmp_path / "out", steps=1)
    train(tmp_path / "more", begin=tmp_path / "out", steps=2, scenes=1, workers=0, compiled=False)
    assert json.loads((tmp_path / "more" / "log.jsonl").read_text().splitlines()[-1])["scenes"] == 3, "goes on with other scenes"

    spec = dataset.DatasetSpec(tmp_path / "set", 3, 2, 0.5, 320, 240)
    dataset.open_folder(spec)
    assert list(dataset.make(spec, 2)) == [1, 2]
    evaluate.main("video-llava", spec.folder, tmp_path / "scores", weights=tmp_path / "out", device="cpu")
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert scores["scenes"] == 2
    assert scores["concise"]["as shown"]["exact"] == {"right": 0, "of": 2, "share": 0.0, "interval": [0.0, pytest.approx(0.658, abs=0.001)]}
    assert len((tmp_path / "scores" / "answers.jsonl").read_text().splitlines()) == 4
    assert "| exact | 0 | 2 | 0.0% | 0.0% - 65.8% | 0.0% |" in (tmp_path / "scores" / "scores.md").read_text()


def train(out: Path, **options: Any) -> None:
    """The script with its defaults, on a CPU."""
    from evbench.training.__main__ import main

    given: dict[str, Any] = {"minutes": 1.0, "rate": 1e-3, "hint": 1.0, "seed": 0, "device": "cpu", "every": 1, "held_out": 0}
    main("video-llava", out, **given | options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("evbench.training bogus out", "unknown --model 'bogus'"),
        ("evbench.training video-llava out --device cuda", "no NVIDIA driver or GPU found"),
        ("evbench.training video-llava file/out", "file/out: Not a directory"),
        ("evbench.training video-llava out --device cpu --begin nothing", "nothing: no such folder"),
        ("evbench.training.evaluate video-llava set out --register short", "unknown --register 'short'; there is concise, verbose"),
        ("evbench.training.evaluate video-llava set out --against nothing", "--against nothing holds no answers"),
        ("evbench.training.evaluate video-llava set out --dtype half", "--dtype half is float16"),
        ("evbench.training.evaluate bogus set out", "unknown --model 'bogus'"),
        ("evbench.training.draft_head bogus out", "unknown --model 'bogus'"),
        ("evbench.training.draft_head video-llava nothing --device cpu", "nothing: no such folder"),
        ("evbench.training.evaluate video-llava nothing out", "give a folder that `evbench scenes make` has made"),
    ],
)
def test_wrong_input_gets_one_line(
    arguments: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    module, *rest = arguments.split()
    monkeypatch.setattr(sys, "argv", [module, *rest])
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(SystemExit) as caught:
        runpy.run_module(module, run_name="__main__")
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("evbench: ") and message in line


@pytest.mark.gpu
@pytest.mark.parametrize("colours", [True, False])
def test_compiled_on_the_gpu_the_studio_draws_what_it_draws_without(colours: bool, tokenizer: Any) -> None:
    batch = batches.make(tokenizer, [imagine(5, index) for index in range(8)], colours=colours).to("cuda")
    plain, compiled = (Studio("cuda", 0, compiled=flag) for flag in (False, True))
    if colours:
        seconds = torch.tensor([0.0, 0.5, 0.95], device="cuda")
        one, other = (studio.frames(batch.packed, seconds, 224) for studio in (plain, compiled))
        assert (one - other).abs().mean() < 0.01
    else:
        one, other = (studio.event_images(batch.packed) for studio in (plain, compiled))
        assert (one != other).float().mean() < 1e-3
