"""Whether the sizes in a config.json are those of the weights beside it, before a network is built of them.

A file from outside is hostile: a million layers would be built, for hours, before the first weight is missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evbench.errors import UserError

MOST = {
    "num_hidden_layers": 1_000, "hidden_size": 2**17, "intermediate_size": 2**20, "vocab_size": 2**22, "num_attention_heads": 2**12,
    "num_key_value_heads": 2**12, "head_dim": 2**14, "image_size": 2**13, "patch_size": 2**13, "projection_dim": 2**17,
    "max_position_embeddings": 2**24, "mm_hidden_size": 2**17, "depth": 1_000, "num_heads": 2**12, "out_hidden_size": 2**17,
    "num_position_embeddings": 2**24, "embed_dim": 2**17, "num_experts": 2**12, "num_local_experts": 2**12, "n_routed_experts": 2**12,
    "moe_intermediate_size": 2**20,
}  # fmt: skip
"""Field -> more than any network of this kind has."""
TOWER = {"num_hidden_layers": 12, "hidden_size": 768, "intermediate_size": 3072, "image_size": 224, "patch_size": 32}
LANGUAGE = {"num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 11008, "vocab_size": 32000}
"""What transformers takes where a field is missing (CLIPVisionConfig, LlamaConfig)."""
TIMES = 2
"""How many times the stored weights a config may ask for: one may hold parts that are not counted here, and none twice as much."""


def require_sizes(file: Path, config: Mapping[str, Any], stored: int) -> None:
    """Raises UserError if a config.json asks for a network that is much larger than its weights.

    Args:
        stored: number of weights.
    """
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    for part in parts:
        for field, most in MOST.items():
            if type(part.get(field)) is int and part[field] > most:
                raise UserError(f"{file} has {field} {part[field]:,}, and {most:,} are the most; copy the config of these weights")
    asked = sum(_weights(part) for part in parts if "num_hidden_layers" in part or "hidden_size" in part)
    if asked > TIMES * stored:
        reason = f"{file} asks for some {asked:,} weights, and the files beside it hold {stored:,}"
        raise UserError(f"{reason}; copy the config of these weights")


def _weights(part: Mapping[str, Any]) -> int:
    """About so many, rather too few: of attention, MLP, embeddings of tokens, and of places in an image."""

    usual = TOWER if part.keys() & {"image_size", "patch_size"} else LANGUAGE
    part = {"num_hidden_layers": part["depth"], **part} if "depth" in part else part  # as Qwen's towers call it
    size = {field: value if type(value := part.get(field, least)) is int and value > 0 else 0 for field, least in usual.items()}
    hidden, places = size["hidden_size"], size.get("image_size", 0) // max(1, size.get("patch_size", 1))
    embedded = size.get("vocab_size", 0) + places**2
    return hidden * (size["num_hidden_layers"] * (2 * hidden + 2 * size["intermediate_size"]) + embedded)
