"""Packages of the extra `dev` that are not built for every machine."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


def needs(package: str) -> pytest.MarkDecorator:
    """Skips where pyproject.toml says that there is no such package. Where it does not, the package has to be there."""
    extras = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (asked,) = (found for line in extras["dev"] if (found := Requirement(line)).name == package)
    here = asked.marker is None or asked.marker.evaluate()
    return pytest.mark.skipif(not here, reason=f"{package} is not built for this machine: {asked.marker}")
