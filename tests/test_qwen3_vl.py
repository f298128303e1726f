"""Qwen3-VL's 8B model with random weights: its number of parameters, and a small one of the same kind through all stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText

from evbench.errors import UserError
from evbench.microbenchmarks.qwen3_vl import TEXT, VISION, config, save
from evbench.pipelines.build import build
from evbench.stages import run_stages
from evbench.variants.named import parse
from tests.test_own_pipeline import asked

SMALL_TEXT: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "rope_parameters": TEXT["rope_parameters"] | {"mrope_section": [4, 2, 2]},
}  # fmt: skip
SMALL_VISION = {
    "depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64, "deepstack_visual_indexes": [0, 1, 2],
}  # fmt: skip


def test_it_has_the_parameters_of_the_released_one() -> None:
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config())
    assert sum(weights.numel() for weights in model.parameters()) == 8_767_123_696


def test_all_stages_take_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    save(folder, config({**TEXT, **SMALL_TEXT}, {**VISION, **SMALL_VISION}))
    workload = asked("auto", weights=folder, prompt="What is in the clip?")
    answer, _ = run_stages(build(parse("baseline"), workload), Path(workload.samples[0].path), 4)
    assert len(answer.tokens) == 4
    with pytest.raises(UserError, match="exists; name a new folder"):
        save(folder, config())
