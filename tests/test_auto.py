"""Video-language models of transformers by their common interface, at small random size: see tests/auto_models.py."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig, VideoLlavaForConditionalGeneration
from typer.testing import CliRunner

from evbench.cli.main import make_app
from evbench.errors import UserError
from evbench.inputs import workload as workloads
from evbench.microbenchmarks.false_alarms import expected_outputs
from evbench.pipelines import auto, interface
from evbench.pipelines.build import build
from evbench.pipelines.generate.loops import AtOnce
from evbench.pipelines.load.video import Frames
from evbench.pipelines.registry import MODELS, SHOWN
from evbench.results import Workload
from evbench.session.outputs import compare_with
from evbench.stages import Sampler, run_stages
from evbench.variants.named import effective, parse
from evbench.variants.obstacles import require
from evbench.worker.capture_outputs import capture_outputs
from evbench.worker.evidence import gather, prove
from evbench.worker.instruments import instruments
from evbench.worker.kept_rows import KeptRows
from evbench.worker.limits import shape_of
from tests.auto_models import MADE, saved
from tests.checkpoints import change_config
from tests.pages import PAGES
from tests.scene_files import small_clip

OPTIMIZED = "baseline+decode=threaded+attention=eager+generate=static-generate"
NEW_TOKENS = 8
architectures = pytest.mark.parametrize("architecture", MADE)


def asked(folder: Path, frames: int | None = None) -> Workload:
    """As the command line describes it, in the parent process."""
    return workloads.describe(
        model="auto", preset=None, weights=folder, videos=[small_clip(0)], events_folders=(), data=None, frames=frames,
        frame_policy="inclusive", prompt="What is it?", new_tokens=NEW_TOKENS, stop_at_end=False, device="cpu", seed=None,
    )  # fmt: skip


def made(folder: Path, variant: str = "baseline") -> Any:
    return build(parse(variant), asked(folder))


def refusal(folder: Path, variant: str = "baseline") -> str:
    with pytest.raises(UserError) as caught:
        made(folder, variant)
    assert "\n" not in str(caught.value) and "; " in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy that may be changed."""
    copy: Path = shutil.copytree(saved("llava_onevision"), tmp_path / "copy")
    return copy


@architectures
@torch.inference_mode()
def test_the_stages_give_the_tokens_of_transformers_own_generate(architecture: str) -> None:
    pipeline = made(saved(architecture))
    path = small_clip(0)
    answer, work = run_stages(pipeline, path, NEW_TOKENS)
    assert len(set(answer.tokens)) > 3, "a constant answer would prove nothing"
    loaded, _ = pipeline.load(path)
    inputs, _ = pipeline.preprocess(loaded)
    model = AutoModelForImageTextToText.from_pretrained(saved(architecture)).eval()
    model.generation_config = GenerationConfig(do_sample=False, pad_token_id=0)
    whole = model.generate(**inputs.fields, max_new_tokens=NEW_TOKENS)
    assert whole[0, len(inputs.prompt()) :].tolist() == list(answer.tokens)
    visual = getattr(model.config, f"{auto.PIXELS[inputs.name]}_token_id")
    assert work.visual_tokens == inputs.prompt().count(visual), "one place in the prompt for each"
    assert work.prompt_tokens == len(inputs.prompt())


@architectures
def test_models_take_other_numbers_of_frames(architecture: str) -> None:
    """Also an odd one, where two frames are joined to one patch."""
    shapes = set()
    for frames in (2, 5, 12):
        pipeline = build(parse("baseline"), asked(saved(architecture), frames))
        answer, work = run_stages(pipeline, small_clip(0), NEW_TOKENS)
        assert len(work.frame_indices or ()) == frames and len(answer.tokens) == NEW_TOKENS
        inputs, _ = pipeline.preprocess(pipeline.load(small_clip(0))[0])
        visual = getattr(pipeline.model.config, f"{auto.PIXELS[inputs.name]}_token_id")
        assert work.visual_tokens == inputs.prompt().count(visual)
        shapes.add(work.pixel_shape)
    assert len(shapes) == 3, "each number makes other pixel values"


def test_a_rate_of_one_frame_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the processor asks for the rate of the frames, and --frames 1 has none; give 2 or more"):
        build(parse("baseline"), asked(saved("qwen2_5_vl"), 1))


