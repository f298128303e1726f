"""Variants and choices of a model -> what `evbench variants` tells. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from evbench.choices import Choice
from evbench.pipelines.registry import KINDS, MODELS, PARTS, has, parts_with_effect
from evbench.variants.named import VARIANTS

Unusable = Mapping[tuple[str, str], str]
"""(part, choice) -> why it cannot be used here."""
BASE = "baseline"
"""The variant that others are described against."""
MARK = "*"
"""Behind the name of what cannot run here."""


def choices_of(model: str) -> dict[str, dict[str, Choice]]:
    """Part -> its choices, name -> choice: those that the model has with some of the input that it takes."""
    kinds = MODELS[model].kinds
    done = {name for kind in kinds for name in parts_with_effect(model, kind)}
    return {
        name: {choice: entry for choice, entry in part.choices.items() if has(model, name, choice) and any(map(entry.takes, kinds))}
        for name, part in PARTS.items()
        if name in done
    }


@dataclass(frozen=True)
class Summary:
    """All variants in few lines."""

    variants: dict[str, str]
    """Name -> its choices that are not the baseline's. What cannot run here has MARK behind its name, also among the choices."""
    parts: dict[str, str]
    """Name -> its choices."""
    reasons: tuple[str, ...]
    """Why some cannot run here, each with the choices that it holds for, if there are several."""


def summarize_variants(model: str, missing: Collection[str], unusable: Unusable) -> Summary:
    """
    Args:
        missing: names of variants that cannot run here.
        unusable: choices that cannot be used here.
    """
    offered = choices_of(model)
    variants = {_marked(name, name in missing): _changes(name, offered) for name in VARIANTS}
    parts = {part: ", ".join(_marked(choice, (part, choice) in unusable) for choice in choices) for part, choices in offered.items()}
    by_reason: dict[str, dict[str, list[str]]] = {}
    for (part, choice), reason in unusable.items():
        by_reason.setdefault(reason, {}).setdefault(part, []).append(choice)
    one_for_all = len(by_reason) == 1
    return Summary(
        variants, parts, tuple(reason if one_for_all else f"{reason}: {_of_parts(found)}" for reason, found in by_reason.items())
    )


def _of_parts(choices: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{part} {', '.join(names)}" for part, names in choices.items())


def _changes(name: str, offered: Mapping[str, object]) -> str:
    base, choices = VARIANTS[BASE].choices(), VARIANTS[name].choices()
    changed = [f"{part}={choices[part]}" for part in offered if name == BASE or choices[part] != base[part]]
    return " ".join(changed)


def _marked(name: str, unusable: bool) -> str:
    return f"{name}{MARK}" if unusable else name


def meanings(model: str) -> dict[str, str]:
    """`part=choice` -> what it means, the input that it is for, and what it needs."""
    return {
        f"{part}={name}": "; ".join(filter(None, (choice.meaning, _kinds(model, part, choice), _needs(choice), _origin(choice))))
        for part, found in choices_of(model).items()
        for name, choice in found.items()
    }


def _kinds(model: str, part: str, choice: Choice) -> str:
    """Empty if it is for all input that the model takes."""
    taken = MODELS[model].kinds
    kinds = [KINDS[kind].title for kind in taken if PARTS[part].has_effect(kind) and choice.takes(kind)]
    return "" if len(kinds) == len(taken) else f"for {' and '.join(kinds)} only"


def _needs(choice: Choice) -> str:
    return f"needs {', '.join(choice.needs)}" if choice.needs else ""


def _origin(choice: Choice) -> str:
    return f"of {choice.plugin.name}, over {choice.over}" if choice.plugin is not None else ""
