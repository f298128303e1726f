"""One process per variant: it builds its pipeline once, stays alive, and runs what it is told.

Its own process gives each variant its own allocator, compile caches and memory peaks. It says one thing per command: what was
asked for, or a `Failure`. Whatever libraries print goes to its log file.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from evbench.choices import Variant
from evbench.errors import UserError
from evbench.results import Build, Energy, Workload, cycled
from evbench.traces.chrome import TooLarge
from evbench.worker.messages import (
    KEPT,
    ActivationReply,
    ActivationRequest,
    BuildRequest,
    CaptureRequest,
    EnergyReply,
    EnergyRequest,
    Failure,
    ProfileReply,
    ProfileRequest,
    ReferenceReply,
    ReferenceRequest,
    ThroughputRequest,
    TimedRunRequest,
    TraceSpec,
)


def serve(connection: Connection) -> None:
    """The child's side: build, then answer commands until the parent closes the pipe."""
    make = connection.recv()
    import torch

    try:
        pipeline, build = _build(make)
        connection.send(build)
        _answer(connection, pipeline, make.variant, make.workload)
    except EOFError:
        return
    except UserError as error:
        connection.send(Failure(str(error)))
    except OSError as error:  # a full disk, an input that went away
        traceback.print_exc()
        connection.send(Failure(f"{make.variant.name}: {error.filename or 'file system'}: {error.strerror}; mend that and run again"))
    except torch.OutOfMemoryError:
        connection.send(Failure(f"{make.variant.name}: out of GPU memory; use a smaller --preset, or a GPU with more"))


def _answer(connection: Connection, pipeline: Any, variant: Variant, workload: Workload) -> None:
    from evbench.stages import run_stages
    from evbench.worker.capture_outputs import capture_outputs, capture_reference
    from evbench.worker.evidence import gather, prove
    from evbench.worker.measure import measure
    from evbench.worker.stream import measure_stream

    paths = [Path(sample.path) for sample in workload.samples]
    using = _instruments(workload.device)
    while True:
        command = connection.recv()
        if isinstance(command, TimedRunRequest):
            path = paths[command.place.sample]
            if command.cold_file:
                drop_from_page_cache(path)
            connection.send(measure(pipeline, path, workload.new_tokens, command.place, command.stage_sync, using))
        elif isinstance(command, ThroughputRequest):
            if command.cold_files:
                for path in paths:
                    drop_from_page_cache(path)
            row = [paths[sample] for sample in cycled(command.samples, len(paths))]
            connection.send(measure_stream(pipeline, variant["prefetch"], row, workload.new_tokens, command.turn, command.block, using))
        elif isinstance(command, ProfileRequest):
            connection.send(_trace(pipeline, paths[0], command.order, using))
        elif isinstance(command, ActivationRequest):
            evidence = gather(pipeline, variant["prefetch"], paths, workload.new_tokens, using)
            connection.send(ActivationReply(prove(variant, workload.model, workload.kind, workload.device, evidence)))
        elif isinstance(command, CaptureRequest):
            path = paths[command.sample]
            connection.send(capture_outputs(pipeline, path, workload.new_tokens, command.file, command.given, command.swap))
        elif isinstance(command, ReferenceRequest):
            capture_reference(pipeline, paths[command.sample], command.file, command.given, KEPT[workload.dtype])
            connection.send(ReferenceReply())
        else:
            connection.send(EnergyReply(_spend(command, lambda: run_stages(pipeline, paths[0], workload.new_tokens), using.synchronize)))


def _trace(pipeline: Any, path: Path, order: TraceSpec, using: Any) -> ProfileReply:
    from evbench.worker.profile import profile

    try:
        return ProfileReply(profile(pipeline, path, order, using), "")
    except TooLarge as error:
        return ProfileReply(None, str(error))


def _spend(command: EnergyRequest, once: Callable[[], object], synchronize: Callable[[], None]) -> Energy | None:
    from evbench.machine import gpu
    from evbench.worker.energy import spend

    handle = gpu.first_visible()
    return None if handle is None else spend(once, synchronize, command.seconds, command.idle_watts, handle)


def _instruments(device: str) -> Any:
    from evbench.worker.compile_counts import Counter
    from evbench.worker.measure import CudaStream, HostStream, Instruments
    from evbench.worker.memory import CudaMemory, HostMemory

    clock, counter = time.perf_counter_ns, Counter(device)
    if device == "cpu":
        return Instruments(clock, _synchronizer(device), HostMemory(), HostStream(clock), counter.count, lambda: None)
    import torch

    return Instruments(clock, _synchronizer(device), CudaMemory(), CudaStream(), counter.count, torch.cuda.memory_reserved)


def drop_from_page_cache(path: Path) -> None:
    """Of the operating system, so that the next read is from the disk. Files that are mapped or dirty may stay (posix_fadvise(2))."""
    for file in [path] if path.is_file() else path.iterdir():
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _build(make: BuildRequest) -> tuple[Any, Build]:
    start = time.perf_counter()
    import torch

    from evbench.pipelines.build import build
    from evbench.worker.compile_counts import cached_files
    from evbench.worker.mutants import plant

    device = make.workload.device
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "the driver shows a GPU, but this PyTorch cannot use it; install a build that fits the driver, or run with --device cpu"
        )
    cached = cached_files()
    if make.dtype is not None:
        # Else a GPU multiplies float32 matrices with ten bits of mantissa.
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
    pipeline = build(make.variant, make.workload, make.dtype)
    _synchronizer(device)()
    seconds = time.perf_counter() - start
    made = Build(seconds, pipeline.parameters, pipeline.weights_fingerprint, torch.get_num_threads(), _libraries(), cached)
    if make.delay is not None:
        plant(make.delay, pipeline, _synchronizer(device))
    if make.mutant is not None:
        from evbench.worker.mutants import MUTANTS

        MUTANTS[make.mutant].plant(pipeline, [Path(sample.path) for sample in make.workload.samples])
    return pipeline, made


def _libraries() -> dict[str, str | None]:
    import av
    import torch

    cudnn = torch.backends.cudnn.version() if torch.cuda.is_available() else None  # type: ignore[no-untyped-call]
    codec = ".".join(map(str, av.library_versions["libavcodec"]))
    return {"cuda": torch.version.cuda, "cudnn": None if cudnn is None else str(cudnn), "libavcodec": codec}


def _synchronizer(device: str) -> Callable[[], None]:
    if device == "cuda":
        import torch

        return torch.cuda.synchronize
    return lambda: None


if __name__ == "__main__":
    # Under its importable name, so that the messages are the classes that the parent knows.
    from evbench.worker import process

    process.serve(Connection(int(sys.argv[1])))
