"""Whether two runs did the same."""

from __future__ import annotations

import dataclasses

from evbench.results import Work

HOW = ("decoder", "attention")
"""Fields in which two variants may differ: they say how it was done, not what."""


def work_differences(ours: Work, theirs: Work) -> list[str]:
    """Fields in which two runs did not do the same, with both values."""
    one, other = dataclasses.asdict(ours), dataclasses.asdict(theirs)
    return [f"{name} {one[name]} and {other[name]}" for name in one if name not in HOW and one[name] != other[name]]
