"""Checkpoint folders that are damaged or hostile: refused in one line, and before anything large is built."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from evbench.errors import UserError
from evbench.inputs import workload as workloads
from evbench.pipelines.build import build
from evbench.pipelines.checkpoints import sizes
from evbench.pipelines.checkpoints.checkpoint import loading
from evbench.pipelines.checkpoints.folder import INDEX, WHOLE, require_usual_names, weight_files
from evbench.pipelines.registry import SHIPPED
from evbench.results import Workload
from evbench.variants.named import parse
from evbench.worker.client import how_it_ended
from tests.checkpoints import change_config, least

TEXT = {"video-llava": "text_config__", "eventgpt": ""}
"""Model -> where its config.json has the fields of the language model."""


@pytest.fixture(params=SHIPPED)
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(model: str, tmp_path: Path) -> Path:
    copy: Path = shutil.copytree(least(model), tmp_path / "copy")
    return copy


def asked(model: str, folder: Path) -> Workload:
    """As the command line describes it, in the parent process."""
    return workloads.describe(
        model=model, preset=None, weights=folder, videos=(), events_folders=(), data=None, frame_policy="inclusive",
        prompt="What is it?", new_tokens=4, stop_at_end=False, device="cpu", seed=None,
    )  # fmt: skip


def refusal(model: str, folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        build(parse("baseline"), asked(model, folder))
    assert "\n" not in str(caught.value) and "; " in str(caught.value)
    return str(caught.value)


def test_the_whole_folder_is_built(model: str, folder: Path) -> None:
    build(parse("baseline"), asked(model, folder))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value: float, model: str, folder: Path) -> None:
    tensors = load_file(folder / WHOLE)
    name = max(name for name in tensors if name.endswith("down_proj.weight"))
    tensors[name][0, :3] = value
    save_file(tensors, folder / WHOLE, metadata={"format": "pt"})
    told = refusal(model, folder)
    assert f"holds 3 of {tensors[name].numel():,} numbers of " in told
    assert told.endswith("down_proj.weight that are NaN or infinite; copy the weights again")


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("num_hidden_layers", 10**6, "has num_hidden_layers 1,000,000, and 1,000 are the most"),
        ("num_hidden_layers", 900, "weights, and the files beside it hold"),
        ("hidden_size", 2**16, "weights, and the files beside it hold"),
        ("vocab_size", 2**22 + 1, "has vocab_size 4,194,305, and 4,194,304 are the most"),
        ("intermediate_size", 2**19, "weights, and the files beside it hold"),
    ],
)
def test_a_network_that_is_much_larger_than_its_weights_is_refused_before_it_is_built(
    field: str, value: int, told: str, model: str, folder: Path
) -> None:
    change_config(folder, **{TEXT[model] + field: value})
    with pytest.raises(UserError) as caught:
        asked(model, folder)
    assert told in str(caught.value)
    assert str(caught.value).endswith("; copy the config of these weights")


@pytest.mark.parametrize(("field", "value"), [("num_hidden_layers", 900), ("image_size", 8000), ("intermediate_size", 2**19)])
def test_so_is_a_tower(field: str, value: int, model: str, folder: Path) -> None:
    if model == "video-llava":
        change_config(folder, **{f"vision_config__{field}": value})
    else:
        (tower,) = (file.parent for file in folder.glob("*/config.json"))
        change_config(tower, **{field: value})
    assert "weights, and the files beside it hold" in refusal(model, folder)


def test_what_a_config_leaves_out_counts_as_transformers_takes_it() -> None:
    file = Path("config.json")
    sizes.require_sizes(file, {"text_config": {"vocab_size": 32064}, "vision_config": {"projection_dim": 768}}, 10)
    with pytest.raises(UserError, match=r"asks for some 121,.* weights, and the files beside it hold 7,000,000,000"):
        sizes.require_sizes(file, {"text_config": {"model_type": "llama", "num_hidden_layers": 980}}, 7 * 10**9)
    sizes.require_sizes(
        file, {"num_hidden_layers": "many", "hidden_size": -5, "vocab_size": True}, 10**9
    )  # transformers says what is wrong


@pytest.mark.parametrize("content", ["{}", '{"version": "1.0"}', '{"version": "1.0", "model": {"type": "no such"}}', "[]"])
def test_a_tokenizer_that_is_damaged_is_refused(content: str, model: str, folder: Path) -> None:
    (folder / "tokenizer.json").write_text(content)
    assert "cannot be loaded (" in refusal(model, folder)


def test_what_tokenizers_raise_is_a_plain_exception() -> None:
    """And no other kind of it is taken for a damaged folder."""
    with (
        pytest.raises(UserError, match=r"--weights a cannot be loaded \(Exception: data did not match\); copy its config"),
        loading(Path("a")),
    ):
        raise Exception("data did not match")

    class Fault(Exception): ...

    for kind in (Fault, KeyboardInterrupt, torch.OutOfMemoryError, AssertionError):
        with pytest.raises(kind), loading(Path("a")):
            raise kind
    with pytest.raises(UserError, match=r"^as it is$"), loading(Path("a")):
        raise UserError("as it is")


def shard(folder: Path) -> None:
    tensors = load_file(folder / WHOLE)
    names = sorted(tensors)
    half = len(names) // 2
    for number, part in enumerate((names[:half], names[half:]), 1):
        save_file({name: tensors[name] for name in part}, folder / f"model-0000{number}-of-00002.safetensors", metadata={"format": "pt"})
    (folder / WHOLE).unlink()


def test_shards_without_their_index_are_refused_for_that_reason(model: str, folder: Path) -> None:
    shard(folder)
    told = (
        f"{folder} has model-00001-of-00002.safetensors and no {INDEX}, which says what shards there are; copy all files of the checkpoint"
    )
    assert refusal(model, folder) == told
    index: dict[str, Any] = {
        "weight_map": {name: file.name for file in folder.glob("*-of-*") for name in load_file(file)}, "metadata": {}
    }  # fmt: skip
    (folder / INDEX).write_text(json.dumps(index))
    build(parse("baseline"), asked(model, folder))


def test_a_file_that_transformers_does_not_look_for_is_refused_for_that_reason(tmp_path: Path) -> None:
    folder: Path = shutil.copytree(least("video-llava"), tmp_path / "copy")
    (folder / WHOLE).rename(folder / "weights.safetensors")
    with pytest.raises(UserError, match=r"weights\.safetensors is not looked for: .*; rename it to model\.safetensors"):
        require_usual_names(weight_files(folder))
    assert "is not looked for" in refusal("video-llava", folder)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (1, "ended with code 1: a line"),
        (-signal.SIGKILL, "ended with code -9: SIGKILL, as the system kills a process when memory runs out, or somebody did"),
        (-signal.SIGTERM, "ended with code -15: SIGTERM"),
        (-signal.SIGSEGV, "ended with code -11: SIGSEGV; its log ends with 'a line'"),
    ],
)
def test_the_last_line_of_a_killed_worker_is_not_told_as_the_cause(code: int, told: str) -> None:
    assert how_it_ended(code, "a line") == told
