"""Names of the weights in the released checkpoint layout of EventGPT (model_type EventChat_llama)."""

from __future__ import annotations


def parameter_name(released: str) -> str:
    """Key of the released checkpoint -> parameter of evbench's network."""
    for prefix in ("visual_projector.", "feature_adaptor."):
        if released.startswith(f"model.{prefix}"):
            return released.removeprefix("model.")
    if released.startswith("model.visual_tower.visual_tower."):
        # transformers 4 keeps the tower under .vision_model, transformers 5 does not
        return "visual_tower." + released.removeprefix("model.visual_tower.visual_tower.").removeprefix("vision_model.")
    return f"language.{released}"


def released_name(parameter: str) -> str:
    """Parameter of evbench's network -> key of the released checkpoint."""
    if parameter.startswith("visual_tower."):
        return "model.visual_tower.visual_tower.vision_model." + parameter.removeprefix("visual_tower.")
    return parameter.removeprefix("language.") if parameter.startswith("language.") else f"model.{parameter}"


def tower_parameter_name(stored: str) -> str | None:
    """Key of a CLIP checkpoint -> parameter of evbench's network; None for its text half and what the tower does not use."""
    if stored.startswith(("text_model.", "text_projection", "visual_projection", "logit_scale")):
        return None
    return "visual_tower." + stored.removeprefix("vision_model.")
