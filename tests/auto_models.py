"""Checkpoint folders of video-language models of transformers, at small random size, made without any download."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLProcessor,
    InternVLVideoProcessor,
    LlavaNextImageProcessor,
    LlavaNextVideoConfig,
    LlavaNextVideoProcessor,
    LlavaNextVideoVideoProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    SiglipVisionConfig,
    SmolVLMConfig,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
    VideoLlama3Config,
    VideoLlama3ImageProcessor,
    VideoLlama3Processor,
    VideoLlama3VideoProcessor,
)
from transformers.models.smolvlm import processing_smolvlm

from evbench.pipelines.checkpoints.presets import byte_tokenizer

if processing_smolvlm.num2words is None:  # an optional package, which spells the number of frames in the prompt
    processing_smolvlm.num2words = str

VOCABULARY = 320
SPECIALS = {
    "<pad>": 300, "<image>": 301, "<video>": 302, "<|vision_start|>": 303, "<|vision_end|>": 304, "<img>": 305, "</img>": 306,
}  # fmt: skip
IMAGE, VIDEO = "<image>", "<video>"
IDS = {"image_token_id": SPECIALS[IMAGE], "video_token_id": SPECIALS[VIDEO]}
INDICES = {"image_token_index": SPECIALS[IMAGE], "video_token_index": SPECIALS[VIDEO]}
VISION_IDS = {"vision_start_token_id": SPECIALS["<|vision_start|>"], "vision_end_token_id": SPECIALS["<|vision_end|>"]}
TEXT = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 4096, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 300,
}  # fmt: skip
TOWER = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
DEEP = {"hidden_size": 32, "depth": 3, "num_heads": 2, "intermediate_size": 64, "out_hidden_size": 32}
M_ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
TEMPLATE = (
    "{% for message in messages %}USER: {% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}VIDEO_PLACE\n{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)
SMALL = {"shortest_edge": 1024, "longest_edge": 20000}
"""Pixels of a frame, at least and at most, for processors that keep the aspect of a frame."""


def with_named_tokens(**named: str) -> Any:
    """The tokenizer with names that a processor asks it for, such as `video_token`."""
    made = byte_tokenizer(VOCABULARY, SPECIALS)
    return PreTrainedTokenizerFast(
        tokenizer_object=made.backend_tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens=named,
    )


NAMED = {"image_token": IMAGE, "video_token": VIDEO}


def qwen2_5_vl() -> Any:
    vision = DEEP | {"fullatt_block_indexes": [1], "window_size": 56}
    return Qwen2_5_VLConfig(text_config=TEXT | {"rope_parameters": M_ROPE}, vision_config=vision, **IDS, **VISION_IDS)


def qwen3_vl() -> Any:
    vision = DEEP | {"deepstack_visual_indexes": [0, 1], "num_position_embeddings": 64}
    text = TEXT | {"head_dim": 8, "rope_parameters": M_ROPE | {"mrope_interleaved": True}}
    return Qwen3VLConfig(text_config=text, vision_config=vision, **IDS, **VISION_IDS)


def llava_onevision() -> Any:
    vision = SiglipVisionConfig(**TOWER, image_size=56, patch_size=14, vision_use_head=False)
    text = {"model_type": "qwen2"} | TEXT
    return LlavaOnevisionConfig(vision_config=vision, text_config=text, image_grid_pinpoints=[[56, 56]], **INDICES)


def internvl() -> Any:
    vision = TOWER | {"image_size": [56, 56], "patch_size": [14, 14]}
    return InternVLConfig(
        vision_config=vision, text_config={"model_type": "qwen2"} | TEXT, image_token_id=SPECIALS[IMAGE], image_seq_length=4
    )


def llava_next_video() -> Any:
    vision = CLIPVisionConfig(**TOWER, image_size=56, patch_size=14, projection_dim=32)
    text = {"model_type": "llama"} | TEXT
    return LlavaNextVideoConfig(
        vision_config=vision, text_config=text, image_grid_pinpoints=[[56, 56]], image_seq_length=16, video_seq_length=4, **INDICES
    )


def video_llama_3() -> Any:
    return VideoLlama3Config(vision_config=TOWER | {"patch_size": 14}, text_config={"model_type": "qwen2"} | TEXT, **IDS)


def smolvlm() -> Any:
    vision = TOWER | {"image_size": 56, "patch_size": 14}
    text = {"model_type": "llama"} | TEXT
    return SmolVLMConfig(vision_config=vision, text_config=text, image_token_id=SPECIALS[IMAGE], scale_factor=2, pad_token_id=300)


def _qwen2_5_vl(template: str) -> Any:
    video = Qwen2VLVideoProcessor(size=SMALL)
    return Qwen2_5_VLProcessor(Qwen2VLImageProcessor(), with_named_tokens(**NAMED), video, chat_template=template)


def _qwen3_vl(template: str) -> Any:
    video = Qwen3VLVideoProcessor(size={"shortest_edge": 1024, "longest_edge": 100000})
    return Qwen3VLProcessor(Qwen2VLImageProcessor(patch_size=16), with_named_tokens(**NAMED), video, chat_template=template)


def _llava_onevision(template: str) -> Any:
    size = {"height": 56, "width": 56}
    image = LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=[[56, 56]])
    video = LlavaOnevisionVideoProcessor(size=size)
    return LlavaOnevisionProcessor(
        image, with_named_tokens(**NAMED), video, num_image_tokens=16, vision_feature_select_strategy="full", chat_template=template
    )


def _internvl(template: str) -> Any:
    named = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": IMAGE, "video_token": VIDEO}
    size = {"height": 56, "width": 56}
    image, video = GotOcr2ImageProcessor(size=size), InternVLVideoProcessor(size=size)
    return InternVLProcessor(image, with_named_tokens(**named), video, image_seq_length=4, chat_template=template)


def _llava_next_video(template: str) -> Any:
    sizes = {"size": {"shortest_edge": 56}, "crop_size": {"height": 56, "width": 56}}
    image, video = LlavaNextImageProcessor(**sizes), LlavaNextVideoVideoProcessor(**sizes)
    return LlavaNextVideoProcessor(
        video, image, with_named_tokens(**NAMED), template, patch_size=14, vision_feature_select_strategy="default"
    )


def _video_llama_3(template: str) -> Any:
    video = VideoLlama3VideoProcessor(size=SMALL)
    return VideoLlama3Processor(VideoLlama3ImageProcessor(), with_named_tokens(**NAMED), video, chat_template=template)


def _smolvlm(template: str) -> Any:
    named = NAMED | {"fake_image_token": "<img>", "global_image_token": "</img>", "end_of_utterance_token": "</s>"}
    sizes = {"size": {"longest_edge": 56}, "max_image_size": {"longest_edge": 56}}
    image, video = SmolVLMImageProcessor(**sizes), SmolVLMVideoProcessor(**sizes)
    return SmolVLMProcessor(image, with_named_tokens(**named), video, image_seq_len=4, chat_template=template)


PLACES = {"qwen2_5_vl": "<|vision_start|><video><|vision_end|>"}
"""What the chat template puts in the place of a video, where it is more than `<video>`."""
MADE: Mapping[str, tuple[Callable[[], Any], Callable[[str], Any]]] = {
    "qwen2_5_vl": (qwen2_5_vl, _qwen2_5_vl),
    "qwen3_vl": (qwen3_vl, _qwen3_vl),
    "llava_onevision": (llava_onevision, _llava_onevision),
    "internvl": (internvl, _internvl),
    "llava_next_video": (llava_next_video, _llava_next_video),
    "video_llama_3": (video_llama_3, _video_llama_3),
    "smolvlm": (smolvlm, _smolvlm),
}
"""model_type -> its configuration; (chat template) -> its processor."""
_FOLDER = tempfile.TemporaryDirectory(prefix="evbench-test-auto-")


@functools.cache
def saved(architecture: str) -> Path:
    """A folder that no test changes."""
    return save(architecture, Path(_FOLDER.name) / architecture)


def save(architecture: str, folder: Path) -> Path:
    """Write a checkpoint folder of it: weights, configuration, processor and tokenizer."""
    config, processor = MADE[architecture]
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config())
    with torch.no_grad():
        for name, weights in model.named_parameters():
            # With transformers' initial spread so small a model answers one token for ever, whatever it sees.
            if weights.ndim > 1 and "position_embedding" not in name:
                weights.normal_(0, 0.25)
    model.save_pretrained(folder)
    processor(TEMPLATE.replace("VIDEO_PLACE", PLACES.get(architecture, VIDEO))).save_pretrained(folder)
    return folder
