"""Decoding of several prompts at once, timed."""

from __future__ import annotations

import pytest
import torch

from evbench.errors import UserError
from evbench.kernels import matvec
from evbench.microbenchmarks import decoding
from evbench.pipelines.compute.attention import attend
from evbench.pipelines.generate import graph_loop, llama, targets
from evbench.pipelines.generate.choices import QUANTIZATION
from evbench.pipelines.generate.speculative import SpeculativeLoop
from evbench.worker.measure import HostStream
from tests import test_llama as small
from tests.reference_kernels import over_references

CLOCK_STEP = 1000


@pytest.fixture(autouse=True)
def without_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    over_references(monkeypatch)


def ticking() -> HostStream:
    """A clock that is a microsecond later each time it is read."""
    moments = iter(range(0, 10**9, CLOCK_STEP))
    return HostStream(lambda: next(moments))


@torch.inference_mode()
def test_each_batch_is_timed_by_its_steps_and_compared_with_single_answers() -> None:
    loop = small.loop(small.language(), "eager")
    found = decoding.measure(loop, small.prompt(21, batch=4), 6, {1: 2e-7, 3: 4e-7}, ticking())
    assert [(steps.batch, steps.seconds, steps.least_seconds) for steps in found] == [(1, 1e-6, 2e-7), (3, 1e-6, 4e-7)]
    assert found[1].tokens_per_second == pytest.approx(3e6)
    assert [steps.as_alone for steps in found] == [(6,), (6, 6, 6)]


@torch.inference_mode()
def test_an_answer_that_differs_in_a_batch_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, generate_batch = small.loop(small.language(), "eager"), graph_loop.GraphLoop.generate_batch

    def other(self: graph_loop.GraphLoop, embeddings: torch.Tensor, *rest: object) -> list[list[int]]:
        answers = generate_batch(self, embeddings, *rest)  # type: ignore[arg-type]
        if len(answers) > 1:
            answers[1][4] += 1
        return answers

    monkeypatch.setattr(graph_loop.GraphLoop, "generate_batch", other)
    (found,) = decoding.measure(loop, small.prompt(21, batch=2), 6, {2: 1e-7}, ticking())
    assert found.as_alone == (6, 4)


@torch.inference_mode()
def test_passes_over_wrong_drafts_are_timed_and_give_the_same_tokens() -> None:
    model = small.language()
    fused = llama.FusedLlama(model.decoder, model.head, attend("sdpa"))
    prefill = graph_loop.eager_prefill(model, fused)
    loops = {gamma: SpeculativeLoop(model, targets.GraphTarget(fused, prefill, gamma), gamma) for gamma in (1, 4)}
    found = decoding.measure_passes(small.loop(model, "eager"), loops, small.prompt(21), 6, 5e-7, ticking())
    assert found == tuple(decoding.Passes(gamma, 1e-6, 2.0, 6) for gamma in loops)


def test_what_a_step_reads_is_every_matrix_once_and_the_cache_of_each_position() -> None:
    model = small.language(num_key_value_heads=2)
    fused = llama.FusedLlama(model.decoder, model.head, attend("sdpa"))
    matrices = [weight for weight in model.whole.parameters() if weight.ndim == 2]  # the embedding is as large as the head
    assert decoding.weight_bytes(fused) == sum(weight.nbytes for weight in matrices) - model.decoder.embed_tokens.weight.nbytes
    keys, values = fused.new_kv_cache(1, 10)[0]
    assert decoding.cache_bytes(fused) * 10 == len(model.decoder.layers) * (keys.nbytes + values.nbytes)


def test_a_preset_with_trained_weights_is_refused_with_those_that_are_not() -> None:
    with pytest.raises(UserError, match=r"--preset 'small' has no random weights; give one of tiny, 7b, 7b-random"):
        decoding.build("video-llava", "small")


def test_an_unknown_quantization_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UserError, match=r"unknown --quantization 'fp4'; did you mean 'fp8'\?"):
        decoding.build("video-llava", "tiny", quantization="fp4")


def test_the_floor_of_quantized_weights_is_of_the_bytes_that_are_read() -> None:
    full, few = small.language(), small.language()
    QUANTIZATION.implementation("fp8")(few.decoder)
    bytes_read = [decoding.weight_bytes(llama.FusedLlama(model.decoder, model.head, attend("sdpa"))) for model in (full, few)]
    matrices = [weight for layer in full.decoder.layers for weight in layer.parameters() if weight.ndim == 2]
    saved = sum(weight.nbytes - weight.numel() - 4 * len(weight) for weight in matrices)
    assert bytes_read[0] - bytes_read[1] == saved


def test_the_command_line_takes_as_many_prompts_as_the_kernel() -> None:
    assert decoding.MOST == matvec.MOST_INPUTS
