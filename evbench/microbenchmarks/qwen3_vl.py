"""Writes a checkpoint folder of Qwen3-VL's 8B model with random weights, to time its shapes.

    python -m evbench.microbenchmarks.qwen3_vl FOLDER          # 17.5 GB
    evbench compare --model auto --weights FOLDER --baseline baseline --optimized baseline+decode=threaded+vision=compile-tower

Shapes are those of Qwen/Qwen3-VL-8B-Instruct's config.json. The tokenizer is one of bytes, and the chat template a short one: prompts of
text are longer than with the released ones. Weights are drawn, so that the answers say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from transformers import (
    AutoModelForImageTextToText,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from evbench.cli.script import run
from evbench.errors import UserError
from evbench.pipelines.checkpoints.checkpoint import seeded
from evbench.pipelines.checkpoints.presets import byte_tokenizer

TEXT: Mapping[str, Any] = {
    "vocab_size": 151_936, "hidden_size": 4096, "intermediate_size": 12_288, "num_hidden_layers": 36, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 262_144, "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20], "mrope_interleaved": True},
    "bos_token_id": 151_643, "eos_token_id": 151_645, "pad_token_id": 151_643,
}  # fmt: skip
VISION: Mapping[str, Any] = {
    "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16, "patch_size": 16, "spatial_merge_size": 2,
    "temporal_patch_size": 2, "num_position_embeddings": 2304, "out_hidden_size": 4096, "deepstack_visual_indexes": [8, 16, 24],
}  # fmt: skip
TOKENS = {
    "<|endoftext|>": 151_643, "<|im_start|>": 151_644, "<|im_end|>": 151_645, "<|vision_start|>": 151_652, "<|vision_end|>": 151_653,
    "<|image_pad|>": 151_655, "<|video_pad|>": 151_656,
}  # fmt: skip
PIXELS = {"shortest_edge": 4096, "longest_edge": 25_165_824}
"""Of a whole video, at least and at most."""
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def config(text: Mapping[str, Any] = TEXT, vision: Mapping[str, Any] = VISION) -> Qwen3VLConfig:
    """Of both networks, and the tokens that stand for pictures."""
    names = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
    names |= {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
    return Qwen3VLConfig(text_config=dict(text), vision_config=dict(vision), **{field: TOKENS[name] for field, name in names.items()})


def processor() -> Qwen3VLProcessor:
    """Frames and question -> pixel values and token ids."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_tokenizer(TEXT["vocab_size"], TOKENS).backend_tokenizer,
        unk_token="<unk>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens={"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
    )
    image = Qwen2VLImageProcessor(patch_size=VISION["patch_size"])
    return Qwen3VLProcessor(image, tokenizer, Qwen3VLVideoProcessor(size=PIXELS), chat_template=TEMPLATE)


def save(folder: Path, made: Qwen3VLConfig, seed: int = 0) -> None:
    """Write a checkpoint folder with weights drawn from a seed, in bfloat16.

    Raises:
        UserError: the folder is there.
    """
    if folder.exists():
        raise UserError(f"{folder} exists; name a new folder")
    with seeded(seed, "cuda" if torch.cuda.is_available() else "cpu", torch.bfloat16):
        model = AutoModelForImageTextToText.from_config(made)
    model.save_pretrained(folder)
    processor().save_pretrained(folder)


def main(
    folder: Annotated[Path, typer.Argument(help="Folder for the checkpoint, which must not exist.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the weights.")] = 0,
) -> None:
    """Write a checkpoint folder of Qwen3-VL's 8B model with random weights in bfloat16."""
    save(folder, config(), seed)


if __name__ == "__main__":
    run(main)