def test_the_documentation_tells_what_is_shown_here() -> None:
    text = PAGES["docs/any-model.md"]
    told = dict(re.findall(r"^\| `(\w+)` \| `get_(\w+)_features` \|", text, re.MULTILINE))
    assert set(told) == set(SHOWN) == set(MADE)
    for architecture, modality in told.items():
        pipeline = made(saved(architecture))
        assert auto.PIXELS[pipeline.preprocess(pipeline.load(small_clip(0))[0])[0].name] == modality


@architectures
def test_what_stages_hand_over_can_be_replaced(architecture: str) -> None:
    """Each tensor at its place, those of earlier layers as well."""
    pipeline = made(saved(architecture))
    inputs, _ = pipeline.preprocess(pipeline.load(small_clip(0))[0])
    features, _ = pipeline.vision(inputs)
    for output in (inputs, features):
        values = output.values()
        other = torch.arange(values.numel(), dtype=values.dtype).reshape(values.shape)
        assert torch.equal(output.holding(other).values(), other)
        assert torch.equal(output.values(), values), "a copy"
    assert features.values().ndim == len(pipeline.axes["vision"]) and inputs.values().ndim == len(pipeline.axes["preprocess"])
    assert torch.equal(pipeline.vision(inputs.holding(inputs.values()))[0].values(), features.values())


COMPILED = "baseline+vision=compile-tower"
"""In one graph for some architectures, in up to 24 for others."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "variants"),
    [
        *((architecture, ("baseline", OPTIMIZED)) for architecture in MADE),
        ("internvl", (COMPILED,)),
        *(pytest.param(architecture, (COMPILED,), marks=pytest.mark.long) for architecture in MADE if architecture != "internvl"),
    ],
)
def test_each_choice_is_proven_and_outputs_are_those_of_the_reference(architecture: str, variants: tuple[str, ...], tmp_path: Path) -> None:
    """The baseline and itself, and the choices that every model has, judged as a session judges them."""
    workload, path = asked(saved(architecture)), small_clip(0)
    [expected] = expected_outputs(workload, [path], tmp_path)
    for text in variants:
        variant, pipeline = parse(text), made(saved(architecture), text)
        found = prove(variant, "auto", "video", "cpu", gather(pipeline, variant["prefetch"], [path], NEW_TOKENS, instruments("cpu")))
        assert {proof.part for proof in found} == {*effective(variant, "auto", "video"), "decoding"}
        assert [proof.evidence for proof in found if not proof.active] == []
        seen = capture_outputs(pipeline, path, NEW_TOKENS, tmp_path / "other", expected.baseline, True, KeptRows())
        findings = compare_with(expected, seen, workload.dtype)
        assert {finding.stage for finding in findings} >= {"load", "preprocess", "vision", "generate"}
        assert [finding for finding in findings if finding.grade != "pass"] == []
        assert seen.answer == expected.baseline.answer


def test_what_is_encoded_again_while_generating_is_no_vision_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = made(saved("llava_onevision"))
    monkeypatch.setattr(auto.Features, "encoded", None)
    found = prove(parse("baseline"), "auto", "video", "cpu", gather(pipeline, "off", [small_clip(0)], NEW_TOKENS, instruments("cpu")))
    [vision] = [proof for proof in found if not proof.active]
    assert vision.part == "vision" and "generate: call of transformers' encoder" in vision.evidence


FLIPPED = property(lambda self: self.holding(self.values().flip(0)).output)


@pytest.mark.parametrize(
    ("architecture", "of", "name", "instead"),
    [
        ("qwen3_vl", auto.Features, "encoded", FLIPPED),
        ("llava_onevision", auto.HandedOver, "__call__", lambda self, **given: self.encode(**given)),
    ],
)
def test_vision_is_part_of_generate_where_features_apart_lead_to_other_tokens(
    architecture: str, of: type, name: str, instead: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in another order here, or the model does not ask for them. All the rest is as with other models."""
    folder, path = saved(architecture), small_clip(0)
    expected, _ = run_stages(made(folder), path, NEW_TOKENS)
    monkeypatch.setattr(of, name, instead)
    pipeline = made(folder)
    answer, work = run_stages(pipeline, path, NEW_TOKENS)
    assert answer == expected
    assert (work.encoded_in, work.visual_tokens, work.attention) == ("generate", None, "sdpa (vision), sdpa (text)")
    found = prove(parse("baseline"), "auto", "video", "cpu", gather(pipeline, "off", [path], NEW_TOKENS, instruments("cpu")))
    assert all(proof.active for proof in found), found
    [vision] = [proof for proof in found if proof.part == "vision"]
    assert "vision: call of transformers' encoder: " in vision.evidence
    features = pipeline.vision(pipeline.preprocess(pipeline.load(path)[0])[0])[0]
    assert features.values().ndim == len(pipeline.axes["vision"])
    other = features.holding(-features.values())
    assert torch.equal(other.values(), -features.values())
    first, kept = Sampler(keep={0}), Sampler(keep={0})
    pipeline.generate(features, 1, first)
    pipeline.generate(other, 1, kept)
    assert not torch.equal(first.kept[0], kept.kept[0])


