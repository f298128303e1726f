"""Conflicts between choices, in the place of those that there are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from evbench.choices import Conflict
from evbench.pipelines.registry import PARTS

Conflicts = dict[tuple[str, str], Conflict]
"""(part, choice) -> what it cannot be combined with."""


def only(monkeypatch: pytest.MonkeyPatch, conflicts: Conflicts) -> None:
    for name, part in PARTS.items():
        entries: Any = part.entries
        for choice, entry in part.entries.items():
            found = (conflicts[name, choice],) if (name, choice) in conflicts else ()
            monkeypatch.setitem(entries, choice, replace(entry, conflicts=found))
