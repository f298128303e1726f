"""The fused language model and its loop against transformers'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

from evbench.errors import UserError
from evbench.kernels import matvec
from evbench.kernels.decode_attention import DecodeAttention
from evbench.kernels.matvec import Quantized
from evbench.pipelines.checkpoints.checkpoint import fingerprint, seeded
from evbench.pipelines.compute import cuda_graph
from evbench.pipelines.compute.attention import attend
from evbench.pipelines.generate import kv_rounding, llama
from evbench.pipelines.generate.choices import QUANTIZATION
from evbench.pipelines.generate.graph_loop import STRIDE, DecodeState, GraphLoop, compiled_prefill, eager_prefill, on_one_gpu
from evbench.pipelines.generate.language import LanguageModel
from evbench.pipelines.generate.llama import FusedLlama
from evbench.pipelines.generate.loops import Generate, dynamic
from evbench.stages import Sampler
from evbench.variants.named import parse
from tests.devices import DEVICE
from tests.reference_kernels import over_references, uncaptured, uncompiled

pytestmark = pytest.mark.device

SMALL = {
    "vocab_size": 90, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
    "intermediate_size": 72, "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "initializer_range": 0.3, "pad_token_id": 0,
}  # fmt: skip
PREFILLS: dict[str, Callable[[LanguageModel, FusedLlama], Any]] = {
    "eager": eager_prefill,
    "compile": compiled_prefill,
}
prefills = pytest.mark.parametrize("prefill", ["eager", pytest.param("compile", marks=pytest.mark.long)])
GROUPED: dict[str, Any] = {"num_key_value_heads": 2}


@pytest.fixture(autouse=True)
def on_this_device(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Without a GPU there is no graph, and kernels, which the interpreter takes milliseconds for, are run in tests marked `kernels`."""
    if DEVICE == "cpu":
        (uncaptured if "kernels" in request.keywords else over_references)(monkeypatch)


def language(end_token: int = 2, stop_at_end: bool = False, **changes: Any) -> LanguageModel:
    with seeded(0, DEVICE, torch.float32):
        model = LlamaForCausalLM._from_config(LlamaConfig(**(SMALL | changes)), attn_implementation="sdpa").eval()
    return LanguageModel(model, model.model, model.lm_head, end_token, stop_at_end)


def loop(model: LanguageModel, prefill: str) -> GraphLoop:
    fused = FusedLlama(model.decoder, model.head, attend("sdpa"))
    return GraphLoop(model, fused, on_one_gpu(fused, PREFILLS[prefill](model, fused)))


def forced_logits(generate: Generate, embeddings: torch.Tensor, tokens: list[int]) -> torch.Tensor:
    sampler = Sampler(tokens, range(len(tokens)))
    assert generate(embeddings, len(tokens), sampler) == tokens
    return torch.cat([sampler.kept[position] for position in range(len(tokens))])


