"""What evbench plants into a pipeline to see whether it finds it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from evbench.results import STAGES
from evbench.stages import Stages


@dataclass(frozen=True)
class Delay:
    """One stage takes longer, by a share of the time that it takes."""

    stage: str
    share: float


def plant(delay: Delay, pipeline: Stages[Any, Any, Any], synchronize: Callable[[], None]) -> None:
    """Put the delay into the pipeline."""
    assert delay.stage in STAGES
    stage = getattr(pipeline, delay.stage)

    def slower(*arguments: Any) -> Any:
        start = time.perf_counter()
        done = stage(*arguments)
        synchronize()  # what the device still does is part of the time
        until = time.perf_counter() + delay.share * (time.perf_counter() - start)
        # time.sleep comes back up to a tenth of a millisecond late, which is more than a share of a short stage.
        while time.perf_counter() < until:
            pass
        return done

    setattr(pipeline, delay.stage, slower)
