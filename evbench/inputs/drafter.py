"""The other model that drafts for a variant, if one does: what it is asked, checked before any worker starts."""

from __future__ import annotations

from pathlib import Path

from evbench.choices import Variant
from evbench.errors import UserError
from evbench.inputs.workload import require_checkpoint
from evbench.pipelines import weights
from evbench.pipelines.load import png
from evbench.results import Workload


def drafter(variant: Variant, workload: Workload) -> Workload | None:
    """None if no other model drafts.

    Raises:
        UserError: a sample has no event images beside it, or such that cannot be read or are more or fewer than those of the others; or
            there is no checkpoint for it.
    """
    asked = weights.drafting(variant.choices(), workload)
    if asked is None:
        return None
    if asked.weights is not None:
        if not Path(asked.weights).is_dir():
            wanted = f"draft={variant['draft']} takes the checkpoint of {asked.model} from {asked.weights}, which is no folder"
            raise UserError(f"{wanted}; put it there, or a link to it, or use another draft")
        require_checkpoint(Path(asked.weights), asked.model)
    counts = {sample.path: png.probe(Path(sample.path))[0] for sample in asked.samples}
    first = next(iter(counts))
    if differing := next((path for path, count in counts.items() if count != counts[first]), None):
        raise UserError(f"{differing} holds {counts[differing]} event images and {first} {counts[first]}; give samples of one kind")
    return asked
