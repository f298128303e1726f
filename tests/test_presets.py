from __future__ import annotations

import pytest
import torch
from transformers import CLIPVisionConfig, LlamaConfig, VideoLlavaConfig, VideoLlavaForConditionalGeneration

from evbench.pipelines.checkpoint import parameter_count
from evbench.pipelines.eventgpt import EventGPTModel
from evbench.pipelines.presets import PRESETS, byte_tokenizer, special_tokens


@pytest.mark.parametrize("size", ["tiny", "7b"])
def test_parameter_counts_are_those_of_the_models(size: str) -> None:
    video, event = PRESETS["video-llava"][size], PRESETS["eventgpt"][size]
    with torch.device("meta"):
        llava = VideoLlavaForConditionalGeneration._from_config(VideoLlavaConfig(text_config=video["text"], vision_config=video["vision"]))
        eventgpt = EventGPTModel(CLIPVisionConfig(**event["vision"]), LlamaConfig(**event["text"]), "sdpa")
    assert parameter_count(llava) == video["parameters"]
    assert parameter_count(eventgpt) == event["parameters"]


def test_ids_of_the_added_tokens_are_those_of_the_released_model() -> None:
    assert special_tokens(32064) == {"<image>": 32000, "<video>": 32001, "<pad>": 32002}


@pytest.mark.parametrize("vocabulary", [384, 32064])
def test_the_byte_tokenizer_gives_back_any_text(vocabulary: int) -> None:
    specials = special_tokens(vocabulary)
    tokenizer = byte_tokenizer(vocabulary, specials)
    text = "USER: <video>\nWas ist das? 视频 ASSISTANT:"
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id == 1
    assert ids.count(specials["<video>"]) == 1
    assert tokenizer.decode(ids, skip_special_tokens=True) == text.replace("<video>", "")
    assert tokenizer.eos_token_id == 2
    assert max(ids) < vocabulary
    assert tokenizer.decode([300, 301]) == "<300><301>"
