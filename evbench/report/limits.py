"""What a run computes and moves at the least, and what this machine can do -> tables. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from evbench.pipelines.registry import cache_value_bytes, layer_weight_bytes
from evbench.report.render import Table
from evbench.report.units import format_number, format_scaled, format_seconds
from evbench.results import Ceilings, Machine, NetworkShape, Work, Workload
from evbench.verdict import costs
from evbench.verdict.blocks import PREFILL, TPOT
from evbench.verdict.costs import VISION, Cost

TITLES = {VISION: "vision", PREFILL: "prefill", TPOT: "decode step"}


@dataclass(frozen=True)
class PhysicalLimits:
    """Of one run of a workload."""

    workload: Workload
    network: NetworkShape
    work: Work
    stored: dict[str, str]
    """Choices of the parts `quantization` and `cache`: how weights in the language model's layers are stored, and keys and values."""
    costs: dict[str, Cost]
    """Of `vision`, `prefill` and `tpot`, the last of the decode step in the middle of the answer."""
    machine: Machine | None
    """Where the ceilings were measured. None if none were, as the next two."""
    ceilings: Ceilings | None
    floor_seconds: dict[str, float] | None
    """Of each cost, at the best rates of the ceilings."""


def physical_limits(
    workload: Workload,
    network: NetworkShape,
    work: Work,
    machine: Machine | None = None,
    ceilings: Ceilings | None = None,
    stored: Mapping[str, str] | None = None,
) -> PhysicalLimits:
    """`stored`: as in what is returned. None, or a part that is left out: in the type that is computed in."""
    stored = {"quantization": "none", "cache": "full", **(stored or {})}
    sizes = layer_weight_bytes(stored, workload.model), cache_value_bytes(stored, workload.model)
    found = costs.of_work(network, work, workload.batch, *sizes)
    floors = None if ceilings is None else {name: cost.seconds(ceilings.rates()) for name, cost in found.items()}
    return PhysicalLimits(workload, network, work, stored, found, machine, ceilings, floors)


def subject(limits: PhysicalLimits) -> str:
    """What it is of, in one sentence."""
    workload, work = limits.workload, limits.work
    assert work.pixel_shape and work.prompt_tokens and work.new_tokens
    images, position = math.prod(work.pixel_shape[:-3]), work.prompt_tokens + work.new_tokens / 2
    stored = "" if limits.stored["quantization"] == "none" else f", layers of the language model in {limits.stored['quantization']}"
    stored += "" if limits.stored["cache"] == "full" else f", keys and values in {limits.stored['cache']}"
    stored += "" if workload.batch == 1 else f", a batch of {workload.batch}"
    return (
        f"{workload.model}, {workload.preset or workload.weights}, in {workload.dtype}{stored}: {images} images, {work.visual_tokens:,} "
        f"visual tokens, a prompt of {work.prompt_tokens:,} tokens; decode step at position {position:,.0f}, in the middle of "
        f"{work.new_tokens:,} new tokens"
    )


def stages(limits: PhysicalLimits) -> Table:
    """A row for each stage; with its floor where ceilings were measured."""
    rows = []
    for name, cost in limits.costs.items():
        amounts = format_scaled(cost.operations, "FLOP"), format_scaled(cost.bytes, "B"), format_number(cost.operations / cost.bytes)
        rows.append((TITLES[name], *amounts, *_floor(limits, name)))
    columns = ("", "FLOPs", "bytes", "FLOPs per byte", *(() if limits.ceilings is None else ("floor", "bound by")))
    return Table("What a run computes and moves at the least", columns, tuple(rows))


def _floor(limits: PhysicalLimits, name: str) -> tuple[str, ...]:
    if limits.ceilings is None or limits.floor_seconds is None:
        return ()
    rates, cost = limits.ceilings.rates(), limits.costs[name]
    bound = "FLOPs" if cost.operations / rates.product >= cost.bytes / rates.read else "bytes"
    return format_seconds(limits.floor_seconds[name]), bound


def ceilings(measured: Ceilings) -> Table:
    rows = [("read", format_scaled(measured.read, "B/s")), ("copy, both ways counted", format_scaled(measured.copy, "B/s"))]
    rows += [(f"product of matrices, {dtype}", format_scaled(rate, "FLOP/s")) for dtype, rate in measured.product.items()]
    return Table("Ceilings, measured on this machine", ("", "rate"), tuple(rows))


HOW = (
    "A floor is the longer one of moving its bytes at the better rate of read and copy, and of computing its FLOPs at the best rate of "
    "products. Rates are the best over small and large sizes, so on a CPU those of its caches: no run is faster, and most are slower."
)
