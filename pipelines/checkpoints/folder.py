"""A local checkpoint folder, looked at without loading it. No torch here: the parent process refuses a wrong folder at once."""

from __future__ import annotations

import importlib.metadata
import json
import math
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from evbench.errors import UserError
from evbench.models import Model

WEIGHT_TYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
"""What a weight may be stored as, by its name in safetensors. An integer is no weight without its scale, which is not read."""
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
"""Names of the file with all weights, and of the one that says which shard has which."""
SHARD_SIZE = "5GB"
"""At most, of a file that evbench writes."""
SHARD = re.compile(r"-\d{5}-of-\d{5}\.safetensors$")
CONFIGS = (
    "config.json", "processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json", "tokenizer_config.json",
)  # fmt: skip
"""Files in which transformers looks for the name of a class."""
CONSTANTS = ("rotary_emb.inv_freq", "embeddings.position_ids")
"""Ends of keys that older transformers versions stored, and that are no weights."""


def read_config(folder: Path, name: str, model: Model) -> dict[str, Any]:
    """The folder's config.json.

    Args:
        name: of the model, by which the command line knows it.

    Raises:
        UserError: there is none, or it is of another model, or of a network that evbench cannot build.
    """
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
    if model.model_type is None:
        if not isinstance(found, str):
            raise UserError(f"{file} has no model_type, by which transformers knows a model; give a Hugging Face checkpoint folder")
        _require_no_code(folder)
    elif found != model.model_type:
        raise UserError(f"{file} is of model_type {found!r}, --model {name} loads {model.model_type!r}; choose the --model that fits")
    _require_plain(file, config)
    for field, unsupported in model.unsupported.items():
        if config.get(field) is not None and bool(config[field]) == unsupported.value:
            reason = f"{file} has {field} {json.dumps(config[field])}, and evbench has no {unsupported.thing}"
            raise UserError(f"{reason}; give another checkpoint")
    return dict(config)


def _require_no_code(folder: Path) -> None:
    """Raises UserError if a configuration names code of its own, which would be run: a field `auto_map`."""
    for name in CONFIGS:
        file = folder / name
        if not file.exists():
            continue
        try:
            fields = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{file} cannot be read as JSON ({error}); copy the checkpoint again") from error
        if _names_code(fields):
            raise UserError(f"{file} has an auto_map, and evbench runs no code of a checkpoint; give a model of transformers itself")


def _names_code(fields: Any) -> bool:
    if isinstance(fields, dict):
        return "auto_map" in fields or any(_names_code(value) for value in fields.values())
    return isinstance(fields, list) and any(_names_code(value) for value in fields)


def _require_plain(file: Path, config: dict[str, Any]) -> None:
    """Raises UserError if the weights, or those of a part, are quantized."""
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    if any(part.get("quantization_config") is not None for part in parts):
        raise UserError(
            f"{file} has a quantization_config, and evbench reads no quantized weights; give a checkpoint that is not quantized"
        )


def _indexed(index: Path) -> set[str]:
    """Names of the files that hold the weights. Raises UserError if the index is damaged."""
    try:
        named = list(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index} is damaged ({error!r}); copy the checkpoint again") from error
    for name in named:
        if not isinstance(name, str):
            raise UserError(f"{index} is damaged (it names {json.dumps(name)[:40]} as a file); copy the checkpoint again")
    return set(named)


def require_tokenizer(folder: Path) -> None:
    """Raises UserError for a tokenizer that is stored as SentencePiece's model alone, if what reads it is not installed.

    LLaMA, Vicuna and models fine-tuned from them come so.
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
    """The safetensors files.

    Raises:
        UserError: there are none (pickled weights run code when they are read), one is missing or damaged, a weight is stored
            twice, or as something else than a floating point number of a usual type.
    """
    files = sorted(folder.glob("*.safetensors"))
    index = folder / INDEX
    if index.exists():
        missing = _indexed(index) - {file.name for file in files}
        if missing:
            raise UserError(f"{folder} lacks {min(missing)}, which {index.name} names; copy all files of the checkpoint")
    elif shards := [file.name for file in files if SHARD.search(file.name)]:
        raise UserError(f"{folder} has {shards[0]} and no {index.name}, which says what shards there are; copy all files of the checkpoint")
    if not files:
        raise UserError(f"{folder} holds no .safetensors; convert its weights to safetensors (pickled ones are not read)")
    _require_weights(files)
    return files


def require_usual_names(files: list[Path]) -> None:
    """Raises UserError for weight files that transformers does not look for."""
    if not any(file.name == WHOLE or file.with_name(INDEX).exists() for file in files):
        raise UserError(f"{files[0]} is not looked for: weights are in {WHOLE}, or in shards that {INDEX} names; rename it to {WHOLE}")


def _require_weights(files: list[Path]) -> None:
    """Raises UserError if a file is damaged, or a weight is stored twice or is no floating point number of a usual type."""
    places: dict[str, Path] = {}
    for file in files:
        for name, stored_type in _stored_types(file).items():
            if name.endswith(CONSTANTS):
                continue
            if name in places:
                both = f"{places[name].name} and {file.name}"
                raise UserError(f"{file.parent} holds {name} twice, in {both}; remove the file that is not of this checkpoint")
            if stored_type not in WEIGHT_TYPES:
                usual = ", ".join(WEIGHT_TYPES.values())
                raise UserError(f"{file} holds {name} as {stored_type}, and evbench reads {usual}; store it as one of these")
            places[name] = file


def _stored_types(file: Path) -> dict[str, str]:
    """Each stored tensor's type, by its name in safetensors. Raises UserError if the file is damaged."""
    try:
        with safe_open(file, framework="np") as stored:
            return {name: str(stored.get_slice(name).get_dtype()) for name in stored.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is damaged or no safetensors ({error}); copy it again") from error
