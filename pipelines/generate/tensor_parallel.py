"""A language model whose matrices are divided over the GPUs of one host: each layer is computed by all of them at the same time.

Each GPU has some of the heads with their rows of the queries, keys and values and their columns of the output matrix, some of the hidden
units of the MLP, and some rows of the head. After both halves of a layer the products are summed up over all GPUs, so that each has the
whole hidden state, in the same bits (`evbench.kernels.all_reduce`, `evbench.kernels.shared_sum`); behind the head the logits are put
side by side. So each chooses the same token, and nothing has to be told.

One process drives all GPUs, which reach each other's memory directly. Each has its own graph of the prefill and of the step, and a thread
that launches it. On its GPU a graph waits for what the others send: all are captured before the first is launched, and while some are
launched and others not, nothing is done that would wait for a GPU, as to free its memory does.

Source: Shoeybi et al. 2019, "Megatron-LM", arXiv 1909.08053.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch

from evbench.errors import UserError
from evbench.kernels import all_reduce, shared_sum
from evbench.kernels.matvec import Matrix, Quantized, matvec
from evbench.pipelines.compute.cuda_graph import Replayed
from evbench.pipelines.generate.graph_loop import DecodeState, MakePrefill, MakeState, Prefill, on_one_gpu
from evbench.pipelines.generate.language import LanguageModel
from evbench.pipelines.generate.llama import FusedLlama, Layer, Sums

Found = TypeVar("Found")


def none(language: LanguageModel, llama: FusedLlama, make_prefill: MakePrefill) -> MakeState:
    return on_one_gpu(llama, make_prefill(language, llama))


def tensor_2(language: LanguageModel, llama: FusedLlama, make_prefill: MakePrefill) -> MakeState:
    return _divided(language, llama, make_prefill, 2)


def tensor_4(language: LanguageModel, llama: FusedLlama, make_prefill: MakePrefill) -> MakeState:
    return _divided(language, llama, make_prefill, 4)


def tensor_8(language: LanguageModel, llama: FusedLlama, make_prefill: MakePrefill) -> MakeState:
    return _divided(language, llama, make_prefill, 8)


def _divided(language: LanguageModel, llama: FusedLlama, make_prefill: MakePrefill, ranks: int) -> MakeState:
    require_divisible(llama, ranks)
    group = Group([torch.device("cuda", rank) for rank in range(ranks)])
    return Divided(language, llama, make_prefill, group).state


def require_divisible(llama: FusedLlama, ranks: int) -> None:
    """Raises UserError unless heads and hidden units can be dealt out evenly."""
    dealt = {"heads": llama.heads, "key heads": llama.key_heads, "hidden units of an MLP": intermediate(llama)}
    for what, count in dealt.items():
        if count % ranks:
            raise UserError(f"parallel=tensor-{ranks}: {count} {what} cannot be divided by {ranks}; use fewer GPUs, or parallel=none")


def intermediate(llama: FusedLlama) -> int:
    """Hidden units of an MLP."""
    down = llama.layers[0].down
    return int((down.values if isinstance(down, Quantized) else down).shape[1])


class Group:
    """The GPUs, and a thread for each but the first, which the calling thread launches on."""

    def __init__(self, devices: Sequence[torch.device]) -> None:
        """Raises UserError if one of them is missing, or cannot reach the memory of another."""
        self.devices = tuple(devices)
        _connect(self.devices)
        self._threads = [ThreadPoolExecutor(1, f"evbench-{device}") for device in self.devices[1:]]

    def each(self, actions: Sequence[Callable[[], Found]]) -> list[Found]:
        """What the action of each rank returns. They run at the same time, and may wait for each other."""
        others = zip(self._threads, self.devices[1:], actions[1:], strict=True)
        pending = [thread.submit(_run_on, device, action) for thread, device, action in others]
        return [_run_on(self.devices[0], actions[0]), *(one.result() for one in pending)]

    def in_turn(self, action: Callable[[int], Found]) -> list[Found]:
        """What the action returns for each rank, one after the other, its GPU being the current one. None may wait for another."""
        found = []
        for rank, device in enumerate(self.devices):
            with _on(device):
                found.append(action(rank))
        return found

    def settle(self) -> None:
        """Wait until what was launched on all of them has ended: memory that others write to is there, and cleared."""
        for device in self.devices:
            if device.type == "cuda":
                torch.cuda.synchronize(device)


def _run_on(device: torch.device, action: Callable[[], Found]) -> Found:
    with torch.inference_mode(), _on(device):  # both are of a thread
        return action()


def _on(device: torch.device) -> AbstractContextManager[object]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _connect(devices: Sequence[torch.device]) -> None:
    """Let each of some GPUs reach the memory of the others. Raises UserError if one is missing, or cannot."""
    gpus = [device for device in devices if device.type == "cuda"]
    if len(gpus) > (present := torch.cuda.device_count()):
        raise UserError(f"parallel=tensor-{len(gpus)} needs {len(gpus)} GPUs, and PyTorch sees {present}; use parallel=none")
    for one in gpus:
        for other in gpus:
            if one == other:
                continue
            if not torch.cuda.can_device_access_peer(one, other):
                lack = f"{one} cannot reach the memory of {other}"
                raise UserError(f"parallel=tensor-{len(gpus)}: {lack}; see `nvidia-smi topo -p2p r`, or use parallel=none")
            torch.zeros(1, device=one).to(other)  # torch lets them reach each other with the first copy


class OverGpus:
    """The sums of one rank: see evbench.pipelines.generate.llama.Sums."""

    def __init__(self, memory: shared_sum.Memory) -> None:
        self._place = shared_sum.new_place(memory)
        self._boxes: Sequence[all_reduce.Boxes] = ()
        self._of_logits: all_reduce.Boxes | None = None

    def use(self, boxes: Sequence[all_reduce.Boxes], of_logits: all_reduce.Boxes | None) -> None:
        """In what is captured from now on: for each call of a step, and for the logits, None if each rank has them all."""
        self._boxes, self._of_logits = boxes, of_logits

    def use_memory(self, memory: shared_sum.Memory) -> None:
        """In what is captured from now on, for prompts."""
        shared_sum.set_place(self._place, memory)

    def added(self, x: torch.Tensor, weight: Matrix, residual: torch.Tensor, place: int, /) -> torch.Tensor:
        return all_reduce.all_reduce(matvec(x, weight), residual, self._boxes[place])

    def gathered(self, logits: torch.Tensor, /) -> torch.Tensor:
        return logits if self._of_logits is None else all_reduce.all_gather(logits, self._of_logits)

    def of_prompt(self, product: torch.Tensor, /) -> torch.Tensor:
        return shared_sum.shared_sum(product, self._place)


class Exchanges:
    """The memory in which the ranks exchange what they have, and the sums that each makes there."""

    def __init__(self, group: Group, llama: FusedLlama) -> None:
        self._group, self._llama = group, llama
        self._hidden, self._dtype = llama.norm.shape[0], llama.norm.dtype
        self._memories = shared_sum.memories(group.devices, 0, self._dtype)
        self._over_gpus = [OverGpus(memory) for memory in self._memories]

    @property
    def sums(self) -> Sequence[Sums]:
        """Of each rank."""
        return self._over_gpus

    def for_steps(self, batch: int) -> object:
        """Have boxes for so many prompts in what is captured from now on. What is returned has to be kept as long as that."""
        devices = self._group.devices
        words = all_reduce.words_of(batch, self._hidden, self._dtype)
        calls = [all_reduce.boxes(devices, words) for _ in range(2 * len(self._llama.layers))]
        of_logits = None
        if divides_head(self._llama, len(devices)):
            columns = self._llama.vocabulary // len(devices)
            of_logits = all_reduce.boxes(devices, all_reduce.words_of(batch, columns, self._dtype))
        for rank, sums in enumerate(self._over_gpus):
            sums.use([call[rank] for call in calls], None if of_logits is None else of_logits[rank])
        self._group.settle()
        return calls, of_logits

    def for_prompts(self, values: int) -> object:
        """Have memory for so many values in what is captured from now on. What is returned has to be kept as long as that."""
        if values > self._memories[0].part.numel():
            self._memories = shared_sum.memories(self._group.devices, values, self._dtype)
            for sums, memory in zip(self._over_gpus, self._memories, strict=True):
                sums.use_memory(memory)
            self._group.settle()
        return self._memories


def divides_head(llama: FusedLlama, ranks: int) -> bool:
    """Whether each rank has as many of the logits, in whole words. Else each has all of them."""
    return llama.vocabulary % ranks == 0 and llama.vocabulary // ranks * llama.head.dtype.itemsize % all_reduce.WORD == 0


class Divided:
    """A model and its parts, which are made when they are needed first: so they are of the weights that it has then."""

    def __init__(self, language: LanguageModel, llama: FusedLlama, make_prefill: MakePrefill, group: Group) -> None:
        self._language, self._llama, self._make_prefill, self._group = language, llama, make_prefill, group
        self._made: tuple[Exchanges, list[tuple[FusedLlama, Prefill]]] | None = None

    def state(self, batch: int, capacity: int) -> ParallelState:
        exchanges, parts = self._parts()
        kept = exchanges.for_steps(batch)
        states = self._group.in_turn(lambda rank: DecodeState(*parts[rank], batch, capacity))
        return ParallelState(self._group, exchanges, states, kept)

    def _parts(self) -> tuple[Exchanges, list[tuple[FusedLlama, Prefill]]]:
        if self._made is None:
            exchanges = Exchanges(self._group, self._llama)

            def make(rank: int) -> tuple[FusedLlama, Prefill]:
                part = part_of(self._llama, rank, self._group.devices, exchanges.sums[rank])
                return part, self._make_prefill(self._language, part)

            self._made = exchanges, self._group.in_turn(make)
        return self._made


class ParallelState:
    """The states of all GPUs, which do the same at the same time: see evbench.pipelines.generate.graph_loop.State."""

    def __init__(self, group: Group, exchanges: Exchanges, states: Sequence[DecodeState], kept: object) -> None:
        """`kept`: memory that their graphs work in."""
        self._group, self._exchanges, self._states, self._kept = group, exchanges, states, [kept]
        self.batch, self.capacity = states[0].batch, states[0].capacity
        self.tokens, self.logits = states[0].tokens, states[0].logits
        self._steps = [state.step for state in states]

    def prefill(self, embeddings: torch.Tensor) -> torch.Tensor:
        with torch.profiler.record_function(f"prefill over {len(self._states)} GPUs"):
            # Copies first: none may stand behind a graph that waits for a GPU which was told nothing yet.
            copies = [embeddings.to(device) for device in self._group.devices]
            if (memory := self._exchanges.for_prompts(embeddings.numel())) is not self._kept[-1]:
                self._kept.append(memory)
            self._group.in_turn(lambda rank: self._prepare(self._states[rank], copies[rank]))
            return self._group.each([partial(state.prefill, copied) for state, copied in zip(self._states, copies, strict=True)])[0]

    def _prepare(self, state: DecodeState, embeddings: torch.Tensor) -> None:
        assert isinstance(state.prefill, Replayed), "no other prefill can be divided"
        state.prefill.prepare(embeddings)

    def step(self) -> None:
        self._group.each(self._steps)

    def reset(self, prompt: int, logits: torch.Tensor) -> None:
        self._group.in_turn(lambda rank: self._states[rank].reset(prompt, logits.to(self._group.devices[rank])))

    def force(self, position: int, tokens: Sequence[int] | None) -> None:
        if tokens is not None:
            self._group.in_turn(lambda rank: self._states[rank].force(position, tokens))


def part_of(llama: FusedLlama, rank: int, devices: Sequence[torch.device], sums: Sums) -> FusedLlama:
    """What one of the GPUs has of a model, in memory of its own, on that GPU; what all have, the first one has in the model's."""
    ranks, device = len(devices), devices[rank]
    part = copy.copy(llama)
    part.heads, part.key_heads, part.gpus, part.sums = llama.heads // ranks, llama.key_heads // ranks, ranks, sums
    part.layers = [_part_of_layer(llama, layer, rank, ranks, device) for layer in llama.layers]
    part.embedding, part.norm, part.cosine, part.sine = (
        tensor.to(device) for tensor in (llama.embedding, llama.norm, llama.cosine, llama.sine)
    )
    part.head = (_share(llama.head, rank, ranks) if divides_head(llama, ranks) else llama.head).to(device)
    return part


