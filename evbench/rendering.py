"""How long it takes to make event images from an event stream, in each way that there is; and that all make the same.

    python -m evbench.rendering --events 13700000 --device cuda

Events fall anywhere on the sensor, each of either polarity: on most pixels several, so that the order of events decides.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from evbench import machine
from evbench.encoding import to_json
from evbench.errors import UserError
from evbench.files import write_whole
from evbench.pipelines.event_images import RENDERERS, Renderer
from evbench.pipelines.event_stream import EventStream
from evbench.results import Machine
from evbench.units import format_bytes, format_seconds

HEIGHT, WIDTH = 480, 640
"""Of the cameras of DSEC."""
SECOND = 1_000_000
"""Microseconds."""
REPEATED = 20
"""Times that each way is called, but for the loop; the median is told."""


@dataclass(frozen=True)
class Timing:
    """One way to do it."""

    name: str
    seconds: float
    """Median of as many calls as are told, the device waited for behind each."""
    calls: int
    times_as_fast: float
    """As the loop."""


@dataclass(frozen=True)
class Rendering:
    """What was found."""

    machine: Machine
    device: str
    events: int
    event_bytes: int
    """Of x, y and polarity."""
    picture_bytes: int
    timings: tuple[Timing, ...]
    copied_bytes_per_second: float | None
    """At which 1 GiB is copied inside the device's memory, read and written counted each. None on a CPU."""
    least_seconds: float | None
    """To read the events once at this rate. None on a CPU."""


def random_stream(events: int, seed: int) -> EventStream:
    random = np.random.default_rng(seed)
    return EventStream(
        random.integers(0, WIDTH, events, np.uint16),
        random.integers(0, HEIGHT, events, np.uint16),
        np.sort(random.integers(0, SECOND, events)),
        random.integers(0, 2, events, np.uint8),
        (HEIGHT, WIDTH),
    )


def measure(stream: EventStream, device: str, *, calls: int = REPEATED) -> Rendering:
    """Time every renderer that runs on the device. Raises ValueError if one of them makes another picture than the loop."""
    import torch

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    expected, seconds = _timed(lambda: RENDERERS["loop"](device)(stream, "own"), wait, 1)
    timings = [Timing("loop", seconds, 1, 1.0)]
    rate = None

    def add(name: str, call: Callable[[], Any]) -> Any:
        made, taken = _timed(call, wait, calls)
        timings.append(Timing(name, taken, calls, seconds / taken))
        return made

    def render(name: str, renderer: Renderer) -> None:
        made = add(name, lambda: renderer(stream, "own"))
        same = [np.array_equal(_on_cpu(one), other) for one, other in zip(made.pixels, expected.pixels, strict=True)]
        if not all(same):
            raise ValueError(f"{name} makes other pictures than the loop: {same}")

    render("vectorised", RENDERERS["vectorised"](device))
    if device == "cuda":
        from evbench.pipelines.event_painter import copied, paint

        render("triton", RENDERERS["triton"](device))
        events = add("of it, copying the events", lambda: copied(stream, device))
        pinned = [torch.from_numpy(column).pin_memory() for column in (stream.x, stream.y, stream.p)]
        add("the same, through pinned memory", lambda: _through(pinned, stream))
        add("of it, painting", lambda: paint(events, stream.sensor, "own"))
        rate = copy_rate(wait, calls)
    event_bytes = stream.x.nbytes + stream.y.nbytes + stream.p.nbytes
    return Rendering(
        machine.read(device),
        device,
        len(stream.x),
        event_bytes,
        sum(_on_cpu(picture).nbytes for picture in expected.pixels),
        tuple(timings),
        rate,
        None if rate is None else event_bytes / rate,
    )


def _through(pinned: list[Any], stream: EventStream) -> list[Any]:
    """Copied into memory that the GPU reads by itself, and from there."""
    import torch

    return [
        place.copy_(torch.from_numpy(column)).to("cuda", non_blocking=True)
        for place, column in zip(pinned, (stream.x, stream.y, stream.p), strict=True)
    ]


def _timed(call: Callable[[], Any], wait: Callable[[], None], calls: int) -> tuple[Any, float]:
    """What it returns, and the median of so many calls behind two that nobody times. A single call is the first."""
    taken = []
    for index in range(calls + 2 if calls > 1 else 1):
        gc.collect()
        wait()
        start = time.perf_counter()
        made = call()
        wait()
        if index > 1 or calls == 1:
            taken.append(time.perf_counter() - start)
    return made, float(np.median(taken))


def copy_rate(wait: Callable[[], None], calls: int = REPEATED) -> float:
    """Bytes per second, read and written counted each, of a copy of 1 GiB inside the GPU's memory. `wait` waits for the GPU."""
    import torch

    source = torch.zeros(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    _, taken = _timed(lambda: target.copy_(source), wait, calls)
    return 2 * source.numel() / taken


def _on_cpu(picture: Any) -> Any:
    return picture if isinstance(picture, np.ndarray) else picture.cpu().numpy()


def main(
    events: Annotated[int, typer.Option(min=5, help="In one second. A street at day has 10 to 14 million.")] = 13_700_000,
    device: Annotated[str, typer.Option(help="cuda, cpu, or auto: the GPU if there is one.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of the random events.")] = 0,
    out: Annotated[Path | None, typer.Option(help="File for all of it, as JSON.")] = None,
) -> None:
    """Time each way to make event images of a random stream, and check that all pictures are equal."""
    found = measure(random_stream(events, seed), machine.choose_device(device))
    typer.echo(f"{found.events} events, {format_bytes(found.event_bytes)}, on {found.device}; all pictures are equal")
    for timing in found.timings:
        typer.echo(f"  {timing.name:31} {format_seconds(timing.seconds):>8}  {timing.times_as_fast:.1f} times as fast as the loop")
    if found.least_seconds is not None and found.copied_bytes_per_second is not None:
        rate = f"{found.copied_bytes_per_second / 1e12:.2f} TB/s, the rate of a copy"
        typer.echo(f"  {'reading the events once':31} {format_seconds(found.least_seconds):>8}  at {rate}")
    if out is not None:
        write_whole(out, to_json(found, indent=1) + "\n")


if __name__ == "__main__":
    try:
        typer.run(main)
    except UserError as error:
        typer.echo(f"evbench: {error}", err=True)
        raise SystemExit(2) from None
