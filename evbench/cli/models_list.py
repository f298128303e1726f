"""`evbench models list`."""

from __future__ import annotations

from evbench.choices import resolve
from evbench.cli.console import print_line, screen
from evbench.pipelines.registry import MODELS, SHIPPED, SHOWN
from evbench.report.render import pairs, plain


def models_list_command() -> None:
    """List the models that can be measured, by the model_type in config.json of their checkpoints, and those that cannot with the reason.

    Asks the classes of the transformers that is installed; no checkpoint is read.

    Examples:
        evbench models list
    """
    lacks: dict[str, str] = resolve("evbench.pipelines.interface:lacks")()  # imports torch, and takes seconds
    own = [MODELS[name].model_type for name in SHIPPED]
    untried = [model_type for model_type, lack in lacks.items() if not lack and model_type not in (*SHOWN, *own)]
    refused = {
        reason: [model_type for model_type, lack in lacks.items() if lack == reason] for reason in sorted(set(lacks.values()) - {""})
    }
    groups = {name: f"model_type {MODELS[name].model_type}" for name in SHIPPED}
    groups["auto, tested"] = f"at small random size: {', '.join(SHOWN)}"
    groups["auto, untried"] = f"with all that it asks of a class: {', '.join(untried)}"
    groups["refused"] = "; ".join(f"no {reason}: {', '.join(names)}" for reason, names in refused.items())
    screen.print(plain("--model, and what it takes", "bold"))
    screen.print(pairs(groups))
    print_line("--model auto takes a folder by --weights: get_video_features or get_image_features is its vision stage, then generate.")
    print_line("Whether that gives the model's own tokens is tried for each folder when it is loaded.")
