"""Pairs of runs on input that the worker has seen and on input that it has not: whether something is remembered across runs.

What is remembered shows in times, or in outputs that stay the same when the input does not.
"""

from __future__ import annotations

import dataclasses
import random
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evbench.errors import UserError
from evbench.results import CacheCheck, CachePair
from evbench.stages import Pipeline, Sampler, run_loaded
from evbench.worker.measure import Instruments, Stopwatch
from evbench.worker.unseen import copy_sample, other_pixels

PREFILL = "prefill"


def check_cache(
    pipeline: Pipeline[Any, Any, Any],
    path: Path,
    new_tokens: int,
    seed: int,
    pairs: int,
    using: Instruments,
    other: Path | None = None,
    events: Path | None = None,
    batch: int = 1,
) -> CacheCheck:
    """Run the sample in pairs, each stage timed: three runs a pair, and one before the first.

    Before a seen run the same input is run once untimed: a cache may hold no more than the last. Each unseen run has a file of its own, and
    images in which a few pixels are others than in any run before. From these follow pixel values, features and embeddings that were not
    seen either, from the first visual token on. Both files are copies in one folder, written a moment ago: neither is on a slower disk.

    Args:
        seed: another for each call, or what is unseen would have been seen.
        other: a sample whose frames are others, which is loaded after all runs. None if there is none.
        events: event images of the sample that a model that drafts sees.
        batch: samples that go through the stages together.
    """
    draw = random.Random(seed)
    orders = [number % 2 == 0 for number in range(pairs)]
    draw.shuffle(orders)
    found, other_bytes, unchanged = [], True, dict[str, float]()
    with tempfile.TemporaryDirectory(prefix="evbench-cache-check-") as name:
        folder = Path(name)
        seen, _ = copy_sample(path, folder / "seen", None, events)

        def run(copy: Path, pixels: int | None) -> _Ran:
            return _run(pipeline, copy, pixels, new_tokens, using, batch)

        run(seen, None)  # the first of a pair may be the unseen run, and must not be the first of all
        for fresh, unseen_first in enumerate(orders, seed * pairs):
            unseen, changed = copy_sample(path, folder / f"unseen-{fresh}", fresh, events)
            other_bytes &= changed
            first = run(unseen, fresh) if unseen_first else None
            run(seen, None)
            known = run(seen, None)
            new = first or run(unseen, fresh)
            found.append(CachePair(known.seconds, new.seconds))
            for stage, share in _unchanged(known.outputs, new.outputs).items():
                unchanged[stage] = max(share, unchanged.get(stage, 0.0))
            shutil.rmtree(folder / f"unseen-{fresh}")  # raw events are large
        if other is not None:
            unchanged |= _unchanged(_loaded(pipeline, seen), _loaded(pipeline, other))
    return CacheCheck(tuple(found), other_bytes, unchanged)


@dataclass(frozen=True)
class _Ran:
    """A run."""

    seconds: dict[str, float]
    """Of each stage, of `generate` for each new token, and of the prefill."""
    outputs: Mapping[str, Any]
    """Stage -> its output on the host, of `generate` the logits of the first token. Without `load`, and what cannot be seen."""


def _run(pipeline: Pipeline[Any, Any, Any], path: Path, pixels: int | None, new_tokens: int, using: Instruments, batch: int) -> _Ran:
    """
    Args:
        pixels: seed of the changed images. None to leave them as they are.
    """
    watch = Stopwatch(using)
    with watch("load"):
        loaded, loading = pipeline.load(path)
    held = _holding(loaded, pixels)
    if (beside := getattr(loaded, "beside", None)) is not None:  # for a model that drafts
        held = dataclasses.replace(held, beside=_holding(beside, pixels))
    outputs, sampler = dict[str, Any](), Sampler(keep={0}, mark=watch.mark)
    answer, _ = run_loaded(pipeline, (held, loading), new_tokens, watch, sampler, outputs.__setitem__)
    prefill, *_ = watch.steps()
    seconds = watch.seconds | {PREFILL: prefill}
    seconds["generate"] /= max(1, len(answer.tokens) // batch)
    shown = {stage: output.values() for stage, output in outputs.items()} | {"generate": sampler.kept.get(0)}
    return _Ran(seconds, {stage: _on_host(values) for stage, values in shown.items() if values is not None})


def _holding(loaded: Any, pixels: int | None) -> Any:
    """A copy of what was loaded, changed or not."""
    values = loaded.values()
    changed = other_pixels(values, pixels or 0)  # also where it is not needed, and copied: so that the processor's caches are left alike
    given = values if pixels is None else changed
    return loaded.holding(given.copy() if isinstance(given, np.ndarray) else given.clone())


def _loaded(pipeline: Pipeline[Any, Any, Any], path: Path) -> dict[str, Any]:
    """The output of `load`. Empty if it cannot be seen, or the pipeline takes no such sample."""
    try:
        values = pipeline.load(path)[0].values()
    except UserError:
        return {}
    return {} if values is None else {"load": _on_host(values)}


def _on_host(values: Any) -> Any:
    """A copy: a stage may write its next output into the same tensor."""
    import torch

    return torch.as_tensor(values).detach().to("cpu", copy=True)


def _unchanged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, float]:
    """Stage -> share of equal rows, of the stages that both have. Rows are of the first axis that is longer than 1: frames, tokens."""
    return {stage: _equal_rows(ours[stage], theirs[stage]) for stage in ours if stage in theirs}


def _equal_rows(ours: Any, theirs: Any) -> float:
    if ours.shape != theirs.shape or not ours.numel():
        return 0.0
    while ours.ndim > 1 and len(ours) == 1:
        ours, theirs = ours[0], theirs[0]
    equal = ours == theirs
    return float(equal.all() if equal.ndim < 2 else equal.flatten(1).all(dim=1).float().mean())
