from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from evbench import sample
from evbench.errors import UserError
from evbench.pipelines import event_images, eventgpt, events
from evbench.pipelines.eventgpt import EventGPT, pool
from evbench.results import Workload
from evbench.stages import run_stages
from evbench.variants import CHOICES, REFERENCE, parse
from tests.examples import NOWHERE

NEW_TOKENS = 24


def workload(**changes: Any) -> Workload:
    asked = Workload("eventgpt", "tiny", None, (NOWHERE,), 5, "all", "What is it?", NEW_TOKENS, False, "cpu", "float32", 0)
    return replace(asked, **changes)


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
        pooling = eventgpt.PoolingLast(baseline.model)
        alone, together = (encode(baseline.model, pooling)(inputs.pixels) for encode in (eventgpt.one_by_one, eventgpt.batched))
    assert (alone - together).abs().max() < 1e-5 * alone.abs().max()


@pytest.mark.parametrize("change", ["decode=threaded", "preprocess=direct", "generate=static", "attention=eager"])
def test_each_choice_says_the_same(baseline: EventGPT, change: str) -> None:
    expected, work = run_stages(baseline, sample.EVENTS, NEW_TOKENS)
    answer, other_work = run_stages(EventGPT(parse(f"baseline+{change}"), workload()), sample.EVENTS, NEW_TOKENS)
    assert answer == expected
    assert replace(other_work, attention=None) == replace(work, attention=None)
    assert len(set(answer.tokens)) > NEW_TOKENS // 2, "a constant answer would prove nothing"


def test_the_answer_depends_on_the_events(baseline: EventGPT, tmp_path: Path) -> None:
    for file in events.find(sample.EVENTS):
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
    tokenizer = baseline._tokenizer
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


def test_there_is_code_for_every_choice() -> None:
    assert set(eventgpt.ENCODERS) == set(CHOICES["vision"])
    assert set(eventgpt.PREPROCESSORS) == {*CHOICES["preprocess"], REFERENCE.preprocess}
    assert set(eventgpt.POOLINGS) == set(CHOICES["pooling"])
    assert set(event_images.RENDERERS) == set(CHOICES["render"])
    assert all(callable(events.reader(choice, "cpu")) for choice in CHOICES["decode"])


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
    pipeline._tokenizer.save_pretrained(checkpoint)
    weights = {eventgpt.released_name(name): tensor.contiguous() for name, tensor in pipeline.model.state_dict().items()}
    assert weights.keys() >= RELEASED_KEYS
    if not tower_inside:
        weights = {name: tensor for name, tensor in weights.items() if "visual_tower" not in name}
    names = sorted(weights)
    for shard in range(shards):
        part = {name: weights[name] for name in names[shard::shards]}
        save_file(part, checkpoint / f"model-{shard + 1:05}-of-{shards:05}.safetensors", metadata={"format": "pt"})
    return checkpoint


@pytest.mark.parametrize(("tower_inside", "shards"), [(True, 1), (True, 3), (False, 2)])
def test_the_released_layout_is_read(baseline: EventGPT, tmp_path: Path, tower_inside: bool, shards: int) -> None:
    folder = save_released(baseline, tmp_path, tower_inside=tower_inside, shards=shards)
    loaded = EventGPT(parse("baseline"), workload(preset=None, weights=str(folder), seed=7))
    assert loaded.weights_fingerprint == baseline.weights_fingerprint
    assert run_stages(loaded, sample.EVENTS, NEW_TOKENS) == run_stages(baseline, sample.EVENTS, NEW_TOKENS)


def test_names_go_back_and_forth(baseline: EventGPT) -> None:
    for name in baseline.model.state_dict():
        assert eventgpt.own_name(eventgpt.released_name(name)) == name
    assert eventgpt.own_name("model.visual_tower.visual_tower.post_layernorm.bias") == "visual_tower.post_layernorm.bias"


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