def test_features_that_change_nothing_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here those that should be others are the same."""
    monkeypatch.setattr(auto.Features, "holding", lambda self, values: self)
    assert "LlavaOnevisionForConditionalGeneration answers the same whatever the visual features are; " in refusal(saved("llava_onevision"))


def test_a_chat_template_that_leaves_the_video_out_is_refused(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'][1]['text'] }}")
    assert "Found total 0 <video> tokens and 1 videos.); copy its config, tokenizer and processor files again" in refusal(folder)


@pytest.mark.parametrize(
    "template", ["{% for", "{{ raise_exception('no video here') }}", "{{ messages.nothing.more }}", "{{ ''.__class__.mro() }}"]
)
def test_a_chat_template_that_cannot_be_filled_in_is_refused(template: str, folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(template)
    assert "the chat template beside the weights takes no video and question (" in refusal(folder)


def test_a_package_that_a_processor_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def from_pretrained(*_: object, **__: object) -> None:
        raise ImportError("Package `num2words` is required to run SmolVLM processor.")

    monkeypatch.setattr(AutoProcessor, "from_pretrained", from_pretrained)
    told = refusal(saved("llava_onevision"))
    assert "(ImportError: Package `num2words` is required to run SmolVLM processor.); install that" in told


def test_faults_are_not_planted_into_it() -> None:
    told = CliRunner().invoke(make_app(), ["selftest", "--mutants", "--model", "auto", "--weights", str(saved("llava_onevision"))])
    assert "and of --model auto it knows none; leave it out" in str(told.exception)


def test_frames_are_those_of_evbench_and_their_times_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor picks none by itself, and puts the times that it is told into the prompt."""
    pipeline = made(saved("qwen3_vl"))
    pixels = torch.zeros(8, 64, 64, 3, dtype=torch.uint8).numpy()
    frames = Frames(pixels, tuple(range(0, 80, 10)), tuple(float(number) for number in range(8)), "none")
    inputs, _ = pipeline.preprocess(frames)
    text = pipeline.tokenizer.decode(inputs.prompt())
    assert re.findall(r"<([\d.]+) seconds>", text) == ["0.5", "2.5", "4.5", "6.5"], "the means of two frames each"
    for changed in range(8):
        other = pixels.copy()
        other[changed] = 255
        assert not torch.equal(pipeline.preprocess(frames.holding(other))[0].values(), inputs.values()), changed
    with pytest.raises(UserError, match="all frames of the clip are of one time"):
        pipeline.preprocess(Frames(pixels, (0,) * 8, (0.0,) * 8, "none"))


@architectures
@torch.inference_mode()
def test_the_reference_without_a_cache_follows_the_same_tokens(architecture: str) -> None:
    """Positions of text behind a video too, which some models count in three dimensions."""
    pipeline = made(saved(architecture))
    features, _ = pipeline.vision(pipeline.preprocess(pipeline.load(small_clip(0))[0])[0])
    cached = Sampler(keep=range(NEW_TOKENS))
    tokens = pipeline._generate(features, NEW_TOKENS, cached)
    forced = Sampler(tokens, range(NEW_TOKENS))
    assert AtOnce(pipeline._language)(features, NEW_TOKENS, forced) == tokens
    at_once = torch.stack([forced.kept[place] for place in range(NEW_TOKENS)])
    kept = torch.stack([cached.kept[place] for place in range(NEW_TOKENS)])
    assert torch.allclose(at_once, kept, atol=1e-3)
    assert not torch.allclose(at_once[1:], kept[:-1], atol=1e-1), "positions differ from each other"


