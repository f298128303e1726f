from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode

from evbench.errors import UserError
from evbench.inputs import sample
from evbench.microbenchmarks.rendering import require_nearly_equal
from evbench.pipelines import eventgpt
from evbench.pipelines.checkpoints.event_chat import parameter_name, released_name
from evbench.pipelines.checkpoints.presets import byte_tokenizer
from evbench.pipelines.eventgpt import EventGPT
from evbench.pipelines.load import decoders, event_images, event_painter, png
from evbench.pipelines.load.event_images import EventImages, PictureSize
from evbench.pipelines.load.event_painter import EventPainter
from evbench.pipelines.load.event_stream import EventStream
from evbench.pipelines.preprocess import preprocessors
from evbench.pipelines.preprocess.image_processor import image_processor
from evbench.pipelines.preprocess.pixels import Recipe, exact_values, quantum
from evbench.pipelines.preprocess.preprocessors import Preprocess, fused_values, preprocessor
from evbench.pipelines.vision.encoders import encoder
from evbench.pipelines.vision.pooling import PoolingFirst, PoolingLast, pool
from evbench.results import STAGES, InputKind, Workload
from evbench.stages import Sampler, run_stages
from evbench.variants.named import change, parse
from tests import raw_events
from tests.devices import DEVICE
from tests.examples import NOWHERE

NEW_TOKENS = 24


def workload(**changes: Any) -> Workload:
    asked: Any = ("eventgpt", "tiny", None, (NOWHERE,), 5, "all", "What is it?", NEW_TOKENS, False, "cpu", "float32", 0)
    kind: InputKind = "events" if changes.get("window") else "event-images"
    return replace(Workload(*asked, kind="event-images"), **changes, kind=kind)


def by(choice: str, processor: Any, asked: Workload) -> Preprocess:
    """A choice of preprocessing, with a tokenizer of bytes."""
    model = eventgpt.Preprocessing(processor, byte_tokenizer(300, {}), asked)
    return preprocessor(model, change(parse("baseline"), {"preprocess": choice}), asked)


@pytest.fixture(scope="module")
def baseline() -> EventGPT:
    return EventGPT(parse("baseline"), workload())


def test_features_are_those_of_the_published_formula(baseline: EventGPT) -> None:
    """Written out from the description: X, F, T, S, E of each image by itself."""
    inputs, _ = baseline.preprocess(baseline.load(sample.EVENTS)[0])
    features, work = baseline.vision(inputs)
    model = baseline.model
    weights = dict(model.visual_projector.named_parameters())
    with torch.inference_mode():
        per_image = []
        for image in inputs.pixels:
            seen = model.visual_tower(image[None]).last_hidden_state[0]
            projected = (
                torch.nn.functional.gelu(seen @ weights["0.weight"].T + weights["0.bias"]) @ weights["2.weight"].T + weights["2.bias"]
            )
            per_image.append(projected @ model.feature_adaptor.weight.T + model.feature_adaptor.bias)
        temporal = [image.mean(0) for image in per_image]
        spatial = [torch.stack([image[place] for image in per_image]).mean(0) for place in range(577)]
        expected = torch.stack(temporal + spatial)
    assert features.visual.shape == (1, 582, 128)
    assert work.visual_tokens == 582
    assert (features.visual[0] - expected).abs().max() < 1e-4 * expected.abs().max()


def test_pooling_puts_time_before_space() -> None:
    features = torch.tensor([[[1.0], [2.0], [3.0]], [[5.0], [6.0], [7.0]]])  # 2 images, 3 tokens, 1 channel
    assert pool(features).flatten().tolist() == [2.0, 6.0, 3.0, 4.0, 5.0]


