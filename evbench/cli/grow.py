"""`evbench models grow`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from evbench.choices import resolve
from evbench.cli.console import print_line
from evbench.cli.working import working
from evbench.errors import UserError, nearest
from evbench.inputs.workload import choose_dtype, require_model
from evbench.machine.machine import choose_device
from evbench.pipelines.registry import DEFAULT_MODEL, MODELS
from evbench.pipelines.weights import trained_folder
from evbench.session.memory_fit import BYTES_PER_VALUE, require_room


def models_grow_command(
    folder: Annotated[Path, typer.Argument(help="New folder for the checkpoint. 15 GB for a preset of 7 billion weights in bfloat16.")],
    model: Annotated[str, typer.Option(help=f"{', '.join(MODELS)}.")] = DEFAULT_MODEL,
    preset: Annotated[str, typer.Option(help="A preset whose weights are grown from trained ones.")] = "7b",
    dtype: Annotated[str, typer.Option(help="Type of the weights: float32 or bfloat16.")] = "bfloat16",
    device: Annotated[str, typer.Option(help="Where it is made: cuda, cpu, or auto: the GPU if there is one.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Equal seeds make equal weights; the preset itself has 0.")] = 0,
) -> None:
    """Write a grown model as a checkpoint for other tools: safetensors in shards, in the layout of the released model.

    Its outputs are those of the trained small model, up to rounding.

    Examples:
        evbench models grow Video-LLaVA-grown
        evbench models grow EventGPT-grown --model eventgpt --seed 1
    """
    require_model(model)
    presets = {name: size for name, size in MODELS[model].presets.items() if size.grown_from is not None}
    if not presets:
        raise UserError(f"--model {model} has no preset that is grown from trained weights; give another")
    if preset not in presets:
        raise UserError(f"--preset {preset!r} is not grown from trained weights; {nearest(preset, list(presets))}")
    size, device, dtype = presets[preset], choose_device(device), choose_dtype(dtype, device)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already; give another folder, or remove it")
    require_room(size.parameters, dtype, device)
    folder.mkdir(parents=True, exist_ok=True)
    needed, free = size.parameters * BYTES_PER_VALUE[dtype], shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(f"{folder} needs {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free there; give a folder on another disk")
    with working(lambda: f"{folder} is not whole; remove it") as progress:
        progress.step(f"grow {preset} from {size.grown_from}, and write it", 0, 1)
        from transformers.utils import logging  # takes seconds to import

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        write = resolve(MODELS[model].write_grown)
        write(trained_folder(model, size), size, folder, device, dtype, seed)
    print_line(f"Written to {folder}: {size.parameters / 1e6:,.0f} million weights, {dtype}")
