"""Sessions of all ranks -> one, as if it had been of one device: its journal, and its result."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evbench import __version__
from evbench.encoding import to_json, write_whole
from evbench.errors import UserError
from evbench.machine.machine import machine_differences
from evbench.places import short_workload
from evbench.results import FORMAT, Activation, Energy, FailedSample, Machine, Plan, Result, Rules, Session, SideResult, Workload
from evbench.session.journal_replay import replay
from evbench.session.journal_state import JournalHeader, JournalState
from evbench.session.same_work import require_same_weights
from evbench.session.session_folder import HEADER, RUNS
from evbench.verdict.ranks import SPREAD

RESUMED = {"resumed": True}
"""Stands between the sessions of two ranks: workers that the next line builds are others."""


@dataclass(frozen=True)
class Asked:
    """Of the whole session, by rank 0."""

    workload: Workload
    plan: Plan
    rules: Rules
    created: str
    command: str


@dataclass(frozen=True)
class RankPart:
    """What one rank has measured."""

    shard: tuple[int, ...]
    """Its samples, as indices into those of the whole."""
    header: JournalHeader
    runs: str
    """Content of its `runs.jsonl`."""
    result: Result


def merge(asked: Asked, failed: tuple[FailedSample, ...], parts: Sequence[RankPart], folder: Path) -> Result:
    """Write `session.json` and `runs.jsonl` of the whole into the folder, and return its result.

    Runs are numbered anew, rank after rank: these ran at the same time. Invocations are counted over all ranks, each of which has started
    workers of its own.

    Args:
        failed: samples that could not be used, and that are none of the whole.
        parts: of each rank, by rank.

    Raises:
        UserError: the ranks ran different weights or on different machines, or the journal of one is damaged.
        OSError: the folder cannot be written.
    """
    require_same_weights(build.weights_fingerprint for part in parts for build in part.result.baseline.builds)
    require_same_machines([part.header.machine for part in parts])
    first = parts[0]
    remarks = tuple(f"rank {rank}: {remark}" for rank, part in enumerate(parts) for remark in part.header.remarks)
    ranks = SPREAD.format(len(parts)) if len(parts) > 1 else ""
    header = dataclasses.replace(
        first.header,
        started=asked.created,
        plan=asked.plan,
        workloads={"baseline": short_workload(asked.workload)},
        remarks=(*filter(None, [ranks]), *remarks),
        failed={"baseline": failed} if failed else {},
    )
    lines, state = [], JournalState()
    for part in parts:
        data = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in _renumbered(header.started, part, state))
        lines.append(data)
        state = replay(header, "".join(lines).encode(), folder / RUNS)
    write_whole(folder / HEADER, to_json(header) + "\n")
    write_whole(folder / RUNS, "".join(lines))
    session = Session(header.started, header.machine, header.plan, header.seed, tuple(state.blocks), header.remarks, None)
    return Result(
        format=FORMAT,
        evbench=__version__,
        created=asked.created,
        command=asked.command,
        rules=asked.rules,
        sessions=(session,),
        baseline=_side(header, state, [part.result.baseline for part in parts]),
        optimized=None,
        outputs=None,
    )


def require_same_machines(machines: Sequence[Machine]) -> None:
    """Raises UserError if they differ in what may change a time: one result is of one kind of machine."""
    for rank, other in enumerate(machines):
        if found := machine_differences(machines[0], other):
            listed = "; ".join(f"{name}: {values}" for name, values in found.items())
            raise UserError(f"rank {rank} runs on another machine or version than rank 0 ({listed}); start all ranks on equal ones")


def _renumbered(session: str, part: RankPart, before: JournalState) -> Iterator[dict[str, Any]]:
    """The lines of a rank, as they follow what the ranks before have written."""
    turn, block = before.next_turn(), len(before.blocks)
    invocation = 1 + max((ended.invocation for ended in before.blocks), default=-1)
    if turn:
        yield {"session": session, **RESUMED}
    for text in part.runs.splitlines():
        line = json.loads(text) | {"session": session}
        if "run" in line:
            run = line["run"]
            run["turn"] += turn
            run["sample"] = part.shard[run["sample"]]
            run["block"] = None if run["block"] is None else run["block"] + block
        if "block" in line:
            ended = line["block"]
            ended["number"] += block
            ended["sample"] = part.shard[ended["sample"]]
            ended["invocation"] += invocation
        yield line


def _side(header: JournalHeader, state: JournalState, sides: Sequence[SideResult]) -> SideResult:
    return dataclasses.replace(
        sides[0],
        workload=header.workloads["baseline"],
        session=header.started,
        builds=tuple(state.builds["baseline"]),
        unsteady=tuple(state.unsteady.get("baseline", ())),
        runs=tuple(state.runs["baseline"]),
        energy=_energy([side.energy for side in sides]),
        activations=_activations([side.activations for side in sides]),
        failed=header.failed.get("baseline", ()),
    )


def _energy(found: Sequence[Energy | None]) -> Energy | None:
    """Of all GPUs. None if one has none."""
    each = [energy for energy in found if energy is not None]
    if len(each) < len(found):
        return None
    idle = [energy.idle_watts for energy in each if energy.idle_watts is not None]
    return Energy(
        samples=sum(energy.samples for energy in each),
        seconds=sum(energy.seconds for energy in each),
        joules=sum(energy.joules for energy in each),
        integrated_joules=sum(energy.integrated_joules for energy in each),
        idle_watts=sum(idle) / len(idle) if len(idle) == len(each) else None,
    )


def _activations(found: Sequence[tuple[Activation, ...]]) -> tuple[Activation, ...]:
    """Of each choice what rank 0 saw, or what a rank saw on which it was not active."""
    return tuple(
        next((_of_rank(rank, seen) for rank, seen in enumerate(row) if not seen.active), row[0]) for row in zip(*found, strict=True)
    )


def _of_rank(rank: int, seen: Activation) -> Activation:
    return dataclasses.replace(seen, evidence=f"rank {rank}: {seen.evidence}")
