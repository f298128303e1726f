"""The workload of a recorded result, with its files where they lie here: each is known by its hash."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import evbench
from evbench.errors import UserError
from evbench.inputs.drafter import images_in
from evbench.inputs.workload import require_checkpoint, sha256_of
from evbench.machine.machine import find_gpu
from evbench.pipelines.load import beside, png
from evbench.results import Sample, Workload

PACKAGE = Path(evbench.__file__).parent


def workload_here(workload: Workload, given: Sequence[Path], weights: Path | None) -> Workload:
    """Where a path that is stored in a result was shortened, its file is looked for where the shortening says that it lay.

    Args:
        given: files, or folders in which files of the same names are looked for, before all other places.
        weights: the checkpoint folder here. None for where it lay.

    Raises:
        UserError: an input or the checkpoint is not here, is another one than was recorded, or is not of this result; or there is no GPU
            for a result of one.
    """
    if workload.device == "cuda" and find_gpu() is None:
        raise UserError("the result was measured on a GPU, and no NVIDIA driver or GPU is found here; verify it on a machine with a GPU")
    for path in given:
        if not path.exists():
            raise UserError(f"--input {path}: no such file or folder; give an input of the result, or a folder that holds it")
    samples = tuple(_here(sample, given) for sample in workload.samples)
    places = [Path(row.path) for sample in samples for row in sample.rows()]
    for path in given:
        if not any(path == place or path in place.parents for place in places):
            raise UserError(f"--input {path} holds no input of the result; leave it out, or give {workload.samples[0].path}")
    return dataclasses.replace(workload, samples=samples, weights=_checkpoint(workload, weights))


def _here(sample: Sample, given: Sequence[Path]) -> Sample:
    """With the paths of all samples of its batch. Raises UserError."""
    return dataclasses.replace(sample, path=str(_find(sample, given)), others=tuple(_here(other, given) for other in sample.others))


def _find(sample: Sample, given: Sequence[Path]) -> Path:
    """With the event images of the result beside it, if a model drafts from them. Raises UserError."""
    name, others, without = Path(sample.path).name, [], []
    for path in _candidates(sample.path, name, given):
        if sha256_of(path) != sample.sha256:
            others.append(path)
        elif sample.beside is None or ((found := beside.find(path)) is not None and images_in(found) == sample.beside):
            return path
        else:
            without.append(path)
    if without:
        place = beside.find(without[0]) or beside.places(without[0])[0]
        lacking = f"{place} does not hold the event images of the result, from which a model drafts"
        raise UserError(f"{lacking}; put them there, or give the {name} that they lie beside by --input FILE or FOLDER")
    if others:
        raise UserError(f"{others[0]} is not the {name} of the result: its hash is another; give that one by --input FILE or FOLDER")
    raise UserError(f"the input {sample.path} of the result is not here; give it by --input FILE or FOLDER")


def _candidates(stored: str, name: str, given: Sequence[Path]) -> Iterator[Path]:
    """Files, and folders of event images, that could be it."""
    for path in given:
        if path.is_file() or (path.name == name and _is_sample(path)):
            yield path
        elif path.is_dir():
            yield from (one for one in sorted(path.rglob("*")) if one.name == name and _is_sample(one))
            yield from (one.with_name(name) for one in sorted(path.rglob("*_0.png")) if one.name == f"{name}_0.png")
    places = [_place(stored)]
    if stored.startswith(f"{PACKAGE.name}/"):
        places.append(PACKAGE.parent / stored)
    yield from filter(_is_sample, places)


def _place(stored: str) -> Path:
    """Where a path lay, as it stands in a result."""
    return Path(stored).expanduser() if stored.startswith("~/") else Path(stored)


def _is_sample(path: Path) -> bool:
    """A file, a folder of event images, or what the names of event images begin with."""
    return path.is_file() or png.holds_images(path)


def _checkpoint(workload: Workload, given: Path | None) -> str | None:
    """The folder of the weights here. None for a preset. Raises UserError."""
    if workload.weights is None:
        if given is not None:
            raise UserError(f"--weights {given}: the result is of the preset {workload.preset}, which has its own; leave it out")
        return None
    folder = _place(workload.weights) if given is None else given
    if not folder.is_dir():
        raise UserError(f"the checkpoint {workload.weights} of the result is not here; give its folder by --weights")
    require_checkpoint(folder, workload.model)
    return str(folder)
