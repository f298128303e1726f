"""Variants that have names, and `name+part=choice`."""

from __future__ import annotations

from collections.abc import Mapping

from evbench import results_upgrade
from evbench.choices import OwnPipeline, Variant
from evbench.errors import UserError, nearest
from evbench.pipelines.registry import OWN, PARTS, built_in, parts_with_effect
from evbench.results import Plugin

SAME = {"draft": "none", "quantization": "none", "cache": "full", "parallel": "none"}
"""Part -> choice of all variants that have names."""


def _named(name: str, *choices: str) -> Variant:
    chosen = dict(zip((part for part in PARTS if part not in SAME), choices, strict=True)) | SAME
    return Variant(name, tuple((part, chosen[part]) for part in PARTS))


# For each kind of input, each line but the last two changes one part of the line above it that has an effect, prefetch aside; `optimized`
# is what every machine can run.
NAMED = (
    #       name              decode      render        preprocess   attention  vision     pooling  generate          prefill    prefetch
    _named("baseline",       "plain",    "loop",       "processor", "sdpa",    "eager",   "last",  "dynamic",        "eager",   "off"),
    _named("fast-decode",    "threaded", "vectorised", "processor", "sdpa",    "eager",   "last",  "dynamic",        "eager",   "off"),
    _named("fast-pixels",    "threaded", "vectorised", "direct",    "sdpa",    "eager",   "last",  "dynamic",        "eager",   "off"),
    _named("fast-vision",    "threaded", "vectorised", "direct",    "sdpa",    "compile", "last",  "dynamic",        "eager",   "off"),
    _named("static-cache",   "threaded", "vectorised", "direct",    "sdpa",    "compile", "last",  "static",         "eager",   "off"),
    _named("optimized",      "threaded", "vectorised", "direct",    "sdpa",    "compile", "last",  "static-compile", "eager",   "on"),
    _named("optimized-gpu",  "dali",     "triton",     "triton",    "sdpa",    "fused",   "first", "graph",          "compile", "on"),
    _named("optimized-h100", "dali",     "triton",     "triton",    "flash3",  "fused",   "first", "graph",          "compile", "on"),
)  # fmt: skip
READY_MADE = _named("ready-made", "threaded", "loop", "processor-gpu", "sdpa", "compile", "last", "transformers-static", "eager", "off")
"""The best that transformers, torch and PyAV give without code of one's own."""
VARIANTS: dict[str, Variant] = {variant.name: variant for variant in (*NAMED, READY_MADE)}

REFERENCE = _named("reference", "plain", "vectorised", "exact", "eager", "eager", "last", "at-once", "eager", "off")
"""What outputs are measured against: no step is rounded, fused or cached. Two of its choices are hidden from users."""


def effective(variant: Variant, model: str, kind: str) -> dict[str, str]:
    """Part -> choice, of the parts that such a model does with such input."""
    choices = variant.choices()
    return {part: choices[part] for part in (*parts_with_effect(model, kind), OWN) if part in choices}


def conflict(variant: Variant) -> str | None:
    """Why two of its choices cannot be together, and which. None if all can."""
    choices = variant.choices()
    counted = built_in(choices)
    for part, choice in choices.items():
        for found in PARTS[part].entries[choice].conflicts:
            other = choices[found.part]
            if other in found.choices or counted[found.part] in found.choices:
                return f"{part}={choice} cannot be with {found.part}={other}, because {found.reason}"
    return None


def change(variant: Variant, choices: Mapping[str, str]) -> Variant:
    """The variant with these choices (part -> choice), whether or not they can be together. Its name says which were changed."""
    known, *before = variant.name.split("+")
    kept = [one for one in before if one.partition("=")[0] not in choices]
    name = "+".join([known, *kept, *(f"{part}={choice}" for part, choice in choices.items())])
    chosen = variant.choices() | dict(choices)
    files = (PARTS[part].entries[choice].plugin for part, choice in chosen.items())
    return Variant(name, tuple(chosen.items()), tuple(dict.fromkeys(file for file in files if file is not None)))


def used_plugins(variant: Variant) -> tuple[Plugin, ...]:
    """What a result says of the files that some of its choices are of."""
    chosen = {part: PARTS[part].entries[choice].plugin for part, choice in variant.selection}
    own = PARTS[OWN].entries[variant[OWN]] if OWN in chosen else None
    unseen = own.unseen if isinstance(own, OwnPipeline) else ()
    return tuple(
        Plugin(file.name, file.sha256, {part: variant[part] for part, of in chosen.items() if of == file}, unseen)
        for file in variant.plugins
    )


def parse(text: str) -> Variant:
    """Read `name` or `name+part=choice+part=choice`.

    Raises:
        UserError: unknown name, part or choice, the nearest known one is named; a part given twice; or two choices that cannot be
            together.
    """
    name, *changes = text.split("+")
    if name not in VARIANTS:
        raise UserError(f"unknown variant {name!r}; {nearest(name, list(VARIANTS))} See: evbench variants")
    variant = VARIANTS[name]
    if changes and OWN in variant.choices():
        raise UserError(f"{name} is a pipeline of its own, of which no choice can be changed: give {name} alone")
    given = [changed.partition("=")[0] for changed in changes]
    if twice := [part for part in given if given.count(part) > 1]:
        raise UserError(f"{twice[0]} is given twice in {text!r}; give it once")
    for changed in changes:
        part, equals, choice = changed.partition("=")
        if not equals:
            raise UserError(f"{changed!r} in {text!r} is no change of a choice; write {name}+part=choice. See: evbench variants")
        if part not in PARTS:
            former, current = results_upgrade.PART
            advice = f"it is now called {current}." if part == former else nearest(part, list(PARTS))
            raise UserError(f"unknown part {part!r} in {text!r}; {advice} See: evbench variants")
        if choice not in (offered := PARTS[part].choices):
            now = results_upgrade.PREFETCH.get(choice) if part == results_upgrade.PART[1] else None
            advice = nearest(choice, list(offered)) if now is None else f"it is now called {now}."
            raise UserError(f"unknown choice {choice!r} for {part} in {text!r}; {advice} See: evbench variants")
        variant = change(variant, {part: choice})
    if (reason := conflict(variant)) is not None:
        raise UserError(f"{text}: {reason}; choose another of the two. See: evbench variants")
    return variant


def recorded(name: str, choices: Mapping[str, str]) -> Variant:
    """The variant of a recorded result, with the choices that were measured, whatever that name means by now.

    Args:
        choices: part -> choice. Parts that came later than the result have the choice that all named variants have.

    Raises:
        UserError: a part or choice is not known any more, one is missing, or two cannot be together.
    """
    chosen = SAME | dict(choices)
    if missing := [part for part in PARTS if part not in chosen]:
        raise UserError(f"{name} of the result names no choice for {', '.join(missing)}; measure again with this version")
    for part, choice in chosen.items():
        if part not in PARTS or choice not in PARTS[part].choices:
            raise UserError(
                f"{name} of the result has {part}={choice}, which this version does not offer; verify it with that of the result"
            )
    variant = Variant(name, tuple((part, chosen[part]) for part in PARTS))
    if (reason := conflict(variant)) is not None:
        raise UserError(f"{name} of the result: {reason}; verify it with the version that measured it")
    return variant
