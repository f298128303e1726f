"""The other model that drafts for a variant, if one does: what it is asked, checked before any worker starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from evbench.choices import Variant
from evbench.errors import UserError
from evbench.inputs.workload import require_checkpoint, sha256_of
from evbench.pipelines import weights
from evbench.pipelines.load import png
from evbench.results import ImagesBeside, Workload


def drafter(variant: Variant, workload: Workload) -> Workload | None:
    """As `weights.drafting`, with the hash of what lies beside each sample in the place of the sample's, and the number of event images.

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
    found = {sample.path: images_in(Path(sample.path)) for sample in asked.samples}
    first, count = next((path, images.count) for path, images in found.items())
    if differing := next((path for path, images in found.items() if images.count != count), None):
        raise UserError(f"{differing} holds {found[differing].count} event images and {first} {count}; give samples of one kind")
    samples = tuple(dataclasses.replace(sample, sha256=found[sample.path].sha256) for sample in asked.samples)
    return dataclasses.replace(asked, samples=samples, frames=count)


def images_in(folder: Path) -> ImagesBeside:
    """`folder`: as `evbench.pipelines.load.png.find` takes it. Raises UserError if an image cannot be read."""
    return ImagesBeside(png.probe(folder)[0], sha256_of(folder))


def seen_by(drafters: Sequence[Workload | None], workload: Workload) -> Workload:
    """The workload of both sides of a session, in which it is recorded what the models see that draft.

    Args:
        drafters: of its sides, as `drafter` returns them.
    """
    asked = next(filter(None, drafters), None)
    if asked is None:
        return with_images(workload, [None] * len(workload.samples))
    return with_images(workload, [ImagesBeside(asked.frames, sample.sha256) for sample in asked.samples])


def with_images(workload: Workload, images: Sequence[ImagesBeside | None]) -> Workload:
    """`images`: beside each sample."""
    samples = tuple(dataclasses.replace(sample, beside=one) for sample, one in zip(workload.samples, images, strict=True))
    return dataclasses.replace(workload, samples=samples)
