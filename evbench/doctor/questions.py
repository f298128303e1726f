"""Questions to libraries, each answered by a process of its own: an import may raise, crash the process, or keep a GPU busy.

A process is started as `python -m evbench.doctor.questions PARENT FILE QUESTION ARGUMENT`. It appends one line of JSON to the file for each
thing that it has found out, so that what was said before a crash is known.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from evbench.parent_death import end_with

Said = Iterator[tuple[str, Any]]
"""Name and value, as JSON takes it."""


def models(_: str) -> Said:
    """What every variant needs: torch, transformers, and the code of each model. `loaded` names the models whose code was."""
    import torch

    yield "torch", torch.__version__
    yield "cuda", torch.version.cuda
    yield "architectures", torch.cuda.get_arch_list() or str(torch._C._cuda_getArchFlags() or "").split()
    yield "gpus", torch.cuda.device_count() if torch.cuda.is_available() else 0

    import transformers

    yield "transformers", transformers.__version__

    from evbench.choices import resolve
    from evbench.pipelines.registry import MODELS

    loaded = []
    for name, model in MODELS.items():
        resolve(model.pipeline)
        loaded.append(name)
        yield "loaded", loaded

    from evbench.worker.compile_counts import compile_cache

    yield "compile cache", str(compile_cache())  # last: torch names it after the user, who may have no name


def av(_: str) -> Said:
    import av

    yield "version", av.__version__
    yield "ffmpeg", av.ffmpeg_version_info


def dali(_: str) -> Said:
    import nvidia.dali

    yield "version", nvidia.dali.__version__


def flash2(_: str) -> Said:
    import flash_attn

    yield "version", flash_attn.__version__
    yield "function", flash_attn.flash_attn_func.__name__


def flash3(_: str) -> Said:
    import flash_attn_interface

    yield "function", flash_attn_interface.flash_attn_func.__name__


def flash4(_: str) -> Said:
    import flash_attn.cute

    yield "function", flash_attn.cute.flash_attn_func.__name__


def triton(capability: str) -> Said:
    """With the GPU's compute capability, such as 90, a kernel is compiled for it. It is not run."""
    import triton

    yield "version", triton.__version__
    if not capability:
        return
    from evbench.doctor import trial_kernel

    yield "compiled", trial_kernel.compile_for(int(capability))
    # By Triton's own rule (triton/runtime/build.py): it builds what launches a kernel.
    yield "C compiler", os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")


def nvdec(_: str) -> Said:
    """Holds a CUDA context on the GPU until the process ends: to be asked only where nobody measures there."""
    from evbench.doctor import nvdec

    library = nvdec.load()
    yield "library", True
    yield "decoders", nvdec.decoders(library)


QUESTIONS: dict[str, Callable[[str], Said]] = {
    question.__name__: question for question in (models, av, dali, triton, flash2, flash3, flash4, nvdec)
}


def main(parent: str, file: str, question: str, argument: str) -> None:
    """Answer one question. A library's error ends the process, and its last line says why.

    Args:
        parent: number of the process that asks, with which this one ends.
    """
    end_with(int(parent))
    gc.disable()  # while modules are loaded: nothing of theirs is ever freed, and looking for it takes a fifth of the time
    with Path(file).open("a", encoding="utf-8") as answer:
        for said in QUESTIONS[question](argument):
            print(json.dumps(said), file=answer, flush=True)
    sys.stderr.flush()
    os._exit(0)  # libraries that were only half set up may crash while they are taken down


if __name__ == "__main__":
    main(*sys.argv[1:])
