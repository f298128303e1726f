"""How long it takes to make event images from an event stream, in each way that there is; and that all make the same.

Pictures must be equal, bit by bit. So must be the model's input that is made of them. Made of last events its sums are in another order: no
value may be further off than a level of a picture, and 999 of 1000 must be equal, bit by bit.

    python -m evbench.microbenchmarks.rendering --events 13700000 --device cuda

On a GPU also what comes in front and behind: the copy of the events, and the model's input, made of each pixel's last event or through
pictures. What takes the GPU less time than the host needs to ask for it is timed on the GPU's stream as well, where the host is ahead.
Events fall anywhere on the sensor, each of either polarity: on most pixels several, so that the order of events decides.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from evbench.cli.script import keep, require_place, run
from evbench.machine import machine as this_machine
from evbench.pipelines.load.decoders import renderer
from evbench.pipelines.load.event_images import EventImages
from evbench.pipelines.load.event_stream import EventStream
from evbench.report.units import format_bytes, format_seconds
from evbench.results import Machine

HEIGHT, WIDTH = 480, 640
"""Of the cameras of DSEC."""
SECOND = 1_000_000
"""Microseconds."""
EDGE = 336
"""Pixels of the model's input, along each side."""
EQUAL = 0.999
"""Of the values of the model's input, made of last events, bit by bit equal to those of the pictures."""
AHEAD = 16
"""Copies of 1 GiB that keep the GPU busy for some milliseconds, while the host asks for what is timed on its stream."""
REPEATED = 20
"""Times that each way is called, but for the loop; the median is told."""


@dataclass(frozen=True)
class Timing:
    """One way to do it."""

    name: str
    seconds: float
    """Median of as many calls as are told, the device waited for behind each; or on the GPU's stream, as the name tells."""
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


Add = Callable[[str, Callable[[], Any]], Any]
"""(name, call): call it as often as it is to be timed, keep the median, and return what it returned at last."""


def measure(stream: EventStream, device: str, *, calls: int = REPEATED) -> Rendering:
    """Time every renderer that runs on the device. Raises ValueError if one of them makes something else than the loop."""
    import torch

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    expected, seconds = _timed(lambda: renderer("loop", device)(stream, "own").pixels, wait, 1)
    timings = [Timing("loop", seconds, 1, 1.0)]
    rate = None

    def add(name: str, call: Callable[[], Any]) -> Any:
        made, taken = _timed(call, wait, calls)
        timings.append(Timing(name, taken, calls, seconds / taken))
        return made

    vectorised = renderer("vectorised", device)
    require_equal("vectorised", add("vectorised", lambda: vectorised(stream, "own").pixels), expected)
    if device == "cuda":
        pinned = [torch.from_numpy(column).pin_memory() for column in (stream.x, stream.y, stream.p)]
        add("copying the events through pinned memory", lambda: _through(pinned, stream))
        with_triton(stream, device, expected, add)
        timings += [Timing(name, taken, calls, seconds / taken) for name, taken in on_stream(stream, device, calls).items()]
        rate = copy_rate(wait, calls)
    event_bytes = stream.x.nbytes + stream.y.nbytes + stream.p.nbytes
    return Rendering(
        this_machine.read(device),
        device,
        len(stream.x),
        event_bytes,
        sum(_on_cpu(picture).nbytes for picture in expected),
        tuple(timings),
        rate,
        None if rate is None else event_bytes / rate,
    )


def with_triton(stream: EventStream, device: str, expected: Sequence[Any], add: Add) -> None:
    """Time the renderer, its parts, and both ways on to the model's input.

    Args:
        expected: the pictures that the loop makes.

    Raises:
        ValueError: the pictures are others, or the model's input is in one of the ways: see the top of this module.
    """
    import torch

    from evbench.pipelines.load.event_painter import EventMaps, copied, search
    from evbench.pipelines.preprocess.image_processor import image_processor
    from evbench.pipelines.preprocess.pixels import Recipe, quantum
    from evbench.pipelines.preprocess.preprocessors import fused_values

    processor = image_processor(EDGE)
    values = fused_values(Recipe.of(processor), device, torch.bfloat16)

    def found() -> EventMaps:
        last, sizes = search(events, stream.sensor, "own")
        return EventMaps(last, tuple(sizes), "Triton")

    render = renderer("triton", device)
    require_equal("triton", add("triton, painted", lambda: render(stream, "own").pixels), expected)
    events = add("of it, copying the events", lambda: copied(stream, device))
    maps = add("of it, finding the last events", found)
    add("of it, painting", lambda: replace(maps).pixels)
    direct = add("events on the device to model input", lambda: values(found()))
    through = add("the same, through pictures", lambda: values(EventImages(found().pixels, "Triton")))
    of_loop = values(EventImages(tuple(expected), "loop"))
    require_nearly_equal("model input from last events", direct, of_loop, quantum(processor))
    require_equal("model input through pictures", [through], [of_loop])


