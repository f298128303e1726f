"""Configurations and a tokenizer for models that need no download. Imports no torch: the parent process reads the sizes."""

from __future__ import annotations

from typing import Any


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


WORDS = """
Ġassistant Ġartificial Ġintelligence Ġdetailed Ġbetween Ġcurious Ġquestions Ġelements Ġhappened Ġhelpful Ġanswers Ġhuman Ġdetail Ġgives
Ġscene Ġchat ĠThe Ġwhat Ġthis Ġand Ġpol Ġthe Ġkey Ġare Ġan Ġto Ġin ĠUS ĠA Ġa Ġ< What Desc ribe start end ite IST ANT SS ER US ev
"""
"""LLaMA's pieces of more than one letter in the models' prompts and the scenes' two questions, Ġ for a blank in front. Source: the number
of pieces that was printed for both models (60 and 20) in xifan-zhang/EventGPT:feasible."""


def byte_tokenizer(vocabulary: int, specials: dict[str, int]) -> Any:
    """A transformers tokenizer whose pieces are single bytes and, if there is room for them, `WORDS`.

    So a model of full size gets as many tokens as a released one. Ids that spell nothing are shown as `<17332>`.
    Layout as LLaMA's: <unk> 0, <s> 1 (put first), </s> 2, bytes from 3.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = ["<unk>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    # A word is merged from its left, and one that begins with a blank before those that might be found inside it.
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
