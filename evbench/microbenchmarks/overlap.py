"""Whether a clip is loaded while the GPU computes for the sample before.

    python -m evbench.microbenchmarks.overlap --decoder dali

Timed are the load of a clip, products of matrices, and both together, where the load begins when the products have been launched. Both
take as long as the longer of them if all of the load is hidden, and as long as one after the other if nothing is. The products run on the
default stream, as the stages of a pipeline do, and on a stream of their own: work on the default stream and on blocking streams of other
libraries waits for each other (CUDA programming guide, "Default Stream").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
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
"""Of the matrices, in bfloat16: each product fills the GPU for about a millisecond, and a launch waits where a thousand are queued."""
ROUNDS = 9
STREAMS = {"default": "on the default stream", "own": "on a stream of their own"}

Call = Callable[[], object]


@dataclass(frozen=True)
class Overlap:
    """A load that begins when products have been launched."""

    decoder: str
    """Choice of `decode`."""
    stream: str
    """Of the products."""
    load_seconds: Bounded
    """By itself."""
    products_seconds: Bounded
    """By themselves."""
    returned_seconds: Bounded
    """From the last launch of a product until the load returned."""
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


def measure(name: str, load: Call, streams: Mapping[str, Call], watch: Watch) -> Iterator[Overlap]:
    """Time one decoder. What is compared is timed in turn, so that what drifts makes no difference.

    Args:
        streams: name of a stream -> what launches the products there.
    """
    for stream, launch in streams.items():
        returned: list[float] = []

        def both(launch: Call = launch, returned: list[float] = returned) -> None:
            launch()
            start = watch.clock()
            load()
            returned.append((watch.clock() - start) / 1e9)

        rounds = [[watch(call) for call in (load, launch, both)] for _ in range(WARM_UPS + ROUNDS)][WARM_UPS:]
        alone, products, together = (median(times) for times in zip(*rounds, strict=True))
        yield Overlap(name, stream, alone, products, median(returned[WARM_UPS:]), together)


def launches(seconds: float, watch: Watch) -> dict[str, Call]:
    """What launches products that take the GPU so long, on the default stream and on one of their own. Needs a GPU."""
    one, other = (torch.randn(EDGE, EDGE, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    product = torch.empty_like(one)

    def multiply(count: int) -> None:
        for _ in range(count):
            torch.mm(one, other, out=product)

    count = math.ceil(seconds * 10 / watch.median(lambda: multiply(10), ROUNDS).value)
    own = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def multiply_aside() -> None:
        with torch.cuda.stream(own):
            multiply(count)

    return {"default": lambda: multiply(count), "own": multiply_aside}


def lines(found: Overlaps) -> list[str]:
    """The result in words."""
    told = [f"{found.clip}: {found.frames} frames, by {found.frame_policy}"]
    for one in found.overlaps:
        measured = one.load_seconds, one.products_seconds, one.together_seconds, one.returned_seconds
        alone, products, together, returned = (format_seconds(seconds.value) for seconds in measured)
        hidden = round(100 * one.hidden())
        told.append(
            f"{one.decoder}: load {alone}, products {STREAMS[one.stream]} {products}, together {together}: {hidden}% of the "
            f"shorter one is hidden; the load returned after {returned}"
        )
    return told


def main(
    clip: Annotated[Path, typer.Option("--input", help="A clip.")] = sample.CLIP,
    frames: Annotated[int, typer.Option(min=2, max=10_000, help="That the model gets of it.")] = VIDEO_FRAMES,
    frame_policy: Annotated[str, typer.Option(help="inclusive or stride.")] = "inclusive",
    decoder: Annotated[
        list[str] | None, typer.Option(help="plain, threaded, or dali; can be given several times. Default: all that run here.")
    ] = None,
    milliseconds: Annotated[int, typer.Option(min=1, max=500, help="That the products take.")] = 150,
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
    streams = launches(milliseconds / 1000, watch)
    overlaps: list[Overlap] = []
    for name in names:
        decode = decoders.decoder(name)
        overlaps += measure(name, partial(decode, clip, frames, frame_policy), streams, watch)
    found = Overlaps(this_machine.read("cuda"), clip.name, frames, frame_policy, tuple(overlaps))
    for line in lines(found):
        typer.echo(line)
    write_json(out, found)


if __name__ == "__main__":
    run(main)
