from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from evbench.errors import UserError
from evbench.pipelines.checkpoints.checkpoint import fingerprint
from evbench.pipelines.load.video import decode_plain
from evbench.pipelines.video_llava import Features, VideoLlava, Vision, planned
from evbench.pipelines.vision.encoders import batched
from evbench.stages import Sampler, run_stages
from evbench.variants.named import parse
from tests.checkpoints import change_config, copy_of, save_tiny_video_llava, tiny_video_llava
from tests.conftest import MakeClip
from tests.scene_files import small_clip

NEW_TOKENS = 24


@pytest.fixture(scope="module")
def baseline() -> VideoLlava:
    return VideoLlava(parse("baseline"), tiny_video_llava(new_tokens=NEW_TOKENS))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_split_gives_the_tokens_of_the_fused_call(attention: str) -> None:
    pipeline = VideoLlava(parse(f"baseline+attention={attention}"), tiny_video_llava(new_tokens=NEW_TOKENS))
    inputs, _ = pipeline.preprocess(pipeline.load(small_clip(0))[0])
    answer, _ = pipeline.generate(pipeline.vision(inputs)[0], NEW_TOKENS, Sampler())
    with torch.inference_mode():
        fused = pipeline.model.generate(
            input_ids=inputs.tokens,
            pixel_values_videos=inputs.pixels,
            attention_mask=torch.ones_like(inputs.tokens),
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
        )
    assert list(answer.tokens) == fused[0, inputs.tokens.shape[1] :].tolist()
    assert len(set(answer.tokens)) > NEW_TOKENS // 2, "a constant answer would prove nothing"


def test_the_answer_depends_on_the_picture(baseline: VideoLlava, make_clip: MakeClip) -> None:
    street, _ = run_stages(baseline, small_clip(0), NEW_TOKENS)
    grey, _ = run_stages(baseline, make_clip(), NEW_TOKENS)
    assert street.tokens != grey.tokens


@pytest.mark.parametrize("change", ["decode=threaded", "preprocess=direct", "generate=static"])
def test_each_choice_says_the_same_and_does_the_same_work(baseline: VideoLlava, change: str) -> None:
    expected, work = run_stages(baseline, small_clip(0), NEW_TOKENS)
    other = VideoLlava(parse(f"baseline+{change}"), tiny_video_llava(new_tokens=NEW_TOKENS))
    answer, other_work = run_stages(other, small_clip(0), NEW_TOKENS)
    assert answer == expected
    assert other_work == work
    assert other.weights_fingerprint == baseline.weights_fingerprint


def test_work_is_counted(baseline: VideoLlava) -> None:
    _, work = run_stages(baseline, small_clip(0), NEW_TOKENS)
    assert work.visual_tokens == 8 * 257
    assert work.pixel_shape == (1, 8, 3, 224, 224)
    assert work.prompt_tokens == 2056 + len("<s>") - 2 + len("USER: \nWhat is it? ASSISTANT:")
    assert (work.new_tokens, work.stop) == (NEW_TOKENS, "length")
    assert (work.frame_height, work.frame_width) == (240, 320)
    assert work.attention == "sdpa (vision), sdpa (text)"


@pytest.mark.parametrize("frames", [1, 3, 12])
@pytest.mark.parametrize("change", ["generate=dynamic", "decode=threaded+preprocess=direct+vision=batched+generate=static"])
def test_other_numbers_of_frames_do_the_work_that_was_planned(frames: int, change: str) -> None:
    workload = replace(tiny_video_llava(new_tokens=NEW_TOKENS), frames=frames)
    pipeline = VideoLlava(parse(f"baseline+{change}"), workload)
    answer, work = run_stages(pipeline, small_clip(0), NEW_TOKENS)
    fused, _ = run_stages(VideoLlava(parse("baseline"), workload), small_clip(0), NEW_TOKENS)
    assert answer == fused
    assert (len(work.frame_indices or ()), work.pixel_shape, work.visual_tokens) == (frames, (1, frames, 3, 224, 224), frames * 257)
    _, expected = planned(workload)
    assert (expected.pixel_shape, expected.visual_tokens, expected.prompt_tokens) == (
        work.pixel_shape,
        work.visual_tokens,
        work.prompt_tokens,
    )


def test_frames_that_do_not_fit_into_the_context_are_refused_in_one_line() -> None:
    pipeline = VideoLlava(parse("baseline"), replace(tiny_video_llava(new_tokens=NEW_TOKENS), frames=16))
    with pytest.raises(UserError, match=r"prompt has 41\d\d tokens, with 24 new ones more than the model's 4096; .*, fewer --frames or"):
        pipeline.preprocess(pipeline.load(small_clip(0))[0])


def test_direct_preprocessing_makes_the_same_tensors(baseline: VideoLlava) -> None:
    frames = decode_plain(small_clip(0), 8, "inclusive")
    expected, _ = baseline.preprocess(frames)
    made, _ = VideoLlava(parse("baseline+preprocess=direct"), tiny_video_llava(new_tokens=NEW_TOKENS)).preprocess(frames)
    assert torch.equal(made.tokens, expected.tokens)
    assert torch.equal(made.pixels, expected.pixels)


def test_the_processor_on_a_device_makes_the_same(baseline: VideoLlava) -> None:
    """Here the device is the CPU: that it is handed on is seen from a GPU's kernels."""
    frames = baseline.load(small_clip(0))[0]
    expected, _ = baseline.preprocess(frames)
    made, _ = VideoLlava(parse("baseline+preprocess=processor-gpu"), tiny_video_llava(new_tokens=NEW_TOKENS)).preprocess(frames)
    assert torch.equal(made.pixels, expected.pixels)
    assert torch.equal(made.tokens, expected.tokens)