def test_images_at_once_see_no_more_than_one_by_one(baseline: EventGPT) -> None:
    inputs, _ = baseline.preprocess(baseline.load(sample.EVENTS)[0])
    with torch.inference_mode():
        vision = eventgpt.Vision(baseline.model, PoolingLast(baseline.model))
        alone, together = (encoder(vision, parse(f"baseline+vision={choice}"))(inputs.pixels) for choice in ("eager", "batched"))
    assert (alone - together).abs().max() < 1e-5 * alone.abs().max()


@pytest.mark.parametrize("change", ["decode=threaded", "preprocess=direct", "generate=static", "attention=eager", "pooling=first"])
def test_each_choice_says_the_same(baseline: EventGPT, change: str) -> None:
    expected, work = run_stages(baseline, sample.EVENTS, NEW_TOKENS)
    answer, other_work = run_stages(EventGPT(parse(f"baseline+{change}"), workload()), sample.EVENTS, NEW_TOKENS)
    assert answer == expected
    assert replace(other_work, attention=None) == replace(work, attention=None)
    assert len(set(answer.tokens)) > NEW_TOKENS // 2, "a constant answer would prove nothing"


def test_the_answer_depends_on_the_events(baseline: EventGPT, tmp_path: Path) -> None:
    for file in png.find(sample.EVENTS):
        Image.open(file).transpose(Image.Transpose.TRANSPOSE).save(tmp_path / file.name)
    street, _ = run_stages(baseline, sample.EVENTS, NEW_TOKENS)
    turned, _ = run_stages(baseline, tmp_path, NEW_TOKENS)
    assert street.tokens != turned.tokens


def test_the_order_of_the_images_reaches_the_language_model(baseline: EventGPT) -> None:
    inputs, _ = baseline.preprocess(baseline.load(sample.EVENTS)[0])
    features, _ = baseline.vision(inputs)
    backward, _ = baseline.vision(replace(inputs, pixels=inputs.pixels.flip(0)))
    assert torch.allclose(backward.visual[0, :5], features.visual[0, :5].flip(0), atol=1e-5), "temporal tokens turn round"
    assert torch.allclose(backward.visual[0, 5:], features.visual[0, 5:], atol=1e-4), "spatial tokens do not"
    assert not torch.allclose(backward.visual[0, :5], features.visual[0, :5], atol=1e-2)


def test_the_prompt_stands_around_the_events(baseline: EventGPT) -> None:
    inputs, _ = baseline.preprocess(baseline.load(sample.EVENTS)[0])
    tokenizer = baseline.tokenizer
    before, after = tokenizer.decode(inputs.before[0]), tokenizer.decode(inputs.after[0])
    assert before.startswith("<s>A chat between a curious human")
    assert before.endswith("USER: <ev_start>")
    assert after == "<ev_end>\nWhat is it? ASSISTANT:"
    _, work = run_stages(baseline, sample.EVENTS, 2)
    assert work.prompt_tokens == inputs.before.shape[1] + 582 + inputs.after.shape[1]


def test_a_prompt_that_would_be_cut_is_refused() -> None:
    pipeline = EventGPT(parse("baseline"), workload(prompt="why " * 400))
    with pytest.raises(UserError, match=r"the prompt has \d+ tokens and EventGPT takes 2048"):
        pipeline.preprocess(pipeline.load(sample.EVENTS)[0])


@pytest.mark.parametrize("vision", ["eager", "batched"])
def test_pooling_first_makes_the_features_of_the_published_order(baseline: EventGPT, vision: str) -> None:
    """In float64 the two differ by nothing but the order of sums."""
    inputs, _ = baseline.preprocess(baseline.load(sample.EVENTS)[0])
    model = deepcopy(baseline.model).double()
    with torch.inference_mode():
        last, first = (
            encoder(eventgpt.Vision(model, pooling(model)), parse(f"baseline+vision={vision}"))(inputs.pixels.double())
            for pooling in (PoolingLast, PoolingFirst)
        )
    assert first.shape == last.shape == (1, 582, 128)
    assert (first - last).abs().max() < 1e-12 * last.abs().max()