def test_floors_are_known_of_clip_and_llama_alone() -> None:
    assert shape_of(made(saved("qwen2_5_vl"))) is None
    shape = shape_of(made(saved("llava_next_video")))
    assert shape is not None and (shape.layers, shape.hidden, shape.vision_layers) == (2, 32, 2)


# What is refused.


def test_it_needs_a_folder(tmp_path: Path) -> None:
    told = CliRunner().invoke(make_app(), ["compare", "--model", "auto", "--baseline", "baseline", "--optimized", "baseline"])
    assert "--model auto has no preset of its own; give --weights" in str(told.exception)


@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "tokenizer_config.json", "preprocessor_config.json"])
def test_code_of_a_checkpoint_is_refused_before_anything_is_loaded(name: str, folder: Path) -> None:
    file = folder / name
    fields = json.loads(file.read_text()) if file.exists() else {}
    (folder / "modeling_mine.py").write_text("raise SystemExit('was run')")
    file.write_text(json.dumps(fields | {"auto_map": {"AutoModelForImageTextToText": "modeling_mine.Mine"}}))
    with pytest.raises(UserError, match=re.escape(f"{file} has an auto_map, and evbench runs no code of a checkpoint; ")):
        asked(folder)


def test_a_model_that_transformers_does_not_know_is_refused(folder: Path) -> None:
    change_config(folder, model_type="mine")
    assert re.search(r"model_type 'mine' is none that transformers \S+ knows; ", refusal(folder))
    change_config(folder, model_type=None)
    assert "has no model_type, by which transformers knows a model" in refusal(folder)
    change_config(folder, model_type="llama")
    assert "has no model of model_type 'llama' that takes pictures and text" in refusal(folder)


def test_what_a_model_lacks_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    found = type(made(saved("llava_onevision")).model)
    with pytest.raises(
        UserError, match="LlavaForConditionalGeneration has no video among its input_modalities, and no video processor; give"
    ):
        interface.model_class("llava")
    monkeypatch.setattr(found, "input_modalities", ("image", "text"))
    assert "LlavaOnevisionForConditionalGeneration has no video among its input_modalities (image, text); " in refusal(
        saved("llava_onevision")
    )
    monkeypatch.undo()
    base = type(made(saved("llava_onevision")).model.model)
    monkeypatch.delattr(base, "get_video_features")
    assert "LlavaOnevisionForConditionalGeneration has no get_video_features, which --model auto" in refusal(saved("llava_onevision"))


def test_the_flags_of_transformers_decide_about_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(saved("llava_onevision")).model
    monkeypatch.setattr(type(model), "_supports_sdpa", False)
    told = refusal(saved("llava_onevision"))
    assert "has no scaled_dot_product_attention (_supports_sdpa), which attention=sdpa is; use attention=eager" in told
    monkeypatch.undo()
    monkeypatch.setattr(type(model.get_decoder()), "_can_compile_fullgraph", False)
    told = refusal(saved("llava_onevision"), "baseline+generate=static-generate")
    assert "Qwen2Model has no cache of fixed size (_can_compile_fullgraph), which generate=static-generate has; use" in told
    monkeypatch.undo()
    (lack,) = interface.lacks_choices(interface.without_weights(saved("video_llama_3"))).items()
    told = r"VideoLlama3ForConditionalGeneration has no cache of fixed size .* generate=transformers-static has; use generate=dynamic"
    assert lack[0] == ("generate", "transformers-static") and re.search(told, str(lack[1]))


def test_variants_tells_what_the_model_of_a_folder_lacks() -> None:
    told = CliRunner().invoke(make_app(), ["variants", "--model", "auto", "--device", "cpu", "--weights", str(saved("video_llama_3"))])
    assert told.exit_code == 0, told.output
    assert "generate    dynamic, transformers-static*, static-generate" in told.output
    assert "has no cache of fixed size (_can_compile_fullgraph), which generate=transformers-static" in " ".join(told.output.split())
    refused = CliRunner().invoke(make_app(), ["variants", "--weights", str(saved("video_llama_3"))])
    assert "--weights is for --model auto: all weights of video-llava have the same choices; leave it out" in str(refused.exception)


