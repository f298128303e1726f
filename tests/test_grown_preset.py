"""A preset that is grown from the small checkpoint when its worker starts, and the folder that it is written to."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors import safe_open
from transformers import AutoProcessor, VideoLlavaForConditionalGeneration
from typer.testing import CliRunner

from evbench.cli.main import make_app
from evbench.inputs import sample
from evbench.models import Preset
from evbench.pipelines.build import build
from evbench.pipelines.checkpoints.presets import text_config, vision_config
from evbench.pipelines.generate.targets import StaticTarget
from evbench.pipelines.registry import MODELS, SHIPPED
from evbench.pipelines.weights import trained
from evbench.results import InputKind, Sample, Workload
from evbench.scenes.captions import QUESTIONS
from evbench.stages import run_stages
from evbench.training.batches import ANSWER_TOKENS
from evbench.variants.named import parse

SIZES = {
    model: Preset(
        text_config(1000, hidden=512, layers=7, heads=4, intermediate=1100),
        vision_config(edge, hidden=512, layers=9, heads=8, intermediate=600),
        0,
        grown_from="small",
    )
    for model, edge in (("video-llava", 224), ("eventgpt", 336))
}
"""Twice as wide as the small checkpoints, and deeper."""
SAMPLES = {"video-llava": sample.CLIP, "eventgpt": sample.EVENTS}


@pytest.fixture(autouse=True)
def presets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for model, size in SIZES.items():
        larger = dataclasses.replace(MODELS[model], presets={**MODELS[model].presets, "larger": size})
        monkeypatch.setitem(cast(Any, MODELS), model, larger)
    yield


def workload(model: str, preset: str | None, weights: Path | None = None) -> Workload:
    kind = cast(InputKind, MODELS[model].kinds[0])
    pictures, policy = (8, "inclusive") if kind == "video" else (5, "all")
    inputs, folder = (Sample("", "", 0, 0),), str(weights) if weights is not None else None
    question, tokens = QUESTIONS["concise"], ANSWER_TOKENS["concise"]
    asked: Any = (model, preset, folder, inputs, pictures, policy, question, tokens, True, "cpu", "float32", None)
    return Workload(*asked, kind=kind)


def tokens(asked: Workload, variant: str = "baseline") -> tuple[int, ...]:
    answer, _ = run_stages(build(parse(variant), asked), SAMPLES[asked.model], asked.new_tokens)
    return answer.tokens


@pytest.mark.slow
@pytest.mark.parametrize("model", list(SHIPPED))
def test_it_says_what_the_small_one_says(model: str) -> None:
    pipeline = build(parse("baseline"), workload(model, "larger"))
    assert pipeline.parameters > 6 * build(parse("baseline"), workload(model, "small")).parameters
    assert pipeline.weights_fingerprint == build(parse("baseline"), workload(model, "larger")).weights_fingerprint, "of one seed"
    said = tokens(workload(model, "larger"))
    assert len(said) > 30
    assert said == tokens(workload(model, "small"))


def passes(asked: Workload, monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], tuple[int, ...]]:
    """Tokens fed in each pass that verifies drafts of the head, and the answer."""
    found, verify = list[int](), StaticTarget.verify

    def counted(target: StaticTarget, fed: Sequence[int], place: int) -> torch.Tensor:
        found.append(len(fed))
        return verify(target, fed, place)

    with monkeypatch.context() as patch:
        patch.setattr(StaticTarget, "verify", counted)
        return found, tokens(asked, "baseline+generate=static+draft=head-4")


@pytest.mark.slow
@pytest.mark.parametrize("model", list(SHIPPED))
def test_a_head_is_grown_with_it(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = passes(workload(model, "larger"), monkeypatch)
    assert found == passes(workload(model, "small"), monkeypatch)
    assert len(found[1]) > 2 * len(found[0]), "most of its drafts are accepted"


@pytest.mark.slow
@pytest.mark.parametrize("model", list(SHIPPED))
def test_it_is_written_as_a_checkpoint_folder(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("video_llava", "eventgpt"):
        monkeypatch.setattr(f"evbench.pipelines.{module}.SHARD_SIZE", "50MB")
    folder = tmp_path / "grown"
    options = ["--model", model, "--preset", "larger", "--dtype", "float32", "--device", "cpu"]
    ended = CliRunner().invoke(make_app(), ["models", "grow", str(folder), *options])
    assert ended.exit_code == 0, ended.output
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1, "in shards"
    assert tokens(workload(model, None, folder)) == tokens(workload(model, "small"))
    assert passes(workload(model, None, folder), monkeypatch) == passes(workload(model, "small"), monkeypatch), "with its head"


@pytest.mark.slow
def test_transformers_alone_loads_the_folder_and_says_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "grown"
    options = ["--preset", "larger", "--dtype", "float32", "--device", "cpu"]
    assert CliRunner().invoke(make_app(), ["models", "grow", str(folder), *options]).exit_code == 0
    model = VideoLlavaForConditionalGeneration.from_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)
    frames = build(parse("baseline"), workload("video-llava", "small")).load(SAMPLES["video-llava"])[0].pixels
    inputs = processor(text=f"USER: <video>\n{QUESTIONS['concise']} ASSISTANT:", videos=[torch.from_numpy(frames)], return_tensors="pt")
    with torch.inference_mode():
        said = model.generate(**inputs, max_new_tokens=ANSWER_TOKENS["concise"], do_sample=False)
    found = tuple(said[0, inputs["input_ids"].shape[1] :].tolist())
    assert found == tokens(workload("video-llava", "small"))


@pytest.mark.slow
def test_the_language_model_of_a_written_eventgpt_is_what_transformers_has(tmp_path: Path) -> None:
    """transformers has no EventGPT; the shapes and names of its parts are those of LLaMA and CLIP."""
    folder = tmp_path / "grown"
    options = ["--model", "eventgpt", "--preset", "larger", "--device", "cpu"]
    assert CliRunner().invoke(make_app(), ["models", "grow", str(folder), *options]).exit_code == 0
    with safe_open(folder / "model.safetensors", framework="pt") as stored:
        names = list(stored.keys())
        assert {stored.get_tensor(name).dtype for name in names} == {torch.bfloat16}
    with safe_open(trained("eventgpt")["small"] / "model.safetensors", framework="pt") as stored:
        small = set(stored.keys())
    assert small < set(names), "all that the small one has, and more layers"


def test_a_count_of_weights_is_that_of_the_network() -> None:
    """The sizes of the grown presets themselves are tested with the others; here, that these can be grown at all."""
    for model in SHIPPED:
        small, size = trained(model)["small"], MODELS[model].presets["7b"]
        config = json.loads((small / "config.json").read_text())
        text = config.get("text_config", config)
        assert size.text["hidden_size"] % text["hidden_size"] == 0
        assert size.text["hidden_size"] // size.text["num_attention_heads"] == text["hidden_size"] // text["num_attention_heads"] == 128


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--preset", "tiny"], "--preset 'tiny' is not grown from trained weights; there is 7b"),
        (["--preset", "7c"], "--preset '7c' is not grown from trained weights"),
        (["--model", "llava"], "unknown --model 'llava'"),
        (["--dtype", "fp16"], "--dtype fp16 is float16, in which evbench does not compute"),
        (["--device", "cuda"], "--device cuda: no NVIDIA driver or GPU found"),
        (["--dtype", "float32", "--device", "cpu"], "use a smaller --preset"),
    ],
)
def test_what_cannot_be_written_is_refused_in_a_line(
    options: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evbench.machine.machine.find_gpu", lambda: None)
    ended = CliRunner().invoke(make_app(), ["models", "grow", str(tmp_path / "new"), *options])
    assert told in str(ended.exception)
    assert not (tmp_path / "new").exists()


def test_a_folder_with_something_in_it_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    ended = CliRunner().invoke(make_app(), ["models", "grow", str(tmp_path), "--device", "cpu"])
    assert f"{tmp_path} is there already; give another folder, or remove it" in str(ended.exception)


def test_its_seed_is_no_option(tmp_path: Path) -> None:
    ended = CliRunner().invoke(make_app(), ["run", "baseline", "--preset", "larger", "--seed", "1", "--out", str(tmp_path / "out")])
    assert "--seed is of random weights, and --preset larger has trained ones" in str(ended.exception)


@pytest.mark.gpu
@pytest.mark.parametrize("model", list(SHIPPED))
def test_at_full_size_it_takes_little_more_memory_than_its_weights(model: str) -> None:
    torch.cuda.reset_peak_memory_stats()
    asked = dataclasses.replace(workload(model, "7b"), device="cuda", dtype="bfloat16")
    pipeline = build(parse("baseline"), asked)
    assert pipeline.parameters == MODELS[model].presets["7b"].parameters
    assert torch.cuda.max_memory_allocated() < 1.2 * 2 * pipeline.parameters


@pytest.mark.gpu
@pytest.mark.parametrize("model", list(SHIPPED))
@pytest.mark.parametrize("variant", ["baseline", "optimized-gpu"])
def test_at_full_size_it_says_what_the_small_one_says(model: str, variant: str) -> None:
    asked = dataclasses.replace(workload(model, "7b"), device="cuda", dtype="bfloat16")
    assert tokens(asked, variant) == tokens(workload(model, "small"))