def test_pooling_first_multiplies_for_a_fifth_of_the_tokens(baseline: EventGPT) -> None:
    inputs, _ = baseline.preprocess(baseline.load(sample.EVENTS)[0])
    with torch.inference_mode():
        seen = baseline.model.seen(inputs.pixels)
        counted = []
        for pooling in (PoolingLast(baseline.model), PoolingFirst(baseline.model)):
            with FlopCounterMode(display=False) as counter:
                pooling.pooled(pool(pooling.tokens(seen), pooling.gelu))
            counted.append(counter.get_total_flops())
    tower, hidden, every, left = seen.shape[-1], 128, 5 * 577, 5 + 577
    assert counted == [2 * every * (tower + 2 * hidden) * hidden, 2 * (every * tower + left * hidden) * hidden]


@pytest.mark.parametrize("render", ["loop", "vectorised"])
def test_raw_events_are_rendered_inside_load_and_answered_as_their_images(baseline: EventGPT, render: str, tmp_path: Path) -> None:
    """Loading counts the rendering: images made beforehand are another input."""
    asked = workload(window=replace(raw_events.WINDOW, size="sensor"))
    pipeline = EventGPT(parse(f"baseline+render={render}"), asked)
    calls: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for stage in STAGES:
            patch.setattr(pipeline, stage, noted(getattr(pipeline, stage), stage, calls))
        patch.setattr(pipeline, "_load", noted(pipeline._load, "rendering", calls))
        answer, work = run_stages(pipeline, raw_events.stored(), NEW_TOKENS)
    assert calls == ["rendering", "load", "preprocess", "vision", "generate"], "in the order in which they ended"
    for number, picture in enumerate(pipeline.load(raw_events.stored())[0].pixels):
        Image.fromarray(np.asarray(picture)).save(tmp_path / f"{number}.png")
    of_images, work_of_images = run_stages(baseline, tmp_path, NEW_TOKENS)
    assert answer == of_images
    assert work.decoder is not None
    assert "NumPy" in work.decoder
    assert work.events == raw_events.COUNT
    assert replace(work, decoder=None, events=None, events_microseconds=None) == replace(work_of_images, decoder=None)
    assert (work.frame_height, work.frame_width) == (raw_events.HEIGHT, raw_events.WIDTH)


def noted(call: Callable[..., Any], name: str, calls: list[str]) -> Callable[..., Any]:
    def noting(*arguments: Any) -> Any:
        made = call(*arguments)
        calls.append(name)
        return made

    return noting


@pytest.mark.parametrize("preprocess", ["direct", "processor", "exact"])
def test_pictures_of_several_sizes_are_preprocessed_each_as_if_alone(preprocess: str) -> None:
    asked = workload(window=raw_events.WINDOW)
    pipeline = EventGPT(change(parse("baseline"), {"preprocess": preprocess}), asked)
    images, work = pipeline.load(raw_events.stored())
    assert isinstance(images, EventImages)
    assert len({tuple(picture.shape) for picture in images.pixels}) == 5
    assert (work.frame_height, work.frame_width) == images.largest()
    times = np.load(raw_events.stored())["t"]
    assert (work.events, work.events_microseconds) == (raw_events.COUNT, times[-1] - times[0])
    merged_traces, _ = pipeline.preprocess(images)
    for picture, values in zip(images.pixels, merged_traces.pixels, strict=True):
        alone, _ = pipeline.preprocess(replace(images, pixels=(picture,)))
        assert torch.equal(alone.pixels[0], values)
    back, _ = pipeline.preprocess(images.holding(images.values()))
    assert torch.equal(back.pixels, merged_traces.pixels), "what is judged can be handed on"


