"""A local checkpoint folder, looked at without loading it. No torch here: the parent process refuses a wrong folder at once."""

from __future__ import annotations

import importlib.metadata
import json
import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from evbench.errors import UserError

MODEL_TYPES = {"video-llava": "video_llava", "eventgpt": "EventChat_llama"}
"""`model_type` in config.json of the checkpoints that each pipeline loads."""


def read_config(folder: Path, model: str) -> dict[str, Any]:
    """The folder's config.json. Raises UserError if there is none, or it is of another model."""
    file = folder / "config.json"
    if not folder.is_dir():
        raise UserError(f"--weights {folder}: no such folder; give a local Hugging Face checkpoint folder")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--weights {folder} has no readable config.json; give a local Hugging Face checkpoint folder") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not JSON ({error}); copy the checkpoint again") from error
    found = config.get("model_type") if isinstance(config, dict) else None
    if found != MODEL_TYPES[model]:
        raise UserError(f"{file} is of model_type {found!r}, --model {model} loads {MODEL_TYPES[model]!r}; choose the --model that fits")
    return dict(config)


def _indexed(index: Path) -> set[str]:
    """Names of the files that hold the weights. Raises UserError if the index is damaged."""
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index} is damaged ({error!r}); copy the checkpoint again") from error


def require_tokenizer(folder: Path) -> None:
    """Raises UserError for a tokenizer that is stored as SentencePiece's model alone, if what reads it is not installed.

    LLaMA, Vicuna and what was made of them, EventGPT among them, come so.
    """
    if (folder / "tokenizer.json").exists() or not (folder / "tokenizer.model").exists():
        return
    if missing := [package for package in ("sentencepiece", "protobuf") if not _is_installed(package)]:
        raise UserError(
            f"--weights {folder} has its tokenizer in tokenizer.model alone, for which {' and '.join(missing)} must be installed; "
            "install evbench[sentencepiece], or add a tokenizer.json"
        )


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def parameter_count(folder: Path) -> int:
    """Number of stored weights, from the headers of the files."""
    count = 0
    for file in weight_files(folder):
        with safe_open(file, framework="np") as stored:
            count += sum(math.prod(stored.get_slice(name).get_shape()) for name in stored.keys())  # noqa: SIM118  not a dict
    return count


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files. Raises UserError if there are none: pickled weights run code when they are read."""
    files = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.exists():
        missing = _indexed(index) - {file.name for file in files}
        if missing:
            raise UserError(f"{folder} lacks {min(missing)}, which {index.name} names; copy all files of the checkpoint")
    if not files:
        raise UserError(f"{folder} holds no .safetensors; convert its weights to safetensors (pickled ones are not read)")
    for file in files:
        try:
            with safe_open(file, framework="np") as stored:
                stored.keys()
        except (SafetensorError, OSError) as error:
            raise UserError(f"{file} is damaged or no safetensors ({error}); copy it again") from error
    return files
