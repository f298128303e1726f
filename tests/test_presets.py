from __future__ import annotations

import pytest
import torch
from transformers import CLIPVisionConfig, LlamaConfig, VideoLlavaConfig, VideoLlavaForConditionalGeneration

from evbench.pipelines import eventgpt, video_llava
from evbench.pipelines.checkpoints.checkpoint import parameter_count
from evbench.pipelines.checkpoints.presets import byte_tokenizer
from evbench.pipelines.eventgpt import EventGPTModel
from evbench.pipelines.registry import MODELS
from evbench.pipelines.video_llava import special_tokens


@pytest.mark.parametrize("size", ["tiny", "7b", "7b-random"])
def test_parameter_counts_are_those_of_the_models(size: str) -> None:
    video, event = (MODELS[model].presets[size] for model in ("video-llava", "eventgpt"))
    with torch.device("meta"):
        llava = VideoLlavaForConditionalGeneration._from_config(VideoLlavaConfig(text_config=video.text, vision_config=video.vision))
        whole = EventGPTModel(CLIPVisionConfig(**event.vision), LlamaConfig(**event.text), "sdpa")
    assert parameter_count(llava) == video.parameters
    assert parameter_count(whole) == event.parameters


def test_ids_of_the_added_tokens_are_those_of_the_released_model() -> None:
    assert special_tokens(32064) == {"<image>": 32000, "<video>": 32001, "<pad>": 32002}


@pytest.mark.parametrize(("vocabulary", "unused"), [(384, 300), (32064, 31_900)])
def test_the_byte_tokenizer_gives_back_any_text(vocabulary: int, unused: int) -> None:
    specials = special_tokens(vocabulary)
    tokenizer = byte_tokenizer(vocabulary, specials)
    text = "USER: <video>\nWas ist das? 视频 ASSISTANT:"
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id == 1
    assert ids.count(specials["<video>"]) == 1
    assert tokenizer.decode(ids, skip_special_tokens=True) == text.replace("<video>", "")
    assert tokenizer.eos_token_id == 2
    assert max(ids) < vocabulary
    assert tokenizer.decode([unused, unused + 1]) == f"<{unused}><{unused + 1}>"


@pytest.mark.parametrize(
    ("question", "of_eventgpt"),
    [("What are the key elements in this scene?", 59), ("Describe in detail what happened in the scene.", 60)],
)
def test_prompts_of_full_size_are_as_long_as_those_of_the_released_models(question: str, of_eventgpt: int) -> None:
    """Without what stands for pictures: 60 ids with one placeholder, and 2,076 with 2,056."""
    before, after = eventgpt.prompt_halves(byte_tokenizer(32_000, {}), question)
    assert len(before) + len(after) == of_eventgpt
    llava = byte_tokenizer(32_064, special_tokens(32_064))
    ids = llava(video_llava.question("What are the key elements in this scene?"))["input_ids"]
    assert 2056 + len(ids) - 1 == 2076
