"""A grown network computes what the small one does."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import CLIPVisionConfig, LlamaConfig

from evbench.pipelines import eventgpt, video_llava
from evbench.pipelines.checkpoints.grown import RULES, grow, grow_draft_head, layers_in
from evbench.pipelines.checkpoints.presets import text_config, vision_config
from evbench.pipelines.generate.draft_head import DraftHead, DraftState
from evbench.pipelines.generate.language import LanguageModel

SPECIALS = {"<image>": 46, "<video>": 47}
SMALL = (
    text_config(50, hidden=32, layers=3, heads=2, intermediate=40, spread=0.3),
    vision_config(56, hidden=32, layers=4, heads=2, intermediate=44),
)
LARGE = (
    text_config(77, hidden=128, layers=9, heads=8, intermediate=174, spread=0.3),
    vision_config(56, hidden=128, layers=11, heads=8, intermediate=172),
)
NEVER = 0


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    with torch.inference_mode():
        yield
    torch.set_default_dtype(torch.float32)


def network(model: str, text: dict[str, Any], vision: dict[str, Any]) -> Any:
    torch.manual_seed(text["vocab_size"])
    if model == "video-llava":
        made = video_llava.untrained(text, vision, SPECIALS, "sdpa")
    else:
        made = eventgpt.EventGPTModel(CLIPVisionConfig(**vision), LlamaConfig(**text), "sdpa")
    for parameter in made.parameters():  # also biases, and gains other than 1
        parameter.add_(torch.randn_like(parameter) * 0.1)
    return made.eval()


def both(model: str, seed: int = 3) -> tuple[Any, Any]:
    small, large = network(model, *SMALL), network(model, *LARGE)
    configs = [(LlamaConfig(**text), CLIPVisionConfig(**vision)) for text, vision in (SMALL, LARGE)]
    (text, vision), (larger_text, larger_vision) = configs
    sizes: Any = {"text": text, "vision": vision, "larger_text": larger_text, "larger_vision": larger_vision}
    grow(small, large, **sizes, never=NEVER, seed=seed, unused_vision_layers=1 if model == "video-llava" else 0)
    return small, large


def features(model: str, made: Any, pixels: torch.Tensor) -> torch.Tensor:
    # pixels: [images, 3, 56, 56] -> [images, 17, hidden]
    if model == "eventgpt":
        return torch.as_tensor(made.features(pixels))
    vision = video_llava.Vision(made)
    return torch.as_tensor(vision.features(vision.hidden_states(pixels)))


def logits(model: str, made: Any, pixels: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Of a prompt that begins with visual tokens."""
    seen = features(model, made, pixels).flatten(0, 1)[None]
    language = made.language.model if model == "eventgpt" else made.model.language_model
    head = made.language.lm_head if model == "eventgpt" else made.lm_head
    embeddings = torch.cat([seen, language.get_input_embeddings()(ids)], dim=1)
    return torch.as_tensor(head(language(inputs_embeds=embeddings).last_hidden_state))


INPUTS = torch.Generator().manual_seed(5)
PIXELS = torch.randn(3, 3, 56, 56, generator=INPUTS, dtype=torch.float64)
IDS = torch.randint(0, 46, (1, 20), generator=INPUTS)


@pytest.mark.parametrize("model", ["video-llava", "eventgpt"])
def test_four_times_wider_and_three_times_deeper_it_computes_the_same(model: str) -> None:
    small, large = both(model)
    assert sum(weights.numel() for weights in large.parameters()) > 30 * sum(weights.numel() for weights in small.parameters())
    seen, larger_seen = (features(model, made, PIXELS) for made in (small, large))
    copies = torch.arange(128) % 32
    assert (larger_seen - seen[..., copies]).abs().max() < 1e-12 * seen.abs().max()
    said, larger_said = (logits(model, made, PIXELS, IDS) for made in (small, large))
    assert len(set(said.argmax(-1)[0].tolist())) > 5, "a constant answer would prove nothing"
    assert (larger_said[..., :50] - said).abs().max() < 1e-12 * said.abs().max()
    assert (larger_said[..., 50:] - said[..., NEVER, None]).abs().max() < 1e-12 * said.abs().max(), "tokens that only the larger one has"


@pytest.mark.parametrize("model", ["video-llava", "eventgpt"])
def test_no_two_rows_of_a_matrix_are_equal(model: str) -> None:
    """So no part of the work could be shared, by a library that is clever or by a cache. Inserted layers have pairs."""
    _, large = both(model)
    trained = layers_in(SMALL[0]["num_hidden_layers"], LARGE[0]["num_hidden_layers"])
    for name, parameter in large.named_parameters():
        if (
            parameter.ndim == 2
            and "position" not in name
            and any(f"layers.{number}." in name for number in trained)
            and "tower" not in name
        ):
            assert len({tuple(row) for row in parameter.tolist()}) == len(parameter), name
    for name, parameter in large.named_parameters():
        assert parameter.isfinite().all(), name
        assert parameter.ndim < 2 or (parameter == 0).double().mean() < 0.01, f"{name} is dense"


