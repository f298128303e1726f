"""What each stage of one side computes of a sample, kept for the other side and for the judge. Runs in the workers, untimed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evbench.results import SWAPPED, Work
from evbench.stages import Generation, Pipeline, Prompted, StageOutput, unmarked


@dataclass(frozen=True)
class CapturedOutputs:
    """The outputs of one side for one sample. The arrays are in the file, by stage; those of `generate` are logits."""

    file: Path
    """safetensors."""
    work: Work
    prompt: tuple[int, ...]
    answer: Generation
    quantum: float
    """What one 8-bit level is in pixel values, at most."""
    axes: Mapping[str, tuple[str, ...]]
    """Stage -> names of its array's axes."""


def capture_outputs(
    pipeline: Pipeline[StageOutput, Prompted, StageOutput],
    path: Path,
    new_tokens: int,
    file: Path,
    given: CapturedOutputs | None,
    swap: bool,
) -> CapturedOutputs:
    """Run a sample and keep the output of each stage.

    Args:
        given: the baseline's outputs, whose tokens the logits follow. None for the baseline itself, which follows its own.
        swap: whether each stage is also fed with what the baseline fed to it.
    """
    loaded, loading = pipeline.load(path)
    inputs, preprocessing = pipeline.preprocess(loaded)
    features, encoding = pipeline.vision(inputs)
    answer, generating = pipeline.generate(features, new_tokens, unmarked)
    followed = answer.tokens if given is None else given.answer.tokens
    arrays = {
        "load": loaded.values(),
        "preprocess": inputs.values(),
        "vision": features.values(),
        "generate": pipeline.teacher_forced_logits(features, followed),
    }
    if given is not None and swap:
        theirs = _read(given.file)
        arrays |= {
            SWAPPED + "preprocess": pipeline.preprocess(_fed(loaded, theirs["load"]))[0].values(),
            SWAPPED + "vision": pipeline.vision(_fed(inputs, theirs["preprocess"]))[0].values(),
            SWAPPED + "generate": pipeline.teacher_forced_logits(_fed(features, theirs["vision"]), followed),
        }
    _write(file, arrays)
    work = loading.merged(preprocessing).merged(encoding).merged(generating)
    return CapturedOutputs(file, work, inputs.prompt(), answer, pipeline.quantum, pipeline.axes)


def capture_reference(
    pipeline: Pipeline[StageOutput, Prompted, StageOutput], path: Path, file: Path, given: CapturedOutputs, dtype: str
) -> None:
    """The reference's outputs for the baseline's input and tokens, kept in `dtype`.

    From the decoded frames on: decoding has no reference but the other decoder.
    """
    import torch

    theirs = _read(given.file)
    loaded, _ = pipeline.load(path)
    inputs, _ = pipeline.preprocess(_fed(loaded, theirs["load"]))
    features, _ = pipeline.vision(inputs)
    arrays = {
        "preprocess": inputs.values(),
        "vision": features.values(),
        "generate": pipeline.teacher_forced_logits(features, given.answer.tokens),
        SWAPPED + "vision": pipeline.vision(_fed(inputs, theirs["preprocess"]))[0].values(),
        SWAPPED + "generate": pipeline.teacher_forced_logits(_fed(features, theirs["vision"]), given.answer.tokens),
    }
    _write(file, {name: values.to(getattr(torch, dtype)) for name, values in arrays.items()})


def _fed(output: Any, values: Any) -> Any:
    """The output of a stage with the values of another variant: on its device, in its type, as an array or tensor like before."""
    import torch

    before = output.values()
    return output.holding(values.to(before.device, before.dtype) if isinstance(before, torch.Tensor) else values.numpy())


def _read(file: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(file)


def _write(file: Path, arrays: Mapping[str, Any]) -> None:
    import torch
    from safetensors.torch import save_file

    def plain(values: Any) -> torch.Tensor:
        tensor = torch.as_tensor(values).detach().cpu()
        # numpy, which the judge reads with, has no bfloat16; float32 holds the same values.
        return (tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor).contiguous()

    save_file({name: plain(values) for name, values in arrays.items()}, file)
