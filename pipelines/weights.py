"""Where the weights of a workload are, and how many, without loading them.

The preset `small` is trained, and ships with evbench. `7b` has the shapes of the released models, and weights that are grown from those of
`small` when a worker starts: it computes the same function. The others have seeded random weights, and a tokenizer that spells text in
bytes: `7b-random` has the same shapes, `tiny` as many visual tokens at a size that a CPU runs in a moment.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import evbench
from evbench.models import Preset
from evbench.pipelines.checkpoints import folder
from evbench.pipelines.load import beside
from evbench.pipelines.registry import MODELS, OWN_MODEL, PARTS, built_in, model_of
from evbench.results import Workload

DATA = Path(evbench.__file__).parent / "data"


def trained(model: str) -> dict[str, Path]:
    """Preset -> folder, of a model's checkpoints that ship with evbench. `python -m evbench.training` makes them."""
    return {name: DATA / stored for name, stored in MODELS[model].trained.items()}


def checkpoint_folder(workload: Workload) -> Path | None:
    """Where the weights of a workload are stored. None for those that are made: random or grown ones."""
    return Path(workload.weights) if workload.weights is not None else trained(workload.model).get(str(workload.preset))


def preset(workload: Workload) -> Preset:
    """The size of a workload's model with weights that are made. Raises KeyError if its weights are stored."""
    return MODELS[workload.model].presets[str(workload.preset)]


def trained_folder(model: str, size: Preset) -> Path | None:
    """The checkpoint that a preset's weights are grown from. None if they are random."""
    return trained(model)[size.grown_from] if size.grown_from is not None else None


def drafting(choices: Mapping[str, str], workload: Workload) -> Workload | None:
    """The same as it is asked of another model that drafts: of the preset that the choice has, else that of the target, or with the weights
    in a folder of its name in that of the target's.

    Args:
        choices: part -> choice.

    Returns:
        With the event images beside each sample in the place of it. None if no other model drafts.

    Raises:
        UserError: a sample has none.
    """
    drafts = "draft" in model_of(workload.model).parts and "draft" in choices
    if not drafts or not (chosen := PARTS["draft"].entries[built_in(choices)["draft"]]).drafter:
        return None
    stored = None if workload.weights is None else str(Path(workload.weights) / chosen.drafter)
    preset, folder, seed = (chosen.drafter_preset, None, None) if chosen.drafter_preset else (workload.preset, stored, workload.seed)
    return dataclasses.replace(
        workload,
        model=chosen.drafter,
        preset=preset,
        weights=folder,
        seed=seed,
        samples=tuple(dataclasses.replace(one, path=str(beside.events_of(Path(one.path)))) for one in workload.samples),
        frame_policy="all",
        kind="event-images",
    )


def parameter_count(workload: Workload) -> int:
    """Of the whole model, without loading it. 0 of a pipeline of somebody else's. Raises UserError if its folder is damaged."""
    if workload.model == OWN_MODEL:
        return 0
    if workload.weights is not None:
        return folder.parameter_count(Path(workload.weights))
    return parameter_count_of_preset(workload.model, str(workload.preset))


def parameter_count_of_preset(model: str, name: str) -> int:
    """Raises UserError if the folder of its weights is damaged."""
    made = MODELS[model].presets.get(name)
    return made.parameters if made is not None else folder.parameter_count(trained(model)[name])
