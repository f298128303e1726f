"""The head that drafts for the weights of a workload: beside the checkpoint, or grown with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig

from evbench.errors import UserError
from evbench.pipelines import weights
from evbench.pipelines.checkpoints.checkpoint import seeded
from evbench.pipelines.checkpoints.grown import SEED, grow_draft_head
from evbench.pipelines.generate.draft_head import FILE, DraftHead, load, save
from evbench.results import Workload


def of(workload: Workload, text: Any) -> DraftHead:
    """
    Args:
        text: configuration of the language model that it drafts for.

    Raises:
        UserError: there is none, or it is damaged.
    """
    folder, dtype = weights.checkpoint_folder(workload), getattr(torch, workload.dtype)
    if folder is not None:
        return load(_file(folder, workload), text, workload.device, dtype)
    trained = weights.trained_folder(workload.model, weights.preset(workload))
    return grown(_file(trained, workload), text, workload.device, dtype, SEED)


def grown(file: Path, text: Any, device: str, dtype: torch.dtype, seed: int) -> DraftHead:
    """What a stored head is for a language model that was grown from the one beside it."""
    config = json.loads((file.parent.parent / "config.json").read_text(encoding="utf-8"))
    trained = LlamaConfig(**config.get("text_config", config))
    small = load(file, trained, device, torch.float32)
    with seeded(seed, device, dtype):
        large = DraftHead(text)
    grow_draft_head(small, large, text=trained, larger_text=text, seed=seed)
    return large.requires_grad_(False)


def write_grown(trained: Path, folder: Path, text: Any, device: str, dtype: torch.dtype, seed: int) -> None:
    """Write the head beside a grown checkpoint, if there is one beside the trained one."""
    if (trained / FILE).is_file():
        save(grown(trained / FILE, text, device, dtype, seed), folder / FILE)


def _file(folder: Path | None, workload: Workload) -> Path:
    cure = "use --preset small or 7b, or draft by something else"
    if folder is None:
        raise UserError(f"the random weights of --preset {workload.preset} have no head that drafts for them; {cure}")
    if not (folder / FILE).is_file():
        raise UserError(f"--weights {folder} has no head that drafts for it, which would be {FILE} in it; {cure}")
    return folder / FILE
