"""transformers' configurations of a CLIP tower and a LLaMA-shaped decoder -> the shape that floors of times are computed from."""

from __future__ import annotations

from typing import Any

from evbench.pipelines.checkpoints.checkpoint import heads, tokens_per_image
from evbench.results import NetworkShape


def network_shape(vision: Any, text: Any, vision_layers: int, weight_bytes: int) -> NetworkShape:
    """
    Args:
        vision, text: configurations of the tower and of the language model.
        vision_layers: how many layers of the tower the features need.
        weight_bytes: of one weight.
    """
    _, (of_text, key_heads, head_size) = heads(vision, text)
    return NetworkShape(
        vision_layers=vision_layers,
        vision_hidden=vision.hidden_size,
        vision_intermediate=vision.intermediate_size,
        vision_tokens=tokens_per_image(vision),
        patch=vision.patch_size,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        heads=of_text,
        key_heads=key_heads,
        head_size=head_size,
        vocabulary=text.vocab_size,
        weight_bytes=weight_bytes,
    )