def cloud(rows: int, columns: int, count: int, seed: int = 0) -> EventStream:
    """Events about the middle of a sensor, so that pictures of their own size are of several."""
    random = np.random.default_rng(seed)
    x, y = (random.normal(length / 2, length / 7, count).clip(0, length - 1).astype(np.uint16) for length in (columns, rows))
    return EventStream(x, y, np.arange(count), random.integers(0, 2, count, np.uint8), (rows, columns))


@pytest.mark.device
def test_the_kernel_takes_pictures_of_several_sizes_where_they_lie() -> None:
    images = decoders.renderer("triton", DEVICE)(cloud(43, 61, 700), "own")
    assert len({tuple(picture.shape) for picture in images.pixels}) == 5
    processor = image_processor(32)
    preprocess = by("triton", processor, workload(device=DEVICE))
    inputs = preprocess(images, "What is it?")
    exact = torch.cat(
        [exact_values(torch.as_tensor(picture)[None], Recipe.of(processor), DEVICE, torch.float32) for picture in images.pixels]
    )
    assert inputs.pixels.shape == (5, 3, 32, 32)
    assert (inputs.pixels - exact).abs().max() < 0.51 * quantum(processor)


@pytest.mark.slow
@pytest.mark.device
@pytest.mark.parametrize("edge", [24, 48])
@pytest.mark.parametrize("size", get_args(PictureSize))
def test_last_events_become_the_models_input_as_their_pictures_do(size: PictureSize, edge: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made smaller and larger, of odd sizes: no picture is painted for it."""
    images = EventPainter(DEVICE)(cloud(43, 61, 700, edge), size)
    processor = image_processor(edge)
    values = fused_values(Recipe.of(processor), DEVICE, torch.bfloat16)
    with monkeypatch.context() as patch:
        patch.delattr(event_painter, "paint")
        made = values(images)
    assert made.shape == (5, 3, edge, edge)
    assert len({tuple(picture.shape) for picture in images.pixels}) == (1 if size == "sensor" else 5)
    painted = values(EventImages(images.pixels, "painted"))
    require_nearly_equal("of last events", made, painted, quantum(processor))
    assert torch.equal(values(images.holding(images.values().cpu().numpy())), made), "what is judged can be handed on"
    # Copies: what comes to lie at the same address is written to the same place.
    one_by_one = [values(EventImages((picture,), "painted")).clone() for picture in images.pixels]
    assert torch.equal(torch.cat(one_by_one), painted)


@pytest.mark.device
@pytest.mark.parametrize("size", [(1, 9), (3, 9), (4, 9), (9, 3)])
def test_no_picture_is_taken_for_one_whose_colours_come_first(size: tuple[int, int]) -> None:
    """Of 1 row or 3, transformers' processor would think so of itself."""
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    processor, asked = image_processor(32), workload(device="cpu")
    one, other = (by(name, processor, asked)(EventImages((pixels,), ""), "?").pixels for name in ("processor", "exact"))
    assert (one - other).abs().mean() < quantum(processor)


@pytest.mark.parametrize("preprocess", ["direct", "processor", "exact"])
def test_every_other_preprocessing_gets_pictures(preprocess: str) -> None:
    stream = cloud(43, 61, 700)
    make = by(preprocess, image_processor(32), workload(device=DEVICE))
    pictures = tuple(torch.as_tensor(picture).to(DEVICE) for picture in event_images.vectorised(stream, "own").pixels)
    made, expected = (make(images, "What is it?") for images in (EventPainter(DEVICE)(stream, "own"), EventImages(pictures, "NumPy")))
    assert torch.equal(made.pixels, expected.pixels)


def test_the_processor_on_a_device_makes_the_same(baseline: EventGPT) -> None:
    images, _ = baseline.load(sample.EVENTS)
    expected, made = (by(choice, baseline.image_processor, workload())(images, "?") for choice in ("processor", "processor-gpu"))
    assert torch.equal(made.pixels, expected.pixels)


def test_a_question_is_tokenized_once_where_that_is_said(baseline: EventGPT) -> None:
    asked: list[str] = []

    class Tokenizer:
        def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
            asked.append(text)
            return {"input_ids": [len(text)]}

    images, _ = baseline.load(sample.EVENTS)
    assert isinstance(images, EventImages)
    for make, times in ((preprocessors.triton, 2), (preprocessors.direct, 4)):
        asked.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(preprocessors, "fused_values", lambda *_: lambda images: torch.zeros(len(images), 3, 2, 2))
            preprocess = make(eventgpt.Preprocessing(baseline.image_processor, Tokenizer(), workload()), workload())
            made = [preprocess(replace(images, pixels=images.pixels[:1]), "What is it?") for _ in range(2)]
        assert made[0].prompt() == made[1].prompt()
        assert len(asked) == times


def test_what_vision_puts_out_is_what_generate_uses_and_it_is_made_once(baseline: EventGPT, monkeypatch: pytest.MonkeyPatch) -> None:
    """All five images, pooled over time and space: 582 tokens. None is encoded again behind the stage."""
    seen: list[int] = []
    prefilled: list[torch.Tensor] = []
    tower, language = type(baseline.model.visual_tower), type(baseline.decoder)
    see, speak = tower.forward, language.forward

    def seeing(module: Any, *given: Any, **named: Any) -> Any:
        seen.append(len(named["pixel_values"]))
        return see(module, *given, **named)

    def speaking(module: Any, *given: Any, **named: Any) -> Any:
        prefilled.append(named["inputs_embeds"])
        return speak(module, *given, **named)

    monkeypatch.setattr(tower, "forward", seeing)
    monkeypatch.setattr(language, "forward", speaking)
    inputs, _ = baseline.preprocess(baseline.load(sample.EVENTS)[0])
    features, _ = baseline.vision(inputs)
    assert seen == [1] * 5
    marked = replace(features, visual=features.visual + 1)
    _, work = baseline.generate(marked, 2, Sampler())
    assert seen == [1] * 5, "generate encodes nothing"
    before = inputs.before.shape[1]
    assert torch.equal(prefilled[0][:, before : before + 582], marked.visual), "what it was handed, and not what it could make itself"
    assert work.prompt_tokens == before + 582 + inputs.after.shape[1]


RELEASED_KEYS = {
    "model.embed_tokens.weight",
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.3.mlp.down_proj.weight",
    "model.layers.1.post_attention_layernorm.weight",
    "model.norm.weight",
    "lm_head.weight",
    "model.visual_projector.0.weight",
    "model.visual_projector.2.bias",
    "model.feature_adaptor.weight",
    "model.visual_tower.visual_tower.vision_model.embeddings.class_embedding",
    "model.visual_tower.visual_tower.vision_model.embeddings.patch_embedding.weight",
    "model.visual_tower.visual_tower.vision_model.pre_layrnorm.bias",
    "model.visual_tower.visual_tower.vision_model.encoder.layers.2.self_attn.out_proj.weight",
}
"""Out of XduSyL/EventGPT, as its state dict spells them."""


def save_released(pipeline: EventGPT, folder: Path, *, tower_inside: bool, shards: int = 1) -> Path:
    """The tiny model in the layout of the released checkpoint, its tower's folder beside it."""
    checkpoint, tower = folder / "EventGPT-tiny", folder / "clip-tiny"
    checkpoint.mkdir()
    pipeline.model.visual_tower.save_pretrained(tower)
    config = pipeline.model.language.config.to_dict() | {
        "model_type": "EventChat_llama",
        "architectures": ["EventChatModel"],
        "mm_visual_tower": "/data/models/clip-tiny",
        "event_feature_adaptor": True,
    }
    (checkpoint / "config.json").write_text(json.dumps(config))
    pipeline.tokenizer.save_pretrained(checkpoint)
    weights = {released_name(name): tensor.contiguous() for name, tensor in pipeline.model.state_dict().items()}
    assert weights.keys() >= RELEASED_KEYS
    if not tower_inside:
        weights = {name: tensor for name, tensor in weights.items() if "visual_tower" not in name}
    names, index = sorted(weights), dict[str, str]()
    for shard in range(shards):
        part, file = names[shard::shards], f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        save_file({name: weights[name] for name in part}, checkpoint / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return checkpoint


@pytest.mark.parametrize(("tower_inside", "shards"), [(True, 1), (True, 3), (False, 2)])
def test_the_released_layout_is_read(baseline: EventGPT, tmp_path: Path, tower_inside: bool, shards: int) -> None:
    folder = save_released(baseline, tmp_path, tower_inside=tower_inside, shards=shards)
    loaded = EventGPT(parse("baseline"), workload(preset=None, weights=str(folder), seed=7))
    assert loaded.weights_fingerprint == baseline.weights_fingerprint
    assert run_stages(loaded, sample.EVENTS, NEW_TOKENS) == run_stages(baseline, sample.EVENTS, NEW_TOKENS)


def test_names_go_back_and_forth(baseline: EventGPT) -> None:
    for name in baseline.model.state_dict():
        assert parameter_name(released_name(name)) == name
    assert parameter_name("model.visual_tower.visual_tower.post_layernorm.bias") == "visual_tower.post_layernorm.bias"


def spoil(folder: Path, case: str) -> None:
    (file,) = folder.glob("*.safetensors")
    weights = load_file(file)
    match case:
        case "shape":
            weights["model.feature_adaptor.weight"] = torch.zeros(3, 4)
        case "missing":
            del weights["model.visual_projector.0.bias"]
        case "no tower":
            weights = {name: tensor for name, tensor in weights.items() if "visual_tower" not in name}
            for stored in (folder.parent / "clip-tiny").glob("*.safetensors"):
                stored.unlink()
        case "no tower config":
            (folder.parent / "clip-tiny" / "config.json").unlink()
        case "unknown":
            weights["model.qformer.weight"] = torch.zeros(2)
        case "no tokenizer":
            for stored in folder.glob("tokenizer*"):
                stored.unlink()
        case "tower config":
            (folder.parent / "clip-tiny" / "config.json").write_text("{")
        case "wrong type":
            config = json.loads((folder / "config.json").read_text()) | {"hidden_size": "x"}
            (folder / "config.json").write_text(json.dumps(config))
        case "no config":
            (folder / "config.json").unlink()
    save_file(weights, file, metadata={"format": "pt"})


SPOILED = {
    "shape": "model.feature_adaptor.weight has shape [3, 4] and config.json asks for [128, 128]",
    "missing": "lack model.visual_projector.0.bias",
    "no tower": "holds no .safetensors",
    "no tower config": "names the vision tower '/data/models/clip-tiny', which is no local folder",
    "unknown": "hold model.qformer.weight",
    "no tokenizer": "cannot be loaded (",
    "tower config": "cannot be loaded (",
    "wrong type": "cannot be loaded (",
    "no config": "has no readable config.json",
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_folder_that_does_not_fit_is_refused_in_one_line(case: str, baseline: EventGPT, tmp_path: Path) -> None:
    folder = save_released(baseline, tmp_path, tower_inside=True)
    spoil(folder, case)
    with pytest.raises(UserError) as caught:
        EventGPT(parse("baseline"), workload(preset=None, weights=str(folder)))
    assert SPOILED[case] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_tower_is_found_from_inside_the_folder(baseline: EventGPT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(save_released(baseline, tmp_path, tower_inside=False))
    loaded = EventGPT(parse("baseline"), workload(preset=None, weights="."))
    assert loaded.weights_fingerprint == baseline.weights_fingerprint


def test_a_checkpoint_of_the_other_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "video_llava"}')
    with pytest.raises(UserError, match="choose the --model"):
        EventGPT(parse("baseline"), workload(preset=None, weights=str(tmp_path)))
