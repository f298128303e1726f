"""A language model divided over several GPUs against the same one on one; without GPUs, with a thread in the place of each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from evbench.errors import UserError
from evbench.kernels import matvec, shared_sum
from evbench.kernels.matvec import Matrix
from evbench.machine import gpu
from evbench.pipelines.compute.attention import attend
from evbench.pipelines.generate import quantized, tensor_parallel
from evbench.pipelines.generate.graph_loop import GraphLoop, compiled_prefill, on_one_gpu
from evbench.pipelines.generate.language import LanguageModel
from evbench.pipelines.generate.llama import FusedLlama, Sums
from evbench.pipelines.generate.tensor_parallel import Divided, Group, ParallelState
from evbench.stages import Sampler
from evbench.variants.named import parse
from evbench.worker.graph_faults import part_left_out
from evbench.worker.handlers import HANDLERS
from evbench.worker.messages import EnergyReply, EnergyRequest
from tests import test_llama as small
from tests.reference_kernels import over_references, uncompiled
from tests.test_llama import forced_logits, language, prompt

WAIT_SECONDS = 60.0
"""For another thread. Only one that failed does not come."""
SHAPES = [
    pytest.param(2, {}, id="2"),
    pytest.param(2, small.GROUPED, id="2-grouped"),
    pytest.param(4, {}, id="4-and-logits-that-cannot-be-dealt-out"),  # 90 of them
    pytest.param(4, {"vocab_size": 96, "intermediate_size": 100}, id="4-odd"),
]


class Meeting:
    """Where threads hand over what they have."""

    def __init__(self, ranks: int) -> None:
        self._given: list[Any] = [None] * ranks
        self._barrier = threading.Barrier(ranks, timeout=WAIT_SECONDS)

    def all_of(self, rank: int, given: torch.Tensor) -> list[torch.Tensor]:
        """What each rank gives, in their order."""
        self._given[rank] = given
        self._barrier.wait()
        found = list(self._given)
        self._barrier.wait()  # before the next is given
        return found


class OfThreads:
    """The sums of one of the threads."""

    def __init__(self, rank: int, meeting: Meeting, whole_head: bool) -> None:
        self._rank, self._meeting, self._whole_head = rank, meeting, whole_head

    def _sum(self, part: torch.Tensor) -> torch.Tensor:
        return torch.stack(self._meeting.all_of(self._rank, part)).sum(dim=0)

    def added(self, x: torch.Tensor, weight: Matrix, residual: torch.Tensor, place: int, /) -> torch.Tensor:
        return self._sum(matvec.reference(x, weight)) + residual

    def gathered(self, logits: torch.Tensor, /) -> torch.Tensor:
        return logits if self._whole_head else torch.cat(self._meeting.all_of(self._rank, logits), dim=1)

    def of_prompt(self, product: torch.Tensor, /) -> torch.Tensor:
        return self._sum(product)


class ThreadExchanges:
    """In the place of memory that GPUs reach of each other."""

    def __init__(self, group: Group, whole: FusedLlama) -> None:
        ranks = len(group.devices)
        meeting, whole_head = Meeting(ranks), not tensor_parallel.divides_head(whole, ranks)
        self.sums: Sequence[Sums] = [OfThreads(rank, meeting, whole_head) for rank in range(ranks)]

    def for_steps(self, batch: int) -> object:
        return None

    def for_prompts(self, values: int) -> object:
        return None


def run_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is captured, and references are in the place of kernels: their interpreter is for one thread."""
    over_references(monkeypatch)
    uncompiled(monkeypatch)
    monkeypatch.setattr(tensor_parallel, "Exchanges", ThreadExchanges)
    monkeypatch.setattr(tensor_parallel, "Group", lambda devices: Group([torch.device("cpu")] * len(devices)))


