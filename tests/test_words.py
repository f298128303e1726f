from __future__ import annotations

import statistics
from typing import Any

import pytest
from transformers import AutoTokenizer

from evbench.pipelines.eventgpt import prompt_halves
from evbench.pipelines.registry import SHIPPED
from evbench.pipelines.weights import trained
from evbench.scenes.captions import QUESTIONS, describe
from evbench.scenes.words import SPECIALS, make_tokenizer, vocabulary
from evbench.scenes.world import imagine
from evbench.training.batches import ANSWER_TOKENS


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer()


@pytest.mark.parametrize("model", list(SHIPPED))
def test_the_tokenizer_that_ships_with_both_models_is_this_one(tokenizer: Any, model: str) -> None:
    shipped = AutoTokenizer.from_pretrained(trained(model)["small"], local_files_only=True)
    assert shipped.get_vocab() == tokenizer.get_vocab() == {word: index for index, word in enumerate(vocabulary())}
    text = "USER: <video>\nWhat is it? A street by day.</s>"
    assert shipped(text)["input_ids"] == tokenizer(text)["input_ids"]


@pytest.mark.parametrize(("colours", "means"), [(True, (50, 91)), (False, (44, 81))])
def test_captions_are_about_as_long_as_intended_and_come_back_as_they_were(tokenizer: Any, colours: bool, means: tuple[int, int]) -> None:
    for register, mean in zip(QUESTIONS, means, strict=True):
        captions = [describe(imagine(7, index), register, colours=colours) for index in range(300)]
        ids = [tokenizer(caption, add_special_tokens=False)["input_ids"] for caption in captions]
        assert [tokenizer.decode(each, skip_special_tokens=True) for each in ids] == captions
        assert tokenizer.unk_token_id not in {token for each in ids for token in each}
        assert statistics.mean(map(len, ids)) == pytest.approx(mean, abs=2)
        assert max(map(len, ids)) < ANSWER_TOKENS[register]


def test_marks_and_prompts_are_cut_as_in_the_released_vocabulary(tokenizer: Any) -> None:
    ids = tokenizer("USER: <video>\nWhat is it? ASSISTANT:")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id == 1
    assert ids.count(tokenizer.convert_tokens_to_ids("<video>")) == 1
    before, after = prompt_halves(tokenizer, QUESTIONS["concise"])
    assert tokenizer.unk_token_id not in before + after
    assert tokenizer.convert_ids_to_tokens(before[-5:]) == ["<", "ev", "_", "start", ">"]
    assert tokenizer.convert_ids_to_tokens(range(len(tokenizer) - 3, len(tokenizer))) == list(SPECIALS)
    assert tokenizer.eos_token_id == 2


def test_a_word_it_has_not_learnt_is_unknown(tokenizer: Any) -> None:
    assert tokenizer("xylophone", add_special_tokens=False)["input_ids"] == [tokenizer.unk_token_id]
