"""One function, done in several ways."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AttentionInterface, CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

from evbench.errors import UserError
from evbench.machine.needs import NEEDS
from evbench.pipelines.checkpoints.checkpoint import seeded
from evbench.pipelines.checkpoints.presets import vision_config
from evbench.pipelines.compute import attention
from evbench.pipelines.compute.attention import attend, for_transformers, implementation, of_tower, require, tower
from evbench.pipelines.compute.choices import ATTENTION
from evbench.pipelines.registry import EVENTGPT
from tests.devices import DEVICE

pytestmark = pytest.mark.device

SHAPES = [(2, 17, 4, 4, 64), (1, 33, 4, 2, 64), (1, 1, 2, 2, 64), (3, 257, 2, 2, 64)]
"""Batch, length, heads, key heads, size."""


def exact(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, causal: bool, scale: float) -> torch.Tensor:
    groups = queries.shape[2] // keys.shape[2]
    keys, values = keys.repeat_interleave(groups, 2), values.repeat_interleave(groups, 2)
    query, key, value = (tensor.double().transpose(1, 2) for tensor in (queries, keys, values))
    scores = query @ key.transpose(-1, -2) * scale
    if causal:
        hidden = torch.arange(scores.shape[-1], device=scores.device)[None] > torch.arange(scores.shape[-2], device=scores.device)[:, None]
        scores = scores.masked_fill(hidden, -torch.inf)
    return (scores.softmax(-1) @ value).transpose(1, 2)


def require_exact(choice: str, dtype: torch.dtype, error: float, shapes: list[tuple[int, int, int, int, int]] = SHAPES) -> None:
    for batch, length, heads, key_heads, size in shapes:
        generator = torch.Generator().manual_seed(length)
        sizes = ((batch, length, heads, size), (batch, length, key_heads, size), (batch, length, key_heads, size))
        query, key, value = (torch.randn(of, generator=generator).to(DEVICE, dtype) for of in sizes)
        for causal in (False, True):
            for scale in (size**-0.5, 0.3):
                made = attend(choice)(query, key, value, causal, scale)
                expected = exact(query, key, value, causal, scale)
                assert made.shape == query.shape
                assert (made.double() - expected).abs().max() < error * expected.abs().max()


@pytest.mark.parametrize("choice", attention.OF_TRANSFORMERS)
def test_what_torch_has_is_attention(choice: str) -> None:
    require_exact(choice, torch.float32, 1e-5)


def skip_unless_there(choice: str) -> None:
    missing = [str(lack) for need in ATTENTION.choices[choice].needs if (lack := NEEDS[need]("cuda"))]
    if missing:
        pytest.skip(missing[0])


@pytest.mark.gpu
@pytest.mark.parametrize("choice", list(ATTENTION.choices))
def test_each_library_is_attention_on_the_gpu(choice: str) -> None:
    skip_unless_there(choice)
    alike = [(8, 257, 16, 16, 64), (5, 577, 16, 16, 64), (1, 641, 32, 32, 128), (1, 2076, 32, 32, 128), (1, 1, 32, 32, 128)]
    # Written out, scores are rounded before their softmax, and one of 16 by as much as 3 %. The kernels keep them in float32.
    require_exact(choice, torch.bfloat16, 3e-2 if choice == "eager" else 2e-2, alike)


@pytest.mark.gpu
@pytest.mark.parametrize("choice", list(ATTENTION.choices))
def test_each_library_can_be_compiled(choice: str) -> None:
    skip_unless_there(choice)
    tensor = torch.randn(1, 64, 4, 64, device="cuda", dtype=torch.bfloat16)
    attention = attend(choice)
    compiled = torch.compile(lambda given: attention(given, given, given, True, 0.125) + 1, fullgraph=True)
    assert torch.allclose(compiled(tensor), attend(choice)(tensor, tensor, tensor, True, 0.125) + 1, atol=2e-2)


def llama(name: str) -> Any:
    with seeded(0, "cpu", torch.float32):
        return LlamaForCausalLM._from_config(LlamaConfig(**EVENTGPT.presets["tiny"].text), attn_implementation=name).eval()


def test_transformers_runs_a_function_of_ours() -> None:
    """In prefill and decode, over the growing cache, as its own."""
    seen = []

    def counted(*arguments: Any) -> torch.Tensor:
        seen.append(arguments[0].shape[1])
        return attend("sdpa")(*arguments)

    AttentionInterface.register("evbench_counted", for_transformers(counted))
    prompt = torch.randn(1, 9, 128, generator=torch.Generator().manual_seed(0))
    usual, ours = (
        llama(name).generate(inputs_embeds=prompt, max_new_tokens=6, do_sample=False, pad_token_id=0, eos_token_id=None)
        for name in ("sdpa", "evbench_counted")
    )
    assert torch.equal(usual, ours)
    assert seen == [9] * 4 + [1] * 4 * 5


def test_a_mask_is_refused_and_not_overlooked() -> None:
    forward = for_transformers(attend("sdpa"))
    heads = torch.zeros(1, 2, 5, 16)
    module = torch.nn.Module()
    module.is_causal = True  # type: ignore[assignment]
    with pytest.raises(ValueError, match="takes no mask"):
        forward(module, heads, heads, heads, torch.ones(1, 1, 5, 5, dtype=torch.bool), 0.25)
    with pytest.raises(ValueError, match="3 queries over 5 keys"):
        forward(module, heads[:, :, :3], heads, heads, None, 0.25)


def test_names_for_transformers() -> None:
    assert [implementation(choice) for choice in ("eager", "sdpa", "sdpa-flash")] == ["eager", "sdpa", "evbench_sdpa_fa"]
    assert "evbench_sdpa_fa" in AttentionInterface()


@pytest.mark.parametrize("choice", ["flash2", "flash3", "flash4"])
def test_a_kernel_that_is_not_there_is_no_other_one(choice: str) -> None:
    if DEVICE == "cuda":
        pytest.skip("it may be there")
    with pytest.raises(UserError, match=rf"attention={choice} has no kernel for heads of 64 in float32 .*; use attention=sdpa"):
        require(choice, [(4, 4, 64)], "cpu", torch.float32)


@pytest.mark.gpu
def test_a_type_without_a_kernel_is_refused() -> None:
    with pytest.raises(UserError, match="attention=sdpa-flash has no kernel for heads of 64 in float32"):
        require("sdpa-flash", [(4, 4, 64)], "cuda", torch.float32)
    require("sdpa-flash", [(4, 4, 64)], "cuda", torch.bfloat16)


def clip(hidden: int, heads: int) -> CLIPVisionModel:
    with seeded(0, DEVICE, torch.float32):
        config = CLIPVisionConfig(**vision_config(28, hidden=hidden, layers=1, heads=heads, intermediate=32))
        return CLIPVisionModel._from_config(config)


def test_the_kernel_for_towers_takes_their_heads_or_is_refused_before_anything_runs() -> None:
    assert of_tower(clip(64, 4)) is tower
    with pytest.raises(UserError) as caught:
        of_tower(clip(72, 3))
    told = "the size of a head must be a power of two from 16 to 256, not 24"
    assert str(caught.value) == f"vision=fused has no kernel for heads of 24 in float32 ({told}); use vision=graph"
    with pytest.raises(UserError, match="vision=fused has no kernel for heads of 16 in float64"):
        of_tower(clip(64, 4).double())


def test_the_kernel_for_towers_has_no_mask() -> None:
    heads = torch.zeros(1, 5, 2, 16, device=DEVICE)
    with pytest.raises(ValueError, match="each token sees all"):
        tower(heads, heads, heads, True, 0.25)