def test_leaving_out_the_unused_layer_changes_no_bit(baseline: VideoLlava) -> None:
    inputs, _ = baseline.preprocess(baseline.load(small_clip(0))[0])
    expected, _ = baseline.vision(inputs)
    with torch.inference_mode():
        made = batched(Vision(baseline.model), parse("baseline"))(inputs.pixels)
    assert torch.equal(made, expected.visual)
    assert isinstance(expected, Features)


def test_another_seed_is_another_model(baseline: VideoLlava) -> None:
    other = VideoLlava(parse("baseline"), tiny_video_llava(new_tokens=NEW_TOKENS, seed=1))
    assert other.weights_fingerprint != baseline.weights_fingerprint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a Hugging Face checkpoint folder."""
    return save_tiny_video_llava(tmp_path_factory.mktemp("weights"))


def test_a_checkpoint_folder_gives_the_answer_of_the_model_that_was_saved(baseline: VideoLlava, folder: Path) -> None:
    loaded = VideoLlava(parse("baseline"), tiny_video_llava(new_tokens=NEW_TOKENS, preset=None, weights=str(folder)))
    assert loaded.weights_fingerprint == baseline.weights_fingerprint
    assert run_stages(loaded, small_clip(0), NEW_TOKENS) == run_stages(baseline, small_clip(0), NEW_TOKENS)


def test_the_key_layout_of_the_hub_is_read(baseline: VideoLlava, folder: Path, tmp_path: Path) -> None:
    """LanguageBind/Video-LLaVA-7B-hf was saved by transformers 4: other prefixes, the towers under `.vision_model`."""
    copy = copy_of(folder, tmp_path)
    stored = load_file(copy / "model.safetensors")
    assert "language_model.model.layers.0.mlp.up_proj.weight" in stored, "transformers itself saves the rest in the old layout"
    renamed = {re.sub(r"^(video|image)_tower\.", r"\1_tower.vision_model.", name): tensor for name, tensor in stored.items()}
    assert "video_tower.vision_model.pre_layrnorm.weight" in renamed
    save_file(renamed, copy / "model.safetensors", metadata={"format": "pt"})
    loaded = VideoLlava(parse("baseline"), tiny_video_llava(new_tokens=NEW_TOKENS, preset=None, weights=str(copy)))
    assert fingerprint(loaded.model) == baseline.weights_fingerprint


def spoil(folder: Path, case: str) -> None:
    match case:
        case "no config":
            (folder / "config.json").unlink()
        case "config no json":
            (folder / "config.json").write_text("{")
        case "other model":
            change_config(folder, model_type="llava")
        case "other shapes":
            change_config(folder, text_config__intermediate_size=360)
        case "no weights":
            (folder / "model.safetensors").unlink()
        case "pickled weights":
            (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        case "damaged weights":
            (folder / "model.safetensors").write_bytes(b"\xff" * 1000)
        case "weight missing":
            weights = load_file(folder / "model.safetensors")
            del weights["language_model.lm_head.weight"]
            save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        case "weight unknown":
            weights = load_file(folder / "model.safetensors") | {"video_tower.temporal_attn.weight": torch.zeros(2)}
            save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        case "other patches":
            processor = json.loads((folder / "processor_config.json").read_text()) | {"patch_size": 28}
            (folder / "processor_config.json").write_text(json.dumps(processor))
        case "no patches":
            processor = json.loads((folder / "processor_config.json").read_text()) | {"patch_size": None}
            (folder / "processor_config.json").write_text(json.dumps(processor))
        case "other video token":
            change_config(folder, video_token_index=5, video_token_id=5)
        case "no such layer":
            change_config(folder, vision_feature_layer=99)
        case "wrong type":
            change_config(folder, text_config__hidden_size="x")
        case "shard missing":
            index = {"metadata": {}, "weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        case "damaged index":
            (folder / "model.safetensors.index.json").write_text("[]")
        case "no tokenizer":
            for file in folder.glob("tokenizer*"):
                file.unlink()
            for file in folder.glob("*processor*"):
                file.unlink()


SPOILED = {
    "no config": "has no readable config.json",
    "config no json": "is not JSON",
    "other model": "is of model_type 'llava'",
    "other shapes": "use the config of these weights",
    "no weights": "holds no .safetensors",
    "pickled weights": "pickled ones are not read",
    "damaged weights": "is damaged or no safetensors",
    "weight missing": "lack lm_head.weight",
    "weight unknown": "temporal_attn.weight, which this network does not have",
    "other patches": "the processor puts 65 places for a frame into the prompt, and the model makes 257",
    "no patches": "cannot be loaded (TypeError",
    "other video token": "the tokenizer's <video> is 381 and the model's is 5",
    "no such layer": "cannot be loaded (IndexError",
    "wrong type": "cannot be loaded (",
    "shard missing": "lacks model-00002-of-00002.safetensors",
    "damaged index": "is damaged",
    "no tokenizer": "cannot be loaded (",
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_folder_that_does_not_fit_is_refused_in_one_line(case: str, folder: Path, tmp_path: Path) -> None:
    copy = copy_of(folder, tmp_path)
    spoil(copy, case)
    with pytest.raises(UserError) as caught:
        VideoLlava(parse("baseline"), tiny_video_llava(new_tokens=NEW_TOKENS, preset=None, weights=str(copy)))
    assert SPOILED[case] in str(caught.value)
    assert "\n" not in str(caught.value)