def test_another_seed_is_another_network_that_computes_the_same() -> None:
    (_, first), (_, second), (_, again) = both("eventgpt"), both("eventgpt", 4), both("eventgpt")
    weights = [made.language.model.layers[0].mlp.up_proj.weight for made in (first, second, again)]
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[1])
    assert torch.allclose(logits("eventgpt", first, PIXELS, IDS), logits("eventgpt", second, PIXELS, IDS), rtol=0, atol=1e-10)


def test_the_last_layer_is_the_last_and_the_others_are_spread() -> None:
    assert layers_in(5, 24) == [0, 6, 12, 17, 23]
    assert layers_in(5, 24, 1) == [0, 7, 15, 22, 23], "the last used one is a trained one"
    assert layers_in(2, 4, 1) == [2, 3]
    assert layers_in(4, 32) == [0, 10, 21, 31]
    assert layers_in(1, 3) == [2]
    assert layers_in(3, 3) == [0, 1, 2]
    with pytest.raises(ValueError, match="4 trained layers do not fit into 3"):
        layers_in(4, 3)


@pytest.mark.parametrize(
    ("of", "changes", "told"),
    [
        ("text", {"hidden_size": 144, "head_dim": 16}, "text: hidden size 144 is no multiple of 32"),
        ("text", {"num_attention_heads": 16, "num_key_value_heads": 16}, "text: heads of 16 cannot become heads of 8"),
        ("text", {"num_key_value_heads": 4}, "text: keys have fewer heads than queries"),
        ("text", {"intermediate_size": 173}, "text: an inserted layer needs heads and hidden units in pairs"),
        ("vision", {"num_hidden_layers": 2}, "4 trained layers do not fit into 2"),
    ],
)
def test_a_shape_that_it_cannot_have_is_refused(of: str, changes: dict[str, int], told: str) -> None:
    text, vision = dict(LARGE[0]), dict(LARGE[1])
    (text if of == "text" else vision).update(changes)
    small = network("eventgpt", *SMALL)
    large = network("eventgpt", text, vision)
    configs = SimpleNamespace(text=LlamaConfig(**text), vision=CLIPVisionConfig(**vision))
    with pytest.raises(ValueError, match=told):
        grow(
            small, large, text=LlamaConfig(**SMALL[0]), vision=CLIPVisionConfig(**SMALL[1]),
            larger_text=configs.text, larger_vision=configs.vision, never=NEVER, seed=0,
        )  # fmt: skip


def draft_head(text: dict[str, Any]) -> DraftHead:
    torch.manual_seed(text["hidden_size"])
    made = DraftHead(LlamaConfig(**text))
    for parameter in made.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.3)
    return made


def drafting(made: Any, head: DraftHead) -> DraftState:
    language = LanguageModel(made.language, made.language.model, made.language.lm_head, 2, stop_at_end=False)
    return DraftState(language, head, 4, 20, captured=False)


def test_a_grown_head_drafts_what_the_small_one_does() -> None:
    small, large = both("eventgpt")
    head, larger_head = draft_head(SMALL[0]), draft_head(LARGE[0])
    before = larger_head.state_dict()["self_attn.q_proj.weight"].clone()
    grow_draft_head(head, larger_head, text=LlamaConfig(**SMALL[0]), larger_text=LlamaConfig(**LARGE[0]), seed=3)
    assert not torch.equal(larger_head.state_dict()["self_attn.q_proj.weight"], before)
    states, copies = (drafting(small, head), drafting(large, larger_head)), torch.arange(128) % 32
    found = set()
    for place, rows in ((0, 1), (1, 3), (4, 5), (9, 2)):
        hidden, tokens = torch.randn(rows, 32), torch.randint(0, 50, (rows,))
        for state, given in zip(states, (hidden, hidden[:, copies]), strict=True):
            state.feed(given, tokens.tolist(), place)
            state.draft()
        assert torch.equal(states[0].drafts, states[1].drafts)
        found.update(states[0].drafts.tolist())
        drafted, larger = (
            state._layer(given[None], tokens, torch.arange(place, place + rows))
            for state, given in zip(states, (hidden, hidden[:, copies]), strict=True)
        )
        assert (larger - drafted[..., copies]).abs().max() < 1e-12 * drafted.abs().max()
    assert len(found) > 5, "a constant draft would prove nothing"
    for name, parameter in larger_head.named_parameters():
        assert parameter.ndim < 2 or len({tuple(row) for row in parameter.tolist()}) == len(parameter), name


def test_each_rule_is_needed() -> None:
    from evbench.pipelines.checkpoints.grown import _axes, _network

    names = {name for model in ("video-llava", "eventgpt") for name, _ in network(model, *SMALL).named_parameters()}
    names |= {name for name, _ in draft_head(SMALL[0]).named_parameters()}
    used = {_axes(name, _network(name)) for name in names}
    assert used == {axes for _, axes in RULES}
