"""Facts -> which named variant runs here with which model and input, and why another does not. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from evbench.doctor.facts import Facts, VariantHere
from evbench.doctor.findings import MISSING, OK, PROBLEM, VARIANTS, Finding
from evbench.doctor.software import LIBRARIES
from evbench.pipelines.registry import KINDS, PARTS
from evbench.variants.named import VARIANTS as NAMED
from evbench.variants.named import effective
from evbench.variants.obstacles import in_words

ON_NVDEC = ("decode", "dali", "video")
"""Part, choice and kind of input that are for the GPU's video decoders."""


@dataclass(frozen=True)
class Runs:
    """Whether a variant runs here with a model and a kind of input."""

    variant: str
    model: str
    kind: str
    reasons: tuple[str, ...]
    """Why not. Empty if it runs."""
    in_words: str
    """The same with the choices that each reason holds for."""


def runs(facts: Facts) -> list[Runs]:
    """Of each named variant. What stops the baseline is not looked at."""
    broken = _broken(facts)
    return [_run(here, broken, _no_nvdec(facts)) for here in facts.variants]


def _run(here: VariantHere, broken: Mapping[str, str], no_nvdec: str) -> Runs:
    found = dict(here.obstacles)
    for part, choice in effective(NAMED[here.variant], here.model, here.kind).items():
        for need in PARTS[part].entries[choice].needs:
            if need in broken:
                found.setdefault(part, broken[need])
        if no_nvdec and (part, choice, here.kind) == ON_NVDEC:
            found.setdefault(part, no_nvdec)
    return Runs(here.variant, here.model, here.kind, tuple(dict.fromkeys(found.values())), in_words(NAMED[here.variant], found))


def _broken(facts: Facts) -> dict[str, str]:
    """Need -> what is wrong with something that is installed, and does not work."""
    questions = {need: question for need, (_, question) in LIBRARIES.items()} | {"Triton": "triton"}
    titles = {need: title for need, (title, _) in LIBRARIES.items()} | {"Triton": "Triton"}
    return {need: f"needs {titles[need]}, which is a problem here" for need, question in questions.items() if facts.answer(question).fault}


def _no_nvdec(facts: Facts) -> str:
    answer = facts.answers.get("nvdec")
    return "" if answer is None or answer.said.get("decoders") else "needs the GPU's video decoders (NVDEC), which are not there"


def about_variants(facts: Facts, stopped_by: tuple[str, ...]) -> Iterator[Finding]:
    """One finding for each variant, and with details one for each model and input.

    Args:
        stopped_by: what has to be mended before any variant runs.
    """
    if stopped_by:
        yield Finding(VARIANTS, "each variant", PROBLEM, f"waits for what is wrong with {', '.join(stopped_by)}")
    found = runs(facts)
    for name in NAMED:
        own = [one for one in found if one.variant == name]
        grade = MISSING if any(one.reasons for one in own) else OK
        yield Finding(VARIANTS, name, grade, _summary(own), detail=bool(stopped_by))
        for one in own:
            text = one.in_words or "has all that it needs"
            yield Finding(VARIANTS, name, MISSING if one.reasons else OK, f"{_input(one)}: {text}", detail=True)


def _summary(own: Sequence[Runs]) -> str:
    """Of one variant: each reason once, with the inputs that it is for if others run."""
    inputs: dict[str, list[str]] = {}
    for one in own:
        for reason in one.reasons:
            inputs.setdefault(reason, []).append(_input(one))
    told = (reason if len(names) == len(own) else f"with {' and '.join(names)} {reason}" for reason, names in inputs.items())
    return "; ".join(told) or "has all that it needs for each model and input"


def _input(one: Runs) -> str:
    return f"{one.model} of {KINDS[one.kind].title}"
