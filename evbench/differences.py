"""Whether two runs did the same, and in the same place."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from evbench.results import Machine, Work

HOW = ("decoder", "attention")
"""Fields in which two variants may differ: they say how it was done, not what."""


def work_differences(ours: Work, theirs: Work) -> list[str]:
    """Fields in which two runs did not do the same, with both values."""
    names = [field.name for field in dataclasses.fields(Work) if field.name not in HOW]
    pairs = [(name, getattr(ours, name), getattr(theirs, name)) for name in names]
    return [f"{name} {one} and {other}" for name, one, other in pairs if one != other]


def machine_differences(ours: Machine, theirs: Machine) -> dict[str, str]:
    """In what may change a time: name, as `--allow` takes it -> both values."""
    names = dict.fromkeys((*ours.packages, *theirs.packages))
    one, other = _comparable(ours, names), _comparable(theirs, names)
    return {name: f"{one[name]} and {other[name]}" for name in one if one[name] != other[name]}


def names(machine: Machine) -> list[str]:
    """What `--allow` takes."""
    return list(_comparable(machine, machine.packages))


def _comparable(machine: Machine, packages: Iterable[str]) -> dict[str, str]:
    gpu = machine.gpu
    return {
        "system": machine.system,
        "cpu": machine.cpu,
        "cores": str(machine.cores),
        "gpu": gpu.name if gpu else "none",
        "driver": gpu.driver if gpu else "none",
        "power-limit": str(gpu.power_limit_watts) if gpu else "none",
        "clocks": str(gpu.applications_sm_mhz) if gpu else "none",
        "python": machine.python,
        **{name: str(machine.packages.get(name)) for name in packages},
        "source": str(machine.source),
    }