def prompt(length: int, seed: int = 0, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, length, 64, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


@pytest.mark.parametrize(
    ("prefill", "changes"),
    [
        pytest.param("eager", {}, id="eager"),
        pytest.param("eager", GROUPED, id="eager-grouped"),
        pytest.param("compile", GROUPED, id="compile-grouped", marks=pytest.mark.long),
        pytest.param("compile", {}, id="compile", marks=pytest.mark.long),
    ],
)
@torch.inference_mode()
def test_the_loop_gives_the_tokens_and_logits_of_transformers(prefill: str, changes: dict[str, Any]) -> None:
    model = language(**changes)
    usual = dynamic(model, parse("baseline"))
    asked = [(31, 12), (31, 4), (9, 1), (40, 7)]
    expected = [usual(prompt(length, length), tokens, Sampler()) for length, tokens in asked]
    followed = [forced_logits(usual, prompt(length, length), answer) for (length, _), answer in zip(asked, expected, strict=True)]
    ours = loop(model, prefill)
    for _ in range(2):  # memory that was used before is as good as new
        assert [ours(prompt(length, length), tokens, Sampler()) for length, tokens in asked] == expected
    for (length, _), answer, logits in zip(asked, expected, followed, strict=True):
        assert torch.allclose(forced_logits(ours, prompt(length, length), answer), logits, atol=1e-4)
    assert len({token for answer in expected for token in answer}) > 8, "a constant answer would prove nothing"


@pytest.mark.parametrize("quantization", ["none", "int8", "fp8"])
@torch.inference_mode()
def test_two_loops_over_one_model_have_its_weights_in_the_same_memory(quantization: str) -> None:
    """A model that drafts has two."""
    model = language(**GROUPED)
    QUANTIZATION.implementation(quantization)(model.decoder)
    layer = model.decoder.layers[1]
    before = [getattr(layer.self_attn, name)(torch.eye(64, device=DEVICE)) for name in ("q_proj", "k_proj", "v_proj")]
    one, other = (FusedLlama(model.decoder, model.head, attend("sdpa")).layers[1] for _ in range(2))
    for name in ("projections", "gate_up"):
        first, second = getattr(one, name), getattr(other, name)
        pairs = [(first.values, second.values), (first.scales, second.scales)] if isinstance(first, Quantized) else [(first, second)]
        for ours, theirs in pairs:
            assert (ours.data_ptr(), ours.shape, ours.stride()) == (theirs.data_ptr(), theirs.shape, theirs.stride())
    product = matvec.reference(torch.eye(64, device=DEVICE), other.projections)
    assert torch.allclose(product, torch.cat(before, dim=1), atol=1e-5)


@torch.inference_mode()
def test_what_is_judged_is_replayed_from_the_graph_that_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One capture, whose replays write into the same buffers; forcing and keeping logits launch nothing inside of it."""
    captures: list[object] = []
    replays: list[int] = []

    def captured(work: Callable[[], None]) -> Callable[[], None]:
        captures.append(work)

        def replay() -> None:
            replays.append(len(captures))
            work()

        return replay

    monkeypatch.setattr(cuda_graph, "captured", captured)
    ours = loop(language(), "eager")
    timed = Sampler(keep=(2,))
    tokens = ours(prompt(9), 6, timed)
    state = ours._state
    assert state is not None
    buffers = state.logits.data_ptr(), state.tokens.data_ptr()
    judged = forced_logits(ours, prompt(9), tokens)
    assert ours._state is state
    assert (len(captures), replays) == (1, [1] * 10)
    assert (state.logits.data_ptr(), state.tokens.data_ptr()) == buffers
    assert torch.equal(judged[2], timed.kept[2][0])
    other = [tokens[0], (tokens[1] + 1) % 90, *tokens[2:]]
    assert not torch.allclose(forced_logits(ours, prompt(9), other)[2], judged[2], atol=1e-2), "the forced token is what a step reads"


@prefills
@torch.inference_mode()
def test_several_prompts_at_once_are_answered_as_each_by_itself(prefill: str) -> None:
    model = language()
    ours, merged_traces = loop(model, prefill), prompt(21, batch=3)
    apart = [ours(merged_traces[index : index + 1], 6, Sampler()) for index in range(3)]
    assert ours.generate_batch(merged_traces, 6, Sampler()) == apart
    assert len({tuple(answer) for answer in apart}) == 3


@torch.inference_mode()
def test_an_answer_ends_with_its_end_token_though_steps_ran_further() -> None:
    whole = loop(language(), "eager")(prompt(13), 40, Sampler())
    end = whole[5]
    marks: list[int] = []
    ours = loop(language(end, stop_at_end=True), "eager")
    assert ours(prompt(13), 40, Sampler(mark=lambda: marks.append(0))) == whole[: whole.index(end) + 1]
    assert len(marks) == STRIDE
    assert loop(language(end, stop_at_end=False), "eager")(prompt(13), 40, Sampler()) == whole


@prefills
@torch.inference_mode()
def test_every_token_is_marked_once(prefill: str) -> None:
    marks: list[int] = []
    for tokens in (1, 5):
        marks.clear()
        assert len(loop(language(), prefill)(prompt(9), tokens, Sampler(mark=lambda: marks.append(0)))) == tokens == len(marks)


@torch.inference_mode()
def test_fusing_leaves_the_model_as_it_was() -> None:
    model = language()
    before, logits = fingerprint(model.whole), model.whole(inputs_embeds=prompt(7)).logits
    FusedLlama(model.decoder, model.head, attend("sdpa"))
    assert fingerprint(model.whole) == before
    assert torch.equal(model.whole(inputs_embeds=prompt(7)).logits, logits)
    layer = model.decoder.layers[0].self_attn
    assert layer.k_proj.weight.data_ptr() == layer.q_proj.weight.data_ptr() + layer.q_proj.weight.nbytes, "one matrix, held once"


@pytest.mark.slow
@pytest.mark.kernels
@torch.inference_mode()
def test_steps_of_the_real_kernels_for_a_few_tokens() -> None:
    model = language(num_hidden_layers=1)
    fused = FusedLlama(model.decoder, model.head, attend("sdpa"))
    kv_cache = fused.new_kv_cache(2, 8)
    attention = DecodeAttention(2, 4, 4, 16, 8, DEVICE)
    tokens = torch.tensor([[3, 5], [7, 5]], device=DEVICE)
    expected = model.whole(input_ids=tokens).logits
    for position in range(2):
        made = fused.step(tokens, torch.tensor([position], device=DEVICE), kv_cache, attention)
        assert torch.allclose(made, expected[:, position], atol=1e-4)


@pytest.mark.parametrize("prefill", ["eager", "compile"])
@pytest.mark.parametrize("choice", ["int8", "fp8"])
@torch.inference_mode()
def test_quantized_weights_are_computed_with_as_their_modules_do(choice: str, prefill: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if DEVICE == "cpu":
        uncompiled(monkeypatch)
    model = language(**GROUPED)
    full = dynamic(language(**GROUPED), parse("baseline"))
    QUANTIZATION.implementation(choice)(model.decoder)
    usual = dynamic(model, parse("baseline"))
    answer = usual(prompt(31), 12, Sampler())
    expected, lossless = (forced_logits(generate, prompt(31), answer) for generate in (usual, full))
    ours = loop(model, prefill)
    found = forced_logits(ours, prompt(31), answer)
    assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(found, lossless, atol=1e-3)
    assert torch.equal(forced_logits(usual, prompt(31), answer), expected), "fusing leaves the modules as they were"
    attention = model.decoder.layers[0].self_attn
    for held in ("values", "scales"):
        query, key = (getattr(module, held) for module in (attention.q_proj, attention.k_proj))
        assert key.data_ptr() == query.data_ptr() + query.nbytes, "one matrix, held once"
    assert isinstance(ours._llama.layers[0].down, matvec.Quantized)


@pytest.mark.slow
@pytest.mark.kernels
@pytest.mark.parametrize("prefill", PREFILLS)
@torch.inference_mode()
def test_the_loop_of_the_real_kernels(prefill: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if DEVICE == "cpu":
        uncompiled(monkeypatch)
    model = language(num_hidden_layers=1, **GROUPED)
    expected = dynamic(language(num_hidden_layers=1, **GROUPED), parse("baseline"))(prompt(5), 4, Sampler())
    assert loop(model, prefill)(prompt(5), 4, Sampler()) == expected


@pytest.mark.slow
@pytest.mark.kernels
@pytest.mark.parametrize("choice", ["int8", "fp8"])
@torch.inference_mode()
def test_steps_of_the_real_kernels_with_quantized_weights(choice: str) -> None:
    model = language(num_hidden_layers=1)
    QUANTIZATION.implementation(choice)(model.decoder)
    fused = FusedLlama(model.decoder, model.head, attend("sdpa"))
    tokens = torch.tensor([[3], [7]], device=DEVICE)
    for batch in (1, 2):  # of each kernel
        kv_cache, attention = fused.new_kv_cache(batch, 8), DecodeAttention(batch, 4, 4, 16, 8, DEVICE)
        made = fused.step(tokens[:batch], torch.tensor([0], device=DEVICE), kv_cache, attention)
        assert torch.allclose(made, model.whole(input_ids=tokens[:batch]).logits[:, 0], atol=1e-4)


@pytest.mark.parametrize("prefill", ["eager", "compile"])
@torch.inference_mode()
def test_a_cache_of_eight_bits_is_that_of_the_modules_with_their_cache_rounded(prefill: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, where the two differ by rounding least; the choice itself takes none."""
    if DEVICE == "cpu":
        uncompiled(monkeypatch)
    model = language(**GROUPED)
    full = dynamic(language(**GROUPED), parse("baseline"))
    kv_rounding.fp8_rounded(model.decoder)
    setattr(model.decoder, kv_rounding.STORED, torch.float8_e4m3fn)
    usual, ours = dynamic(model, parse("baseline")), loop(model, prefill)
    answer = usual(prompt(31), 12, Sampler())
    expected, lossless, found = (forced_logits(generate, prompt(31), answer) for generate in (usual, full, ours))
    assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(found, lossless, atol=1e-2)
    assert isinstance(ours._state, DecodeState)
    assert {kept.dtype for layer in ours._state._kv_cache for kept in layer} == {torch.float8_e4m3fn}


@pytest.mark.slow
@pytest.mark.kernels
@pytest.mark.usefixtures("rounding_to_eight_bits")
@torch.inference_mode()
def test_steps_of_the_real_kernels_over_a_cache_of_eight_bits() -> None:
    model = language(num_hidden_layers=1)
    kv_rounding.fp8_rounded(model.decoder)
    setattr(model.decoder, kv_rounding.STORED, torch.float8_e4m3fn)
    fused = FusedLlama(model.decoder, model.head, attend("sdpa"))
    kv_cache, attention = fused.new_kv_cache(2, 8), DecodeAttention(2, 4, 4, 16, 8, DEVICE)
    tokens = torch.tensor([[3, 5], [7, 5]], device=DEVICE)
    expected = model.whole(input_ids=tokens).logits
    for position in range(2):
        made = fused.step(tokens, torch.tensor([position], device=DEVICE), kv_cache, attention)
        assert torch.allclose(made, expected[:, position], atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"attention_bias": True}, "does not know a language model with {'attention_bias': True}"),
        ({"mlp_bias": True}, "does not know a language model with {'mlp_bias': True}"),
        ({"hidden_act": "gelu"}, "does not know a language model with {'hidden_act': 'gelu'}"),
        ({"hidden_size": 96}, "takes heads of 16, 32, 64"),
    ],
)
def test_another_kind_of_model_is_refused(changes: dict[str, Any], told: str) -> None:
    model = language(**changes)
    with pytest.raises(UserError, match=told):
        FusedLlama(model.decoder, model.head, attend("sdpa"))


