"""The layout of EventGPT's released checkpoint: its vocabulary, its prompt of 60 ids, and what may stand in its config files."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, CLIPVisionConfig, LlamaConfig

from evbench.errors import UserError
from evbench.inputs import sample
from evbench.pipelines import eventgpt
from evbench.pipelines.checkpoints import checkpoint
from evbench.pipelines.checkpoints.event_chat import released_name
from evbench.pipelines.checkpoints.folder import require_tokenizer
from evbench.pipelines.eventgpt import EventGPT, EventGPTModel, Features, prompt_halves
from evbench.pipelines.registry import EVENTGPT
from evbench.results import Workload
from evbench.stages import Sampler
from evbench.variants.named import parse
from evbench.worker.capture_outputs import teacher_forced_logits
from tests import llama_tokenizer
from tests.checkpoints import change_config
from tests.examples import NOWHERE
from tests.llama_tokenizer import AFTER, BEFORE, SIZE, Stored

pytestmark = pytest.mark.slow

QUESTION = "What are the key elements in this scene?"
TEXT_IDS = 59
"""Of the prompt with this question; 60 with the placeholder that the events replace."""
PREFILL = 641
"""59 and 582 of the events, as its cache of 320.5 MiB was seen to hold."""
FILES: tuple[Stored, ...] = ("tokenizer.json", "tokenizer.model")


def workload(folder: Path, **changes: Any) -> Workload:
    asked: Any = ("eventgpt", None, str(folder), (NOWHERE,), 5, "all", QUESTION, 8, False, "cpu", "float32", None)
    return replace(Workload(*asked, kind="event-images"), **changes)


def make_model() -> EventGPTModel:
    """Tiny, but for its vocabulary."""
    tiny = EVENTGPT.presets["tiny"]
    text = LlamaConfig(**{**tiny.text, "vocab_size": SIZE})
    with checkpoint.seeded(0, "cpu", torch.float32):
        return EventGPTModel(CLIPVisionConfig(**tiny.vision), text, "sdpa").eval()


def save(model: EventGPTModel, place: Path, *, stored: Stored = "tokenizer.json", tower_inside: bool = True) -> Path:
    """As the released checkpoint lies on a disk, the tower's folder beside it. Both have the prefix vision_model. of transformers 4."""
    folder, tower = place / "EventGPT-7b", place / "clip-vit-large-patch14-336"
    for one in (folder, tower):
        one.mkdir()
    config = model.language.config.to_dict() | {
        "model_type": "EventChat_llama",
        "architectures": ["EventChatModel"],
        "mm_visual_tower": "./checkpoints/clip-vit-large-patch14-336",
        "event_feature_adaptor": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    generation = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    llama_tokenizer.save(folder, stored)
    weights = {released_name(name): tensor.contiguous() for name, tensor in model.state_dict().items()}
    assert "model.visual_tower.visual_tower.vision_model.pre_layrnorm.weight" in weights
    of_tower = {name: tensor for name, tensor in weights.items() if ".visual_tower." in name}
    rest = {name: tensor for name, tensor in weights.items() if name not in of_tower}
    save_file(rest | of_tower if tower_inside else rest, folder / "model.safetensors", metadata={"format": "pt"})
    (tower / "config.json").write_text(json.dumps(model.visual_tower.config.to_dict()))
    plain = {name.removeprefix("model.visual_tower.visual_tower."): tensor for name, tensor in of_tower.items()}
    text_half = {
        "text_projection.weight": torch.zeros(2, 2),
        "text_model.final_layer_norm.bias": torch.zeros(2),
        "logit_scale": torch.zeros(()),
    }
    if not tower_inside:
        save_file(plain | text_half, tower / "model.safetensors", metadata={"format": "pt"})
    return folder


TOWER = "model.visual_tower.visual_tower."
PREPROCESSOR = {
    "crop_size": 336, "do_center_crop": True, "do_normalize": True, "do_resize": True, "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3, "size": 336,
}  # fmt: skip
"""As it lies beside openai/clip-vit-large-patch14-336."""


def add_weights(folder: Path, added: dict[str, torch.Tensor]) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file(weights | added, folder / "model.safetensors", metadata={"format": "pt"})


def change_json(file: Path, **changes: Any) -> None:
    """None takes a field away."""
    fields = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in fields.items() if value is not None}))


