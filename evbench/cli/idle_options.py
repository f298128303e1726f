"""Refuses options that would have no effect."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from evbench.api.option import name_of
from evbench.api.options import Options
from evbench.cli.options import SessionOptions, given
from evbench.errors import UserError

EVENT_OPTIONS = ("event_window", "event_limit", "event_size")


def refuse_idle(groups: tuple[Options, SessionOptions], used: Collection[str], reason: str) -> None:
    """Raises UserError, with the reason, if an option is given that the command does not use."""
    if idle := [name for group in groups for name in given(group) if name not in used]:
        raise UserError(f"{reason}: {', '.join(map(name_of, idle))} would have no effect; leave it out")


def refuse_replaced(option: str, value: str | None, replacements: Mapping[str, object]) -> None:
    """Raises UserError for an option of both sides, if each side has one of its own."""
    if value is not None and None not in replacements.values():
        raise UserError(f"{' and '.join(replacements)} replace it: {option} would have no effect; leave it out")
