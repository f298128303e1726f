"""From options to a Workload: what both variants are asked to do, checked before any worker starts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from evbench.errors import UserError
from evbench.inputs import event_window as windows
from evbench.inputs import sample
from evbench.machine.machine import choose_device
from evbench.pipelines.checkpoints import folder, presets
from evbench.pipelines.load import event_files, png, video
from evbench.results import EventWindow, Sample, Workload
from evbench.scenes.captions import QUESTIONS
from evbench.scenes.captions import describe as describe_scene
from evbench.scenes.index import INPUTS, caption, raw_events_of, read_index
from evbench.scenes.world import imagine
from evbench.variants.choices import nearest

QUESTION = QUESTIONS["concise"]
VIDEO_FRAMES = 8
PLACEHOLDERS = ("<video>", "<image>", "<event>")
DTYPES = {"cpu": "float32", "cuda": "bfloat16"}
"""Both variants compute in the type that is usual on the device, if no other is asked for."""


def describe(
    *,
    model: str,
    preset: str | None,
    weights: Path | None,
    videos: Sequence[Path],
    events_folders: Sequence[Path],
    data: Path | None,
    limit: int | None,
    frame_policy: str,
    prompt: str,
    new_tokens: int,
    stop_at_end: bool,
    device: str,
    seed: int | None,
    dtype: str | None = None,
    raw_events: bool = False,
    event_window: str | None = None,
    event_limit: str | None = None,
    event_size: str | None = None,
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
        folder.require_tokenizer(weights)
    trained = preset not in presets.PRESETS[model]
    if trained and seed is not None:
        told = f"--weights {weights}" if weights is not None else f"--preset {preset}"
        raise UserError(f"--seed is of random weights, and {told} has stored ones: it would have no effect; leave it out")
    if found := [placeholder for placeholder in PLACEHOLDERS if placeholder in prompt]:
        raise UserError(f"--prompt {prompt!r} contains a placeholder for pictures, {found[0]}; leave it out, it is put in front")
    inputs = _inputs(model, videos, events_folders, data, limit, raw_events)
    window = _window(inputs, model, event_window, event_limit, event_size)
    samples, frames = _samples(inputs, _captions(inputs, data, model, prompt), model, frame_policy, window)
    chosen = choose_device(device)
    if dtype is not None and dtype not in DTYPES.values():
        raise UserError(f"unknown --dtype {dtype!r}; {nearest(dtype, list(DTYPES.values()))}")
    return Workload(
        model=model,
        preset=preset,
        weights=_short(weights) if weights is not None else None,
        samples=samples,
        frames=frames,
        frame_policy=frame_policy if model == "video-llava" else "all",
        prompt=prompt,
        new_tokens=new_tokens,
        stop_at_end=stop_at_end,
        device=chosen,
        dtype=dtype or DTYPES[chosen],
        seed=None if trained else seed or 0,
        window=window,
    )


def require_model(model: str, option: str = "--model") -> None:
    """Raises UserError for an unknown model."""
    if model not in presets.PRESETS:
        raise UserError(f"unknown {option} {model!r}; {nearest(model, list(presets.PRESETS))}")


def _inputs(
    model: str, videos: Sequence[Path], events_folders: Sequence[Path], data: Path | None, limit: int | None, raw_events: bool
) -> list[Path]:
    """The files or folders that the options name."""
    given, option, other = (videos, "--video", "--events") if model == "video-llava" else (events_folders, "--events", "--video")
    if (videos and model != "video-llava") or (events_folders and model != "eventgpt"):
        raise UserError(f"{other} is not for --model {model}; give {option}, or choose the other model")
    if raw_events and model != "eventgpt":
        raise UserError(f"--raw-events is not for --model {model}; leave it out, or choose the other model")
    if data is None:
        if raw_events:
            raise UserError("--raw-events is of the scenes in --data, which is not given; leave it out, or give files by --events")
        if limit is not None:
            raise UserError("--limit is of the scenes in --data, which is not given: it would have no effect; leave it out")
        return list(given) or [sample.CLIP if model == "video-llava" else sample.EVENTS]
    if given:
        raise UserError(f"{option} and --data exclude each other; give one of them")
    entries = read_index(data)[:limit]
    return [data / (raw_events_of(entry, data) if raw_events else INPUTS[model](entry)) for entry in entries]


def _window(paths: Sequence[Path], model: str, window: str | None, limit: str | None, size: str | None) -> EventWindow | None:
    """Of samples that are raw events. None if they are not, and then nothing may be asked of it."""
    raw = [model == "eventgpt" and event_files.is_file_of_events(path) for path in paths]
    if any(raw) and not all(raw):
        one, other = paths[raw.index(True)], paths[raw.index(False)]
        raise UserError(f"{one} is a file of raw events and {other} is not; give samples of one kind")
    if all(raw):
        return windows.read(window, limit, size)
    if given := [name for name, text in zip(windows.OPTIONS, (window, limit, size), strict=True) if text is not None]:
        raise UserError(f"{', '.join(given)}: of raw events, and {paths[0]} is no file of them: it would have no effect; leave it out")
    return None


def _captions(paths: Sequence[Path], data: Path | None, model: str, prompt: str) -> list[str | None]:
    """What should be answered to each. Known of scenes, for the questions that they come with."""
    if data is not None:
        return [caption(entry, model, prompt) for entry, _ in zip(read_index(data), paths, strict=False)]
    register = next((register for register, question in QUESTIONS.items() if question == prompt), None)
    if register is None:
        return [None] * len(paths)
    colours = model == "video-llava"
    return [
        describe_scene(imagine(sample.SEED, sample.SHIPPED[path]), register, colours=colours) if path in sample.SHIPPED else None
        for path in paths
    ]


def _samples(
    paths: Sequence[Path], captions: Sequence[str | None], model: str, policy: str, window: EventWindow | None
) -> tuple[tuple[Sample, ...], int]:
    """The inputs, and the number of pictures that the model is given of each."""
    probed = [_probe(path, model, policy, window) for path in paths]
    counts = [count for count, _, _ in probed]
    if differing := next((place for place, count in enumerate(counts) if count != counts[0]), None):
        raise UserError(f"{paths[differing]} holds {counts[differing]} event images and {paths[0]} {counts[0]}; give samples of one kind")
    samples = [
        Sample(_short(path), _sha256(path), height, width, caption)
        for path, caption, (_, height, width) in zip(paths, captions, probed, strict=True)
    ]
    return tuple(samples), counts[0]


def _probe(path: Path, model: str, policy: str, window: EventWindow | None) -> tuple[int, int, int]:
    """Number, height and width of the pictures."""
    if window is not None:
        return event_files.probe(path, window)
    if model == "eventgpt":
        return png.probe(path)
    clip = video.probe(path)
    clip.choose(path, VIDEO_FRAMES, policy)
    return VIDEO_FRAMES, clip.height, clip.width


def _short(path: Path) -> str:
    """Relative where it lies under the current folder, so that a recorded result tells nothing of one machine's folders."""
    here, whole = Path.cwd(), path.absolute()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else str(path)


def _sha256(path: Path) -> str:
    """Of the file, or of the folder's event images in order."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else png.find(path):
        with file.open("rb") as opened:
            while chunk := opened.read(2**20):
                digest.update(chunk)
    return digest.hexdigest()
