"""Outputs of each stage of a sample, stored for the other side and for the comparison. Runs in the workers, untimed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evbench.errors import UserError
from evbench.results import ISOLATED, Work
from evbench.stages import Generation, Pipeline, Prompted, Sampler, StageOutput, run_stages
from evbench.worker.kept_rows import KeptRows, LogitsRow, with_logits, with_rows

REPEATS = 4.0
"""Factor on the largest difference between a judged run and its repeat by which a timed run may differ: 0 where outputs are repeatable."""


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
    batch: int = 1
    """Samples that went through the stages together."""


def capture_outputs(
    pipeline: Pipeline[StageOutput, Prompted, StageOutput],
    path: Path,
    new_tokens: int,
    file: Path,
    baseline: CapturedOutputs | None,
    isolated: bool,
    kept: KeptRows,
    batch: int = 1,
) -> CapturedOutputs:
    """Run a sample as timed runs are, and store the outputs of each stage.

    Unless the baseline is captured for the first time, rows that timed runs of this worker left stand in their places.

    Args:
        baseline: outputs of the baseline, whose tokens the logits follow. None for the baseline itself, which follows its own.
        isolated: whether each stage is also run by itself on the baseline's input. Where not, preprocessing is run again on the frames as
            other sides will get them.
        kept: what timed runs left.
        batch: samples that go through the stages together.

    Raises:
        UserError: the loop does not show the logits of all tokens.
    """
    outputs: dict[str, Any] = {}
    sampler = Sampler(keep=range(new_tokens * batch))
    answer, work = run_stages(pipeline, path, new_tokens, sampler=sampler, observe=outputs.__setitem__)
    _require_logits(sampler, answer)
    loaded, inputs, features = outputs.values()
    # Copies: stages, which run once more below, may write into the same tensors.
    arrays = {stage: with_rows(output.values(), ()) for stage, output in outputs.items()}
    if baseline is None:
        followed = answer.tokens
        arrays["generate"] = _in_order(sampler, len(followed))
    else:
        followed = baseline.answer.tokens
        chosen = _logits_rows(sampler, answer)
        # Where the tokens part, logits behind the baseline's tokens need a run that is forced to take these.
        forced = (
            _in_order(sampler, len(followed)) if answer.tokens == followed else teacher_forced_logits(pipeline, features, followed, batch)
        )
        arrays["generate"] = with_logits(forced, followed, chosen)
        judged = dict(arrays)
        arrays = {stage: with_rows(values, kept.rows(path, stage)) for stage, values in arrays.items()}
        arrays["generate"] = with_logits(judged["generate"], followed, kept.logits(path))
    if baseline is not None and isolated:
        theirs = _read(baseline.file)
        arrays |= {
            ISOLATED + "preprocess": pipeline.preprocess(_fed(loaded, theirs["load"]))[0].values(),
            ISOLATED + "vision": pipeline.vision(_fed(inputs, theirs["preprocess"]))[0].values(),
            ISOLATED + "generate": teacher_forced_logits(pipeline, _fed(features, theirs["vision"]), followed, batch),
        }
        # Thresholds of single stages are finer. From this run, whose input is the same, a timed run may differ as far only as this run
        # does from its repeat: what is beyond counts as an error of the stage.
        sampler = Sampler(keep=range(new_tokens * batch))
        answer_again, _ = run_stages(pipeline, path, new_tokens, sampler=sampler, observe=outputs.__setitem__)
        again = {stage: with_rows(output.values(), ()) for stage, output in outputs.items()}
        again["generate"] = with_logits(judged["generate"], followed, _logits_rows(sampler, answer_again))
        for stage in ("preprocess", "vision", "generate"):
            arrays[ISOLATED + stage] = _with_deviation(arrays[ISOLATED + stage], judged[stage], again[stage], arrays[stage])
    if not isolated:
        # Frames are handed over in 8 bits. Between two stages there may be more: decode=dali leaves it to the next one to repair colours.
        arrays[ISOLATED + "preprocess"] = pipeline.preprocess(_fed(loaded, arrays["load"]))[0].values()
    _require_axes(pipeline.axes, {stage: values for stage, values in arrays.items() if stage in pipeline.axes})
    _write(file, arrays)
    return CapturedOutputs(file, work, inputs.prompt(), answer, pipeline.quantum, dict(pipeline.axes), batch)


def capture_visible(
    pipeline: Pipeline[StageOutput, Prompted, StageOutput],
    path: Path,
    new_tokens: int,
    file: Path,
    baseline: CapturedOutputs | None,
    kept: KeptRows,
) -> CapturedOutputs:
    """As `capture_outputs`, end-to-end, where one of the sides cannot show the output of each stage: of those that this one can."""
    outputs: dict[str, Any] = {}
    sampler = Sampler(keep=range(new_tokens))
    answer, work = run_stages(pipeline, path, new_tokens, sampler=sampler, observe=outputs.__setitem__)
    arrays = {stage: with_rows(values, ()) for stage, output in outputs.items() if (values := output.values()) is not None}
    if baseline is not None:
        arrays = {stage: with_rows(values, kept.rows(path, stage)) for stage, values in arrays.items()}
    if sampler.kept:
        followed = answer.tokens if baseline is None else baseline.answer.tokens
        same = answer.tokens == followed
        logits = _in_order(sampler, len(followed)) if same else teacher_forced_logits(pipeline, outputs["vision"], followed)
        arrays["generate"] = with_logits(logits, followed, () if baseline is None else kept.logits(path))
    axes = {stage: names for stage, names in pipeline.axes.items() if stage in arrays}
    _require_axes(axes, arrays)
    _write(file, arrays)
    return CapturedOutputs(file, work, outputs["preprocess"].prompt(), answer, pipeline.quantum, axes)


def capture_reference(
    pipeline: Pipeline[StageOutput, Prompted, StageOutput], path: Path, file: Path, baseline: CapturedOutputs, dtype: str, batch: int = 1
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
        "generate": teacher_forced_logits(pipeline, features, baseline.answer.tokens, batch),
        ISOLATED + "vision": pipeline.vision(_fed(inputs, theirs["preprocess"]))[0].values(),
        ISOLATED + "generate": teacher_forced_logits(pipeline, _fed(features, theirs["vision"]), baseline.answer.tokens, batch),
    }
    _write(file, {name: values.to(getattr(torch, dtype)) for name, values in arrays.items()})


def teacher_forced_logits(pipeline: Pipeline[Any, Any, Any], features: Any, tokens: Sequence[int], batch: int = 1) -> Any:
    """The logits from which each of `tokens` would have been chosen, had those in front of it been generated: [tokens, vocabulary].

    By the decode loop that timed runs use, which gets these tokens in the place of the most likely ones.
    """
    sampler = Sampler(tokens, range(len(tokens)))
    pipeline.generate(features, len(tokens) // batch, sampler)
    return _in_order(sampler, len(tokens))


def _require_logits(sampler: Sampler, answer: Generation) -> None:
    """Raises UserError if the loop passed over a token whose logits are compared."""
    if (passed := next((place for place in range(len(answer.tokens)) if place not in sampler.kept), None)) is not None:
        told = f"generate called sampler.passed() for token {passed}, whose logits are compared"
        raise UserError(f"{told}; call the sampler with the logits of each token")


def _logits_rows(sampler: Sampler, answer: Generation) -> list[LogitsRow]:
    """Of a run that was judged, which kept the logits of all its tokens."""
    return [LogitsRow(answer.tokens[:position], sampler.kept[position][0]) for position in range(len(answer.tokens))]


def _with_deviation(isolated: Any, judged: Any, again: Any, timed: Any) -> Any:
    """The outputs of a stage by itself, with what rows of timed runs differ by from the judged run beyond the spread of its repeat."""
    isolated = with_rows(isolated, ())
    if not isolated.shape == judged.shape == again.shape == timed.shape:
        return isolated  # a check of shapes tells
    spread = (again.float() - judged.float()).abs().max()
    deviation = timed.float() - judged.float()
    beyond = deviation.sign() * (deviation.abs() - REPEATS * spread).clamp(min=0)
    return isolated + beyond.to(isolated.dtype)


def _in_order(sampler: Sampler, tokens: int) -> Any:
    """Logits [tokens, vocabulary]; of an answer that is shorter than it was to be, as many as it has tokens."""
    import torch

    return torch.cat([sampler.kept[position] for position in range(tokens) if position in sampler.kept])


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
