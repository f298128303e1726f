"""Models that need no download.

`small` is trained, and ships with evbench. The others have seeded random weights, and a tokenizer that spells text in bytes: `7b` has
the shapes of the released models, `tiny` the same number of visual tokens at a size that a CPU runs in a moment.
No torch here: the parent process reads the parameter counts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

import evbench
from evbench.pipelines import folder
from evbench.results import Workload

DATA = Path(evbench.__file__).parent / "data"


class Preset(TypedDict):
    """Arguments for transformers' configurations."""

    text: dict[str, Any]
    vision: dict[str, Any]
    parameters: int
    """Of the whole model: to refuse a size that the machine cannot hold before any time is spent."""


# LLaMA and Vicuna v1.5 as in the hub's LanguageBind/Video-LLaVA-7B-hf:config.json; transformers' own defaults differ.
_LLAMA = {
    "model_type": "llama",
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 4096,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_CLIP = {"model_type": "clip_vision_model", "patch_size": 14, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}

_TEXT_7B = _LLAMA | {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
}
_VISION_7B = _CLIP | {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "projection_dim": 768,
}
# With transformers' initial spread of 0.02 such small models answer one token for ever, whatever they see; with these, tokens
# vary and follow the picture.
_TEXT_TINY = _LLAMA | {
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
}
_TEXT_TINY |= {"vocab_size": 384, "initializer_range": 0.2}
_VISION_TINY = _CLIP | {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "projection_dim": 64}

PRESETS: dict[str, dict[str, Preset]] = {
    "video-llava": {
        "tiny": {"text": _TEXT_TINY, "vision": _VISION_TINY | {"image_size": 224}, "parameters": 1_435_776},
        "7b": {"text": _TEXT_7B | {"vocab_size": 32064}, "vision": _VISION_7B | {"image_size": 224}, "parameters": 7_366_279_168},
    },
    "eventgpt": {
        "tiny": {"text": _TEXT_TINY, "vision": _VISION_TINY | {"image_size": 336}, "parameters": 1_218_432},
        "7b": {"text": _TEXT_7B | {"vocab_size": 32000}, "vision": _VISION_7B | {"image_size": 336}, "parameters": 7_079_684_096},
    },
}


TRAINED: dict[str, dict[str, Path]] = {
    "video-llava": {"small": DATA / "small-video-llava"},
    "eventgpt": {"small": DATA / "small-eventgpt"},
}
"""Folders of the checkpoints that ship with evbench. `python -m evbench.training` made them."""
DEFAULT = "small"


def names(model: str) -> list[str]:
    """All presets of a model."""
    return [*TRAINED[model], *PRESETS[model]]


def checkpoint_folder(workload: Workload) -> Path | None:
    """Where the weights of a workload are stored. None for random ones."""
    return Path(workload.weights) if workload.weights is not None else TRAINED[workload.model].get(str(workload.preset))


def parameter_count(workload: Workload) -> int:
    """Of the whole model, without loading it. Raises UserError if its folder is damaged."""
    stored = checkpoint_folder(workload)
    return folder.parameter_count(stored) if stored is not None else PRESETS[workload.model][str(workload.preset)]["parameters"]


def special_tokens(vocabulary: int) -> dict[str, int]:
    """Ids of Video-LLaVA's added tokens: behind the 32,000 of LLaMA in the released model, last but few in a small one."""
    first = 32000 if vocabulary > 32000 else vocabulary - 4
    return {"<image>": first, "<video>": first + 1, "<pad>": first + 2}


def byte_tokenizer(vocabulary: int, specials: dict[str, int]) -> Any:
    """A transformers tokenizer whose pieces are single bytes. Ids that spell nothing are shown as `<17332>`.

    Layout as LLaMA's: <unk> 0, <s> 1 (put first), </s> 2, bytes from 3.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = ["<unk>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    named = {index: name for name, index in specials.items()}
    pieces += [named.get(index, f"<{index}>") for index in range(len(pieces), vocabulary)]
    tokenizer = Tokenizer(models.BPE(vocab={piece: index for index, piece in enumerate(pieces)}, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in ("<unk>", "<s>", "</s>", *specials)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>" if "<pad>" in specials else "<unk>",
    )
