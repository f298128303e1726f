"""This machine -> facts. Starts processes, and leaves none; what is broken becomes a fact."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from evbench.api.folder import default_folder
from evbench.doctor.ask import ask
from evbench.doctor.driver import look, why_no_gpu
from evbench.doctor.facts import Answer, Driver, Facts, Place, VariantHere
from evbench.doctor.requirements import requirements
from evbench.errors import UserError
from evbench.inputs.workload import DTYPES
from evbench.machine import lock, machine, noise_floors
from evbench.machine.needs import NEEDS, cxx
from evbench.pipelines.registry import SHIPPED
from evbench.pipelines.weights import parameter_count_of_preset
from evbench.results import Machine
from evbench.session import references
from evbench.session.memory_fit import require_room
from evbench.variants.named import VARIANTS
from evbench.variants.obstacles import obstacles

FLASH = {"flash-attn": "flash2", "FlashAttention 3": "flash3", "flash-attn-4": "flash4"}
"""Need -> question to the library."""


def gather(asked: str) -> Facts:
    """`asked`: auto, cuda or cpu. Takes as long as torch and transformers take to be imported, and `ask.SECONDS` at most.

    Raises:
        UserError: there is no such device. A GPU that is asked for and missing is a fact.
    """
    device = "cuda" if asked == "cuda" else machine.choose_device(asked)
    here = machine.read(device)
    lacks = {need: lack for need, find in NEEDS.items() if (lack := find(device)) is not None}
    driver = look() if here.gpu is not None else None
    no_gpu, no_gpu_cure = "", ""
    if here.gpu is None:
        no_gpu, no_gpu_cure = ("left out, as --device cpu says", "") if asked == "cpu" else why_no_gpu()
    name = "cpu" if driver is None else driver.uuid
    measured_by = lock.holder(name) if name is not None else None
    answers = _ask(driver, lacks, measured_by is not None)
    floors, floors_fault = _floors(here)
    return Facts(
        device=device,
        machine=here,
        available_bytes=machine.available_memory(),
        no_gpu=no_gpu,
        no_gpu_cure=no_gpu_cure,
        measured_by=measured_by,
        driver=driver,
        requirements=requirements(),
        answers=answers,
        lacks=lacks,
        compiler=shutil.which(cxx()) or cxx(),
        interpreted=os.environ.get("TRITON_INTERPRET", "0") not in ("", "0"),
        places=_places(answers["models"].said.get("compile cache")),
        presets={model: _presets(model, device) for model in SHIPPED},
        floors=floors,
        floors_fault=floors_fault,
        variants=tuple(
            VariantHere(name, model, kind, obstacles(variant, model, kind, device))
            for name, variant in VARIANTS.items()
            for model, known in SHIPPED.items()
            for kind in known.kinds
        ),
    )


def _ask(driver: Driver | None, lacks: Mapping[str, object], measured: bool) -> dict[str, Answer]:
    """Of libraries that are not installed nothing is asked, nor of those for a GPU where there is none. The slowest is asked first."""
    questions = {"models": "", "av": ""}
    if "Triton" not in lacks:
        questions["triton"] = "{}{}".format(*driver.capability) if driver is not None and driver.capability is not None else ""
    if "NVIDIA DALI" not in lacks:
        questions["dali"] = ""
    if driver is None:
        return ask(questions)
    questions |= {question: "" for need, question in FLASH.items() if need not in lacks}
    if measured or driver.uuid is None:
        return ask(questions)
    try:
        # The context of this question would disturb a measurement, and is kept out of the way of one that starts meanwhile.
        with lock.exclusive(driver.uuid, wait=False, report=lambda _: None):
            return ask(questions | {"nvdec": ""})
    except UserError:
        return ask(questions)


def _places(compile_cache: object) -> tuple[Place, ...]:
    found = [("results", default_folder("", "").parent.absolute())]
    with suppress(RuntimeError):  # a user without a home, which `_floors` tells of
        found.append(("references", references.folder()))
    if isinstance(compile_cache, str):
        found.append(("compile cache", Path(compile_cache)))
    return tuple(_place(purpose, folder) for purpose, folder in found)


def _place(purpose: str, folder: Path) -> Place:
    """Where a folder does not exist yet, the one that it will be made in is looked at."""
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    try:
        free = shutil.disk_usage(there).free
    except OSError:
        free = None
    return Place(purpose, str(folder), free, there.is_dir() and os.access(there, os.W_OK | os.X_OK))


def _presets(model: str, device: str) -> dict[str, str]:
    return {name: _refusal(model, name, device) for name in SHIPPED[model].preset_names()}


def _refusal(model: str, preset: str, device: str) -> str:
    """Why its weights do not fit. Empty if they do."""
    try:
        require_room(parameter_count_of_preset(model, preset), DTYPES[device], device)
    except UserError as error:
        return str(error)
    return ""


def _floors(here: Machine) -> tuple[tuple[str, ...], str]:
    try:
        return tuple(floor.work for floor in noise_floors.known(here)), ""
    except UserError as error:
        return (), str(error)
    except RuntimeError:  # of Path.home()
        return (), "this user has no home folder, and evbench keeps noise floors and references there; set HOME"
