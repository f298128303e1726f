"""Variants and choices -> tables for `evbench variants`. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from evbench.choices import Choice
from evbench.pipelines.registry import KINDS, PARTS, kinds_with
from evbench.report.render import Table
from evbench.variants.named import VARIANTS


def list_variants(obstacles: Mapping[str, str]) -> tuple[Table, ...]:
    """All variants, why some do not run here, and what each choice means.

    Args:
        obstacles: name of a variant -> why it does not run here. Empty if it does.
    """
    rows = tuple((name, *variant.choices().values(), "no" if obstacles[name] else "yes") for name, variant in VARIANTS.items())
    missing = tuple((name, reason) for name, reason in obstacles.items() if reason)
    choices = tuple(
        (part, name, _kinds(part, choice), ", ".join(choice.needs) or "-", choice.meaning)
        for part, found in PARTS.items()
        for name, choice in found.choices.items()
    )
    tables = (
        Table("Variants", ("variant", *PARTS, "runs here"), rows),
        Table("What is missing here", ("variant", "reason"), missing),
        Table("Choices", ("part", "choice", "for", "needs", "meaning"), choices),
    )
    return tuple(table for table in tables if table.rows)


def _kinds(part: str, choice: Choice) -> str:
    kinds = [KINDS[kind].title for kind in kinds_with(part) if choice.takes(kind)]
    return "all" if len(kinds) == len(KINDS) else ", ".join(kinds)
