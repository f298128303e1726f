"""What evbench requires by its own metadata: the versions in pyproject.toml, as they were installed with it."""

from __future__ import annotations

import importlib.metadata

from packaging.requirements import Requirement as Declared
from packaging.version import InvalidVersion

from evbench.doctor.facts import Requirement
from evbench.machine.machine import version


def requirements() -> tuple[Requirement, ...]:
    """Those that hold on this system, extras aside. Empty if evbench is not installed as a package."""
    try:
        lines = importlib.metadata.requires("evbench") or []
    except importlib.metadata.PackageNotFoundError:
        return ()
    declared = map(Declared, lines)
    return tuple(_look_up(one) for one in declared if one.marker is None or one.marker.evaluate({"extra": ""}))


def _look_up(declared: Declared) -> Requirement:
    # The least version first, as it is written in pyproject.toml.
    versions = ",".join(sorted(map(str, declared.specifier), reverse=True))
    installed = version(declared.name)
    return Requirement(declared.name, versions, installed, installed is not None and _is_met(declared, installed))


def _is_met(declared: Declared, installed: str) -> bool:
    try:
        return declared.specifier.contains(installed, prereleases=True)
    except InvalidVersion:  # of a package that somebody built and named as no index would
        return True
