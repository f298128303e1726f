"""From options to a Workload: what both variants are asked to do, checked before any worker starts."""

from __future__ import annotations

import hashlib
from pathlib import Path

from evbench import sample
from evbench.errors import UserError
from evbench.machine import choose_device
from evbench.pipelines import events, folder, presets, video
from evbench.results import Workload
from evbench.scenes.captions import QUESTIONS
from evbench.variants import nearest

QUESTION = QUESTIONS["concise"]
VIDEO_FRAMES = 8
PLACEHOLDERS = ("<video>", "<image>", "<event>")
DTYPES = {"cpu": "float32", "cuda": "bfloat16"}
"""Both variants compute in the type that is usual on the device."""


def describe(
    *,
    model: str,
    preset: str | None,
    weights: Path | None,
    video_file: Path | None,
    events_folder: Path | None,
    frame_policy: str,
    prompt: str,
    new_tokens: int,
    stop_at_end: bool,
    device: str,
    seed: int | None,
) -> Workload:
    """Raises UserError if the options contradict each other, or the input cannot be used."""
    require_model(model)
    if frame_policy not in video.POLICIES:
        raise UserError(f"unknown --frame-policy {frame_policy!r}; {nearest(frame_policy, list(video.POLICIES))}")
    if weights is not None and preset is not None:
        raise UserError("--preset and --weights exclude each other: a preset has weights of its own; give one of them")
    preset = preset if preset is not None or weights is not None else presets.DEFAULT
    if preset is not None and preset not in presets.names(model):
        raise UserError(f"unknown --preset {preset!r}; {nearest(preset, presets.names(model))}")
    if weights is not None:
        folder.read_config(weights, model)
        folder.weight_files(weights)
    trained = preset not in presets.PRESETS[model]
    if trained and seed is not None:
        told = f"--weights {weights}" if weights is not None else f"--preset {preset}"
        raise UserError(f"--seed is of random weights, and {told} has stored ones: it would have no effect; leave it out")
    if found := [placeholder for placeholder in PLACEHOLDERS if placeholder in prompt]:
        raise UserError(f"--prompt {prompt!r} contains a placeholder for pictures, {found[0]}; leave it out, it is put in front")
    path, frames = _input(model, video_file, events_folder, frame_policy)
    chosen = choose_device(device)
    return Workload(
        model=model,
        preset=preset,
        weights=_short(weights) if weights is not None else None,
        input=_short(path),
        input_sha256=_sha256(path),
        frames=frames,
        frame_policy=frame_policy if model == "video-llava" else "all",
        prompt=prompt,
        new_tokens=new_tokens,
        stop_at_end=stop_at_end,
        device=chosen,
        dtype=DTYPES[chosen],
        seed=None if trained else seed or 0,
    )


def require_model(model: str) -> None:
    """Raises UserError for an unknown model."""
    if model not in presets.PRESETS:
        raise UserError(f"unknown --model {model!r}; {nearest(model, list(presets.PRESETS))}")


def _input(model: str, video_file: Path | None, events_folder: Path | None, policy: str) -> tuple[Path, int]:
    """The input and the number of pictures the model is given."""
    if model == "video-llava":
        if events_folder is not None:
            raise UserError("--events is for --model eventgpt; give --video, or choose that model")
        path = video_file or sample.CLIP
        video.probe(path).choose(path, VIDEO_FRAMES, policy)
        return path, VIDEO_FRAMES
    if video_file is not None:
        raise UserError("--video is for --model video-llava; give --events, or choose that model")
    path = events_folder or sample.EVENTS
    return path, events.probe(path)


def _short(path: Path) -> str:
    """Relative where it lies under the current folder, so that a recorded result tells nothing of one machine's folders."""
    here, whole = Path.cwd(), path.absolute()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else str(path)


def _sha256(path: Path) -> str:
    """Of the file, or of the folder's event images in order."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else events.find(path):
        digest.update(file.read_bytes())
    return digest.hexdigest()
