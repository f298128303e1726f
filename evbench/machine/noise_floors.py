"""Noise floors: how large a difference evbench finds on this machine between a variant and itself. `evbench selftest` measures them."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

from evbench import results_upgrade
from evbench.encoding import from_json, write_whole
from evbench.errors import UserError
from evbench.models import VIDEO_FRAMES
from evbench.results import Machine, Workload


@dataclass(frozen=True)
class Floor:
    """Of one machine and one kind of work."""

    measured: str
    """UTC, ISO 8601."""
    machine: str
    """CPU, cores, GPU, driver and torch."""
    work: str
    """Model, weights, device, new tokens, samples, batches, whether these are raw events, and of videos the frames if they are not 8."""
    smallest: dict[str, float]
    """The total and each stage -> the difference that 95 of 100 comparisons with itself stay below, relative."""


def path() -> Path:
    """The file, by the XDG base directory specification."""
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (state if state.is_absolute() else Path.home() / ".local" / "state") / "evbench" / "noise-floors.json"


def place(machine: Machine) -> str:
    gpu = f", {machine.gpu.name}, driver {machine.gpu.driver}" if machine.gpu else ""
    return f"{machine.cpu}, {machine.cores} cores{gpu}, torch {machine.packages.get('torch')}"


def work(workload: Workload) -> str:
    samples = f", {len(workload.samples)} samples" if len(workload.samples) > 1 else ""
    samples += f", batches of {workload.batch}" if workload.batch > 1 else ""
    raw = ", of raw events" if workload.kind == "events" else ""
    frames = f", {workload.frames} frames" if workload.kind == "video" and workload.frames != VIDEO_FRAMES else ""
    weights = workload.preset or workload.weights
    return f"{workload.model} {weights} on {workload.device}, {workload.new_tokens} new tokens{samples}{frames}{raw}"


def find(machine: Machine, workload: Workload) -> Floor | None:
    """The last that was measured here for such work. Raises UserError if the file is damaged."""
    return next((floor for floor in _read() if (floor.machine, floor.work) == (place(machine), work(workload))), None)


def smallest(machine: Machine, workload: Workload) -> dict[str, float]:
    """The noise floors of such work here. Empty if they were not measured. Raises as `find`."""
    floor = find(machine, workload)
    return floor.smallest if floor else {}


def known(machine: Machine) -> list[Floor]:
    """All that were measured here. Raises UserError if the file is damaged."""
    return [floor for floor in _read() if floor.machine == place(machine)]


def keep(floor: Floor) -> None:
    """Instead of the one before. Raises UserError if it cannot be written."""
    others = [known for known in _read() if (known.machine, known.work) != (floor.machine, floor.work)]
    file = path()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps([dataclasses.asdict(known) for known in [floor, *others]], indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise UserError(f"cannot write {file} ({error.strerror}); mend that, or set XDG_STATE_HOME to another folder") from error


def _read() -> list[Floor]:
    file = path()
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, list):
            raise ValueError("it is no list")
        return [from_json(Floor, results_upgrade.noise_floor(entry), "floor") for entry in content]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"cannot read {file} ({error.strerror}); mend that, or set XDG_STATE_HOME to another folder") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged ({error}); remove it and run evbench selftest again") from error
