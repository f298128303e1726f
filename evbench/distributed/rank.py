"""What one rank does: its part of the samples, in a session of its own; and rank 0 what is to be done once."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from evbench import __version__, results
from evbench.choices import Variant
from evbench.distributed.group import Ranks
from evbench.distributed.merge import Asked, RankPart, merge, require_same_machines
from evbench.distributed.passes import run_passes, share_of
from evbench.distributed.shards import plan_of, require_enough, shards, workload_of
from evbench.encoding import from_json, to_json, write_whole
from evbench.errors import UserError
from evbench.machine import gpu, machine
from evbench.machine.conditions import descendants
from evbench.report import files as report_files
from evbench.report import ranks as report
from evbench.results import RESULT, FailedSample, Machine, Result
from evbench.session import failed_samples, journal
from evbench.session.compare import JudgedResult, exclusive_device, measure_held
from evbench.session.journal_state import JournalHeader
from evbench.session.progress import ProgressListener
from evbench.session.request import ComparisonRequest
from evbench.session.session_folder import HEADER, RANKS, RUNS, has_runs, make_folder, writing
from evbench.verdict.judge import judge
from evbench.verdict.ranks import FORMAT, Pass, RankedSession, RankShare
from evbench.verdict.scaling import counted_gpus
from evbench.worker.client import Worker
from evbench.worker.messages import BuildRequest

Told = TypeVar("Told")
RANKS_REPORT = "ranks.md"


@dataclass(frozen=True)
class RankedResult:
    """One result of all ranks, what may be claimed of it, and how they did it."""

    judged: JudgedResult
    ranks: RankedSession


@dataclass(frozen=True)
class _Begun:
    """What rank 0 tells the others."""

    asked: Asked
    resume: bool


@dataclass(frozen=True)
class _Ready:
    """What each rank tells all others before it begins."""

    machine: Machine
    failed: tuple[FailedSample, ...]
    """Of its samples, numbered as those of the whole."""


@dataclass(frozen=True)
class _Measured:
    """What each rank tells rank 0 at its end."""

    header: JournalHeader
    runs: str
    result: Result
    alone: Pass | None
    seconds: float
    share: RankShare


def use_local_gpu(local_rank: int) -> None:
    """Let this process, and the workers that it starts, see the GPU of its place alone. Raises UserError if there is none."""
    found = gpu.visible()
    if local_rank >= len(found):
        raise UserError(not_enough_gpus(local_rank + 1, len(found)))
    os.environ["CUDA_VISIBLE_DEVICES"] = found[local_rank]


def not_enough_gpus(asked: int, found: int) -> str:
    """In one line, with what to do."""
    there = counted_gpus(found)
    fewer = f"give --gpus {found}, or " if found else ""
    return f"{asked} ranks need as many GPUs, and this machine shows {there}; {fewer}run so many processes on the CPU by --device cpu"


def folder_of(folder: Path, rank: int) -> Path:
    """Of the session of a rank."""
    return folder / f"rank-{rank}"


def blocks_ended(folder: Path, ranks: int) -> int:
    """How many blocks of all ranks have ended, by what is in the folder of an interrupted session. Raises UserError if it is damaged."""
    each = [folder_of(folder, rank) for rank in range(ranks)]
    return sum(len(journal.read(place).blocks) for place in each if (place / HEADER).is_file())


def run_rank(
    ranks: Ranks,
    variant: Variant,
    folder: Path,
    wait: bool,
    make_request: Callable[[], ComparisonRequest],
    listener: ProgressListener,
) -> RankedResult | None:
    """Measure the samples of this rank, and on rank 0 write what all have measured. Every rank calls this.

    Args:
        make_request: called on rank 0 alone.

    Returns:
        The whole on rank 0, None on the others.

    Raises:
        UserError: the input, the weights, the ranks' machines or the folder cannot be used.
        WorkerDied: the worker of this rank crashed. What ran before is in the folder.
        RankLost: another rank is gone.
    """
    place = ranks.place
    with writing(folder):
        begun = _shared(ranks, lambda: _begin(folder, place.ranks, make_request))
        device = begun.asked.workload.device
        # On a CPU all ranks of a machine share the device, and one of them holds it for all.
        holds = device == "cuda" or place.local_rank == 0
        with exclusive_device(device, wait, listener, [variant]) if holds else nullcontext():
            neighbours = on_this_machine(ranks)  # none begins before all hold what they measure on
            asked, failed = _without_failed(ranks, variant, begun, folder, listener)
            shard = shards(len(asked.workload.samples), place.ranks)[place.rank]
            own = _request(begun, asked, variant, shard, ranks, folder, wait)

            def beside() -> list[int]:
                return [process for rank in neighbours for process in (rank, *descendants(rank))]

            def checkpoint(result: Result) -> None:
                results.write(result, own.folder / RESULT)

            result = measure_held(own, machine.read(device), listener, checkpoint, beside, tried=True)
            checkpoint(result)
            log = own.folder / "worker-passes.log"
            passes = run_passes(ranks, variant, own.workloads["baseline"], log, asked.plan.cold_files, listener)
        header, runs = journal.read_header(own.folder), (own.folder / RUNS).read_text(encoding="utf-8")
        measured = _Measured(header, runs, result, passes.alone, passes.seconds, share_of(ranks, shard, passes, result.baseline))
        every = [_decoded(_Measured, text) for text in ranks.gather(to_json(measured))]
        return _finish(asked, failed, every, folder) if place.rank == 0 else None


def on_this_machine(ranks: Ranks) -> list[int]:
    """Numbers of the processes of its ranks, this one's among them."""
    every = [json.loads(text) for text in ranks.gather(json.dumps((ranks.place.node, os.getpid())))]
    return [process for node, process in every if node == ranks.place.node]


