"""Workloads and checkpoint folders to test with."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from evbench.pipelines.generate.draft_head import FILE, DraftHead, save
from evbench.pipelines.video_llava import VideoLlava
from evbench.results import Workload
from evbench.scenes.words import make_tokenizer
from evbench.training import learners
from evbench.variants.named import parse
from tests.examples import CLIP

_FOLDER = tempfile.TemporaryDirectory(prefix="evbench-test-checkpoints-")
LEAST: dict[str, dict[str, Any]] = {
    "text": {"hidden": 32, "layers": 2, "heads": 2, "intermediate": 64},
    "vision": {"hidden": 32, "layers": 3, "heads": 2, "intermediate": 64, "image": 56},
}


@functools.cache
def least(model: str, seed: int = 0) -> Path:
    """Weights with two layers, for images of 56 pixels: for tests that run a whole pipeline again and again."""
    learner = learners.new(model, make_tokenizer(), LEAST, "cpu", seed, compiled=False)
    with torch.no_grad():
        for weights in learner.llama.layers.parameters():
            weights.mul_(8 if weights.ndim > 1 else 1)  # else it answers one token for ever, whatever it sees
        learner.head.weight.mul_(8)  # and each next token would be nearly a tie
    learner.save(folder := Path(_FOLDER.name) / (f"{model}-{seed}" if seed else model))
    return folder


@functools.cache
def with_head(model: str) -> Path:
    """The same weights, and beside them what drafts: a head, at random, and for clips the other model."""
    folder: Path = shutil.copytree(least(model), Path(_FOLDER.name) / f"{model}-with-head")
    learner = learners.new(model, make_tokenizer(), LEAST, "cpu", 0, compiled=False)
    save(DraftHead(learner.llama.config), folder / FILE)
    if model == "video-llava":
        (folder / "eventgpt").symlink_to(least("eventgpt"))
    return folder


def least_model(model: str) -> str:
    """Options of the command for it, on the CPU."""
    return f"--model {model} --weights {least(model)} --device cpu"


def tiny_video_llava(**changes: Any) -> Workload:
    asked = Workload("video-llava", "tiny", None, (CLIP,), 8, "inclusive", "What is it?", 20, False, "cpu", "float32", 0, kind="video")
    return replace(asked, **changes)


def save_tiny_video_llava(folder: Path) -> Path:
    """The tiny model as a Hugging Face checkpoint folder."""
    pipeline = VideoLlava(parse("baseline"), tiny_video_llava())
    pipeline.model.save_pretrained(folder)
    pipeline._processor.save_pretrained(folder)
    return folder


def copy_of(folder: Path, target: Path) -> Path:
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def change_config(folder: Path, **changes: Any) -> None:
    """Change fields of config.json; `text_config__hidden_size` is the field of a part."""
    config = json.loads((folder / "config.json").read_text())
    for name, value in changes.items():
        part, _, field = name.partition("__")
        if field:
            config[part][field] = value
        else:
            config[part] = value
    (folder / "config.json").write_text(json.dumps(config))
