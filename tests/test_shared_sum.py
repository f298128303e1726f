"""The kernels against their reference: without GPUs one rank after the other."""

from __future__ import annotations

import pytest
import torch

from evbench.kernels.shared_sum import BLOCK, memories, new_place, reference, set_place, shared_sum, sum_share
from evbench.pipelines.compute import cuda_graph
from tests.devices import DEVICE
from tests.operators import require_operator
from tests.test_all_reduce import CUT

HOST = torch.device("cpu")
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
on_cpu = pytest.mark.skipif(DEVICE == "cuda", reason="one GPU cannot wait for itself")


@on_cpu
@dtypes
@pytest.mark.parametrize(("ranks", "values"), [(2, 5), (2, 2 * BLOCK), (2, 3 * BLOCK + 7), (4, 5 * BLOCK + 1), (8, 100)])
def test_all_ranks_have_the_whole_sum(ranks: int, values: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(values)
    known = memories([HOST] * ranks, 6 * BLOCK, dtype)
    given = [torch.randn(values, generator=generator).to(dtype) for _ in range(ranks)]
    for memory, x in zip(known, given, strict=True):
        memory.part[:values] = x
    for memory in known:
        sum_share(memory, values)
    atol, rtol = CUT[dtype]
    for memory in known:
        assert torch.allclose(memory.sums[:values], reference(given), atol=atol, rtol=rtol)
        assert torch.equal(memory.sums, known[0].sums), "bit for bit"
        assert not memory.sums[values:].any(), "nothing behind it is written"


@on_cpu
def test_without_others_it_is_what_was_given() -> None:
    place = new_place(memories([HOST], 100, torch.float32)[0])
    x = torch.randn(2, 5, 7)
    assert torch.equal(shared_sum(x, place), x)
    assert torch.equal(shared_sum(x[:, 1:], place), x[:, 1:]), "of any strides"
    with pytest.raises(ValueError, match=r"100 values of torch.float32 can be summed up there, not 101 of torch.float32"):
        shared_sum(torch.zeros(101), place)
    set_place(place, memories([HOST], 101, torch.float32)[0])
    assert not shared_sum(torch.zeros(101), place).any()


@on_cpu
def test_the_operator_tells_what_it_does_without_running() -> None:
    place = new_place(memories([HOST], 100, torch.float32)[0])
    require_operator("shared_sum", lambda x: shared_sum(x, place), torch.randn(2, 5, 7))


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@dtypes
@torch.inference_mode()
def test_gpus_sum_up_large_tensors_in_captured_graphs(dtype: torch.dtype) -> None:
    from evbench.pipelines.generate.tensor_parallel import Group

    group = Group([torch.device("cuda", rank) for rank in range(torch.cuda.device_count())])
    shape = (1, 2076, 4096)
    known = memories(group.devices, 2076 * 4096, dtype)
    places = [new_place(memory) for memory in known]
    inputs = [torch.zeros(shape, dtype=dtype, device=device) for device in group.devices]
    found: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    group.settle()

    def capture(rank: int) -> cuda_graph.Work:
        def work() -> None:
            once = shared_sum(inputs[rank], places[rank])
            found[rank] = once, shared_sum(once[:, -1:], places[rank])

        return cuda_graph.captured(work)

    replays = group.in_turn(capture)
    for turn in range(5):
        generator = torch.Generator().manual_seed(turn)
        given = [torch.randn(shape, generator=generator).to(dtype) for _ in group.devices]
        for x, y in zip(inputs, given, strict=True):
            x.copy_(y)
        group.settle()
        group.each(replays)
        group.settle()
        expected = reference(given)
        for once, twice in found.values():
            assert torch.equal(once.cpu(), expected), turn
            assert torch.equal(twice.cpu(), reference([expected[:, -1:]] * len(given))), turn
