"""The least time that each timing can physically take on a machine, by its measured rates. Pure.

Only what no variant can do without is counted: for each image the layers of the tower that the features need; for the prompt all layers of
the language model, of the last one only keys and values; for each further token one pass over the weights. A time below a MARGIN of that
is impossible. The margin is wide on purpose. Rates of large products and copies are reached by nobody all the time, so honest variants stay
above the floor itself; but weights may be stored in fewer bits, clocks rise, and several tokens may be checked in one pass. What stays
below a tenth has not done the work.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping

from evbench.results import STAGES, Block, Limits, NetworkShape, Rates, Result, Side, SideResult, Work
from evbench.verdict.blocks import END_TO_END, PREFILL, TIMED, TPOT, TTFT, counted_blocks, counted_runs, values

MARGIN = 0.1


def vision_operations(network: NetworkShape, images: int) -> float:
    """Of the patches and the layers of the tower; without the projector, behind which variants may pool or before it."""
    tokens, hidden, intermediate = network.vision_tokens, network.vision_hidden, network.vision_intermediate
    patches = 2 * (tokens - 1) * 3 * network.patch**2 * hidden
    layer = tokens * (8 * hidden**2 + 4 * hidden * intermediate) + 4 * tokens**2 * hidden
    return float(images * (patches + network.vision_layers * layer))


def vision_bytes(network: NetworkShape) -> float:
    """Of the weights of these layers."""
    hidden, intermediate = network.vision_hidden, network.vision_intermediate
    return float(network.weight_bytes * network.vision_layers * (4 * hidden**2 + 2 * hidden * intermediate))


def prefill_operations(network: NetworkShape, prompt: int) -> float:
    """Of a prompt, causally, and the logits after its last token."""
    width, key_width = network.heads * network.head_size, network.key_heads * network.head_size
    keys = 4 * network.hidden * key_width
    layer = prompt * (4 * network.hidden * width + keys + 6 * network.hidden * network.intermediate) + 2 * prompt**2 * width
    return float((network.layers - 1) * layer + prompt * keys + 2 * network.hidden * network.vocabulary)


def decoder_bytes(network: NetworkShape) -> float:
    """Of the weights that one pass reads: all layers and the head."""
    width, key_width = network.heads * network.head_size, network.key_heads * network.head_size
    layer = 2 * network.hidden * width + 2 * network.hidden * key_width + 3 * network.hidden * network.intermediate
    return float(network.weight_bytes * (network.layers * layer + network.hidden * network.vocabulary))


def floors(limits: Limits, work: Work, video: bool) -> dict[str, float]:
    """Name of a timing -> seconds. Only those whose work is known.

    Args:
        video: whether frames of one size were decoded, each of which has to be written, and the middle of which has to be read.
    """
    rates, network = limits.rates, limits.network
    found: dict[str, float] = {}
    if video and work.frame_indices and work.frame_height and work.frame_width:
        count, edges = 3 * len(work.frame_indices), (work.frame_height, work.frame_width)
        found["load"] = count * math.prod(edges) / rates.read
        found["preprocess"] = count * min(edges) ** 2 / rates.read
    if network is not None and work.pixel_shape:
        images = math.prod(work.pixel_shape[:-3])
        found["vision"] = _longer(rates, vision_operations(network, images), vision_bytes(network))
    if network is not None and work.prompt_tokens and work.new_tokens:
        found[PREFILL] = _longer(rates, prefill_operations(network, work.prompt_tokens), decoder_bytes(network))
        found[TPOT] = decoder_bytes(network) / rates.read
        found["generate"] = found[PREFILL] + (work.new_tokens - 1) * found[TPOT]
    found[TTFT] = math.fsum(found.get(name, 0.0) for name in (*STAGES[:-1], PREFILL))
    found[END_TO_END] = math.fsum(found.get(stage, 0.0) for stage in STAGES)
    return found


def _longer(rates: Rates, operations: float, read: float) -> float:
    return max(operations / rates.product, read / rates.read)


def of_result(result: Result) -> dict[str, float]:
    """Of the first run of the baseline. Empty if the rates of the machine were not measured."""
    limits = result.session(result.baseline).limits
    if limits is None:
        return {}
    return floors(limits, result.baseline.timed()[0].work, result.baseline.workload.kind == "video")


def impossible(result: Result) -> list[str]:
    """Timings of each side whose median is below MARGIN of the floor, in words."""
    known = of_result(result)
    found = []
    for side, measured in result.variants().items():
        medians = _medians(measured, counted_blocks(result.session(measured)))
        below = [name for name, floor in known.items() if medians.get(name, math.inf) < MARGIN * floor]
        found += [_in_words(side, name, medians[name], known[name]) for name in below]
    return found


def _medians(measured: SideResult, counted: Mapping[int, Block]) -> dict[str, float]:
    runs = counted_runs(measured, counted)
    seconds = {name: values(runs, value) for name, value in TIMED.items()}
    return {name: statistics.median(some) for name, some in seconds.items() if some}


def _in_words(side: Side, name: str, seconds: float, floor: float) -> str:
    return f"{side}: {name} took {seconds * 1e3:.3g} ms, and this machine cannot do such work in less than {floor * 1e3:.3g} ms"
