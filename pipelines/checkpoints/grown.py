"""A trained network in a larger shape that computes the same function.

Wider by replication and deeper by layers that add nothing (Net2Net: Chen, Goodfellow and Shlens, ICLR 2016). Every matrix is dense, and no
two of its rows are equal, so a grown network costs what a trained one of its size costs. In exact arithmetic its outputs are those of the
small one:

- A coordinate of the residual stream stands k times. The norm of a replicated vector is the replicated norm, epsilon included.
- A matrix that writes a replicated axis has its rows replicated. One that reads it has each column split over the k copies by random
  weights whose sum is 1, other ones in each row: what it computes stays, and its rows differ.
- A head of attention and a hidden unit of an MLP are replicated likewise, and the matrix behind them is split over the copies.
- An inserted layer has its heads and hidden units in pairs, whose outputs cancel.
- A row of a larger vocabulary is not used by any input, and its logit is that of a token that is never the most likely one.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

SPREAD = 0.02
"""Standard deviation of the weights of an inserted layer: what transformers initialises both networks with."""
CHUNK = 1 << 26
"""Numbers of a matrix that are computed at once, in float32: 256 MiB, and as much again for their shares."""

SEED = 0
"""Of the presets that are grown."""

READ, COPY = "read", "copy"


@dataclass(frozen=True)
class Axis:
    """One dimension of a parameter."""

    name: str
    """What it counts: a key of the maps, such as "text" for the residual stream of the language model."""
    mode: str = COPY
    """READ: split over the copies. COPY: replicated."""


TEXT, TOWER = "text", "tower"
RULES: tuple[tuple[str, tuple[Axis, ...]], ...] = tuple(
    (pattern, tuple(Axis(*one.split("/")) for one in axes.split()))
    for pattern, axes in (
        # The language model (transformers' LlamaForCausalLM).
        (r"embed_tokens\.weight", "vocabulary text"),
        (r"lm_head\.weight", "vocabulary text/read"),
        (r"self_attn\.[qkv]_proj\.weight:text", "text-heads text/read"),
        (r"self_attn\.o_proj\.weight", "text text-heads/read"),
        (r"mlp\.(gate|up)_proj\.weight", "text-units text/read"),
        (r"mlp\.down_proj\.weight", "text text-units/read"),
        (r"(input_layernorm|post_attention_layernorm|language_model\.norm|language\.model\.norm)\.weight", "text"),
        # A head that drafts for it (evbench.pipelines.generate.draft_head), whose other weights are named as a layer's.
        (r"(from_hidden|from_token)\.weight", "text text/read"),
        (r"token_norm\.weight", "text"),
        # The vision tower (transformers' CLIPVisionModel).
        (r"embeddings\.class_embedding", "tower"),
        (r"embeddings\.patch_embedding\.weight", "tower"),
        (r"embeddings\.position_embedding\.weight", "positions tower"),
        (r"self_attn\.[qkv]_proj\.weight:tower", "tower-heads tower/read"),
        (r"self_attn\.[qkv]_proj\.bias", "tower-heads"),
        (r"self_attn\.out_proj\.weight", "tower tower-heads/read"),
        (r"mlp\.fc1\.weight", "tower-units tower/read"),
        (r"mlp\.fc1\.bias", "tower-units"),
        (r"mlp\.fc2\.weight", "tower tower-units/read"),
        (r"(self_attn\.out_proj|mlp\.fc2)\.bias", "tower"),
        (r"(pre_layrnorm|post_layernorm|layer_norm[12])\.(weight|bias)", "tower"),
        # From the tower to the language model: Video-LLaVA's projector, and EventGPT's with its adaptor.
        (r"(multi_modal_projector\.linear_1|visual_projector\.0)\.weight", "projector tower/read"),
        (r"(multi_modal_projector\.linear_1|visual_projector\.0)\.bias", "projector"),
        (r"(multi_modal_projector\.linear_2|visual_projector\.2)\.weight", "text projector/read"),
        (r"feature_adaptor\.weight", "text text/read"),
        (r"(multi_modal_projector\.linear_2|visual_projector\.2|feature_adaptor)\.bias", "text"),
    )
)
"""End of a parameter's name -> its axes, of which those behind the last one stay as they are (a kernel's rows and columns).

