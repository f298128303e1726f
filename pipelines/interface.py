"""What --model auto asks of a model of transformers, which models have it, and loading one that does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoProcessor
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
from transformers.models.auto.video_processing_auto import VIDEO_PROCESSOR_MAPPING_NAMES

from evbench.choices import Variant
from evbench.errors import UserError
from evbench.pipelines.checkpoints import checkpoint
from evbench.pipelines.checkpoints.folder import parameter_count, read_config, require_usual_names, weight_files
from evbench.pipelines.checkpoints.sizes import TIMES
from evbench.pipelines.compute import attention
from evbench.pipelines.registry import AUTO, AUTO_NAME
from evbench.results import Workload

COMPILED_CACHES, CACHES = ("transformers-static",), ("static-generate",)
"""Choices of `generate` with a cache of fixed size."""


def encoder(model: Any, modality: str) -> Callable[..., Any]:
    """The model's `get_video_features` or `get_image_features`. Raises UserError if it has none."""
    if modality not in model.input_modalities:
        raise lacking(type(model), f"{modality} among its input_modalities ({', '.join(model.input_modalities)})")
    name = f"get_{modality}_features"
    found: Callable[..., Any] | None = getattr(model.base_model, name, None)
    if found is None:
        raise lacking(type(model), f"{name}, which --model auto takes as the vision stage")
    return found


def lacking(model: type, what: str, cure: str = "give a checkpoint of another model, see: evbench models list") -> UserError:
    """To be raised: what a class of transformers does not have, by name."""
    return UserError(f"transformers' {model.__name__} has no {what}; {cure}")


def lack(config: Any) -> str:
    """What the stages need and the model of a class of configurations does not have, by transformers' code alone. Empty if it has all.

    Raises:
        KeyError: there is no model of that class that takes pictures and text.
    """
    found = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[config]
    if "video" not in found.input_modalities and config.model_type not in VIDEO_PROCESSOR_MAPPING_NAMES:
        return "video among its input_modalities, and no video processor"
    if not any(hasattr(found, f"get_{modality}_features") for modality in ("video", "image")):
        return "get_video_features or get_image_features, which is its vision stage"
    return "" if "vision_config" in config.sub_configs else "vision_config, which says what its vision stage is"


def lacks() -> dict[str, str]:
    """model_type -> what `lack` says, of every model of transformers that takes pictures and text. Imports the code of all."""
    known = (model_type for model_type in CONFIG_MAPPING if CONFIG_MAPPING[model_type] in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING)
    return {model_type: lack(CONFIG_MAPPING[model_type]) for model_type in sorted(known)}


def model_class(model_type: str) -> Any:
    """The class of a model. Raises UserError if transformers knows none that fits, or it lacks what the stages need."""
    if model_type not in CONFIG_MAPPING:
        reason = f"model_type {model_type!r} is none that transformers {transformers.__version__} knows"
        raise UserError(f"{reason}; give another checkpoint, or see: evbench models list")
    config = CONFIG_MAPPING[model_type]
    if config not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        reason = f"transformers has no model of model_type {model_type!r} that takes pictures and text"
        raise UserError(f"{reason}; give another checkpoint, or see: evbench models list")
    found = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[config]
    if what := lack(config):
        raise lacking(found, what)
    return found


def lacks_choices(model: Any) -> dict[tuple[str, str], UserError]:
    """(part, choice) -> what is to be raised, of those that transformers' flags say the model cannot be run with."""
    found = {}
    if not model._supports_sdpa:
        what = "scaled_dot_product_attention (_supports_sdpa), which attention=sdpa is"
        found["attention", "sdpa"] = lacking(type(model), what, "use attention=eager")
    for choice in (*COMPILED_CACHES, *CACHES):
        needed = model if choice in COMPILED_CACHES else model.get_decoder()
        if not needed._can_compile_fullgraph:
            what = f"cache of fixed size (_can_compile_fullgraph), which generate={choice} has"
            found["generate", choice] = lacking(type(needed), what, "use generate=dynamic")
    return found


def without_weights(folder: Path) -> Any:
    """The network of a checkpoint folder, by its config alone. Raises UserError if it is damaged, or of a model that does not fit."""
    model_type = read_config(folder, AUTO_NAME, AUTO)["model_type"]
    require_usual_names(weight_files(folder))
    found = model_class(model_type)
    with checkpoint.loading(folder):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            empty = found._from_config(config)
    asked, stored = checkpoint.parameter_count(empty), parameter_count(folder)
    if asked > TIMES * stored:
        reason = f"{folder / 'config.json'} asks for {asked:,} weights, and the files beside it hold {stored:,}"
        raise UserError(f"{reason}; copy the config of these weights")
    return empty


def from_folder(folder: Path, variant: Variant, workload: Workload) -> tuple[Any, Any]:
    """The network of a checkpoint folder, and its processor. Raises UserError if the folder is damaged, or of a model that does not fit."""
    empty = without_weights(folder)
    for (part, choice), lack_of in lacks_choices(empty).items():
        if variant[part] == choice:
            raise lack_of
    with checkpoint.loading(folder):
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if getattr(processor, "video_processor", None) is None:
        raise UserError(f"--weights {folder} has no video processor; copy its processor's files, or give a model that takes a video")
    if not processor.chat_template:
        raise UserError(f"--weights {folder} has no chat template, which puts a question to the model; copy chat_template.jinja")
    implementation = attention.implementation(variant["attention"])
    model = checkpoint.pretrained(type(empty), folder, implementation, getattr(torch, workload.dtype))
    return model.eval().to(workload.device), processor
