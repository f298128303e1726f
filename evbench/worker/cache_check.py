"""Pairs of runs on input that the worker has seen and on input that it has not: whether something is remembered across runs."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from evbench.results import CacheCheck, CachePair
from evbench.stages import Pipeline, Sampler, run_loaded
from evbench.worker.measure import Instruments, Stopwatch
from evbench.worker.unseen import copy_sample, other_pixels

PREFILL = "prefill"


def check_cache(pipeline: Pipeline[Any, Any, Any], path: Path, new_tokens: int, seed: int, pairs: int, using: Instruments) -> CacheCheck:
    """Run the sample in pairs, each stage timed: three runs a pair, and one before the first.

    Before a seen run the same input is run once untimed: a cache may hold no more than the last. Each unseen run has a file of its own, and
    images in which a few pixels are others than in any run before. From these follow pixel values, features and embeddings that were not
    seen either, from the first visual token on. Both files are copies in one folder, written a moment ago: neither is on a slower disk.

    Args:
        seed: another for each call, or what is unseen would have been seen.
    """
    draw = random.Random(seed)
    orders = [number % 2 == 0 for number in range(pairs)]
    draw.shuffle(orders)
    found, other_bytes = [], True
    with tempfile.TemporaryDirectory(prefix="evbench-cache-check-") as name:
        folder = Path(name)
        seen, _ = copy_sample(path, folder / "seen", None)

        def run(copy: Path, pixels: int | None) -> dict[str, float]:
            return _run(pipeline, copy, pixels, new_tokens, using)

        run(seen, None)  # the first of a pair may be the unseen run, and must not be the first of all
        for number, unseen_first in enumerate(orders):
            fresh = seed * pairs + number
            unseen, other = copy_sample(path, folder / f"unseen-{number}", fresh)
            other_bytes &= other
            first = run(unseen, fresh) if unseen_first else None
            run(seen, None)
            known = run(seen, None)
            found.append(CachePair(known, first or run(unseen, fresh)))
            for file in unseen.iterdir() if unseen.is_dir() else [unseen]:
                file.unlink()  # raw events are large
    return CacheCheck(tuple(found), other_bytes)


def _run(pipeline: Pipeline[Any, Any, Any], path: Path, pixels: int | None, new_tokens: int, using: Instruments) -> dict[str, float]:
    """Seconds of each stage, of `generate` for each new token, and of the prefill.

    Args:
        pixels: seed of the changed images. None to leave them as they are.
    """
    watch = Stopwatch(using)
    with watch("load"):
        loaded, loading = pipeline.load(path)
    values = loaded.values()
    changed = other_pixels(values, pixels or 0)  # also where it is not needed, and copied: so that the processor's caches are left alike
    given = values if pixels is None else changed
    held = loaded.holding(given.copy() if isinstance(given, np.ndarray) else given.clone())
    answer, _ = run_loaded(pipeline, (held, loading), new_tokens, watch, Sampler(mark=watch.mark))
    prefill, *_ = watch.steps()
    seconds = watch.seconds | {PREFILL: prefill}
    seconds["generate"] /= max(1, len(answer.tokens))
    return seconds
