"""Whether two runs did the same."""

from __future__ import annotations

import dataclasses

from evbench.results import Work

HOW = ("decoder", "attention")
"""Fields in which two variants may differ: they say how it was done, not what."""


def work_differences(ours: Work, theirs: Work) -> list[str]:
    """Fields in which two runs did not do the same, with both values."""
    names = [field.name for field in dataclasses.fields(Work) if field.name not in HOW]
    pairs = [(name, getattr(ours, name), getattr(theirs, name)) for name in names]
    return [f"{name} {one} and {other}" for name, one, other in pairs if one != other]