def refused(folder: Path) -> str:
    """The one line that the folder is refused with."""
    with pytest.raises(UserError) as caught:
        EventGPT(parse("baseline"), workload(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def model() -> EventGPTModel:
    return make_model()


@pytest.fixture(scope="module")
def folder(model: EventGPTModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(model, tmp_path_factory.mktemp("released"))


@pytest.fixture(scope="module", params=["generate=dynamic", "generate=static"])
def pipeline(request: pytest.FixtureRequest, folder: Path) -> EventGPT:
    return EventGPT(parse(f"baseline+{request.param}"), workload(folder, new_tokens=TEXT_IDS + 9))


@pytest.fixture(scope="module")
def features(pipeline: EventGPT) -> Features:
    found: Features = pipeline.vision(pipeline.preprocess(pipeline.load(sample.EVENTS)[0])[0])[0]
    return found


@pytest.mark.parametrize("stored", FILES)
def test_a_vocabulary_of_32000_without_added_tokens_splits_ev_start_in_five(stored: Stored, tmp_path: Path) -> None:
    llama_tokenizer.save(tmp_path, stored)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "EventChat_llama"}))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True, trust_remote_code=False)
    assert len(tokenizer) == SIZE
    for question, pieces in AFTER.items():
        before, after = prompt_halves(tokenizer, question)
        assert tokenizer.convert_ids_to_tokens(before) == ["<s>", *BEFORE]
        assert tokenizer.convert_ids_to_tokens(after) == pieces
    assert BEFORE[-5:] == ["▁<", "ev", "_", "start", ">"]
    assert len(before) + 1 + len(after) == 61, "Describe in detail what happened in the scene."


@pytest.mark.parametrize(("stored", "tower_inside"), [("tokenizer.json", True), ("tokenizer.model", False)])
def test_the_prompt_is_60_ids_and_prefill_641_positions(model: EventGPTModel, stored: Stored, tower_inside: bool, tmp_path: Path) -> None:
    place = save(model, tmp_path, stored=stored, tower_inside=tower_inside)
    pipeline = EventGPT(parse("baseline"), workload(place))
    assert pipeline.weights_fingerprint == checkpoint.fingerprint(model)
    inputs, _ = pipeline.preprocess(pipeline.load(sample.EVENTS)[0])
    assert len(inputs.prompt()) == TEXT_IDS
    assert inputs.prompt().count(1) == 1, "beginning of text once"
    features, work = pipeline.vision(inputs)
    assert work.visual_tokens == 582
    answer, work = pipeline.generate(features, 3, Sampler())
    assert work.prompt_tokens == PREFILL == TEXT_IDS + 582
    assert len(answer.tokens) == 3


def test_tower_keys_are_read_with_and_without_vision_model(model: EventGPTModel, tmp_path: Path) -> None:
    place = save(model, tmp_path)
    weights = load_file(place / "model.safetensors")
    plain = {name.replace(".vision_model.", "."): tensor.clone() for name, tensor in weights.items()}
    assert plain.keys() != weights.keys()
    save_file(plain, place / "model.safetensors", metadata={"format": "pt"})
    assert EventGPT(parse("baseline"), workload(place)).weights_fingerprint == checkpoint.fingerprint(model)


def test_no_answer_longer_than_the_prompt_loses_tokens(pipeline: EventGPT, features: Features) -> None:
    """The code that this began with cut as many tokens off an answer as the prompt has ids, if it was longer than that."""
    asked = TEXT_IDS + 9
    whole, work = pipeline.generate(features, asked, Sampler())
    short, _ = pipeline.generate(features, 5, Sampler())
    assert (len(whole.tokens), work.new_tokens, work.stop) == (asked, asked, "length")
    assert whole.tokens[:5] == short.tokens
    assert len(set(whole.tokens)) > 5, "a constant answer would prove nothing"


def test_decoding_is_greedy_whatever_the_checkpoint_asks_for(folder: Path, pipeline: EventGPT, features: Features) -> None:
    """Its generation_config.json samples at a temperature of 0.6. Each token is the likeliest behind those before it, and stays so."""
    assert json.loads((folder / "generation_config.json").read_text())["do_sample"]
    answers = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        answers.append(pipeline.generate(features, 8, Sampler())[0].tokens)
    assert answers[0] == answers[1]
    logits = teacher_forced_logits(pipeline, features, answers[0])
    assert logits.argmax(dim=-1).tolist() == list(answers[0])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_both_sides_compute_in_the_type_of_the_workload_whatever_is_stored(model: EventGPTModel, dtype: str, tmp_path: Path) -> None:
    place = save(model, tmp_path)
    halved = {name: tensor.to(torch.float16) for name, tensor in load_file(place / "model.safetensors").items()}
    save_file(halved, place / "model.safetensors", metadata={"format": "pt"})
    found = []
    for variant in ("baseline", "baseline+decode=threaded+preprocess=direct+vision=batched+generate=static"):
        pipeline = EventGPT(parse(variant), workload(place, dtype=dtype))
        assert {str(parameter.dtype) for parameter in pipeline.model.parameters()} == {f"torch.{dtype}"}
        found.append(pipeline.vision(pipeline.preprocess(pipeline.load(sample.EVENTS)[0])[0])[1].dtype)
    assert found == [dtype, dtype]


def test_a_tokenizer_that_cannot_be_read_here_is_told_before_anything_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llama_tokenizer.save(tmp_path, "tokenizer.model")
    require_tokenizer(tmp_path)
    installed = importlib.metadata.version

    def without(package: str) -> str:
        if package == "sentencepiece":
            raise importlib.metadata.PackageNotFoundError(package)
        return installed(package)

    monkeypatch.setattr(importlib.metadata, "version", without)
    with pytest.raises(UserError, match=r"in tokenizer.model alone, for which sentencepiece must be installed; install evbench\[sentence"):
        require_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    require_tokenizer(tmp_path)


