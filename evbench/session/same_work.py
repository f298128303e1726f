"""What two sides must have in common before they are compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from evbench.errors import UserError
from evbench.results import Workload

HASH = 12
"""Characters of a hash that are shown."""


def require_same_workload(ours: Workload, theirs: Workload) -> None:
    """Raises UserError, naming the fields and both values, if the two workloads differ in more than where files lie."""
    one, other = (_without_paths(workload) for workload in (ours, theirs))
    if different := [f"{name} {one[name]!r} and {other[name]!r}" for name in one if one[name] != other[name]]:
        raise UserError(f"not the same work: {'; '.join(different)}. Measure with the options of the earlier result")


def _without_paths(workload: Workload) -> dict[str, object]:
    hashes = [row.sha256[:HASH] for sample in workload.samples for row in sample.rows()]
    plain = dataclasses.asdict(workload) | {"samples": hashes, "batch": workload.batch}
    del plain["weights"]
    return plain


def require_same_images(ours: Workload, theirs: Workload) -> None:
    """Raises UserError if models draft from other event images in one of the two. Where none are recorded, any will do."""
    for one, other in zip(ours.samples, theirs.samples, strict=True):
        if one.beside is not None and other.beside is not None and one.beside != other.beside:
            found = " and ".join(f"{images.count} of hash {images.sha256[:HASH]}" for images in (one.beside, other.beside))
            place = f"the event images beside {other.path}, from which a model drafts, are others: {found}"
            raise UserError(f"not the same work: {place}. Measure with those of the earlier result")


def require_same_weights(fingerprints: Iterable[str]) -> None:
    """Raises UserError if the fingerprints differ. An empty one is of a side that is not known yet."""
    if len(set(filter(None, fingerprints))) > 1:
        raise UserError(
            "the two sides ran different weights; measure both with the same --weights, or on the same machine with the same --seed"
        )


def require_weights_of(earlier: str, here: str) -> None:
    """Raises UserError if the fingerprint here is not that of an earlier result. Empty: there is none."""
    if earlier and earlier != here:
        raise UserError(
            f"the weights here are not those of the earlier result: fingerprint {here[:HASH]}, there {earlier[:HASH]}; use the same "
            "--weights and --seed, and if they are of a preset, the same version of evbench and torch"
        )
