"""CLIP's image processor, and whether a checkpoint asks for another one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import CLIPImageProcessor

from evbench.errors import UserError

STEPS = (
    "do_resize", "do_center_crop", "do_rescale", "do_normalize",
    "resample", "size", "crop_size", "rescale_factor", "image_mean", "image_std",
)  # fmt: skip
"""Fields of an image processor that change the pixel values."""


def image_processor(size: int) -> Any:
    """For a tower whose images are `size` pixels high and wide."""
    return CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})


def require_usual_steps(tower: Path, edge: int) -> None:
    """Raises UserError if the tower's folder has an image processor that does something else than evbench: the released code uses it."""
    file = tower / "preprocessor_config.json"
    if not file.is_file():
        return
    stored, usual = CLIPImageProcessor.from_pretrained(tower, local_files_only=True), image_processor(edge)
    for step in STEPS:
        asked, done = _comparable(getattr(stored, step)), _comparable(getattr(usual, step))
        if asked != done:
            raise UserError(f"{file} asks for {step} {asked}, and evbench has {done} for this tower; copy the tower's folder again")


def _comparable(value: Any) -> Any:
    """A field of an image processor, without its last digits and without sizes that are not set."""
    if isinstance(value, (list, tuple)):
        return [_comparable(part) for part in value]
    if isinstance(value, float):
        return round(value, 6)
    return dict(value) if isinstance(value, Iterable) else value
