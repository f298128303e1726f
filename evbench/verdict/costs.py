"""The least that each part of a network computes and moves for a run, by its shape. Pure.

Only what no variant can do without is counted: for each image the layers of the tower that the features need, and of the projector what
stands behind the pooling for pooled tokens only; for the prompt all layers of the language model, of the last one only keys and values, and
of causal attention only the half that is not masked. Weights are read once, the input is read and the output written once; whatever lies
between may stay in caches. Normalisations, activations and biases are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from evbench.results import NetworkShape, Rates, Work
from evbench.verdict.blocks import PREFILL, TPOT

VISION = "vision"


@dataclass(frozen=True)
class Cost:
    """Of one call of a stage, or of one decode step."""

    operations: float
    """In products of matrices: a multiplication and an addition are two."""
    bytes: float
    """To and from the memory of the device: weights, KV cache, input and output."""

    def seconds(self, rates: Rates) -> float:
        """The least that it takes at these rates: computing and moving may overlap."""
        return max(self.operations / rates.product, self.bytes / rates.read)


SCALE_BYTES = 4
"""Of the scale of a row of quantized weights."""


def of_work(
    network: NetworkShape,
    work: Work,
    batch: int = 1,
    layer_weight_bytes: float | None = None,
    cache_value_bytes: float | None = None,
) -> dict[str, Cost]:
    """Of `vision`, `prefill` and `tpot`, the last for the decode step in the middle of the answer. Only those whose work is known.

    Args:
        batch: samples that go through the stages together.
        layer_weight_bytes: of a quantized weight in the language model's layers. None if they have the type of all others.
        cache_value_bytes: of a number in a quantized KV cache. None if it has that type, too.
    """
    found = {}
    if work.pixel_shape and work.visual_tokens:
        found[VISION] = vision(network, math.prod(work.pixel_shape[:-3]), work.visual_tokens)
    if work.prompt_tokens and work.new_tokens:
        found[PREFILL] = prefill(network, work.prompt_tokens, batch, layer_weight_bytes, cache_value_bytes)
        # The first token is the prefill's. The steps of the others attend to one position more each: in the mean to half the answer.
        positions = work.prompt_tokens + work.new_tokens / 2
        found[TPOT] = decode_step(network, positions, batch, layer_weight_bytes, cache_value_bytes)
    return found


def vision(network: NetworkShape, images: int, visual_tokens: int) -> Cost:
    """Of tower and projector.

    Args:
        visual_tokens: of all images together, as the language model gets them.
    """
    tokens, hidden, intermediate = network.vision_tokens, network.vision_hidden, network.vision_intermediate
    pixels, layers = images * (tokens - 1) * 3 * network.patch**2, network.vision_layers
    layer = 4 * hidden**2 + 2 * hidden * intermediate
    in_layers = images * layers * (2 * tokens * layer + 4 * tokens**2 * hidden)
    # Two linear layers with an activation in between, which each token has to reach: what is linear behind it is one matrix after pooling.
    first, second = hidden * network.hidden, network.hidden**2
    in_projector = 2 * images * tokens * first + 2 * visual_tokens * second
    weights = 3 * network.patch**2 * hidden + layers * layer + first + second
    values = weights + pixels + visual_tokens * network.hidden
    return Cost(float(2 * pixels * hidden + in_layers + in_projector), float(network.weight_bytes * values))


def prefill(
    network: NetworkShape, prompt: int, batch: int = 1, layer_weight_bytes: float | None = None, cache_value_bytes: float | None = None
) -> Cost:
    """Of prompts of so many tokens each, and the logits after their last ones."""
    keys = 2 * network.hidden * _key_width(network)
    layer = 2 * prompt * _layer_weights(network) + 2 * prompt**2 * _width(network)
    operations = (network.layers - 1) * layer + 2 * prompt * keys + 2 * network.hidden * network.vocabulary
    moved = prompt * (network.weight_bytes * network.hidden + _cache(network, cache_value_bytes))
    return Cost(float(batch * operations), float(_weights_read(network, layer_weight_bytes) + batch * moved))


def decode_step(
    network: NetworkShape, positions: float, batch: int = 1, layer_weight_bytes: float | None = None, cache_value_bytes: float | None = None
) -> Cost:
    """Of one token of each prompt, that attends to so many positions, its own included; in a mean over steps, a fraction."""
    weights = _decoder_weights(network)
    operations = 2 * weights + 4 * network.layers * _width(network) * positions
    moved = _weights_read(network, layer_weight_bytes) + batch * positions * _cache(network, cache_value_bytes)
    return Cost(batch * operations, moved)


def _weights_read(network: NetworkShape, layer_weight_bytes: float | None) -> float:
    """Bytes of all layers and the head."""
    if layer_weight_bytes is None:
        return network.weight_bytes * _decoder_weights(network)
    rows = _width(network) + 2 * _key_width(network) + 2 * network.intermediate + 2 * network.hidden
    layer = layer_weight_bytes * _layer_weights(network) + SCALE_BYTES * rows
    return network.layers * layer + network.weight_bytes * network.hidden * network.vocabulary


def _decoder_weights(network: NetworkShape) -> int:
    """Of all layers and the head. Of the embedding one row is read."""
    return network.layers * _layer_weights(network) + network.hidden * network.vocabulary


def _layer_weights(network: NetworkShape) -> int:
    return 2 * network.hidden * (_width(network) + _key_width(network)) + 3 * network.hidden * network.intermediate


def _cache(network: NetworkShape, value_bytes: float | None) -> float:
    """Bytes of the keys and values of one position, in all layers."""
    return (network.weight_bytes if value_bytes is None else value_bytes) * 2 * network.layers * _key_width(network)


def _width(network: NetworkShape) -> int:
    return network.heads * network.head_size


def _key_width(network: NetworkShape) -> int:
    return network.key_heads * network.head_size
