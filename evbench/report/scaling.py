"""One variant on several numbers of GPUs -> sentences, tables, and a file. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evbench.report.ranks import cells, left_out, percent
from evbench.report.render import Table, file_of, printable, tables_and_notes
from evbench.report.units import NOT_MEASURED, format_claimed, format_ratio, format_ratios, format_seconds
from evbench.results import SIDES, Machine, Plan, Workload
from evbench.traces.timeline import PREFILL, STEP
from evbench.verdict.blocks import TPOT
from evbench.verdict.judgement import CLAIMED
from evbench.verdict.ranks import Usage
from evbench.verdict.scaling import DividedRun, Row, SpreadRun, counted_gpus, rows
from evbench.verdict.sweep import PointTiming

GIGA = 1e9
SHOWN = 5
"""Samples of other answers that are named."""
NOTES = (
    "samples/s: all samples back to back on all ranks, begun at the same moment, once: there is no interval.",
    "efficiency: samples of the pass, against those of so many GPUs if each had been as fast as one of the first row. waiting: a rank "
    "had ended while the slowest still ran. loading: it waited longer for samples to be loaded than in the first row. running: all other "
    "stages were slower. Negative: shorter or faster. With the efficiency they sum up to 100 %.",
    "The stages are of single runs, stage by stage, which ranks make at the same time, too. They tell which stage became slower, and not "
    "what made it so: what decodes and copies is in load and preprocess; vision and generate run on the GPU, launched from a core.",
    "CPU cores, NVDEC, PCIe: what a rank used, on average, in one more pass of all ranks, which is not timed: cores by its worker, the "
    "share of the time in which its GPU's video decoder was busy, and bytes to and from its GPU. Cores and, as the host is built, PCIe are "
    "shared; each GPU has an NVDEC of its own. What ranks use more of, or all of, may be what they lose by: it is not shown that it is.",
    "answers: samples whose tokens, in all timed runs, are those of the first row. Where one differs nothing is compared.",
)
NOTES_DIVIDED = (
    "Divided: a comparison of the variant on one GPU with itself over several, whose folder has the report. Speedups have 95 % CIs, each "
    "by itself, and one in brackets is not claimed.",
    "floor: the physical floor of a token on so many GPUs, over the median (docs/several-gpus.md). sums in decode, in prefill: the share "
    "of all kernels' time, on all GPUs, in the trace of a run, that is in kernels in which GPUs exchange what they have. It has the time "
    "in which one GPU waits for another.",
)


@dataclass(frozen=True)
class Account:
    """What the report is made of."""

    gpus: tuple[int, ...]
    """That were asked for."""
    spread: tuple[SpreadRun, ...]
    """Those that ended, ascending."""
    divided: tuple[DividedRun, ...]
    variant: str
    workload: Workload
    machine: Machine
    plan: Plan
    started: str
    command: str


def headline(account: Account) -> str:
    """What was measured, and how much of it there is."""
    of = ", ".join(map(str, account.gpus))
    no_gpu = "; on the CPU, where each GPU is a process" if account.workload.device == "cpu" else ""
    return printable(f"{account.variant} on {of} GPUs: {len(account.spread)} of {len(account.gpus)} measured{no_gpu}")


def sentences(account: Account) -> tuple[str, ...]:
    """One for each number of GPUs, and which samples are left out."""
    told = [_spread(row, run, account) for row, run in _paired(account)]
    told += dict.fromkeys(left_out(run.session) for run in account.spread if run.session.failed)
    return tuple(map(printable, (*told, *map(_divided, account.divided))))


def _paired(account: Account) -> list[tuple[Row, SpreadRun]]:
    """What is derived of each number of GPUs, and what was measured."""
    return list(zip(rows(account.spread), account.spread, strict=True))


def _spread(row: Row, run: SpreadRun, account: Account) -> str:
    first = account.spread[0].session.ranks
    text = f"{counted_gpus(row.gpus)}: {row.samples_per_second:.3g} samples/s"
    if row.withheld:
        return f"{text}; not compared: {'; '.join(row.withheld)}{_named(row.different)}"
    if row.loss is not None and row.speedup is not None:
        loss = row.loss
        lost = f"{percent(loss.waiting)} waiting for rank {row.slowest}, {percent(loss.loading)} loading, {percent(loss.running)} running"
        text += f", {format_ratio(row.speedup)} of {counted_gpus(first)}; efficiency {percent(loss.efficiency)}, lost: {lost}"
        text += f"; the same tokens in all {len(run.answers):,} samples"
    compiled = [str(share.rank) for share in run.session.shares if share.compiled]
    return text + (f"; something was compiled meanwhile on rank {', '.join(compiled)}: it could be faster" if compiled else "")


def _named(different: Sequence[str]) -> str:
    more = f" and {len(different) - SHOWN} more" if len(different) > SHOWN else ""
    return f" ({', '.join(different[:SHOWN])}{more})" if different else ""


def _divided(found: DividedRun) -> str:
    begin = f"divided over {counted_gpus(found.gpus)}: "
    if found.outcome.failed:
        return f"{begin}could not be run: {found.outcome.failed}"
    timing = found.outcome.timings.get(TPOT)
    if found.outcome.left_out or timing is None:
        return f"{begin}{found.outcome.verdict or 'measured'}; {'; '.join(found.outcome.left_out) or 'no decode step was timed'}"
    times = " -> ".join(format_seconds(timing.medians[side]) for side in SIDES if side in timing.medians)
    of_floor = f", {found.floor_shares['optimized']:.0%} of the floor" if "optimized" in found.floor_shares else ""
    sums = f", {found.exchanging[STEP]:.0%} of the kernels' time in sums" if STEP in found.exchanging else ""
    return f"{begin}{times} a token{of_floor}{sums}"


def tables(account: Account) -> tuple[Table, ...]:
    """Samples per second, the stages, the ranks, and the divided model. Without those that have no rows."""
    found = (_rates(account), _stages(account), _ranks(account), _divisions(account))
    return tuple(table for table in found if table.rows)


def _rates(account: Account) -> Table:
    columns = (
        "GPUs", "samples", "samples/s", "speedup", "efficiency", "waiting", "loading", "running", "slowest rank", "answers",
        "CPU threads a rank", "detail",
    )  # fmt: skip
    made = []
    for row, run in _paired(account):
        speedup = "-" if row.speedup is None else format_ratio(row.speedup)
        lost = ("-",) * 4 if row.loss is None else cells(row.loss)
        same = f"{len(run.answers) - len(row.different):,} of {len(run.answers):,}"
        detail = "; ".join(row.withheld) + _named(row.different) if row.withheld else ""
        rate = f"{row.samples_per_second:.3g}"
        made.append((str(row.gpus), f"{row.samples:,}", rate, speedup, *lost, str(row.slowest), same, str(run.threads), detail or "-"))
    return Table("Samples spread over GPUs", columns, tuple(made))


def _stages(account: Account) -> Table:
    """Medians, and their change against the first row."""
    names = list(dict.fromkeys(name for run in account.spread for name in run.outcome.timings))
    columns = ("timing", *(counted_gpus(run.session.ranks) for run in account.spread))
    made = [(name, *(_median(name, run, account.spread[0]) for run in account.spread)) for name in names]
    return Table("Stages: medians of single runs", columns, tuple(made))


def _median(name: str, run: SpreadRun, first: SpreadRun) -> str:
    ours, theirs = (_seconds(one.outcome.timings.get(name)) for one in (run, first))
    if ours is None:
        return NOT_MEASURED
    change = "" if run is first or not theirs else f" ({ours / theirs - 1:+.1%})"
    return format_seconds(ours) + change


def _seconds(timing: PointTiming | None) -> float | None:
    return None if timing is None else timing.medians.get("baseline")


def _ranks(account: Account) -> Table:
    """What each rank lost, and what it used."""
    columns = (
        "GPUs", "samples", "seconds", "efficiency", "waiting", "loading", "running", "CPU cores", "NVDEC", "PCIe in", "PCIe out",
    )  # fmt: skip
    made = []
    for row, run in _paired(account):
        for number, share in enumerate(run.session.shares):
            lost = cells(row.by_rank[number]) if row.by_rank else ("-",) * 4
            place = f"{row.gpus}, rank {share.rank}"
            made.append((place, f"{share.together.samples:,}", format_seconds(share.together.seconds), *lost, *_used(share.usage)))
    return Table("Ranks", columns, tuple(made))


def _used(usage: Usage | None) -> tuple[str, ...]:
    if usage is None:
        return (NOT_MEASURED,) * 4
    cores = NOT_MEASURED if usage.cores is None else f"{usage.cores:.2f}"
    rates = (NOT_MEASURED if rate is None else f"{rate / GIGA:.2f} GB/s" for rate in (usage.pcie_in, usage.pcie_out))
    return (cores, _known(usage.decoder, digits=1), *rates)


def _divisions(account: Account) -> Table:
    columns = (
        "GPUs", "TPOT, one GPU", "TPOT, divided", "speedup", "95% CI", "floor, one GPU", "floor, divided", "sums in decode",
        "sums in prefill", "outputs", "detail",
    )  # fmt: skip
    made = []
    for found in account.divided:
        one = found.outcome
        timing = one.timings.get(TPOT)
        medians = (NOT_MEASURED if timing is None or side not in timing.medians else format_seconds(timing.medians[side]) for side in SIDES)
        speedup, bounds = "-", "-"
        if timing is not None and timing.interval is not None:
            speedup = format_claimed(timing.interval.ratio, timing.claim in CLAIMED)
            bounds = format_ratios(timing.interval.low, timing.interval.high)
        floors = (_known(found.floor_shares.get(side)) for side in SIDES)
        sums = (_known(found.exchanging.get(name)) for name in (STEP, PREFILL))
        told = "; ".join((one.failed or str(one.verdict or "measured"), *one.reasons))
        made.append((str(found.gpus), *medians, speedup, bounds, *floors, *sums, one.preserved or NOT_MEASURED, told))
    return Table("The language model divided over GPUs", columns, tuple(made))


def _known(share: float | None, digits: int = 0) -> str:
    return NOT_MEASURED if share is None else f"{share:.{digits}%}"


def notes(account: Account) -> tuple[str, ...]:
    """What a reader has to know before believing the tables."""
    return (*NOTES, *(NOTES_DIVIDED if account.divided else ()))


def to_markdown(account: Account) -> str:
    """The file `scaling.md`."""
    workload, machine, plan = account.workload, account.machine, account.plan
    model = f"{workload.model}, {workload.preset or workload.weights}, {workload.dtype}"
    where = f"{workload.device if machine.gpu is None else machine.gpu.name}, {machine.cpu} with {machine.cores} cores"
    planned = (
        f"{len(workload.samples):,} samples; at least {plan.blocks} blocks over {plan.invocations} invocations for each number of GPUs"
    )
    lines = ["# Scaling", "", f"{account.started}, `{account.command}`: {model} on {where}; {planned}", ""]
    lines += [f"**{headline(account)}**", "", *(f"- {sentence}" for sentence in sentences(account)), ""]
    return file_of([*lines, *tables_and_notes(tables(account), notes(account))])


def exit_reason(code: int) -> str:
    """The last line of the command."""
    meaning = {
        0: "all were measured, with the same answers",
        1: "one could not be run",
        5: "answers differ, and nothing is compared there",
        6: "one is INVALID",
    }
    return f"exit {code}: {meaning[code]}"