def test_a_text_model_whose_projections_have_biases_that_its_config_does_not_name_is_refused() -> None:
    """Qwen2 inside a checkpoint folder: its biases would be left out without a word."""
    with seeded(0, DEVICE, torch.float32):
        model = Qwen2ForCausalLM._from_config(Qwen2Config(**SMALL), attn_implementation="sdpa").eval()
    assert model.model.layers[0].self_attn.q_proj.bias is not None
    assert not hasattr(model.config, "attention_bias")
    with pytest.raises(UserError, match=r"knows text models of model_type llama and mistral, not 'qwen2'; use generate=static-compile"):
        FusedLlama(model.model, model.lm_head, attend("sdpa"))


def test_float8_weights_are_refused_on_a_gpu_that_cannot_convert_them() -> None:
    model = language()
    QUANTIZATION.implementation("fp8")(model.decoder)
    layers = FusedLlama(model.decoder, model.head, attend("sdpa")).layers
    llama._require_converted(layers, torch.float8_e4m3fn, (8, 9))
    with pytest.raises(UserError, match=r"needs a GPU of compute capability 8\.9 or later, and this one has 8\.0; use quantization=int8"):
        llama._require_converted(layers, torch.bfloat16, (8, 0))
    full = FusedLlama((other := language()).decoder, other.head, attend("sdpa")).layers
    with pytest.raises(UserError, match=r"cache=fp8 with generate=graph needs .* has 8\.0; use cache=full"):
        llama._require_converted(full, torch.float8_e4m3fn, (8, 0))
    llama._require_converted(full, torch.bfloat16, (8, 0))


def test_a_bias_is_refused_by_its_name_whatever_the_config_says() -> None:
    model = language()
    model.decoder.layers[1].self_attn.k_proj.bias = torch.nn.Parameter(torch.ones(64, device=DEVICE))
    with pytest.raises(UserError, match=r"with biases, and 1\.self_attn\.k_proj has one; use generate=static-compile"):
        FusedLlama(model.decoder, model.head, attend("sdpa"))


@torch.inference_mode()
def test_a_mistral_without_a_window_is_the_same_network() -> None:
    with seeded(0, DEVICE, torch.float32):
        config = MistralConfig(**SMALL, sliding_window=None)
        model = MistralForCausalLM._from_config(config, attn_implementation="sdpa").eval()
    whole = LanguageModel(model, model.model, model.lm_head, 2, False)
    assert loop(whole, "eager")(prompt(17), 8, Sampler()) == dynamic(whole, parse("baseline"))(prompt(17), 8, Sampler())


@pytest.mark.gpu
@torch.inference_mode()
def test_captured_steps_on_the_gpu_are_replayed() -> None:
    place = loop(language(), "compile")._state_for(prompt(9), 5)
    assert "replay" in repr(place.step)