Of names that both networks have, `:text` or `:tower` says of which.
"""

LAYER = re.compile(r"(?P<stack>.*\.layers)\.(?P<number>\d+)\.(?P<rest>.*)")
CANCELS = re.compile(r"(self_attn\.(o_proj|out_proj)|mlp\.(down_proj|fc2))\.weight$")
"""What reads heads or units that stand in pairs: the second of each pair with the opposite sign."""
ADDS = re.compile(r"(self_attn\.out_proj|mlp\.fc2)\.bias$")
NORM = re.compile(r"norm[12]?\.(weight|bias)$")


def grow(
    small: nn.Module,
    large: nn.Module,
    *,
    text: Any,
    vision: Any,
    larger_text: Any,
    larger_vision: Any,
    never: int,
    seed: int,
    unused_vision_layers: int = 0,
) -> None:
    """Fill the parameters of `large` so that it computes what `small` does.

    One parameter after the other, on the device and in the type of `large`: beside the two networks this takes a part of one matrix.

    Args:
        small: trained; in float32, on the same device.
        large: of the same classes; its parameters are overwritten.
        text, vision: configurations of `small`, as transformers has them.
        larger_text, larger_vision: those of `large`.
        never: a token that is never the most likely one, whose logit all tokens have that only `large` knows.
        seed: of the shares and of the inserted layers.
        unused_vision_layers: how many of the tower's last ones the features do not need; 1 where they are those of feature layer -2.

    Raises:
        ValueError: a width is no multiple, a size of heads is another, keys have fewer heads than queries, there are fewer layers, what is
            inserted has no pairs, or a parameter is of no known kind.
    """
    maps = _maps(text, vision, larger_text, larger_vision, never)
    stacks = {TEXT: (text, larger_text), TOWER: (vision, larger_vision)}
    left = {TEXT: 0, TOWER: unused_vision_layers}
    at = {network: layers_in(few.num_hidden_layers, many.num_hidden_layers, left[network]) for network, (few, many) in stacks.items()}
    trained = dict(small.named_parameters())
    with torch.no_grad():
        for name, parameter in large.named_parameters():
            network = _network(name)
            source = _source(name, at[network])
            random = _random(name, parameter, seed)
            if source is None:
                _insert(name, parameter, random)
            else:
                _fill(parameter, trained[source], _axes(name, network), maps, random)
            if name.endswith("embed_tokens.weight"):
                unused = parameter[text.vocab_size :]
                unused.normal_(0.0, float(trained[name].std()), generator=random)


def grow_draft_head(small: nn.Module, large: nn.Module, *, text: Any, larger_text: Any, seed: int) -> None:
    """Fill the parameters of a head that drafts for the larger language model, so that it drafts what the small one's does.

    Args:
        small: trained; in float32, on the same device.
        large: its parameters are overwritten.
        text, larger_text: configurations of the two language models.
        seed: of the shares.

    Raises:
        ValueError: a width is no multiple, or a size of heads is another.
    """
    maps, trained = _widths(TEXT, text, larger_text), dict(small.named_parameters())
    with torch.no_grad():
        for name, parameter in large.named_parameters():
            _fill(parameter, trained[name], _axes(name, TEXT), maps, _random(name, parameter, seed))


def layers_in(small: int, large: int, unused: int = 0) -> list[int]:
    """Which layers of the larger stack are the trained ones, in order.

    The used ones are spread evenly, and the last used one is the last that is used there: so it is no inserted one, which could be left
    out and nothing would be another. The unused ones are the last.

    Raises:
        ValueError: there are fewer layers than trained ones.
    """
    if large < small:
        raise ValueError(f"{small} trained layers do not fit into {large}")
    used, places = small - unused, large - unused
    spread = [round(number * (places - 1) / (used - 1)) for number in range(used)] if used > 1 else [places - 1]
    return [*spread, *range(places, large)]


def _random(name: str, parameter: torch.Tensor, seed: int) -> torch.Generator:
    return torch.Generator(parameter.device).manual_seed(zlib.crc32(f"{seed} {name}".encode()))


def _network(name: str) -> str:
    return TOWER if "tower" in name else TEXT


def _source(name: str, at: list[int]) -> str | None:
    """Parameter of the small network that one of the large network is made of; None for an inserted layer.

    Args:
        at: where the trained layers are in the large network.
    """
    found = LAYER.fullmatch(name)
    if found is None:
        return name
    number = int(found["number"])
    return f"{found['stack']}.{at.index(number)}.{found['rest']}" if number in at else None


def _axes(name: str, network: str) -> tuple[Axis, ...]:
    for pattern, axes in RULES:
        ending, _, of = pattern.partition(":")
        if of in ("", network) and re.search(rf"(^|\.)({ending})$", name):
            return axes
    raise ValueError(f"{name} is of no kind that can be grown")


def _maps(text: Any, vision: Any, larger_text: Any, larger_vision: Any, never: int) -> dict[str, torch.Tensor]:
    """Name of an axis -> for each place of the large network, the place of the small one that it copies."""
    maps = {"positions": torch.arange((vision.image_size // vision.patch_size) ** 2 + 1)}
    for network, small, large in ((TEXT, text, larger_text), (TOWER, vision, larger_vision)):
        maps |= _widths(network, small, large)
        if large.num_hidden_layers > small.num_hidden_layers and (large.num_attention_heads % 2 or large.intermediate_size % 2):
            raise ValueError(f"{network}: an inserted layer needs heads and hidden units in pairs")
    maps["projector"] = torch.arange(larger_text.hidden_size) % text.hidden_size
    maps["vocabulary"] = torch.arange(larger_text.vocab_size)
    maps["vocabulary"][text.vocab_size :] = never
    return maps


def _widths(network: str, small: Any, large: Any) -> dict[str, torch.Tensor]:
    """The same for the axes that a layer of the network has."""
    size, larger_size = (_head_size(config) for config in (small, large))
    if size != larger_size:
        raise ValueError(f"{network}: heads of {size} cannot become heads of {larger_size}")
    if any(getattr(one, "num_key_value_heads", one.num_attention_heads) != one.num_attention_heads for one in (small, large)):
        raise ValueError(f"{network}: keys have fewer heads than queries")
    heads = _replicated(small.num_attention_heads, large.num_attention_heads, f"{network}: heads")
    return {
        network: _replicated(small.hidden_size, large.hidden_size, f"{network}: hidden size"),
        f"{network}-heads": (heads[:, None] * size + torch.arange(size)).flatten(),
        f"{network}-units": torch.arange(large.intermediate_size) % small.intermediate_size,
    }


def _head_size(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _replicated(few: int, many: int, what: str) -> torch.Tensor:
    """Every one equally often: else a norm, or a mean over heads, would be another."""
    if many % few:
        raise ValueError(f"{what} {many} is no multiple of {few}")
    return torch.arange(many) % few


def _fill(
    parameter: torch.Tensor, trained: torch.Tensor, axes: tuple[Axis, ...], maps: Mapping[str, torch.Tensor], random: torch.Generator
) -> None:
    # parameter: [larger rows, larger columns, ...]; trained: [rows, columns, ...]
    rows, *others = (maps[axis.name].to(parameter.device) for axis in axes)
    if not others:
        parameter.copy_(trained[rows])
        return
    (columns,), reads = others, axes[1].mode == READ
    for part in _parts(len(rows), len(columns)):
        values = trained[rows[part]][:, columns]
        parameter[part] = values * _shares(columns, trained.shape[1], len(values), values.dtype, random) if reads else values


def _parts(rows: int, columns: int) -> Iterable[slice]:
    step = max(1, CHUNK // columns)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _shares(columns: torch.Tensor, few: int, rows: int, dtype: torch.dtype, random: torch.Generator) -> torch.Tensor:
    """[rows, columns]: in each row, those of the copies of one column add up to 1."""
    weights = torch.rand(rows, len(columns), generator=random, device=columns.device, dtype=dtype).add_(0.5)
    # As a product: index_add_ adds in another order each time on a GPU, and two workers would make different weights.
    sums = weights @ functional.one_hot(columns, few).to(dtype)
    return weights.div_(sums[:, columns])


def _insert(name: str, parameter: torch.Tensor, random: torch.Generator) -> None:
    if NORM.search(name):
        parameter.fill_(1.0 if name.endswith("weight") else 0.0)
        return
    if ADDS.search(name):
        parameter.zero_()
        return
    parameter.normal_(0.0, SPREAD, generator=random)
    if CANCELS.search(name):
        half = parameter.shape[1] // 2
        parameter[:, half:] = -parameter[:, :half]
    else:
        half = parameter.shape[0] // 2
        parameter[half:] = parameter[:half]
