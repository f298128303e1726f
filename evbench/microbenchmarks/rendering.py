"""How long each way to render event images from an event stream takes, and that all render the same.

    python -m evbench.microbenchmarks.rendering --events 13700000 --device cuda

The images must be equal bit by bit, and so must be the model's input that is computed from them. Computed from each pixel's last event its
sums are in another order: no value may be further off than one level of an image, and 999 of 1000 must be equal bit by bit.

On a GPU also what comes before and after: copying the events, and the model's input, from last events or through images. What the GPU does
in less time than the host needs to launch it is timed on the GPU's stream as well, where the host is ahead.
Events fall anywhere on the sensor, each of either polarity: on most pixels several, so that the order of events decides.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from evbench.cli.script import require_writable, run, write_json
from evbench.machine import machine as this_machine
from evbench.pipelines.load.decoders import renderer
from evbench.pipelines.load.event_images import EventImages, Images
from evbench.pipelines.load.event_stream import EventStream
from evbench.report.units import format_bytes, format_seconds
from evbench.results import Machine
from evbench.worker.instruments import synchronizer
from evbench.worker.measure import CudaStream

if TYPE_CHECKING:
    from evbench.pipelines.load.event_painter import EventMaps, Events

HEIGHT, WIDTH = 480, 640
"""Of the cameras of DSEC."""
SECOND = 1_000_000
"""Microseconds."""
EDGE = 336
"""Pixels of the model's input, along each side."""
EQUAL = 0.999
"""Share of the values of the model's input from last events that are equal, bit by bit, to those through images."""
AHEAD = 16
"""Copies of 1 GiB that keep the GPU busy for some milliseconds, while the host launches what is timed on its stream."""
REPEATED = 20
"""Timed calls of each way but the loop."""
WARM_UPS = 2
"""Calls before them, which compile."""


@dataclass(frozen=True)
class Timing:
    """One way to render, or a part of it."""

    name: str
    seconds: float
    """Median over the calls, each until the device is idle; of a name that says so, on the GPU's stream."""
    calls: int
    speedup: float
    """Over the loop."""


@dataclass(frozen=True)
class Rendering:
    """All timings, and what they are of."""

    machine: Machine
    device: str
    events: int
    event_bytes: int
    """Of x, y and polarity."""
    image_bytes: int
    timings: tuple[Timing, ...]
    copied_bytes_per_second: float | None
    """At which 1 GiB is copied inside the device's memory, read and written counted each. None on a CPU."""
    least_seconds: float | None
    """To read the events once at this rate. None on a CPU."""


def random_stream(events: int, seed: int) -> EventStream:
    """One second of events."""
    random = np.random.default_rng(seed)
    return EventStream(
        random.integers(0, WIDTH, events, np.uint16),
        random.integers(0, HEIGHT, events, np.uint16),
        np.sort(random.integers(0, SECOND, events)),
        random.integers(0, 2, events, np.uint8),
        (HEIGHT, WIDTH),
    )


Add = Callable[[str, Callable[[], Any]], Any]
"""(name, call): time the call, keep its median, and return what it returned last."""


def measure(stream: EventStream, device: str, *, calls: int = REPEATED) -> Rendering:
    """Time every renderer that runs on the device. Raises ValueError if one of them renders something else than the loop."""
    wait = synchronizer(device)
    expected, of_loop = _timed(lambda: renderer("loop", device)(stream, "own").pixels, wait, 1)
    timings = [Timing("loop", of_loop, 1, 1.0)]
    rate = None

    def keep_timing(name: str, seconds: float) -> None:
        timings.append(Timing(name, seconds, calls, of_loop / seconds))

    def add(name: str, call: Callable[[], Any]) -> Any:
        returned, seconds = _timed(call, wait, calls)
        keep_timing(name, seconds)
        return returned

    vectorised = renderer("vectorised", device)
    require_equal("vectorised", add("vectorised", lambda: vectorised(stream, "own").pixels), expected)
    if device == "cuda":
        import torch

        pinned = [torch.from_numpy(column).pin_memory() for column in (stream.x, stream.y, stream.p)]
        add("copying the events through pinned memory", lambda: _through(pinned, stream))
        for name, seconds in on_stream(with_triton(stream, device, expected, add), calls).items():
            keep_timing(name, seconds)
        rate = copy_rate(wait, calls)
    event_bytes = stream.x.nbytes + stream.y.nbytes + stream.p.nbytes
    return Rendering(
        this_machine.read(device),
        device,
        len(stream.x),
        event_bytes,
        sum(_on_cpu(image).nbytes for image in expected),
        tuple(timings),
        rate,
        None if rate is None else event_bytes / rate,
    )


@dataclass(frozen=True)
class OnDevice:
    """What was prepared on the device to time the Triton renderer."""

    events: Events
    maps: EventMaps
    """The last events of `events`."""
    values: Callable[[Images], Any]
    """Images, or the last events of each pixel -> the model's input."""


