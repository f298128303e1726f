from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from evbench.errors import UserError
from evbench.inputs import sample
from evbench.pipelines.checkpoints.checkpoint import fingerprint, seeded
from evbench.pipelines.checkpoints.folder import read_config, weight_files
from evbench.pipelines.registry import SHIPPED
from evbench.pipelines.video_llava import VideoLlava
from evbench.stages import Sampler
from evbench.variants.named import parse
from tests.checkpoints import change_config, save_tiny_video_llava, tiny_video_llava


def layer(seed: int, dtype: torch.dtype = torch.float32) -> nn.Linear:
    with seeded(seed, "cpu", dtype):
        return nn.Linear(30, 20)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_seed_gives_the_same_weights(dtype: torch.dtype) -> None:
    assert fingerprint(layer(0, dtype)) == fingerprint(layer(0, dtype)) != fingerprint(layer(1, dtype))
    assert layer(0, dtype).weight.dtype == dtype
    assert torch.get_default_dtype() == torch.float32


def test_one_changed_bit_is_another_model() -> None:
    model = layer(0)
    before = fingerprint(model)
    with torch.no_grad():
        model.weight[3, 4] = torch.nextafter(model.weight[3, 4], torch.tensor(9.0))
    assert fingerprint(model) != before


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_of_every_usual_type_are_taken_beside_constants_of_any(dtype: torch.dtype, tmp_path: Path) -> None:
    constants = {"visual_tower.embeddings.position_ids": torch.arange(3), "layers.0.rotary_emb.inv_freq": torch.ones(2)}
    save_file({"a.weight": torch.ones(2, dtype=dtype)} | constants, tmp_path / "model.safetensors")
    assert weight_files(tmp_path) == [tmp_path / "model.safetensors"]


@pytest.mark.parametrize(
    ("dtype", "name"), [(torch.int8, "I8"), (torch.bool, "BOOL"), (torch.complex64, "C64"), (torch.float8_e4m3fn, "F8_E4M3")]
)
def test_weights_of_another_type_are_refused_and_not_cast(dtype: torch.dtype, name: str, tmp_path: Path) -> None:
    save_file({"a.weight": torch.ones(2), "b.weight": torch.zeros(2, dtype=dtype)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=f"model.safetensors holds b.weight as {name}, and evbench reads float16, bfloat16, float32, fl"):
        weight_files(tmp_path)


def test_a_weight_in_two_shards_is_refused_with_both_names(tmp_path: Path) -> None:
    save_file({"a.weight": torch.ones(2), "b.weight": torch.ones(2)}, tmp_path / "one.safetensors")
    save_file({"c.weight": torch.ones(2), "b.weight": torch.zeros(2)}, tmp_path / "two.safetensors")
    with pytest.raises(UserError, match=r"holds b.weight twice, in one.safetensors and two.safetensors; "):
        weight_files(tmp_path)


@pytest.mark.parametrize("named", [[1, "model.safetensors"], [None], [{"file": "model.safetensors"}, 2], [["x"]]])
def test_an_index_that_names_no_files_is_refused(named: list[Any], tmp_path: Path) -> None:
    save_file({"a.weight": torch.ones(2)}, tmp_path / "model.safetensors")
    weight_map = {f"{place}.weight": file for place, file in enumerate(named)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(UserError, match=r"model.safetensors.index.json is damaged \(it names .* as a file\); copy the checkpoint again"):
        weight_files(tmp_path)


def read(folder: Path, model: str, **fields: Any) -> dict[str, Any]:
    (folder / "config.json").write_text(json.dumps({"model_type": SHIPPED[model].model_type} | fields))
    return read_config(folder, model, SHIPPED[model])


@pytest.mark.parametrize("model", SHIPPED)
@pytest.mark.parametrize("part", [None, "text_config"])
def test_quantized_weights_are_refused_by_name(model: str, part: str | None, tmp_path: Path) -> None:
    quantized = {"quantization_config": {"quant_method": "bitsandbytes"}}
    with pytest.raises(UserError, match="has a quantization_config, and evbench reads no quantized weights"):
        read(tmp_path, model, **(quantized if part is None else {part: quantized}))
    read(tmp_path, model, quantization_config=None)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("event_feature_adaptor", False, "event_feature_adaptor false, and evbench has no network without the adaptor"),
        ("mm_use_im_start_end", True, "mm_use_im_start_end true, and evbench has no prompt with tokens of its own around the events"),
        ("mm_use_im_patch_token", True, "mm_use_im_patch_token true, and evbench has no prompt with a token of its own for a patch"),
        ("use_event_qformer", True, "use_event_qformer true, and evbench has no Q-Former"),
    ],
)
def test_a_configuration_of_another_network_is_refused(field: str, value: bool, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        read(tmp_path, "eventgpt", **{field: value})
    for usual in ({field: not value}, {field: None}, {}):
        assert read(tmp_path, "eventgpt", **usual).get(field) == usual.get(field)


def test_what_a_configuration_wants_returned_changes_nothing(tmp_path: Path) -> None:
    save_tiny_video_llava(tmp_path)
    change_config(tmp_path, return_dict=False, text_config__return_dict=False, vision_config__return_dict=False)
    loaded = VideoLlava(parse("baseline"), tiny_video_llava(preset=None, weights=str(tmp_path)))
    features, _ = loaded.vision(loaded.preprocess(loaded.load(sample.CLIP)[0])[0])
    answer, _ = loaded.generate(features, 2, Sampler())
    assert len(answer.tokens) == 2
