"""Outputs of each stage of a sample, stored for the other side and for the comparison. Runs in the workers, untimed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evbench.results import ISOLATED, Work
from evbench.stages import Generation, Pipeline, Prompted, StageOutput, unmarked


@dataclass(frozen=True)
class CapturedOutputs:
    """Outputs of one side for one sample. The arrays are in the file, by stage; those of `generate` are logits."""

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
    baseline: CapturedOutputs | None,
    isolated: bool,
) -> CapturedOutputs:
    """Run a sample and store the outputs of each stage.

    Args:
        baseline: outputs of the baseline, whose tokens the logits follow. None for the baseline itself, which follows its own.
        isolated: whether each stage is also run by itself on the baseline's input.
    """
    loaded, loading = pipeline.load(path)
    inputs, preprocessing = pipeline.preprocess(loaded)
    features, encoding = pipeline.vision(inputs)
    answer, generating = pipeline.generate(features, new_tokens, unmarked)
    followed = answer.tokens if baseline is None else baseline.answer.tokens
    arrays = {
        "load": loaded.values(),
        "preprocess": inputs.values(),
        "vision": features.values(),
        "generate": pipeline.teacher_forced_logits(features, followed),
    }
    if baseline is not None and isolated:
        theirs = _read(baseline.file)
        arrays |= {
            ISOLATED + "preprocess": pipeline.preprocess(_fed(loaded, theirs["load"]))[0].values(),
            ISOLATED + "vision": pipeline.vision(_fed(inputs, theirs["preprocess"]))[0].values(),
            ISOLATED + "generate": pipeline.teacher_forced_logits(_fed(features, theirs["vision"]), followed),
        }
    _require_axes(pipeline.axes, {stage: values for stage, values in arrays.items() if stage in pipeline.axes})
    _write(file, arrays)
    work = loading.merged(preprocessing).merged(encoding).merged(generating)
    return CapturedOutputs(file, work, inputs.prompt(), answer, pipeline.quantum, pipeline.axes)


def capture_reference(
    pipeline: Pipeline[StageOutput, Prompted, StageOutput], path: Path, file: Path, baseline: CapturedOutputs, dtype: str
) -> None:
    """Store the reference's outputs for the baseline's input and tokens, in `dtype`.

    From the decoded frames on: decoding has no reference but the other decoder.
    """
    import torch

    theirs = _read(baseline.file)
    loaded, _ = pipeline.load(path)
    inputs, _ = pipeline.preprocess(_fed(loaded, theirs["load"]))
    features, _ = pipeline.vision(inputs)
    arrays = {
        "preprocess": inputs.values(),
        "vision": features.values(),
        "generate": pipeline.teacher_forced_logits(features, baseline.answer.tokens),
        ISOLATED + "vision": pipeline.vision(_fed(inputs, theirs["preprocess"]))[0].values(),
        ISOLATED + "generate": pipeline.teacher_forced_logits(_fed(features, theirs["vision"]), baseline.answer.tokens),
    }
    _write(file, {name: values.to(getattr(torch, dtype)) for name, values in arrays.items()})


def _fed(output: Any, values: Any) -> Any:
    """The output of a stage with the values of another variant: on its device, in its type, as array or tensor as before."""
    import torch

    before = output.values()
    return output.holding(values.to(before.device, before.dtype) if isinstance(before, torch.Tensor) else values.numpy())


def _require_axes(axes: Mapping[str, tuple[str, ...]], arrays: Mapping[str, Any]) -> None:
    """Raises ValueError if a stage's output has another number of axes than its model names."""
    for stage, values in arrays.items():
        if len(values.shape) != len(axes[stage]):
            raise ValueError(f"{stage} returns values of shape {tuple(values.shape)}, and the axes {', '.join(axes[stage])} are named")


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

    # Copies: a variant may hand out the same tensor twice, which safetensors refuses to store.
    save_file({name: plain(values).clone() for name, values in arrays.items()}, file)
