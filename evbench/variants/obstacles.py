"""Why a variant cannot run here, and which one can."""

from __future__ import annotations

from evbench.choices import OwnPipeline, Variant
from evbench.errors import UserError
from evbench.machine.needs import NEEDS
from evbench.pipelines.registry import ANY, KINDS, MODELS, OWN, OWN_MODEL, PARTS, has, parts_with_effect
from evbench.variants.named import change, conflict, effective


def obstacles(variant: Variant, model: str, kind: str, device: str) -> dict[str, str]:
    """Why `variant` cannot run on this machine with such a model and input: part -> reason. A choice without effect is no obstacle."""
    found = {}
    for part, name in effective(variant, model, kind).items():
        if reason := _obstacle(model, part, name, kind, device):
            found[part] = reason
    return found


def unusable_choices(model: str, device: str) -> dict[tuple[str, str], str]:
    """(part, choice) -> why it cannot be used on this machine, of those that such a model has with some input."""
    found = {}
    for kind in MODELS[model].kinds:
        for part, known in parts_with_effect(model, kind).items():
            for name, choice in known.choices.items():
                if choice.takes(kind) and (reason := _obstacle(model, part, name, kind, device)):
                    found[part, name] = reason
    return found


def _obstacle(model: str, part: str, name: str, kind: str, device: str) -> str | None:
    choice = PARTS[part].entries[name]
    if isinstance(choice, OwnPipeline):
        if model != (choice.compares_with or OWN_MODEL) and not (choice.compares_with == ANY and model in MODELS):
            return (
                f"stands in for --model {choice.compares_with}"
                if choice.compares_with
                else "is a model of its own, and no variant of another"
            )
    elif not has(model, part, name):
        return f"cannot be used with --model {model}"
    if not choice.takes(kind):
        return f"is for {' and '.join(KINDS[kind].title for kind in choice.kinds)} only"
    return next((str(lack) for need in choice.needs if (lack := NEEDS[need](device))), choice.lacks.get(device))


def in_words(variant: Variant, found: dict[str, str]) -> str:
    """Obstacles as one text, equal reasons once."""
    by_reason: dict[str, list[str]] = {}
    for part, reason in found.items():
        by_reason.setdefault(reason, []).append(f"{part}={variant[part]}")
    return "; ".join(f"{' and '.join(choices)} {reason}" for reason, choices in by_reason.items())


def require(variant: Variant, model: str, kind: str, device: str) -> None:
    """Raises UserError if `variant` cannot run here, naming the change that can. Nothing is replaced by something else."""
    if model == OWN_MODEL and OWN not in variant.choices():
        own = ", ".join(PARTS[OWN].entries) if OWN in PARTS else "none is in use"
        raise UserError(f"{variant.name} is of evbench, and the pipeline is a model of its own; name one of its variants ({own})")
    if not (found := obstacles(variant, model, kind, device)):
        return
    if OWN in found:
        raise UserError(f"{variant.name} cannot run here: it {found[OWN]}; give another variant, or another --model")
    runnable = {part: [name for name in PARTS[part].choices if _obstacle(model, part, name, kind, device) is None] for part in found}
    cure = change(variant, {part: names[-1] for part, names in runnable.items()})
    advice = f"Or choose another: {cure.name}" if conflict(cure) is None else f"Choose another: evbench variants --model {model}"
    raise UserError(f"{variant.name} cannot run here: {in_words(variant, found)}. {advice}")
