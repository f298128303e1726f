"""Models that need no download.

`small` is trained, and ships with evbench. The others have seeded random weights, and a tokenizer that spells text in bytes: `7b` has
the shapes of the released models, `tiny` the same number of visual tokens at a size that a CPU runs in a moment.
No torch here: the parent process reads the parameter counts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

import evbench
from evbench.pipelines.checkpoints import folder
from evbench.results import Workload

DATA = Path(evbench.__file__).parent / "data"


class Preset(TypedDict):
    """Arguments for transformers' configurations."""

    text: dict[str, Any]
    vision: dict[str, Any]
    parameters: int
    """Of the whole model: to refuse a size that the machine cannot hold before any time is spent."""


def text_config(vocabulary: int, *, hidden: int, layers: int, heads: int, intermediate: int, spread: float = 0.02) -> dict[str, Any]:
    """Arguments for transformers' LlamaConfig, whose defaults differ from LLaMA and Vicuna v1.5.

    Source: the hub's LanguageBind/Video-LLaVA-7B-hf:config.json.

    Args:
        spread: standard deviation of random weights.
    """
    return {
        "model_type": "llama",
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 4096,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "intermediate_size": intermediate,
        "initializer_range": spread,
    }


def vision_config(image: int, *, hidden: int, layers: int, heads: int, intermediate: int) -> dict[str, Any]:
    """Arguments for transformers' CLIPVisionConfig, for images of `image` pixels a side."""
    return {
        "model_type": "clip_vision_model",
        "patch_size": 14,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "image_size": image,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": intermediate,
    }


_TEXT_7B = {"hidden": 4096, "layers": 32, "heads": 32, "intermediate": 11008}
_VISION_7B = {"hidden": 1024, "layers": 24, "heads": 16, "intermediate": 4096}
# With transformers' initial spread of 0.02 such small models answer one token for ever, whatever they see; with this, tokens
# vary and follow the picture.
_TEXT_TINY = text_config(384, hidden=128, layers=4, heads=4, intermediate=352, spread=0.2)
_VISION_TINY = {"hidden": 64, "layers": 4, "heads": 4, "intermediate": 256}

PRESETS: dict[str, dict[str, Preset]] = {
    "video-llava": {
        "tiny": {"text": _TEXT_TINY, "vision": vision_config(224, **_VISION_TINY), "parameters": 1_435_776},
        "7b": {"text": text_config(32064, **_TEXT_7B), "vision": vision_config(224, **_VISION_7B), "parameters": 7_366_279_168},
    },
    "eventgpt": {
        "tiny": {"text": _TEXT_TINY, "vision": vision_config(336, **_VISION_TINY), "parameters": 1_218_432},
        "7b": {"text": text_config(32000, **_TEXT_7B), "vision": vision_config(336, **_VISION_7B), "parameters": 7_079_684_096},
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


WORDS = """
Ġassistant Ġartificial Ġintelligence Ġdetailed Ġbetween Ġcurious Ġquestions Ġelements Ġhappened Ġhelpful Ġanswers Ġhuman Ġdetail Ġgives
Ġscene Ġchat ĠThe Ġwhat Ġthis Ġand Ġpol Ġthe Ġkey Ġare Ġan Ġto Ġin ĠUS ĠA Ġa Ġ< What Desc ribe start end ite IST ANT SS ER US ev
"""
"""LLaMA's pieces of more than one letter in the models' prompts and the seed's two questions, Ġ for a blank in front. Source: the number
of pieces that was printed for both models (60 and 20) in xifan-zhang/EventGPT:feasible."""


def byte_tokenizer(vocabulary: int, specials: dict[str, int]) -> Any:
    """A transformers tokenizer whose pieces are single bytes and, if there is room for them, `WORDS`.

    So a model of full size is given as many tokens as a released one. Ids that spell nothing are shown as `<17332>`.
    Layout as LLaMA's: <unk> 0, <s> 1 (put first), </s> 2, bytes from 3.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = ["<unk>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    # A word is put together from its left, and one that begins with a blank before those that might be found inside of it.
    joined = {word[: end + 1]: (word[:end], word[end]) for word in WORDS.split() for end in range(1, len(word))}
    if len(pieces) + len(joined) <= min([vocabulary, *specials.values()]):
        pieces += joined
    merges = [pair for piece, pair in joined.items() if piece in pieces]
    named = {index: name for name, index in specials.items()}
    pieces += [named.get(index, f"<{index}>") for index in range(len(pieces), vocabulary)]
    tokenizer = Tokenizer(models.BPE(vocab={piece: index for index, piece in enumerate(pieces)}, merges=merges, unk_token="<unk>"))
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
