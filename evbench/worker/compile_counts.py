"""What a process has compiled and captured so far: graphs that torch.compile traced, CUDA graphs, Triton kernels."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from evbench.results import CompileCounts

NOTHING = CompileCounts(0, 0, 0, 0)


class Counter:
    """Counts from now on. One for each process: it hooks into torch and Triton."""

    def __init__(self, device: str) -> None:
        self._captured = self._kernels = 0
        if device == "cuda":
            self._watch_captures()
            self._watch_kernels()

    def count(self) -> CompileCounts:
        """Everything since the counter exists."""
        dynamo = sys.modules.get("torch._dynamo.utils")  # not imported before something is compiled
        counters: Any = dynamo.counters if dynamo is not None else {}
        graphs, caches = counters.get("stats", {}), counters.get("inductor", {})
        return CompileCounts(graphs.get("unique_graphs", 0), caches.get("fxgraph_cache_hit", 0), self._captured, self._kernels)

    def _watch_captures(self) -> None:
        import torch

        begin = torch.cuda.CUDAGraph.capture_begin

        def counted(graph: Any, *arguments: Any, **named: Any) -> None:
            self._captured += 1
            begin(graph, *arguments, **named)

        # torch has no hook for this, and a graph that is captured anew in each run would look like any other kernel launch.
        torch.cuda.CUDAGraph.capture_begin = counted  # type: ignore[method-assign, assignment]

    def _watch_kernels(self) -> None:
        from triton import knobs

        def count_kernel(**named: Any) -> None:
            self._kernels += 1

        knobs.runtime.jit_post_compile_hook = count_kernel


def since(earlier: CompileCounts, now: CompileCounts) -> CompileCounts:
    return CompileCounts(
        now.compiled - earlier.compiled, now.cached - earlier.cached, now.captured - earlier.captured, now.kernels - earlier.kernels
    )


def compile_cache() -> Path:
    """Where torch.compile keeps what it compiled, by torch's own rule (torch/_inductor/runtime/cache_dir_utils.py)."""
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    return Path(cache_dir())


def cached_files() -> int:
    """Files in the compile cache, as far as it can be read."""
    return sum(len(files) for _, _, files in os.walk(compile_cache()))


def cache_in(folder: Path) -> dict[str, str]:
    """Environment of a process whose compile caches are in this folder."""
    return {"TORCHINDUCTOR_CACHE_DIR": str(folder), "TRITON_CACHE_DIR": str(folder / "triton")}