def _part_of_layer(llama: FusedLlama, layer: Layer, rank: int, ranks: int, device: torch.device) -> Layer:
    width, key_width, units = llama.heads * llama.size, llama.key_heads * llama.size, intermediate(llama)
    return replace(
        layer,
        before_attention=layer.before_attention.to(device),
        projections=_rows(layer.projections, (width, key_width, key_width), rank, ranks, device),
        output=_columns(layer.output, rank, ranks, device),
        before_mlp=layer.before_mlp.to(device),
        gate_up=_rows(layer.gate_up, (units, units), rank, ranks, device),
        down=_columns(layer.down, rank, ranks, device),
    )


def _rows(matrix: Matrix, stacked: Sequence[int], rank: int, ranks: int, device: torch.device) -> Matrix:
    """The share of a rank in each of the matrices that are stacked, of so many rows."""
    if isinstance(matrix, Quantized):
        return Quantized(*(_of_each(tensor, stacked, rank, ranks).to(device) for tensor in (matrix.values, matrix.scales)))
    return _of_each(matrix, stacked, rank, ranks).to(device)


def _of_each(tensor: torch.Tensor, stacked: Sequence[int], rank: int, ranks: int) -> torch.Tensor:
    return torch.cat([_share(one, rank, ranks) for one in torch.split(tensor, list(stacked))])


def _columns(matrix: Matrix, rank: int, ranks: int, device: torch.device) -> Matrix:
    """The share of a rank: the product with its share of the inputs. A scale is a factor of the sum, and so of each part of it."""
    if isinstance(matrix, Quantized):
        return Quantized(_share(matrix.values, rank, ranks, dim=1).contiguous().to(device), matrix.scales.to(device))
    return _share(matrix, rank, ranks, dim=1).contiguous().to(device)


def _share(tensor: torch.Tensor, rank: int, ranks: int, dim: int = 0) -> torch.Tensor:
    return tensor.tensor_split(ranks, dim)[rank]
