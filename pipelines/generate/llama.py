"""A LLaMA-shaped decoder with fewer and larger operations, over the weights of transformers' module.

query, key and value are one matrix, and so are gate and up: the module's weights become views of them, so that nothing is held twice. Where
a module's weights are quantized, so are these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.functional import embedding, linear, rms_norm, silu

from evbench.errors import UserError
from evbench.kernels.block_attention import BlockAttention
from evbench.kernels.decode_attention import DecodeAttention
from evbench.kernels.matvec import Matrix, Norm, Quantized, matvec, product
from evbench.kernels.rotated_heads import rotated, rotated_heads
from evbench.kernels.token_embedding import token_embedding
from evbench.pipelines.compute.attention import Attend
from evbench.pipelines.generate.kv_rounding import cache_type
from evbench.pipelines.generate.quantized import QuantizedLinear

KVCache = Sequence[tuple[torch.Tensor, torch.Tensor]]
"""For each layer keys and values, [batch, key heads, capacity, size]."""
MOST_LENGTHS = 64
"""Of prompts, in one process: each is compiled by itself, for each GPU, and torch refuses more than eight unless its limit is raised."""
KNOWN = ("llama", "mistral")
"""`model_type` of the text models whose layers are what is computed here. Others are refused: they may have weights that their config does
not name, as Qwen2 has biases."""
EXPECTED = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "sliding_window": None}
"""Fields of their configurations."""
FLOAT8_CAPABILITY = (8, 9)
"""The first with an instruction that converts float8_e4m3fn: Ada. Triton compiles none of it for earlier GPUs."""


@dataclass(frozen=True)
class Layer:
    """Weights of one layer, each [outputs, inputs]."""

    before_attention: torch.Tensor
    projections: Matrix
    """Rows of the queries, then of the keys, then of the values."""
    output: Matrix
    before_mlp: torch.Tensor
    gate_up: Matrix
    down: Matrix


class Sums(Protocol):
    """How products are summed up of which each of several GPUs has a part."""

    def added(self, x: torch.Tensor, weight: Matrix, residual: torch.Tensor, place: int, /) -> torch.Tensor:
        """Of a step: [vectors, columns], [rows, columns], [vectors, rows] -> the product and the residual, [vectors, rows].

        `place`: number of the call in the step, from 0 on.
        """

    def gathered(self, logits: torch.Tensor, /) -> torch.Tensor:
        """Of a step: [vectors, rows of the head] -> [vectors, vocabulary]."""

    def of_prompt(self, product: torch.Tensor, /) -> torch.Tensor:
        """[batch, length, hidden] -> the same of all."""


class Alone:
    """One GPU has all of it."""

    def added(self, x: torch.Tensor, weight: Matrix, residual: torch.Tensor, place: int, /) -> torch.Tensor:
        return matvec(x, weight, residual=residual)

    def gathered(self, logits: torch.Tensor, /) -> torch.Tensor:
        return logits

    def of_prompt(self, product: torch.Tensor, /) -> torch.Tensor:
        return product


class FusedLlama:
    """Prefill over a whole prompt, a step of one token, and a pass over a few, over a cache of fixed size."""

    def __init__(self, decoder: Any, head: nn.Module, attend: Attend) -> None:
        """
        Args:
            decoder: transformers' LlamaModel.
            head: hidden state -> logits, without bias.

        Raises:
            UserError: it is another kind of model, has weights that are not used here, or of a type that the GPU does not multiply.
        """
        _require_known(decoder, head)
        config = decoder.config
        attention = decoder.layers[0].self_attn
        self.size = attention.head_dim
        if self.size & (self.size - 1) or self.size < 16:
            raise UserError(f"generate=graph takes heads of 16, 32, 64 ... values, not of {self.size}; use generate=static-compile")
        self.heads, self.key_heads = config.num_attention_heads, config.num_key_value_heads
        self.epsilon = config.rms_norm_eps
        self.layers = [_fused(layer) for layer in decoder.layers]
        self.embedding = decoder.embed_tokens.weight.detach()
        self.norm = decoder.norm.weight.detach()
        self.head = head.weight.detach()  # type: ignore[operator]
        self.cache_type = cache_type(decoder)
        """Of keys and values in the cache."""
        if self.head.is_cuda:
            _require_converted(self.layers, self.cache_type, torch.cuda.get_device_capability(self.head.device))
        positions = torch.arange(config.max_position_embeddings, device=self.head.device)[None]
        tables = decoder.rotary_emb(torch.empty(0, device=self.head.device), position_ids=positions)
        self.cosine, self.sine = (table[0, :, : self.size // 2].float().contiguous() for table in tables)
        self._attend = attend
        self.vocabulary, self.gpus = self.head.shape[0], 1
        self.sums: Sums = Alone()

    def new_kv_cache(self, batch: int, capacity: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        shape = (batch, self.key_heads, capacity, self.size)
        return [(self.head.new_zeros(shape, dtype=self.cache_type), self.head.new_zeros(shape, dtype=self.cache_type)) for _ in self.layers]

    # The prompt.

    def compiled_prefill(self) -> Callable[[torch.Tensor, KVCache], torch.Tensor]:
        """`prefill` with its layer compiled: once for all layers but the last, which has less to do."""
        layer = torch.compile(self._prefill_layer, fullgraph=True, dynamic=False)
        limits, most = torch._dynamo.config, 2 * MOST_LENGTHS * self.gpus
        limits.recompile_limit = max(limits.recompile_limit, most)
        limits.accumulated_recompile_limit = max(limits.accumulated_recompile_limit, most)
        return lambda embeddings, kv_cache: self.prefill(embeddings, kv_cache, layer)

    def prefill(
        self, embeddings: torch.Tensor, kv_cache: KVCache, run_layer: Callable[..., tuple[torch.Tensor, torch.Tensor]] | None = None
    ) -> torch.Tensor:
        """[batch, length, hidden] -> what the head reads of the last position, [batch, hidden]. Fills the first slots of the cache."""
        run_layer, length = run_layer or self._prefill_layer, embeddings.shape[1]
        hidden, residual = embeddings, torch.zeros_like(embeddings)
        cosine, sine = self.cosine[:length], self.sine[:length]
        for number, (layer, (keys, values)) in enumerate(zip(self.layers, kv_cache, strict=True)):
            hidden, residual = run_layer(hidden, residual, layer, keys, values, cosine, sine, only_last=number == len(self.layers) - 1)
        return self._normed((hidden + residual)[:, 0], self.norm)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """What the head reads, [..., hidden] -> logits, [..., vocabulary]."""
        return linear(hidden, self.head)

    def _prefill_layer(
        self,
        hidden: torch.Tensor,  # [batch, length, hidden]
        residual: torch.Tensor,  # [batch, length, hidden]
        layer: Layer,
        keys: torch.Tensor,  # [batch, key heads, capacity, size], of the type of the cache
        values: torch.Tensor,
        cosine: torch.Tensor,  # [length, size / 2]
        sine: torch.Tensor,
        only_last: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One layer: hidden state, and the residual to be added to it. The next layer adds it, in one kernel with its norm.

        Of the last one, only the last position is needed: [batch, 1, hidden].
        """
        hidden = hidden + residual
        length = hidden.shape[1]
        normed = self._normed(hidden, layer.before_attention)
        if only_last:
            # Keys and values of all positions, for the steps; a query of the last.
            rows = self.heads * self.size
            rotated_heads(product(normed, layer.projections[rows:]), keys, values, cosine, sine)
            query = rotated(self._heads(product(normed[:, -1:], layer.projections[:rows])), cosine[-1:, None], sine[-1:, None])
            hidden = hidden[:, -1:]
        else:
            query = rotated_heads(product(normed, layer.projections), keys, values, cosine, sine)
        key, value = (kept[:, :, :length].transpose(1, 2).to(query.dtype) for kept in (keys, values))
        mixed = self._attend(query, key, value, not only_last, self.size**-0.5)
        hidden = hidden + self.sums.of_prompt(product(mixed.flatten(2), layer.output))
        gate, up = product(self._normed(hidden, layer.before_mlp), layer.gate_up).chunk(2, dim=-1)
        return hidden, self.sums.of_prompt(product(silu(gate) * up, layer.down))

    def _heads(self, projected: torch.Tensor) -> torch.Tensor:
        """[batch, length, heads * size] -> [batch, length, heads, size]."""
        return projected.view(*projected.shape[:2], -1, self.size)

    def _normed(self, hidden: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        return rms_norm(hidden, gain.shape, gain, self.epsilon)

    # A token.

    def step(
        self,
        tokens: torch.Tensor,  # [batch, capacity] int64
        position: torch.Tensor,  # [1] int64
        kv_cache: KVCache,
        attention: DecodeAttention,
    ) -> torch.Tensor:
        """Logits after the token at the position, [batch, vocabulary]. Writes its keys and values into the slots there."""
        hidden = token_embedding(tokens, position, self.embedding)
        for number, (layer, (keys, values)) in enumerate(zip(self.layers, kv_cache, strict=True)):
            projected = matvec(hidden, layer.projections, Norm(layer.before_attention, self.epsilon))
            mixed = attention(projected, keys, values, self.cosine, self.sine, position)
            hidden = self.sums.added(mixed, layer.output, hidden, 2 * number)
            gated = matvec(hidden, layer.gate_up, Norm(layer.before_mlp, self.epsilon), gated=True)
            hidden = self.sums.added(gated, layer.down, hidden, 2 * number + 1)
        return self.sums.gathered(matvec(hidden, self.head, Norm(self.norm, self.epsilon)))

    # Some tokens at a time.

    def verify(
        self,
        tokens: torch.Tensor,  # [1, count] int64
        position: torch.Tensor,  # [1] int64
        kv_cache: KVCache,
        attention: BlockAttention,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each token, of which the first stands at the position, the logits behind it, [count, vocabulary], and what the head reads
        of it, [count, hidden]. Writes their keys and values.
        """
        hidden = embedding(tokens[0], self.embedding)
        for layer, (keys, values) in zip(self.layers, kv_cache, strict=True):
            projected = matvec(hidden, layer.projections, Norm(layer.before_attention, self.epsilon))
            query = rotated_heads(projected[None], keys, values, self.cosine, self.sine, position)
            mixed = attention(query, keys, values, position)
            hidden = matvec(mixed[0].flatten(1), layer.output, residual=hidden)
            gated = matvec(hidden, layer.gate_up, Norm(layer.before_mlp, self.epsilon), gated=True)
            hidden = matvec(gated, layer.down, residual=hidden)
        return matvec(hidden, self.head, Norm(self.norm, self.epsilon)), self._normed(hidden, self.norm)


def _require_known(decoder: Any, head: nn.Module) -> None:
    """Raises UserError unless the model is of a known type and all its weights are used here."""
    config, cure = decoder.config, "use generate=static-compile"
    if config.model_type not in KNOWN:
        raise UserError(f"generate=graph knows text models of model_type {' and '.join(KNOWN)}, not {config.model_type!r}; {cure}")
    if other := {name: getattr(config, name, value) for name, value in EXPECTED.items() if getattr(config, name, value) != value}:
        raise UserError(f"generate=graph does not know a language model with {other}; {cure}")
    modules = {"lm_head": head, **dict(decoder.layers.named_modules())}
    if biased := [name for name, module in modules.items() if getattr(module, "bias", None) is not None]:
        raise UserError(f"generate=graph does not know a language model with biases, and {biased[0]} has one; {cure}")


def _require_converted(layers: Sequence[Layer], cache: torch.dtype, capability: tuple[int, int]) -> None:
    """Raises UserError unless Triton compiles what converts weights and cache of these types for a GPU of this compute capability."""
    down = layers[0].down
    weights = down.values.dtype if isinstance(down, Quantized) else None
    used = {"quantization=fp8": (weights, "quantization=int8"), "cache=fp8": (cache, "cache=full")}
    for choice, (dtype, cure) in used.items():
        if dtype is torch.float8_e4m3fn and capability < FLOAT8_CAPABILITY:
            here, needed = (".".join(map(str, version)) for version in (capability, FLOAT8_CAPABILITY))
            told = f"needs a GPU of compute capability {needed} or later, and this one has {here}"
            raise UserError(f"{choice} with generate=graph {told}; use {cure}")


def _fused(layer: Any) -> Layer:
    attention, mlp = layer.self_attn, layer.mlp
    return Layer(
        before_attention=layer.input_layernorm.weight.detach(),
        projections=_stacked(attention.q_proj, attention.k_proj, attention.v_proj),
        output=_matrix(attention.o_proj),
        before_mlp=layer.post_attention_layernorm.weight.detach(),
        gate_up=_stacked(mlp.gate_proj, mlp.up_proj),
        down=_matrix(mlp.down_proj),
    )


def _matrix(module: Any) -> Matrix:
    """The weights of a linear layer, in the memory of the module."""
    return module.matrix if isinstance(module, QuantizedLinear) else torch.as_tensor(module.weight.detach())


def _stacked(*modules: Any) -> Matrix:
    """Their weights as one matrix, of which the weights in the modules become views."""
    found, rows = [_matrix(module) for module in modules], [module.out_features for module in modules]
    quantized = [one for one in found if isinstance(one, Quantized)]
    if not quantized:
        whole = _joined([module.weight.detach() for module in modules])
        for module, part in zip(modules, torch.split(whole, rows), strict=True):
            module.weight.data = part
        return whole
    both = Quantized(_joined([one.values for one in quantized]), _joined([one.scales for one in quantized]))
    for module, values, scales in zip(modules, torch.split(both.values, rows), torch.split(both.scales, rows), strict=True):
        module.values, module.scales = values, scales
    return both


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """One below the other, contiguous. Where an earlier call has put them so in memory, it is that memory: a model that drafts has two
    loops over its weights."""
    first, place = parts[0], parts[0].data_ptr()
    for part in parts:
        if part.untyped_storage().data_ptr() != first.untyped_storage().data_ptr() or part.data_ptr() != place or not part.is_contiguous():
            return torch.cat(list(parts))
        place += part.nbytes
    return first.as_strided((sum(part.shape[0] for part in parts), *first.shape[1:]), first.stride())