def test_a_tower_that_is_there_in_part_is_not_filled_up_from_the_folder_beside(model: EventGPTModel, tmp_path: Path) -> None:
    place = save(model, tmp_path, tower_inside=False)
    name = f"{TOWER}vision_model.pre_layrnorm.weight"
    add_weights(place, {name: model.visual_tower.pre_layrnorm.weight.detach() + 1})
    line = refused(place)
    assert line.startswith(f"--weights {place}: the weights lack {TOWER}vision_model.")
    assert line.endswith("more; copy all files of the checkpoint")


def test_a_tower_is_taken_from_the_folder_whatever_constants_the_checkpoint_has_of_it(model: EventGPTModel, tmp_path: Path) -> None:
    place = save(model, tmp_path, tower_inside=False)
    add_weights(place, {f"{TOWER}vision_model.embeddings.position_ids": torch.arange(577)[None]})
    assert EventGPT(parse("baseline"), workload(place)).weights_fingerprint == checkpoint.fingerprint(model)


def test_a_weight_of_the_tower_under_both_of_its_names_is_refused(model: EventGPTModel, tmp_path: Path) -> None:
    place = save(model, tmp_path)
    one, other = f"{TOWER}pre_layrnorm.weight", f"{TOWER}vision_model.pre_layrnorm.weight"
    add_weights(place, {one: model.visual_tower.pre_layrnorm.weight.detach() + 1})
    line = refused(place)
    assert one in line and other in line and "which are one weight; remove one of them" in line


def test_a_quantized_weight_is_refused_by_its_key(model: EventGPTModel, tmp_path: Path) -> None:
    place = save(model, tmp_path)
    add_weights(place, {"model.feature_adaptor.weight": model.feature_adaptor.weight.detach().to(torch.int8)})
    assert "holds model.feature_adaptor.weight as I8" in refused(place)


SPOILED_TOKENIZERS = {
    "id without embedding": "the tokenizer's largest id is 31999 and config.json has a vocab_size of 31999",
    "no end": "the tokenizer has no eos_token",
    "no beginning": "the tokenizer puts no bos_token in front of the prompt, which begins with '▁A'",
    "none": "the tokenizer finds no tokens in the prompt",
}


def spoil_tokenizer(folder: Path, case: str) -> None:
    plain = {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": None}
    match case:
        case "id without embedding":
            change_config(folder, vocab_size=SIZE - 1)
        case "no end":
            change_json(folder / "tokenizer_config.json", eos_token=None, **plain)
        case "no beginning":
            change_json(folder / "tokenizer_config.json", **plain)
            change_json(folder / "tokenizer.json", post_processor=None)
        case "none":
            (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize("case", SPOILED_TOKENIZERS)
def test_a_tokenizer_that_gives_another_prompt_than_the_released_one_is_refused(case: str, model: EventGPTModel, tmp_path: Path) -> None:
    place = save(model, tmp_path)
    spoil_tokenizer(place, case)
    line = refused(place)
    assert line.startswith(f"--weights {place}: {SPOILED_TOKENIZERS[case]}")
    assert line.endswith("; copy the tokenizer's files of this checkpoint again")


def test_a_tokenizer_smaller_than_the_embedding_fits(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    eventgpt.require_tokenizer_fits(folder, tokenizer, LlamaConfig(vocab_size=SIZE + 64))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_mean", [0.5, 0.5, 0.5]),
        ("image_std", [0.5, 0.5, 0.5]),
        ("size", 224),
        ("size", {"height": 336, "width": 336}),
        ("crop_size", {"height": 224, "width": 224}),
        ("do_normalize", False),
        ("do_center_crop", False),
        ("resample", 2),
        ("rescale_factor", 1.0),
    ],
)
def test_a_tower_whose_processor_does_something_else_is_refused(field: str, value: Any, model: EventGPTModel, tmp_path: Path) -> None:
    place = save(model, tmp_path)
    file = tmp_path / "clip-vit-large-patch14-336" / "preprocessor_config.json"
    file.write_text(json.dumps(PREPROCESSOR | {field: value}))
    line = refused(place)
    assert line.startswith(f"{file} asks for {field} ")
    assert "SizeDict" not in line


def test_the_released_towers_processor_and_what_a_config_wants_returned_change_nothing(model: EventGPTModel, tmp_path: Path) -> None:
    place = save(model, tmp_path)
    tower = tmp_path / "clip-vit-large-patch14-336"
    (tower / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    for one in (place, tower):
        change_config(one, return_dict=False)
    pipeline = EventGPT(parse("baseline"), workload(place))
    features, _ = pipeline.vision(pipeline.preprocess(pipeline.load(sample.EVENTS)[0])[0])
    assert len(pipeline.generate(features, 3, Sampler())[0].tokens) == 3
