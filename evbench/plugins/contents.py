"""The module of a file -> what it holds, as data. Runs where the file does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, get_args

from evbench.choices import STREAM, Choice, Count, Evidence, PluginFile
from evbench.errors import UserError, nearest
from evbench.machine.needs import NEEDS
from evbench.pipelines.registry import KINDS, OWN, PARTS
from evbench.plugin import DECLARED, VARIANTS, DeclaredChoice
from evbench.plugins.own import own_variants
from evbench.results import STAGES

NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
"""Of a choice or variant, as it is typed."""
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Contents:
    """What a file holds."""

    choices: Mapping[str, Mapping[str, Choice]]
    """Part -> name -> choice."""
    variants: Mapping[str, str]
    """Name -> `baseline+part=choice`. Of a pipeline: name -> nothing, and it is the choice of this name."""


def contents_of(module: ModuleType, file: PluginFile) -> Contents:
    """Raises UserError for the first thing in it that cannot be, naming its place and what to do."""
    choices: dict[str, dict[str, Choice]] = {}
    if file.pipeline:
        own = own_variants(module, file, lambda evidence: _wrong_evidence(evidence, STAGES))
        if (wrong := next((name for name in own if not NAME.fullmatch(str(name))), None)) is not None:
            raise _fault(file, f"{file.pipeline}.variants has the name {wrong!r}; give one of small letters, digits and -")
        return Contents({OWN: own}, dict.fromkeys(own, ""))
    for made in vars(module).values():
        declared = getattr(made, DECLARED, None)
        if not isinstance(declared, DeclaredChoice) or getattr(made, "__module__", None) != module.__name__:
            continue  # of another file that it imports from
        of_part = choices.setdefault(declared.part, {})
        found = _choice(made, declared, file)
        if declared.name in of_part and of_part[declared.name] != found:
            raise _fault(file, f"{declared.part}={declared.name} is there twice; give one of them another name")
        of_part[declared.name] = found
    variants = getattr(module, VARIANTS, {})
    if not isinstance(variants, dict) or not all(isinstance(text, str) for pair in variants.items() for text in pair):
        raise _fault(file, f'{VARIANTS} is no dictionary of texts; write it such as {{"mine": "baseline+vision=my-choice"}}')
    if (wrong := next((name for name in variants if not NAME.fullmatch(name)), None)) is not None:
        raise _fault(file, f"{VARIANTS} has the name {wrong!r}; give one of small letters, digits and -")
    if not choices and not variants:
        raise _fault(file, "it holds no choice; put @evbench.choice in front of a function or class, see docs/your-own.md")
    return Contents(choices, variants)


def _fault(file: PluginFile, what: str) -> UserError:
    return UserError(f"the plug-in {file.name}: {' '.join(what.split())}")  # a name in it may have lines


def _choice(made: Any, declared: DeclaredChoice, file: PluginFile) -> Choice:
    name = f"{declared.part}={declared.name}"

    def fault(what: str) -> UserError:
        return _fault(file, f"{name}: {what}")

    if declared.part not in PARTS or declared.part == OWN:
        raise fault(f"unknown part {declared.part!r}; {nearest(declared.part, list(PARTS))}")
    part = PARTS[declared.part]
    if part.stages == (STREAM,):
        raise fault(f"{part.name} is of no stage, and has no choices of others; choose another part")
    if not NAME.fullmatch(declared.name):
        raise fault("a choice has a name of small letters, digits and -; give another by name=")
    of_evbench = {choice: entry for choice, entry in part.choices.items() if entry.plugin is None}
    if (taken := part.entries.get(declared.name)) is not None and (taken.plugin is None or taken.plugin.path != file.path):
        raise fault(f"{'evbench' if taken.plugin is None else taken.plugin.name} has a choice of this name; give another by name=")
    over = declared.over or next(iter(of_evbench))
    if over not in of_evbench:
        raise fault(f"over={over!r} is no choice of evbench for {part.name}; {nearest(over, list(of_evbench))}")
    if not declared.meaning.strip() or not declared.meaning.isprintable():
        raise fault("its meaning is not one line of text; say in one what it does")
    for kind in declared.kinds:
        if kind not in KINDS:
            raise fault(f"unknown kind of input {kind!r}; {nearest(kind, list(KINDS))}")
    for other in (*declared.replaces, *(conflict.part for conflict in declared.conflicts)):
        if other not in PARTS or other == part.name:
            raise fault(f"{other!r} is no other part; {nearest(other, [known for known in PARTS if known != part.name])}")
    named = [need for need in declared.needs if isinstance(need, str)]
    for need in named:
        if need not in NEEDS:
            raise fault(f"unknown need {need!r}; {nearest(need, list(NEEDS))} Or give a function of the device")
    if (wrong := _wrong_evidence(declared.evidence, part.stages)) is not None:
        raise fault(wrong)
    base = of_evbench[over]
    return Choice(
        meaning=declared.meaning,
        implementation=f"{made.__module__}:{made.__qualname__}",
        evidence=declared.evidence,
        needs=tuple(dict.fromkeys((*base.needs, *named))),
        kinds=declared.kinds or base.kinds,
        conflicts=(*base.conflicts, *declared.conflicts),
        plugin=file,
        over=over,
        replaces=declared.replaces,
        lacks=_lacks(declared, file),
    )


def _wrong_evidence(evidence: tuple[Evidence, ...], stages: tuple[str, ...]) -> str | None:
    """What is wrong with it, and what to do."""
    for one in evidence:
        if one.stage not in STAGES:
            return f"its evidence is of the stage {one.stage!r}; {nearest(one.stage, list(STAGES))}"
        if one.count not in get_args(Count):
            return f"its evidence counts {one.count!r}; {nearest(one.count, list(get_args(Count)))}"
        if unknown := [part for part in (*one.where, *one.inside) if part not in PARTS]:
            return f"its evidence names the part {unknown[0]!r}; {nearest(unknown[0], list(PARTS))}"
        try:
            re.compile(one.names)
        except re.error as error:
            return f"its evidence {one.names!r} is no regular expression ({error}); mend it"
    if not any(one.count != "never" and one.stage in stages for one in evidence):
        return f"nothing would show that it was used; give evidence that a run leaves in {' or '.join(stages)}, such as a function's name"
    return None


def _lacks(declared: DeclaredChoice, file: PluginFile) -> dict[str, str]:
    """Device -> why it cannot be used on it, by the file's own functions."""
    found: dict[str, str] = {}
    for need in declared.needs:
        if isinstance(need, str):
            continue
        for device in DEVICES:
            if (reason := need(device)) is not None:
                found.setdefault(device, f"{' '.join(str(reason).split())} (says {file.name})")
    return found
