"""The word-level tokenizer that both small models share, so that one can draft for the other."""

from __future__ import annotations

import re
from typing import Any

from evbench.scenes.captions import QUESTIONS, describe
from evbench.scenes.world import imagine

SPECIALS = ("<image>", "<video>", "<pad>")
"""Video-LLaVA's added tokens. They stand last, as in the released vocabulary."""
PROMPTS = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite "
    "answers to the human's questions. USER: <ev_start><ev_end>\n ASSISTANT:",
    *QUESTIONS.values(),
)
ASKED = (
    "How many cars trucks people persons cyclists signs trees are there? Is it day or night, light or dark? Which colour has the car? "
    "Who is on the road? Where does it go? Please tell me briefly what you see in this video. Describe the image. What is moving? "
    "Do they pass each other? Does anything stand still? Why When Can From Into Over Under Behind Before After This That These Those "
    "not no yes one none left right near far fast slow big small old new sky road house window pavement lane clip picture event camera"
)
"""Words of other questions, so that few become <unk>. The models were trained on two questions only."""
SAMPLED = 2000
"""Scenes whose captions are read for their words; the grammar is small, and they use all of it."""


def vocabulary() -> list[str]:
    """Every entry, by id. `▁` is the space in front of a word."""
    texts = [*PROMPTS, ASKED, ASKED.lower()]
    for index in range(SAMPLED):
        scene = imagine(0, index)
        texts += [describe(scene, register, colours=True) for register in QUESTIONS]
    words = sorted({piece for text in texts for piece in _pieces(text)} | {"▁", "▁\n"})
    return ["<unk>", "<s>", "</s>", *words, *SPECIALS]


def make_tokenizer() -> Any:
    """A transformers tokenizer: ids as in LLaMA's for <unk>, <s> (put first), </s>; `<ev_start>` is five pieces, as there."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(vocabulary())}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex("\n"), "isolated"),
        pre_tokenizers.Metaspace(prepend_scheme="always"),
        pre_tokenizers.Split(Regex("[^▁\\w\n]|_"), "isolated"),
    ])  # fmt: skip
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in ("<unk>", "<s>", "</s>", *SPECIALS)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def _pieces(text: str) -> list[str]:
    """Cut as the tokenizer does: each word with the space in front of it, each mark by itself."""
    spaced = "".join(f"▁{line.replace(' ', '▁')}" for line in re.split("(\n)", text) if line)
    return [piece for word in re.findall("▁[^▁]*", spaced) for piece in re.split("([^▁\\w\n]|_)", word) if piece]
