"""From samples to batches, whose samples go through the stages together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from evbench.choices import Variant
from evbench.errors import UserError
from evbench.pipelines.registry import MODELS, OWN_MODEL, PARTS, model_of
from evbench.results import Sample


def require(batch: int, model: str, stop_at_end: bool) -> None:
    """Raises UserError if such a model takes no batch of that size, or its answers would end where they like."""
    if batch > 1 and not model_of(model).batches:
        able = " or ".join(name for name, one in MODELS.items() if one.batches)
        taker = "a pipeline of somebody else's" if model == OWN_MODEL else f"--model {model}"
        raise UserError(f"--batch {batch}: {taker} takes one sample at a time; leave it out, or use --model {able}")
    if batch > 1 and stop_at_end:
        raise UserError("--stop-at-end lets each answer of a --batch end at another token; leave one of them out")


def require_takes(variant: Variant, batch: int) -> None:
    """Raises UserError if a variant does not take so many samples together."""
    if batch > 1 and variant.plugins:
        raise UserError(f"{variant.name} is of a plug-in, which gets one sample at a time; leave --batch {batch} out")
    for part, name in variant.choices().items():
        most = PARTS[part].entries[name].most_together
        if most is not None and batch > most:
            raise UserError(
                f"{part}={name} takes {most} {'sample' if most == 1 else 'samples'} at a time, not {batch}; choose another {part}"
            )


def of(samples: Sequence[Sample], batch: int) -> tuple[Sample, ...]:
    """The first sample of each batch, which holds the others: neighbours, each sample in one batch.

    Fewer samples than a batch has are repeated. A batch has no caption, and is of the sequences of all its samples.

    Raises:
        UserError: more samples than a batch has are no whole number of batches, or a file is among them more than once.
    """
    if batch == 1:
        return tuple(samples)
    if len(samples) > batch and len(samples) % batch:
        whole = len(samples) - len(samples) % batch
        given = f"{len(samples)} samples make no whole number of batches of {batch}"
        raise UserError(f"{given}; give {whole} or {whole + batch} samples, or another batch")
    count = max(len(samples), batch)
    rows = [dataclasses.replace(samples[place % len(samples)], caption=None) for place in range(count)]
    made = [rows[start : start + batch] for start in range(0, count, batch)]
    paths = [sample.path for sample in samples]
    if len(made) > 1 and (twice := next((path for path in paths if paths.count(path) > 1), None)):
        raise UserError(f"{twice} is given more than once, and would be in two batches of {batch}; give each file once")
    joined = _sequences([[row.sequence for row in batch_rows] for batch_rows in made])
    return tuple(
        dataclasses.replace(first, others=tuple(others), sequence=name) for (first, *others), name in zip(made, joined, strict=True)
    )


def _sequences(of_batches: Sequence[Sequence[str | None]]) -> list[str | None]:
    """A name for each batch, the same for those that share a recording, be it by way of a third. None: its samples are of none."""
    groups: list[set[str]] = []
    for names in of_batches:
        found = set(filter(None, names))
        shared = [group for group in groups if group & found]
        groups = [*(group for group in groups if group not in shared), found.union(*shared)]
    return [next((min(group) for group in groups if group & set(names)), None) for names in of_batches]