def on_stream(stream: EventStream, device: str, calls: int) -> dict[str, float]:
    """Seconds between two moments on the GPU's stream, the median of so many calls: finding the last events, and model input of them."""
    import torch

    from evbench.kernels.event_images import as_sizes, last_events
    from evbench.pipelines.load.event_images import SLICES
    from evbench.pipelines.load.event_painter import EventMaps, copied
    from evbench.pipelines.preprocess.image_processor import image_processor
    from evbench.pipelines.preprocess.pixels import Recipe
    from evbench.pipelines.preprocess.preprocessors import fused_values

    events, canvas = copied(stream, device), (HEIGHT, WIDTH)
    values = fused_values(Recipe.of(image_processor(EDGE)), device, torch.bfloat16)
    _, extents = last_events(*events, SLICES, canvas)
    sizes = tuple(as_sizes(extents))

    def find() -> Any:
        return last_events(*events, SLICES, canvas)[0]

    ways = {"finding the last events": find, "events to model input": lambda: values(EventMaps(find(), sizes, "Triton"))}
    return {f"{name}, on the GPU's stream": _between_moments(call, calls) for name, call in ways.items()}


def _between_moments(call: Callable[[], Any], calls: int) -> float:
    import torch

    source = torch.zeros(2**30, dtype=torch.uint8, device="cuda")
    target, taken = torch.empty_like(source), []
    for index in range(calls + 2):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        for _ in range(AHEAD):
            target.copy_(source)
        first.record()
        call()
        # The first calls compile.
        if index > 1 and first.query():  # type: ignore[no-untyped-call]
            raise RuntimeError("the host was not ahead of the GPU: what is between the two moments is its time as well")
        last.record()
        torch.cuda.synchronize()
        if index > 1:
            taken.append(first.elapsed_time(last) / 1e3)
    return float(np.median(taken))


def require_equal(name: str, made: Sequence[Any], expected: Sequence[Any]) -> None:
    """Raises ValueError if an array is another, bit by bit."""
    same = [np.array_equal(_on_cpu(one), _on_cpu(other)) for one, other in zip(made, expected, strict=True)]
    if not all(same):
        raise ValueError(f"{name}: not equal to what the loop makes: {same}")


def require_nearly_equal(name: str, made: Any, expected: Any, level: float) -> None:
    """Raises ValueError if a value is further off than a level, or if fewer than EQUAL of all are equal, bit by bit.

    Args:
        made, expected: tensors of one shape and type.
        level: what one level of a picture is in them, at most. To it comes what rounding to the type does to both.
    """
    import torch

    wide, size = (made.double() - expected.double()).abs(), expected.double().abs()
    # Asked in this way, NaN is refused: it is within nothing.
    within = bool((wide <= level + torch.finfo(made.dtype).eps * (size + level)).all())
    equal = float((made == expected).double().mean())
    if not (within and equal >= EQUAL):
        told = f"{equal:.2%} of the values are equal, and {float(wide.max()) / level:.3g} levels is the most"
        raise ValueError(f"{name}: not equal to what the loop makes, but for rounding: {told}")


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


def _on_cpu(made: Any) -> Any:
    """An array of the same numbers: numpy has no bfloat16, and float32 holds it."""
    return made if isinstance(made, np.ndarray) else (made.float() if made.is_floating_point() else made).cpu().numpy()


def main(
    events: Annotated[int, typer.Option(min=5, help="In one second. A street at day has 10 to 14 million.")] = 13_700_000,
    device: Annotated[str, typer.Option(help="cuda, cpu, or auto: the GPU if there is one.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the random events.")] = 0,
    out: Annotated[Path | None, typer.Option(help="File for all of it, as JSON.")] = None,
) -> None:
    """Time each way to make event images of a random stream, and check that all make the same: the model's input but for rounding."""
    require_place(out)
    found = measure(random_stream(events, seed), this_machine.choose_device(device))
    also = f", and the model's input: at least {EQUAL:.1%} of it bit by bit, the rest within a level" if found.device == "cuda" else ""
    typer.echo(f"{found.events} events, {format_bytes(found.event_bytes)}, on {found.device}; all pictures are equal{also}")
    for timing in found.timings:
        typer.echo(f"  {timing.name:41} {format_seconds(timing.seconds):>8}  {timing.times_as_fast:.1f} times as fast as the loop")
    if found.least_seconds is not None and found.copied_bytes_per_second is not None:
        rate = f"{found.copied_bytes_per_second / 1e12:.2f} TB/s, the rate of a copy"
        typer.echo(f"  {'reading the events once':41} {format_seconds(found.least_seconds):>8}  at {rate}")
    keep(out, found)


if __name__ == "__main__":
    run(main)
