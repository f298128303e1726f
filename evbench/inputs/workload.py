"""From options to a Workload: what both variants are asked to do, checked before any worker starts."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from evbench.choices import resolve
from evbench.encoding import is_text
from evbench.errors import UserError, nearest
from evbench.inputs import batches, listing, sample
from evbench.inputs import event_window as windows
from evbench.inputs.listing import EVERYTHING, Listed, Selection
from evbench.machine.machine import choose_device
from evbench.pipelines.checkpoints import folder
from evbench.pipelines.checkpoints.sizes import require_sizes
from evbench.pipelines.load import png, video
from evbench.pipelines.load.samples import Probed
from evbench.pipelines.registry import KINDS, MODELS, OWN_MODEL, model_of
from evbench.pipelines.weights import DATA
from evbench.results import EventWindow, InputKind, Sample, Workload
from evbench.scenes.captions import QUESTIONS
from evbench.scenes.captions import describe as describe_scene
from evbench.scenes.world import imagine

QUESTION = QUESTIONS["concise"]
PLACEHOLDERS = ("<video>", "<image>", "<event>")
DTYPES = {"cpu": "float32", "cuda": "bfloat16"}
"""Device -> the type that both variants compute in, if no other is asked for."""
SHORT_DTYPES = {"bf16": "bfloat16", "f32": "float32", "fp32": "float32", "float": "float32"}
"""Other names of these types."""
NOT_COMPUTED = {
    **dict.fromkeys(("float16", "fp16", "f16", "half"), "float16"),
    **dict.fromkeys(("float64", "fp64", "f64", "double"), "float64"),
    **dict.fromkeys(("fp8", "float8", "int8", "int4", "fp4"), "a type for quantized weights"),
}
"""Names of other types -> what they are. The nearest by letters would be another type."""


def describe(
    *,
    model: str,
    preset: str | None,
    weights: Path | None,
    videos: Sequence[Path],
    events_folders: Sequence[Path],
    data: Path | None,
    selection: Selection = EVERYTHING,
    frames: int | None = None,
    frame_policy: str,
    prompt: str,
    new_tokens: int,
    stop_at_end: bool,
    device: str,
    seed: int | None,
    batch: int = 1,
    dtype: str | None = None,
    raw_events: bool = False,
    event_window: str | None = None,
    event_limit: str | None = None,
    event_size: str | None = None,
) -> Workload:
    """What the options ask for.

    Args:
        selection: of the samples of `data`.
        frames: of a video, for a model that takes videos. None: as many as the model's entry has.
        batch: samples that go through the stages together.

    Raises:
        UserError: the options contradict each other, or the input cannot be used; of `data`, none of it.
    """
    require_model(model)
    entry = model_of(model)
    video.require_policy(frame_policy)
    preset = _preset(model, preset, weights)
    trained = model != OWN_MODEL and (preset not in entry.presets or entry.grown_from(preset) is not None)
    if trained and seed is not None:
        option = f"--weights {weights}" if weights is not None else f"--preset {preset}"
        raise UserError(f"--seed is of random weights, and {option} has trained ones: it would have no effect; leave it out")
    if not is_text(prompt):
        raise UserError("--prompt is not UTF-8; give it as text")
    if not prompt.strip():
        raise UserError(f"--prompt {prompt!r} asks nothing; give a question, or leave it out for the one that the small models know")
    if found := [placeholder for placeholder in PLACEHOLDERS if placeholder in prompt]:
        raise UserError(f"--prompt {prompt!r} contains a placeholder for pictures, {found[0]}; leave it out, it is put in front")
    batches.require(batch, model, stop_at_end)
    listed = _listed(model, {"--video": videos, "--events": events_folders}, data, selection, raw_events, prompt, batch)
    paths = [one.path for one in listed]
    kind = _kind(paths, model)
    window = _window(paths, kind, event_window, event_limit, event_size)
    samples, images = _samples(listed, kind, frames or entry.frames, frame_policy, window, damaged=data is not None)
    chosen = choose_device(device)
    return Workload(
        model=model,
        preset=preset,
        weights=_short(weights) if weights is not None else None,
        samples=batches.of(samples, batch),
        frames=images,
        frame_policy=frame_policy if KINDS[kind].policies else "all",
        prompt=prompt,
        new_tokens=new_tokens,
        stop_at_end=stop_at_end,
        device=chosen,
        dtype=choose_dtype(dtype, chosen),
        seed=None if trained else seed or 0,
        window=window,
        kind=kind,
    )


def choose_dtype(asked: str | None, device: str) -> str:
    """What is computed in; by the device if nothing is asked for. Raises UserError for a type that is not computed in."""
    known = list(DTYPES.values())
    if asked is None or asked in known:
        return asked or DTYPES[device]
    raise UserError(_unknown_dtype(asked, known))


def _unknown_dtype(asked: str, known: Sequence[str]) -> str:
    if asked.lower() in NOT_COMPUTED:
        return f"--dtype {asked} is {NOT_COMPUTED[asked.lower()]}, in which evbench does not compute; there is {', '.join(known)}."
    advice = f"did you mean {SHORT_DTYPES[asked.lower()]!r}?" if asked.lower() in SHORT_DTYPES else nearest(asked, known)
    return f"unknown --dtype {asked!r}; {advice}"


def require_model(model: str, option: str = "--model") -> None:
    """Raises UserError for an unknown model."""
    if model not in MODELS and model != OWN_MODEL:
        raise UserError(f"unknown {option} {model!r}; {nearest(model, list(MODELS))}")


def shipped(model: str) -> tuple[str, list[Path]]:
    """The option for samples of a model, and two of them that ship with evbench, the default first."""
    kind = KINDS[model_of(model).kinds[0]]
    return kind.option, [DATA / name for name in kind.samples]


def _preset(model: str, preset: str | None, weights: Path | None) -> str | None:
    """None for a checkpoint folder, which is looked at. Raises UserError if it is of another model, or there is no such preset."""
    if model == OWN_MODEL:
        if preset is not None:
            raise UserError("--preset is of the models of evbench, and --pipeline of another; leave it out")
        if weights is not None and not weights.exists():
            raise UserError(f"--weights {weights} does not exist; give a file or folder that the pipeline reads")
        return None
    if weights is None:
        known = model_of(model).preset_names()
        if not known:
            raise UserError(f"--model {model} has no preset of its own; give --weights and a local Hugging Face checkpoint folder")
        if preset is not None and preset not in known:
            raise UserError(f"unknown --preset {preset!r}; {nearest(preset, known)}")
        return preset or known[0]
    if preset is not None:
        raise UserError("--preset and --weights exclude each other: a preset has weights of its own; give one of them")
    require_checkpoint(weights, model)
    return None


def require_checkpoint(weights: Path, model: str) -> None:
    """Raises UserError if a folder is no checkpoint of such a model."""
    config = folder.read_config(weights, model, model_of(model))
    require_sizes(weights / "config.json", config, folder.parameter_count(weights))
    folder.require_tokenizer(weights)


def _listed(
    model: str, given: Mapping[str, Sequence[Path]], data: Path | None, selection: Selection, raw_events: bool, prompt: str, batch: int
) -> list[Listed]:
    """The files or folders that the options name; without any, one that ships with evbench, and of a batch both.

    Args:
        given: by option.
    """
    kinds = model_of(model).kinds
    options = [KINDS[kind].option for kind in kinds]
    option = options[0]
    if other := next((name for name, paths in given.items() if paths and name not in options), None):
        raise UserError(f"{other} is not for --model {model}; give {option}, or choose the other model")
    if raw_events and "events" not in kinds:
        raise UserError(f"--raw-events is not for --model {model}; leave it out, or choose the other model")
    named = [path for name in dict.fromkeys(options) for path in given.get(name, ())]
    if data is None:
        if raw_events:
            raise UserError("--raw-events is of the samples in --data, which is not given; leave it out, or give files by --events")
        if idle := next((name for name, value in dataclasses.asdict(selection).items() if value is not None), None):
            option = f"--{idle.replace('_', '-')}"
            raise UserError(f"{option} is of the samples in --data, which is not given: it would have no effect; leave it out")
        chosen = named or shipped(model)[1][:batch]
        return [Listed(path, None, caption=_caption(path, KINDS[kinds[0]].colours, prompt)) for path in chosen]
    if named:
        raise UserError(f"{option} and --data exclude each other; give one of them")
    kind = "events" if raw_events else kinds[0]
    return listing.read(data, kind, colours=KINDS[kind].colours, prompt=prompt, selection=selection)


def _kind(paths: Sequence[Path], model: str) -> InputKind:
    """What the samples are: of the kinds that the model takes, the first that recognises them, else the default.

    Raises:
        UserError: they are of several kinds.
    """
    kinds = model_of(model).kinds
    found = [next((kind for kind in reversed(kinds) if resolve(KINDS[kind].recognise)(path)), kinds[0]) for path in paths]
    if other := next((place for place, kind in enumerate(found) if kind != found[0]), None):
        held = [f"{paths[place]} holds {KINDS[found[place]].title}" for place in (0, other)]
        raise UserError(f"{' and '.join(held)}; give samples of one kind")
    return cast(InputKind, found[0])


def _window(paths: Sequence[Path], kind: str, window: str | None, limit: str | None, size: str | None) -> EventWindow | None:
    """Of samples that are raw events. None for others, of which nothing may be asked of it."""
    if KINDS[kind].windowed:
        return windows.read(window, limit, size)
    if given := [name for name, text in zip(windows.OPTIONS, (window, limit, size), strict=True) if text is not None]:
        one = len(given) == 1
        useless = f"{' and '.join(given)} {'is' if one else 'are'} for raw events, and {paths[0]} has none"
        raise UserError(f"{useless}; leave {'it' if one else 'them'} out, or give a file of raw events")
    return None


def _caption(path: Path, colours: bool, prompt: str) -> str | None:
    """What should be answered. Known of scenes that evbench carries, for the questions that they come with."""
    register = next((register for register, question in QUESTIONS.items() if question == prompt), None)
    if register is None or path not in sample.SHIPPED:
        return None
    return describe_scene(imagine(sample.SEED, sample.SHIPPED[path]), register, colours=colours)


def _samples(
    listed: Sequence[Listed],
    kind: str,
    frames: int | None,
    policy: str,
    window: EventWindow | None,
    damaged: bool,
) -> tuple[tuple[Sample, ...], int]:
    """The inputs, and the number of frames or event images that the model gets of each.

    Args:
        damaged: whether some may be damaged, as in a large set. They are of no size; the worker of each side says what is wrong with them.
    """
    probe = resolve(KINDS[kind].probe)
    probed: dict[Path, Probed] = {}
    first_error: UserError | None = None
    for one in listed:
        try:
            probed[one.path] = probe(one.path, frames, policy, window)
        except UserError as error:
            if not damaged or len(listed) == 1:
                raise
            first_error = first_error or error
    if not probed:
        raise UserError(f"none of {len(listed):,} samples can be used; the first: {first_error}")
    count = next(iter(probed.values())).images
    if differing := next((path for path, found in probed.items() if found.images != count), None):
        first = next(iter(probed))
        raise UserError(f"{differing} holds {probed[differing].images} event images and {first} {count}; give samples of one kind")
    samples = []
    for one in listed:
        found = probed.get(one.path)
        size, streams = ((0, 0), 1) if found is None else ((found.height, found.width), found.streams)
        digest = "" if found is None else sha256_of(one.path)
        samples.append(Sample(_short(one.path), digest, *size, one.caption, streams, one.sequence))
    return tuple(samples), count


def _short(path: Path) -> str:
    """Relative where it lies under the current folder, so that a recorded result names no folders of one machine.

    Raises:
        UserError: the name is no text, and could not be written into a result.
    """
    if not is_text(str(path)):
        raise UserError(f"{path} has a name that is not UTF-8, and no result could name it; rename it")
    here, whole = Path.cwd(), path.absolute()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else str(path)


def sha256_of(path: Path) -> str:
    """Of the file, or of the folder's event images in order."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else png.find(path):
        with file.open("rb") as opened:
            while chunk := opened.read(2**20):
                digest.update(chunk)
    return digest.hexdigest()