def _begin(folder: Path, ranks: int, make_request: Callable[[], ComparisonRequest]) -> _Begun:
    """On rank 0. Raises UserError if there is nothing to begin."""
    request = make_request()
    workload = request.workloads["baseline"]
    _refuse_idle(request)
    require_enough(len(workload.samples), ranks)
    if request.resume:
        before = read_ranks(folder)
        if before.ranks != ranks:
            raise UserError(f"--resume: {folder} was begun with {before.ranks} ranks, and these are {ranks}; start so many again")
    else:
        make_folder(folder, left_by_refused(folder))
        _write(RankedSession(FORMAT, __version__, ranks), folder)
    return _Begun(Asked(workload, request.plan, request.rules, request.created, request.command), request.resume)


def left_by_refused(folder: Path) -> tuple[str, ...]:
    """Names of what ranks have left there that were refused before their first run, for `make_folder`. None if anything ran."""
    places = [*folder.glob("rank-*"), folder]
    return (RANKS, "rank-*") if (folder / RANKS).is_file() and not any(map(has_runs, places)) else ()


def _refuse_idle(request: ComparisonRequest) -> None:
    if request.plan.throughput:
        raise UserError("--throughput is of one device, and several ranks run all their samples back to back anyway; leave it out")
    if request.plan.precision is not None:
        raise UserError("--precision is of one session, and each rank has one of its own; leave it out, and give more --blocks")


def _without_failed(
    ranks: Ranks, variant: Variant, begun: _Begun, folder: Path, listener: ProgressListener
) -> tuple[Asked, tuple[FailedSample, ...]]:
    """The samples that can be used, and those that cannot: each rank tries its part. Raises UserError if the ranks cannot go on."""
    place, workload = ranks.place, begun.asked.workload
    shard = shards(len(workload.samples), place.ranks)[place.rank]
    own = folder_of(folder, place.rank)
    own.mkdir(parents=True, exist_ok=True)
    part = workload_of(workload, shard)
    with Worker(BuildRequest(variant, part), own / "worker-load.log", deadline=begun.asked.plan.deadline_seconds) as worker:
        found = failed_samples.try_each(worker, part, "baseline", listener)
    ready = _Ready(machine.read(workload.device), tuple(dataclasses.replace(one, number=shard[one.number]) for one in found))
    every = [_decoded(_Ready, text) for text in ranks.gather(to_json(ready))]
    require_same_machines([one.machine for one in every])
    failed = tuple(sorted((one for ready in every for one in ready.failed), key=lambda one: one.number))
    numbers = {one.number for one in failed}
    usable = [sample for sample in range(len(workload.samples)) if sample not in numbers]
    if failed and not usable:
        raise UserError(f"no sample can be used; the first: {failed[0].reason}")
    require_enough(len(usable), place.ranks)
    plan = failed_samples.plan_of(begun.asked.plan, workload.samples, usable)
    return dataclasses.replace(begun.asked, workload=workload_of(workload, usable), plan=plan), failed


def _request(
    begun: _Begun, asked: Asked, variant: Variant, shard: tuple[int, ...], ranks: Ranks, folder: Path, wait: bool
) -> ComparisonRequest:
    """Of this rank."""
    own = folder_of(folder, ranks.place.rank)
    return ComparisonRequest(
        variants={"baseline": variant},
        workloads={"baseline": workload_of(asked.workload, shard)},
        plan=plan_of(asked.plan, asked.workload, shard, traced=ranks.place.rank == 0),
        folder=own,
        created=asked.created,
        command=asked.command,
        resume=begun.resume and (own / HEADER).is_file(),  # else it was ended before it began
        wait=wait,
    )


def _finish(asked: Asked, failed: tuple[FailedSample, ...], every: list[_Measured], folder: Path) -> RankedResult:
    """On rank 0: one result, its verdict and reports. Raises as `merge`."""
    result = merge(asked, failed, [RankPart(one.share.samples, one.header, one.runs, one.result) for one in every], folder)
    if (trace := result.baseline.trace) is not None:
        shutil.copyfile(folder_of(folder, 0) / trace.file, folder / trace.file)
    ranked = RankedSession(
        format=FORMAT,
        evbench=__version__,
        ranks=len(every),
        failed=failed,
        alone=every[0].alone,
        seconds=max(one.seconds for one in every),  # each hears a little later than the first that all are ready
        shares=tuple(one.share for one in every),
    )
    results.write(result, folder / RESULT)
    judgement = judge(result)
    report_files.write(result, judgement, folder)
    _write(ranked, folder)
    write_whole(folder / RANKS_REPORT, report.to_markdown(ranked, result.created, result.command))
    return RankedResult(JudgedResult(result, judgement), ranked)


def _write(session: RankedSession, folder: Path) -> None:
    write_whole(folder / RANKS, to_json(session, indent=1) + "\n")


def read_ranks(folder: Path) -> RankedSession:
    """Raises UserError if there is none, or it cannot be read."""
    file = folder / RANKS
    return journal.decode_stored(RankedSession, journal.read_content(file, "session of several ranks"), FORMAT, file, "ranks")


def _shared(ranks: Ranks, begin: Callable[[], _Begun]) -> _Begun:
    """What rank 0 has begun, on each of them."""
    text = to_json(begin()) if ranks.place.rank == 0 else ""
    return _decoded(_Begun, ranks.gather(text)[0])


def _decoded(kind: type[Told], text: str) -> Told:
    return from_json(kind, json.loads(text), kind.__name__)