def test_choices_that_know_the_layers_of_a_model_are_refused_by_name() -> None:
    require(parse("baseline"), "auto", "video", "cpu")
    require(parse(OPTIMIZED), "auto", "video", "cpu")
    with pytest.raises(UserError) as caught:
        require(parse("optimized"), "auto", "video", "cpu")
    assert str(caught.value) == (
        "optimized cannot run here: preprocess=direct and vision=compile and generate=static-compile cannot be used with --model auto. "
        "Or choose another: optimized+preprocess=processor+vision=compile-tower+generate=static-generate"
    )
    for part, names in MODELS["auto"].choices.items():
        assert MODELS["auto"].has(part, parse("baseline")[part]) and names


def test_a_processor_that_takes_no_video_or_question_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "chat_template.jinja").unlink()
    assert "has no chat template, which puts a question to the model; copy chat_template.jinja" in refusal(folder)
    monkeypatch.setattr(AutoProcessor, "from_pretrained", lambda *_, **__: SimpleNamespace(chat_template="{{ messages }}"))
    assert "has no video processor; copy its processor's files, or give a model that takes a video" in refusal(folder)


def test_sizes_in_a_configuration_are_bounded(folder: Path) -> None:
    change_config(folder, text_config__num_hidden_layers=1_000_000)
    with pytest.raises(UserError, match="has num_hidden_layers 1,000,000, and 1,000 are the most"):
        asked(folder)
    change_config(folder, text_config__num_hidden_layers=2, vision_config__depth=1_000_000)
    with pytest.raises(UserError, match="has depth 1,000,000, and 1,000 are the most"):
        asked(folder)
    change_config(folder, vision_config__depth=3, text_config=None)
    assert re.search(r"asks for [\d,]{9,} weights, and the files beside it hold [\d,]+; copy the config of these weights", refusal(folder))


def test_a_model_with_a_pipeline_of_its_own_is_taken_too(tmp_path: Path) -> None:
    """By the other interface: it has no chat template, with which that one asks."""
    from tests.checkpoints import save_tiny_video_llava

    folder = save_tiny_video_llava(tmp_path)
    assert "has no chat template" in refusal(folder)
    (folder / "chat_template.jinja").write_text("USER: <video>\n{{ messages[0]['content'][1]['text'] }} ASSISTANT:")
    pipeline, own = made(folder), build(parse("baseline"), workloads.describe(**_own(folder)))
    assert isinstance(pipeline.model, VideoLlavaForConditionalGeneration)
    assert run_stages(pipeline, small_clip(0), NEW_TOKENS)[0] == run_stages(own, small_clip(0), NEW_TOKENS)[0]


def _own(folder: Path) -> dict[str, Any]:
    return dict(
        model="video-llava", preset=None, weights=folder, videos=[small_clip(0)], events_folders=(), data=None, 
        frame_policy="inclusive", prompt="What is it?", new_tokens=NEW_TOKENS, stop_at_end=False, device="cpu", seed=None,
    )  # fmt: skip


@pytest.mark.slow
def test_a_session_compares_two_variants_of_it(tmp_path: Path) -> None:
    """Two blocks are too few for a claim (4), and other tests may disturb them (6)."""
    sides = ["--baseline", "baseline", "--optimized", OPTIMIZED, "--video", str(small_clip(0)), "--device", "cpu"]
    plan = ["--blocks", "2", "--invocations", "1", "--warmup", "5", "--new-tokens", str(NEW_TOKENS), "--trace-tokens", "0"]
    out = tmp_path / "out"
    told = CliRunner().invoke(
        make_app(), ["compare", "--model", "auto", "--weights", str(saved("qwen3_vl")), *sides, *plan, "--out", str(out)]
    )
    assert told.exit_code in (4, 6), told.output
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert all(found["active"] for side in ("baseline", "optimized") for found in result[side]["activations"])
    assert {check["grade"] for check in result["outputs"]["checks"]} == {"pass"}


def test_the_list_of_models_has_each_of_transformers_once() -> None:
    told = CliRunner().invoke(make_app(), ["models", "list"])
    assert told.exit_code == 0, told.output
    assert len(told.output.splitlines()) <= 40
    words = re.findall(r"[\w.-]+", told.output)
    assert set(SHOWN) == set(MADE), "what the tests above show"
    for model_type, lack in interface.lacks().items():
        assert words.count(model_type) == 1, model_type
        assert not (lack and model_type in SHOWN)
    assert interface.lacks()["llava"] and not interface.lacks()["glm4v_moe"]
