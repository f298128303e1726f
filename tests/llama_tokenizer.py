"""A tokenizer that splits EventGPT's prompts as LLaMA's does, of 32,000 entries and no added tokens, without a hub.

LLaMA's own vocabulary cannot be fetched. This one knows the pieces of the prompts alone, and rules to put them together; the rest of its
entries are never used. That `<ev_start>` is five pieces, and that a prompt is 60 ids with the events' placeholder, is what was seen of the
released model (xifan-zhang/EventGPT:feasible prints 60 ids and 641 positions); the other pieces are LLaMA's for such text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from sentencepiece import sentencepiece_model_pb2

SIZE = 32_000


def pieces(text: str) -> list[str]:
    """Written with blanks between them."""
    return text.split(" ")


BEFORE = pieces(
    "▁A ▁chat ▁between ▁a ▁curious ▁human ▁and ▁an ▁artificial ▁intelligence ▁assistant . ▁The ▁assistant ▁gives ▁helpful , ▁detailed , "
    "▁and ▁pol ite ▁answers ▁to ▁the ▁human ' s ▁questions . ▁US ER : ▁< ev _ start >"
)
AFTER = {
    "What are the key elements in this scene?": pieces(
        "▁< ev _ end > <0x0A> What ▁are ▁the ▁key ▁elements ▁in ▁this ▁scene ? ▁A SS IST ANT :"
    ),
    "Describe in detail what happened in the scene.": pieces(
        "▁< ev _ end > <0x0A> Desc ribe ▁in ▁detail ▁what ▁happened ▁in ▁the ▁scene . ▁A SS IST ANT :"
    ),
}
"""Question -> pieces behind the events."""
SPECIAL = ("<unk>", "<s>", "</s>")
Stored = Literal["tokenizer.json", "tokenizer.model"]


def entries() -> tuple[list[str], list[str]]:
    """All entries in order, and the merges by which pieces are put together from the left.

    Pieces that begin a word come first: their merges go before those that would join letters inside of words.
    """
    used = sorted({*BEFORE, *(piece for after in AFTER.values() for piece in after)} - {"<0x0A>"})
    used.sort(key=lambda piece: not piece.startswith("▁"))
    joined = {piece[: end + 1]: f"{piece[:end]} {piece[end]}" for piece in used for end in range(1, len(piece))}
    letters = sorted(set("".join(used)))
    known = list(dict.fromkeys([*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *joined, *letters]))
    return known + [f"▁unused{index}" for index in range(SIZE - len(known))], list(joined.values())


def save(folder: Path, stored: Stored) -> None:
    """Write the files that come with a LLaMA checkpoint: either the fast tokenizer's, or SentencePiece's alone."""
    vocabulary, merges = entries()
    config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>",
              "add_bos_token": True, "add_eos_token": False, "model_max_length": 2048, "clean_up_tokenization_spaces": False}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if stored == "tokenizer.json":
        (folder / stored).write_text(json.dumps(_fast(vocabulary, merges)))
    else:
        (folder / stored).write_bytes(_sentencepiece(vocabulary))


def _fast(vocabulary: list[str], merges: list[str]) -> dict[str, Any]:
    """As the hub's LLaMA tokenizer.json is built: its normalizer, post-processor, decoder and kind of model."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    begin, text = {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": index, "content": name} | flags for index, name in enumerate(SPECIAL)],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, text],
            "pair": [begin, text, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "fuse_unk": True, "byte_fallback": True, "vocab": {name: index for index, name in enumerate(vocabulary)}, "merges": merges,
        },
    }  # fmt: skip


def _sentencepiece(vocabulary: list[str]) -> bytes:
    """As LLaMA's tokenizer.model: pairs are joined in the order of their entries."""
    model = sentencepiece_model_pb2.ModelProto()
    kinds = sentencepiece_model_pb2.ModelProto.SentencePiece
    for index, name in enumerate(vocabulary):
        kind = kinds.BYTE if name.startswith("<0x") else kinds.NORMAL
        kind = {"<unk>": kinds.UNKNOWN, "<s>": kinds.CONTROL, "</s>": kinds.CONTROL}.get(name, kind)
        model.pieces.add(piece=name, score=-float(index) if kind == kinds.NORMAL else 0.0, type=kind)
    trainer = sentencepiece_model_pb2.TrainerSpec
    model.trainer_spec.model_type = trainer.BPE
    model.trainer_spec.vocab_size = len(vocabulary)
    model.trainer_spec.byte_fallback = True
    model.trainer_spec.unk_id, model.trainer_spec.bos_id, model.trainer_spec.eos_id, model.trainer_spec.pad_id = 0, 1, 2, -1
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = True
    model.normalizer_spec.remove_extra_whitespaces = False
    return bytes(model.SerializeToString())
