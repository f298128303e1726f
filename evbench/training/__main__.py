"""Train a small checkpoint on scenes: `python -m evbench.training video-llava FOLDER --minutes 6.5`."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Annotated

import torch
import typer

from evbench.cli.script import run
from evbench.errors import UserError, first_line
from evbench.inputs.workload import require_model
from evbench.machine.machine import choose_device
from evbench.scenes.words import make_tokenizer
from evbench.training import batches, fit, learners
from evbench.training.batches import HELD_OUT_FIRST, HELD_OUT_SERIES, TRAINING_FIRST, TRAINING_SERIES
from evbench.training.fit import Course

LOG = "log.jsonl"


def main(
    model: Annotated[str, typer.Argument(help="video-llava, or eventgpt.")],
    out: Annotated[Path, typer.Argument(help="Folder for the checkpoint and log.jsonl.")],
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps at most.")] = 6000,
    minutes: Annotated[float, typer.Option(min=0.01, help="Time at most; the learning rate falls to its end by then.")] = 6.5,
    scenes: Annotated[int, typer.Option(min=1, help="Scenes in a step.")] = 64,
    rate: Annotated[float, typer.Option(help="Learning rate at its highest.")] = 1.5e-3,
    hint: Annotated[float, typer.Option(help="Weight of naming what each patch shows.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the initial weights and the noise.")] = 0,
    begin: Annotated[Path | None, typer.Option(help="A checkpoint of this command to go on from, on scenes that it has not seen.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that imagine scenes.")] = 12,
    device: Annotated[str, typer.Option(help="cuda, cpu, or auto: the GPU if there is one.")] = "auto",
    compiled: Annotated[bool, typer.Option(help="Compile the layers.")] = True,
    every: Annotated[int, typer.Option(min=1, help="Steps between two lines of the log.")] = 50,
    held_out: Annotated[int, typer.Option(min=0, help="Batches of new scenes to score at the end.")] = 16,
) -> None:
    """Train on scenes drawn as it goes, and leave a folder that `evbench --weights` takes."""
    require_model(model)
    device = choose_device(device)
    if (out / "config.json").exists():
        raise UserError(f"{out} holds a checkpoint already; give another folder, or remove it")
    out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    torch.set_float32_matmul_precision("high")
    tokenizer = make_tokenizer()
    learner = learners.new(model, tokenizer, learners.SIZES[model], device, seed, compiled=compiled)
    first = TRAINING_FIRST
    if begin is not None:
        learner.load(begin)
        first += _scenes_seen(begin)
    course = Course(steps, minutes * 60, rate, hint=hint)
    typer.echo(f"{model}: {learners.parameter_count(learner):,} parameters, {len(tokenizer)} words, torch {torch.__version__}, {course}")
    stream = batches.stream(tokenizer, TRAINING_SERIES, first, scenes, workers, colours=learner.colours)
    with (out / LOG).open("w", encoding="utf-8") as log:
        for progress in fit.fit(learner, stream, course, device, every):
            line = json.dumps(dataclasses.asdict(progress) | {"scenes": first - TRAINING_FIRST + progress.step * scenes})
            log.write(line + "\n")
            log.flush()
            typer.echo(line)
    learners.convert(learner, torch.bfloat16)
    learner.save(out)
    typer.echo(f"saved to {out} after {time.perf_counter() - began:.0f} s")
    if held_out:
        learners.convert(learner, torch.float32)  # the rounded weights, which are those that ship
        fresh = batches.stream(tokenizer, HELD_OUT_SERIES, HELD_OUT_FIRST, scenes, min(workers, 4), colours=learner.colours)
        typer.echo(f"exact on {held_out * scenes} new scenes: {fit.score(learner, fresh, held_out, device)}")


def _scenes_seen(checkpoint: Path) -> int:
    """How many scenes a checkpoint was trained on, by the last line of its log."""
    try:
        return int(json.loads((checkpoint / LOG).read_text(encoding="utf-8").splitlines()[-1])["scenes"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        told = f"--begin {checkpoint} has no {LOG} that tells which scenes it has seen ({first_line(error)})"
        raise UserError(f"{told}; give a folder that this command has written") from error


if __name__ == "__main__":
    run(main)