def with_triton(stream: EventStream, device: str, expected: Sequence[Any], add: Add) -> OnDevice:
    """Time the renderer, its parts, and both ways from there to the model's input.

    Args:
        expected: the images that the loop renders.

    Raises:
        ValueError: the images differ, or the model's input by one of the ways: see the top of this module.
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
    through = add("events on the device to model input, through images", lambda: values(EventImages(found().pixels, "Triton")))
    of_loop = values(EventImages(tuple(expected), "loop"))
    require_nearly_equal("model input from last events", direct, of_loop, quantum(processor))
    require_equal("model input through images", [through], [of_loop])
    return OnDevice(events, maps, values)


def on_stream(prepared: OnDevice, calls: int) -> dict[str, float]:
    """Median seconds on the GPU's stream of finding the last events, and of the model's input from events."""
    from evbench.kernels.last_events import last_events

    images, height, width = prepared.maps.last.shape

    def find() -> Any:
        return last_events(*prepared.events, images, (height, width))[0]

    ways = {
        "finding the last events": find,
        "events to model input": lambda: prepared.values(replace(prepared.maps, last=find())),
    }
    return {f"{name}, on the GPU's stream": _on_stream(call, calls) for name, call in ways.items()}


def _on_stream(call: Callable[[], Any], calls: int) -> float:
    """Raises RuntimeError if the GPU had to wait for the host, whose time would then be part of it."""
    import torch

    stream, seconds = CudaStream(), []
    source = torch.zeros(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    for index in range(calls + WARM_UPS):
        for _ in range(AHEAD):
            target.copy_(source)
        first = stream.moment()
        call()
        if index >= WARM_UPS and first.query():
            raise RuntimeError("the host was not ahead of the GPU: what is between the two moments is its time as well")
        last = stream.moment()
        torch.cuda.synchronize()
        seconds.append(stream.seconds(first, last))
    return float(np.median(seconds[WARM_UPS:]))


def require_equal(name: str, found: Sequence[Any], expected: Sequence[Any]) -> None:
    """Raises ValueError if an array differs in a bit."""
    same = [np.array_equal(_on_cpu(one), _on_cpu(other)) for one, other in zip(found, expected, strict=True)]
    if not all(same):
        raise ValueError(f"{name}: not equal to what the loop renders: {same}")


def require_nearly_equal(name: str, found: Any, expected: Any, level: float) -> None:
    """Raises ValueError if a value is further off than a level, or if fewer than EQUAL of all are equal bit by bit.

    Args:
        found, expected: tensors of one shape and type.
        level: at most what one level of an image is in them. Rounding of both to their type comes on top.
    """
    import torch

    wide, size = (found.double() - expected.double()).abs(), expected.double().abs()
    # Asked in this way, NaN is refused: it is within nothing.
    within = bool((wide <= level + torch.finfo(found.dtype).eps * (size + level)).all())
    equal = float((found == expected).double().mean())
    if not (within and equal >= EQUAL):
        differs = f"{equal:.2%} of the values are equal, and the largest difference is {float(wide.max()) / level:.3g} levels"
        raise ValueError(f"{name}: not equal to what the loop renders, but for rounding: {differs}")


def _through(pinned: list[Any], stream: EventStream) -> list[Any]:
    """The events, copied into pinned memory and from there to the GPU."""
    import torch

    return [
        memory.copy_(torch.from_numpy(column)).to("cuda", non_blocking=True)
        for memory, column in zip(pinned, (stream.x, stream.y, stream.p), strict=True)
    ]


def _timed(call: Callable[[], Any], wait: Callable[[], None], calls: int) -> tuple[Any, float]:
    """What the last call returned, and the median seconds of all after the warm-up. A single call has no warm-up."""
    warm_ups, seconds = WARM_UPS if calls > 1 else 0, []
    for _ in range(calls + warm_ups):
        gc.collect()
        wait()
        start = time.perf_counter()
        returned = call()
        wait()
        seconds.append(time.perf_counter() - start)
    return returned, float(np.median(seconds[warm_ups:]))


def copy_rate(wait: Callable[[], None], calls: int = REPEATED) -> float:
    """Bytes per second, read and written counted each, of a copy of 1 GiB inside the GPU's memory. `wait` waits for the GPU."""
    import torch

    source = torch.zeros(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    _, seconds = _timed(lambda: target.copy_(source), wait, calls)
    return 2 * source.numel() / seconds


def _on_cpu(values: Any) -> Any:
    """A NumPy array with the values of an array or tensor. NumPy has no bfloat16, and float32 holds it."""
    return values if isinstance(values, np.ndarray) else (values.float() if values.is_floating_point() else values).cpu().numpy()


def main(
    events: Annotated[int, typer.Option(min=5, help="In one second. A street at day has 10 to 14 million.")] = 13_700_000,
    device: Annotated[str, typer.Option(help="cuda, cpu, or auto: the GPU if there is one.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the random events.")] = 0,
    out: Annotated[Path | None, typer.Option(help="File for the result, as JSON.")] = None,
) -> None:
    """Time each way to render event images of a random stream, and check that all render the same: the model's input but for rounding."""
    require_writable(out)
    found = measure(random_stream(events, seed), this_machine.choose_device(device))
    also = f", and the model's input: at least {EQUAL:.1%} of it bit by bit, the rest within a level" if found.device == "cuda" else ""
    typer.echo(f"{found.events} events, {format_bytes(found.event_bytes)}, on {found.device}; all images are equal{also}")
    for timing in found.timings:
        typer.echo(f"  {timing.name:51} {format_seconds(timing.seconds):>8}  {timing.speedup:.1f}x over the loop")
    if found.least_seconds is not None and found.copied_bytes_per_second is not None:
        rate = f"{found.copied_bytes_per_second / 1e12:.2f} TB/s, the rate of a copy"
        typer.echo(f"  {'reading the events once':51} {format_seconds(found.least_seconds):>8}  at {rate}")
    write_json(out, found)


if __name__ == "__main__":
    run(main)
