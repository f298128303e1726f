"""What is said of a machine, one thing in each finding."""

from __future__ import annotations

from dataclasses import dataclass

OK, MISSING, PROBLEM = "ok", "missing", "problem"
"""Grades. Missing: evbench works without it, and some choices do not. Problem: it is there, and does not work or disturbs."""
GPU, SOFTWARE, ROOM, VARIANTS = "GPU", "Software", "Room", "Variants"
"""Areas, in order."""
TRY_AGAIN = "try again: what is read for the first time is slow"
"""Where an answer took too long."""


@dataclass(frozen=True)
class Finding:
    """One line for a person."""

    area: str
    subject: str
    grade: str
    text: str
    cure: str = ""
    """What to do. Empty if nothing has to be done, or nothing can be."""
    stops: bool = False
    """Whether the baseline cannot run before it is mended."""
    detail: bool = False
    """Whether it is told only to who asks for details."""
