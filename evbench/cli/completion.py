"""`--install-completion` and `--show-completion`, which typer brings: what they cannot do is refused in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evbench.cli.usage import Commands
from evbench.errors import UserError

OPTIONS = ("--install-completion", "--show-completion")
SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")
"""Those that typer has a script for."""


class CompletedCommands(Commands):
    """All commands. A shell may ask for their names and options."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        _refuse(args)
        return super().parse_args(ctx, args)


def _refuse(args: Sequence[str]) -> None:
    """typer ignores what stands behind its options, and ends with 1 for a shell that it does not know."""
    if not args or args[0] not in OPTIONS:
        return
    if len(args) > 1:
        raise UserError(f"{args[0]} takes nothing behind it: it is for the shell that it is typed in; leave out {args[1]}")
    if (shell := _shell()) not in SHELLS:
        raise UserError(f"{args[0]} is for bash, zsh, fish and PowerShell, and this is {shell or 'no shell'}; type it in one of them")


def _shell() -> str:
    """The one that the command is typed in. Empty if none is found."""
    import shellingham  # typer requires it

    try:
        return str(shellingham.detect_shell()[0])
    except shellingham.ShellDetectionFailure:
        return ""
