"""Whether a clip is loaded while the GPU computes for the sample before.

    python -m evbench.microbenchmarks.overlap --decoder dali

Timed are the load of a clip, products of matrices, and both together, the load in a thread as in a pipeline that prefetches. Both take as
long as the longer of them if all of the load is hidden, and as long as one after the other if nothing is. The host launches the products
some ahead of the GPU, or all at once: a decoder may wait, again and again, until all has ended that was launched before.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer

from evbench.cli.script import require_writable, run, write_json
from evbench.errors import UserError
from evbench.inputs import sample
from evbench.inputs.decoders import choose_decoders
from evbench.machine import machine as this_machine
from evbench.microbenchmarks.loading import WARM_UPS, Watch, median
from evbench.models import VIDEO_FRAMES
from evbench.pipelines.load import decoders
from evbench.pipelines.load.video import probe, require_policy
from evbench.report.units import format_seconds
from evbench.results import Machine
from evbench.verdict.lines import Bounded
from evbench.worker.instruments import synchronizer

EDGE = 8192
"""Of the matrices, in bfloat16: each product fills the GPU for more than a millisecond, and a launch waits where a thousand are queued."""
ROUNDS = 9
AHEAD = (2, 8, 32, None)
"""Products that are launched ahead of the GPU. None: all."""

Call = Callable[[], object]
Together = Callable[[int | None], float]
"""Products that are launched ahead -> seconds that the load took, in a thread while they were launched."""


@dataclass(frozen=True)
class Overlap:
    """A load while products are launched and computed."""

    decoder: str
    """Choice of `decode`."""
    ahead: int | None
    """Products that were launched ahead of the GPU. None: all."""
    load_seconds: Bounded
    """By itself."""
    products_seconds: Bounded
    """By themselves."""
    meanwhile_seconds: Bounded
    """The load, while the products were launched and computed."""
    together_seconds: Bounded
    """Both, until the GPU was idle."""

    def hidden(self) -> float:
        """Share of the shorter one's time that is hidden behind the longer one: 1 is all, 0 is one after the other."""
        shorter = min(self.load_seconds.value, self.products_seconds.value)
        return (self.load_seconds.value + self.products_seconds.value - self.together_seconds.value) / shorter


@dataclass(frozen=True)
class Overlaps:
    """All that was measured, and of what."""

    machine: Machine
    clip: str
    frames: int
    """That the model gets."""
    frame_policy: str
    overlaps: tuple[Overlap, ...]


def measure(name: str, load: Call, products: Call, together: Together, watch: Watch) -> Iterator[Overlap]:
    """Time one decoder. What is compared is timed in turn, so that what drifts makes no difference.

    Args:
        products: launches all of them.
    """
    for ahead in AHEAD:
        meanwhile: list[float] = []

        def both(ahead: int | None = ahead, meanwhile: list[float] = meanwhile) -> None:
            meanwhile.append(together(ahead))

        rounds = [[watch(call) for call in (load, products, both)] for _ in range(WARM_UPS + ROUNDS)][WARM_UPS:]
        alone, computed, whole = (median(times) for times in zip(*rounds, strict=True))
        yield Overlap(name, ahead, alone, computed, median(meanwhile[WARM_UPS:]), whole)


class Products:
    """Products of matrices that take the GPU some time. Needs a GPU."""

    def __init__(self, seconds: float, watch: Watch) -> None:
        self._factors = [torch.randn(EDGE, EDGE, dtype=torch.bfloat16, device="cuda") for _ in range(2)]
        self._product = torch.empty_like(self._factors[0])
        self._count = 10
        self._count = math.ceil(seconds * 10 / watch.median(self, ROUNDS).value)

    def __call__(self, ahead: int | None = None) -> None:
        """Launch all of them, so many ahead of the GPU."""
        launched: deque[torch.cuda.Event] = deque()
        for _ in range(self._count):
            if len(launched) == ahead:
                launched.popleft().synchronize()
            torch.mm(*self._factors, out=self._product)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
            launched.append(event)

    def while_loading(self, load: Call, ahead: int | None) -> float:
        """Launch them while a thread loads. Seconds that the load takes."""

        def timed_load() -> float:
            start = time.perf_counter()
            load()
            return time.perf_counter() - start

        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(timed_load)
            self(ahead)
            return loading.result()


def lines(found: Overlaps) -> list[str]:
    """The result in words."""
    told = [f"{found.clip}: {found.frames} frames, by {found.frame_policy}"]
    for one in found.overlaps:
        measured = one.load_seconds, one.products_seconds, one.together_seconds, one.meanwhile_seconds
        alone, products, together, meanwhile = (format_seconds(seconds.value) for seconds in measured)
        hidden = round(100 * one.hidden())
        launched = "all at once" if one.ahead is None else f"{one.ahead} ahead"
        told.append(
            f"{one.decoder}: load {alone}, products {products}; launched {launched}, together {together}: {hidden}% of the shorter one is "
            f"hidden, and the load took {meanwhile}"
        )
    return told


def main(
    clip: Annotated[Path, typer.Option("--input", help="A clip.")] = sample.CLIP,
    frames: Annotated[int, typer.Option(min=2, max=10_000, help="That the model gets of it.")] = VIDEO_FRAMES,
    frame_policy: Annotated[str, typer.Option(help="inclusive or stride.")] = "inclusive",
    decoder: Annotated[
        list[str] | None, typer.Option(help="plain, threaded, or dali; can be given several times. Default: all that run here.")
    ] = None,
    milliseconds: Annotated[int, typer.Option(min=1, max=1000, help="That the products take.")] = 300,
    out: Annotated[Path | None, typer.Option(help="File for the result, as JSON.")] = None,
) -> None:
    """Time the load of a clip while the GPU computes, and say how much of it is hidden."""
    require_writable(out)
    require_policy(frame_policy)
    names = choose_decoders(decoder or ())
    probe(clip).choose(clip, frames, frame_policy)
    if this_machine.choose_device("auto") != "cuda":
        raise UserError("there is no GPU here that a load could be hidden behind; run it where there is one")
    watch = Watch(synchronizer("cuda"))
    products = Products(milliseconds / 1000, watch)
    overlaps: list[Overlap] = []
    for name in names:
        decode = decoders.decoder(name)
        load = partial(decode, clip, frames, frame_policy)
        overlaps += measure(name, load, products, partial(products.while_loading, load), watch)
    found = Overlaps(this_machine.read("cuda"), clip.name, frames, frame_policy, tuple(overlaps))
    for line in lines(found):
        typer.echo(line)
    write_json(out, found)


if __name__ == "__main__":
    run(main)
