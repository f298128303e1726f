"""The least time that each timing can physically take on a machine, by its measured rates. Pure.

What no variant can do without is counted in `evbench.verdict.costs`. A time below a MARGIN of what that takes is impossible. The margin is
wide on purpose. Rates of large products and copies are reached by nobody all the time, so honest variants stay above the floor itself; but
clocks rise, and a choice of somebody else's may check several tokens in one pass. What stays below a tenth has not done the work. A side
has floors of its own if its weights or its cache are quantized, of the bytes that it reads; if tokens are drafted, as if every draft were
accepted and cost nothing; and if the language model is divided over several GPUs, as if each had the rates of the first and sums took no
time.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from evbench.pipelines.registry import cache_value_bytes, gpus, layer_weight_bytes, tokens_per_pass
from evbench.results import STAGES, Block, Limits, Result, Side, SideResult, Work
from evbench.verdict import costs
from evbench.verdict.blocks import END_TO_END, PREFILL, TIMED, TPOT, TTFT, counted_blocks, counted_runs, values

MARGIN = 0.1


@dataclass(frozen=True)
class Reads:
    """What a side's choices change of the bytes that a GPU reads in generation, or of how often it does."""

    layer_weight_bytes: float | None = None
    """Of a quantized weight in the language model's layers. None if none is."""
    cache_value_bytes: float | None = None
    """Of a number in a quantized KV cache. None if it is not."""
    tokens_per_pass: int = 1
    """That a pass of the language model gives at most."""
    gpus: int = 1
    """That the language model is divided over."""


FULL = Reads()


def floors(limits: Limits, work: Work, video: bool, reads: Reads = FULL, batch: int = 1) -> dict[str, float]:
    """Name of a timing -> seconds. Only those whose work is known.

    Args:
        batch: samples that went through the stages together.
        video: whether frames of one size were decoded, each of which has to be written, and the middle of which has to be read.
    """
    rates, network = limits.rates, limits.network
    found: dict[str, float] = {}
    if video and work.frame_indices and work.frame_height and work.frame_width:
        count, edges = 3 * len(work.frame_indices), (work.frame_height, work.frame_width)
        found["load"] = count * math.prod(edges) / rates.read
        found["preprocess"] = count * min(edges) ** 2 / rates.read
    if network is not None:
        needed = costs.of_work(network, work, batch, reads.layer_weight_bytes, reads.cache_value_bytes)
        found |= {name: cost.seconds(rates) / (1 if name == costs.VISION else reads.gpus) for name, cost in needed.items()}
    if TPOT in found and work.new_tokens:
        passes = math.ceil((work.new_tokens - 1) / reads.tokens_per_pass)
        found["generate"] = found[PREFILL] + passes * found[TPOT]
        found[TPOT] *= passes / (work.new_tokens - 1) if passes else 1
    found[TTFT] = math.fsum(found.get(name, 0.0) for name in (*STAGES[:-1], PREFILL))
    found[END_TO_END] = math.fsum(found.get(stage, 0.0) for stage in STAGES)
    return found


def of_result(result: Result, reads: Reads = FULL) -> dict[str, float]:
    """Of the first run of the baseline. Empty if the rates of the machine were not measured."""
    limits = result.session(result.baseline).limits
    if limits is None:
        return {}
    measured = result.baseline
    workload = measured.workload
    return floors(limits, measured.timed()[0].work, workload.kind == "video", reads, workload.batch)


def of_sides(result: Result) -> dict[Side, dict[str, float]]:
    """Of the sides whose weights or cache are quantized, whose tokens are drafted or whose language model is divided, in their place."""
    found = {}
    for side, measured in result.variants().items():
        chosen, model = measured.choices, measured.workload.model
        reads = Reads(layer_weight_bytes(chosen, model), cache_value_bytes(chosen, model), tokens_per_pass(chosen), gpus(chosen))
        if reads != FULL:
            found[side] = of_result(result, reads)
    return found


def impossible(result: Result) -> list[str]:
    """Timings of each side whose median is below MARGIN of the floor, in words."""
    of_full, own = of_result(result), of_sides(result)
    found = []
    for side, measured in result.variants().items():
        known = own.get(side, of_full)
        medians = _medians(measured, counted_blocks(result.session(measured)))
        elsewhere = _elsewhere(measured)
        below = [name for name, floor in known.items() if name not in elsewhere and medians.get(name, math.inf) < MARGIN * floor]
        found += [_in_words(side, name, medians[name], known[name]) for name in below]
    return found


def _elsewhere(measured: SideResult) -> set[str]:
    """Timings of what another process computes, which a pipeline of somebody else's only hands over to it, and waits for."""
    hidden = {stage for plugin in measured.plugins for stage in plugin.unseen}
    return hidden | ({PREFILL, TPOT} if "generate" in hidden else set())


def _medians(measured: SideResult, counted: Mapping[int, Block]) -> dict[str, float]:
    runs = counted_runs(measured, counted)
    seconds = {name: values(runs, value) for name, value in TIMED.items()}
    return {name: statistics.median(some) for name, some in seconds.items() if some}


def _in_words(side: Side, name: str, seconds: float, floor: float) -> str:
    return f"{side}: {name} took {seconds * 1e3:.3g} ms, and this machine cannot do such work in less than {floor * 1e3:.3g} ms"