@pytest.fixture(autouse=True)
def without_gpus(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "gpu" not in request.keywords:
        monkeypatch.setattr(small, "DEVICE", "cpu")
        run_on_threads(monkeypatch)


def loops(model: LanguageModel, ranks: int) -> tuple[GraphLoop, GraphLoop]:
    """On one, and on several GPUs or threads."""
    fused = FusedLlama(model.decoder, model.head, attend("sdpa"))
    device = fused.head.device.type
    group = Group([torch.device(device, rank) if device == "cuda" else torch.device(device) for rank in range(ranks)])
    alone = GraphLoop(model, fused, on_one_gpu(fused, compiled_prefill(model, fused)))
    return alone, GraphLoop(model, fused, Divided(model, fused, compiled_prefill, group).state)


def state_of(loop: GraphLoop) -> ParallelState:
    assert isinstance(loop._state, ParallelState)
    return loop._state


def require_same(alone: GraphLoop, divided: GraphLoop, asked: Sequence[tuple[int, int, int]], atol: float) -> None:
    """Tokens, and logits where they are forced, of prompts of such length, new tokens, and number."""
    for length, tokens, batch in asked:
        embeddings = prompt(length, length, batch).to(alone._llama.head.dtype)
        expected = alone.generate_batch(embeddings, tokens, Sampler())
        for _ in range(2):  # captured, and replayed
            assert divided.generate_batch(embeddings, tokens, Sampler()) == expected
        one, *others = state_of(divided)._states
        for other in others:
            assert torch.equal(one.logits.cpu(), other.logits.cpu()), "the same bits on all ranks"
            assert torch.equal(one.tokens.cpu(), other.tokens.cpu())
        if batch == 1:
            followed = [forced_logits(loop, embeddings, expected[0]) for loop in (alone, divided)]
            assert torch.allclose(followed[0], followed[1], atol=atol)
            other_tokens = [(token + 1) % 90 for token in expected[0]]
            forced = [forced_logits(loop, embeddings, other_tokens) for loop in (alone, divided)]
            assert torch.allclose(forced[0], forced[1], atol=atol)
            assert tokens == 1 or not torch.allclose(forced[1][1:], followed[1][1:], atol=10 * atol), "what is forced is read"


ASKED = [(31, 12, 1), (9, 1, 1), (31, 4, 1), (40, 20, 1), (21, 6, 3)]


@pytest.mark.parametrize(("ranks", "changes"), SHAPES)
@torch.inference_mode()
def test_several_gpus_give_the_tokens_and_logits_of_one(ranks: int, changes: dict[str, Any]) -> None:
    alone, divided = loops(language(**changes), ranks)
    require_same(alone, divided, ASKED, 1e-4)


@pytest.mark.parametrize("quantize", [quantized.int8, quantized.fp8])
@torch.inference_mode()
def test_quantized_weights_are_divided_with_their_scales(quantize: Callable[[Any], None]) -> None:
    model = language(**small.GROUPED)
    quantize(model.decoder)
    alone, divided = loops(model, 2)
    require_same(alone, divided, ASKED[:2], 1e-4)
    part = state_of(divided)._states[1]._llama
    assert isinstance(part.layers[0].down, matvec.Quantized)


@torch.inference_mode()
def test_an_answer_ends_with_its_end_token_on_all_ranks() -> None:
    model = language()
    alone, _ = loops(model, 2)
    whole = alone(prompt(13), 40, Sampler())
    ended = LanguageModel(model.whole, model.decoder, model.head, end_token=whole[5], stop_at_end=True)
    _, divided = loops(ended, 2)
    for _ in range(2):
        assert divided(prompt(13), 40, Sampler()) == whole[: whole.index(whole[5]) + 1]


@torch.inference_mode()
def test_each_has_its_share_of_the_weights_and_of_the_cache() -> None:
    alone, divided = loops(language(), 4)
    divided(prompt(9), 2, Sampler())
    whole, parts = alone._llama, [state._llama for state in state_of(divided)._states]
    for number, layer in enumerate(whole.layers):
        for name in ("projections", "output", "gate_up", "down"):
            shares = [getattr(part.layers[number], name) for part in parts]
            assert {share.numel() * 4 for share in shares} == {getattr(layer, name).numel()}
        down = torch.cat([part.layers[number].down for part in parts], dim=1)  # type: ignore[misc]
        assert torch.equal(down, layer.down)  # type: ignore[arg-type]
    assert {part.new_kv_cache(1, 8)[0][0].shape for part in parts} == {(1, 1, 8, 16)}


@torch.inference_mode()
def test_parts_are_of_the_weights_that_the_model_has_when_it_is_first_used() -> None:
    """Faults are planted after it was built."""
    alone, divided = loops(language(), 2)
    alone._llama.layers[1].down.mul_(1.5)  # type: ignore[union-attr]
    require_same(alone, divided, ASKED[:1], 1e-4)


@torch.inference_mode()
def test_a_part_that_is_left_out_of_a_sum_changes_the_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    model = language()
    alone, divided = loops(model, 2)
    monkeypatch.setattr(tensor_parallel, "part_of", tensor_parallel.part_of)  # put back afterwards
    part_left_out(type("AnyPipeline", (), {"decoder": model.decoder})(), [])
    answer = alone(prompt(31), 12, Sampler())
    expected, found = (forced_logits(loop, prompt(31), answer) for loop in (alone, divided))
    assert not torch.allclose(found, expected, atol=1e-2)


@pytest.mark.long
@pytest.mark.kernels
@torch.inference_mode()
def test_the_compiler_takes_a_part_with_its_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one rank alone, which has all of it."""
    monkeypatch.undo()
    monkeypatch.setattr(small, "DEVICE", "cpu")
    model = language(**small.GROUPED)
    whole, embeddings = FusedLlama(model.decoder, model.head, attend("sdpa")), prompt(9)
    host = torch.device("cpu")
    sums = tensor_parallel.OverGpus(shared_sum.memories([host], embeddings.numel(), torch.float32)[0])
    part = tensor_parallel.part_of(whole, 0, [host], sums)
    found = part.compiled_prefill()(embeddings, part.new_kv_cache(1, 16))
    assert torch.allclose(found, whole.prefill(embeddings, whole.new_kv_cache(1, 16)), atol=1e-4)


@pytest.mark.parametrize(
    ("ranks", "changes", "told"),
    [
        (8, {}, "parallel=tensor-8: 4 heads cannot be divided by 8; use fewer GPUs, or parallel=none"),
        (4, small.GROUPED, "parallel=tensor-4: 2 key heads cannot be divided by 4; use fewer GPUs, or parallel=none"),
        (2, {"intermediate_size": 71}, "parallel=tensor-2: 71 hidden units of an MLP cannot be divided by 2; use fewer GPUs"),
    ],
)
def test_a_model_that_cannot_be_divided_is_refused(ranks: int, changes: dict[str, Any], told: str) -> None:
    model = language(**changes)
    fused = FusedLlama(model.decoder, model.head, attend("sdpa"))
    with pytest.raises(UserError, match=told):
        tensor_parallel._divided(model, fused, compiled_prefill, ranks)


def test_fewer_gpus_than_are_asked_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="parallel=tensor-2 needs 2 GPUs, and PyTorch sees 1; use parallel=none"):
        Group([torch.device("cuda", 0), torch.device("cuda", 1)])


def test_gpus_that_cannot_reach_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "can_device_access_peer", lambda one, other: False)
    with pytest.raises(UserError, match="cuda:0 cannot reach the memory of cuda:1; see `nvidia-smi topo -p2p r`"):
        Group([torch.device("cuda", 0), torch.device("cuda", 1)])


def test_no_energy_of_one_gpu_is_told_of_a_variant_that_works_on_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "first_visible", lambda: "the first")
    state: Any = SimpleNamespace(variant=parse("optimized-gpu+parallel=tensor-2"))
    assert HANDLERS[EnergyRequest](state, EnergyRequest(1.0, None)) == EnergyReply(None)


@torch.inference_mode()
def test_what_fails_on_one_rank_is_raised() -> None:
    group = Group([torch.device("cpu")] * 2)

    def fails() -> int:
        raise ValueError("as told")

    assert group.each([lambda: 1, lambda: 2]) == [1, 2]
    with pytest.raises(ValueError, match="as told"):
        group.each([lambda: 1, fails])


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@torch.inference_mode()
def test_two_gpus_give_the_tokens_and_logits_of_one(dtype: torch.dtype) -> None:
    model = language(
        vocab_size=96, hidden_size=256, intermediate_size=704, num_attention_heads=8, initializer_range=0.1, max_position_embeddings=512
    )
    model.whole.to(dtype)
    alone, divided = loops(model, 2)
    for length, tokens in [(31, 12), (9, 1), (40, 20), (300, 6)]:
        embeddings = torch.randn(1, length, 256, generator=torch.Generator().manual_seed(length)).to("cuda", dtype)
        answer = alone(embeddings, tokens, Sampler())
        expected, found = (forced_logits(loop, embeddings, answer) for loop in (alone, divided))
        scale = float(expected.float().abs().max())
        assert torch.allclose(found.float(), expected.float(), atol=(1e-4 if dtype == torch.float32 else 5e-2) * scale)
        for _ in range(2):
            said = divided(embeddings, tokens, Sampler())
            assert said == answer or dtype == torch.bfloat16, "of equals, rounding decides"
            for state in state_of(divided)._states[1:]:
                assert torch.equal(state.logits.cpu(), state_of(divided).logits.cpu()), "the same bits on all ranks"
                assert torch.equal(state.tokens.cpu(), state_of(divided).tokens.cpu())
