"""What a file of somebody else's says of the choices in it: see docs/your-own.md. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from evbench.choices import Conflict, Evidence

DECLARED = "__evbench_choice__"
"""Attribute of a function or class that is a choice."""
VARIANTS = "VARIANTS"
"""Name of the dictionary, in such a file, of variants that have names: name -> `baseline+part=choice`."""
Made = TypeVar("Made", bound=Callable[..., Any])
Need = str | Callable[[str], str | None]


@dataclass(frozen=True)
class DeclaredChoice:
    """What `choice` was given."""

    part: str
    name: str
    meaning: str
    evidence: tuple[Evidence, ...]
    over: str
    needs: tuple[Need, ...]
    kinds: tuple[str, ...]
    conflicts: tuple[Conflict, ...]
    replaces: tuple[str, ...]


def choice(
    part: str,
    *,
    meaning: str,
    evidence: Sequence[Evidence],
    name: str = "",
    over: str = "",
    needs: Sequence[Need] = (),
    kinds: Sequence[str] = (),
    conflicts: Sequence[Conflict] = (),
    replaces: Sequence[str] = (),
) -> Callable[[Made], Made]:
    """Say that a function or class is a choice of a part, in a file that `--plugin` names.

    It is called once with the pipeline (`evbench.stages.Pipeline`), when that is built with the choice `over`. It changes the modules
    of the pipeline in place and returns None; or it returns what is called in the place of the part's stage, with the arguments and
    the output of that stage. An object of a class is such a thing if it has `__call__`.

    Args:
        part: such as "vision"; `evbench variants` lists them.
        meaning: one line.
        evidence: what a run shows if the choice was really used. One of them at least has to be there; the others may be expected "never".
        name: of the choice. Default: that of the function or class, with - for _.
        over: the choice of evbench with which the pipeline is built before. Default: the published one, which the baseline has.
        needs: names of `evbench.machine.needs.NEEDS`, or functions of the device (cpu, cuda) that return why the choice cannot be used
            there, and None if it can.
        kinds: of input that it can be used for. Default: those of `over`.
        conflicts: choices of other parts with which it cannot be combined, besides those of `over`.
        replaces: other parts whose work it does itself in its stages: there their evidence is not looked for.
    """

    def declare(made: Made) -> Made:
        called = name or getattr(made, "__name__", "").replace("_", "-")
        found = DeclaredChoice(part, called, meaning, tuple(evidence), over, tuple(needs), tuple(kinds), tuple(conflicts), tuple(replaces))
        setattr(made, DECLARED, found)
        return made

    return declare
