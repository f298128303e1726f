"""The kernel against its reference: without GPUs one rank after the other, of which the first finds what the others will have sent."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from evbench.kernels.all_reduce import BLOCK, Boxes, all_gather, all_reduce, boxes, launch, reference, words_of
from evbench.pipelines.compute import cuda_graph
from tests.devices import DEVICE
from tests.operators import require_operator

TURNS = 3
HOST = torch.device("cpu")
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
CUT = {torch.float32: (0.0, 0.0), torch.bfloat16: (1e-3, 2**-7)}
"""atol and rtol. The interpreter cuts a float32 off where a GPU rounds it to bfloat16."""
on_cpu = pytest.mark.skipif(DEVICE == "cuda", reason="one GPU cannot wait for itself")


def parts(ranks: int, vectors: int, columns: int, dtype: torch.dtype, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(vectors, columns, generator=generator).to(dtype) for _ in range(ranks)]


def send(x: torch.Tensor, sender: int, receiver: Boxes, turn: int) -> None:
    """What the kernel of another rank writes."""
    receiver.own[sender] = (x.view(torch.int32).flatten().long() & 0xFFFFFFFF) | turn << 32


def exchange(
    given: Sequence[torch.Tensor], residual: torch.Tensor | None, at: Sequence[Boxes], turn: int, gather: bool
) -> list[torch.Tensor]:
    """Of each rank. What the ranks before it have sent is in its boxes by their own kernels."""
    found = []
    for rank, (x, own) in enumerate(zip(given, at, strict=True)):
        for later in range(rank + 1, len(given)):
            send(given[later], later, own, turn)
        y = x.new_full((x.shape[0], x.shape[1] * (len(given) if gather else 1)), 7.0)
        launch(x, residual, y, own.addresses, own.own, own.turns, rank, gather, exchange=True)
        found.append(y)
    return found


@on_cpu
@dtypes
@pytest.mark.parametrize(("ranks", "vectors", "columns"), [(2, 1, 2 * BLOCK), (2, 3, 74), (4, 1, 1026), (8, 2, 16)])
@pytest.mark.parametrize("added", [False, True], ids=["", "residual"])
def test_all_ranks_have_the_same_sum_turn_after_turn(ranks: int, vectors: int, columns: int, dtype: torch.dtype, added: bool) -> None:
    at = boxes([HOST] * ranks, words_of(vectors, columns, dtype))
    for turn in range(1, TURNS + 1):
        *given, residual = parts(ranks + 1, vectors, columns, dtype, turn)
        expected = reference(given, residual if added else None)
        first, *others = exchange(given, residual if added else None, at, turn, gather=False)
        atol, rtol = CUT[dtype]
        assert torch.allclose(first, expected, atol=atol, rtol=rtol)
        assert all(torch.equal(other, first) for other in others), "bit for bit"
    assert all((own.turns == TURNS).all() for own in at)


@on_cpu
@dtypes
@pytest.mark.parametrize(("ranks", "vectors", "columns"), [(2, 1, 90), (2, 3, 600), (4, 2, 10)])
def test_all_ranks_have_the_columns_of_all_side_by_side(ranks: int, vectors: int, columns: int, dtype: torch.dtype) -> None:
    at = boxes([HOST] * ranks, words_of(vectors, columns, dtype))
    given = parts(ranks, vectors, columns, dtype)
    for found in exchange(given, None, at, 1, gather=True):
        assert torch.equal(found, torch.cat(given, dim=1))


@on_cpu
def test_what_is_not_exchanged_is_not_sent_and_not_waited_for() -> None:
    """As outside of a graph that is being captured: what is in the boxes is taken, and no turn counts."""
    at = boxes([HOST] * 2, 16)
    (x,) = parts(1, 1, 16, torch.float32)
    assert torch.equal(all_reduce(x, None, at[0]), x), "the boxes are empty"
    assert not at[1].own.any() and not at[0].turns.any()


def test_other_sizes_and_types_are_refused() -> None:
    at = boxes([HOST] * 2, 16)[0]
    with pytest.raises(ValueError, match=r"does not fill boxes of 16 words"):
        all_reduce(torch.zeros(1, 18), None, at)
    with pytest.raises(ValueError, match=r"does not fill boxes of 16 words"):
        all_reduce(torch.zeros(32, 1).t()[:, ::2], None, at)
    with pytest.raises(ValueError, match=r"a residual must be contiguous torch.float32 \(1, 16\), not torch.float32 \(1, 8\)"):
        all_reduce(torch.zeros(1, 16), torch.zeros(1, 8), at)
    with pytest.raises(ValueError, match=r"of whole words of 4 bytes are exchanged, not 17 of torch.bfloat16"):
        all_gather(torch.zeros(1, 17, dtype=torch.bfloat16), at)
    with pytest.raises(ValueError, match=r"not 16 of torch.float16"):
        all_gather(torch.zeros(1, 16, dtype=torch.float16), at)


@on_cpu
def test_the_operator_tells_what_it_does_without_running() -> None:
    own = boxes([HOST] * 2, 16)[0]

    def summed(x: torch.Tensor, addresses: torch.Tensor, box: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
        return all_reduce(x, x, Boxes(0, addresses, box, turns))

    require_operator("all_reduce", summed, torch.ones(1, 16), own.addresses, own.own, own.turns)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@dtypes
@pytest.mark.parametrize(("vectors", "columns"), [(1, 4096), (4, 4096), (1, 16_032)])
@torch.inference_mode()
def test_gpus_exchange_what_they_have_in_captured_graphs(vectors: int, columns: int, dtype: torch.dtype) -> None:
    from evbench.pipelines.generate.tensor_parallel import Group

    group = Group([torch.device("cuda", rank) for rank in range(torch.cuda.device_count())])
    ranks = len(group.devices)
    # Two exchanges in each graph: a box is written to again when its owner has taken part in another.
    at, behind = (boxes(group.devices, words_of(vectors, columns, dtype)) for _ in range(2))
    inputs = [torch.zeros(vectors, columns, dtype=dtype, device=device) for device in group.devices]
    found: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    group.settle()

    def capture(rank: int) -> cuda_graph.Work:
        def work() -> None:
            summed = all_reduce(inputs[rank], inputs[rank], at[rank])
            found[rank] = summed, all_gather(inputs[rank], behind[rank])

        # The residual is equal on all ranks elsewhere; here each adds its own.
        return cuda_graph.captured(work)

    replays = group.in_turn(capture)
    for turn in range(50):
        given = parts(ranks, vectors, columns, dtype, turn)
        for x, y in zip(inputs, given, strict=True):
            x.copy_(y)
        group.settle()
        group.each(replays)
        group.settle()
        for rank in range(ranks):
            summed, gathered = found[rank]
            assert torch.equal(summed.cpu(), reference(given, given[rank])), (turn, rank)
            assert torch.equal(gathered.cpu(), torch.cat(given, dim=1)), (turn, rank)
