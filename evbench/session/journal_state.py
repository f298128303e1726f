"""What a journal holds: the request of a session, and all events so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from evbench.results import Block, Build, FailedSample, Machine, Plan, Plugin, Run, Side, ThroughputRun, Workload
from evbench.session.schedule import BLOCKED_RUNS


@dataclass(frozen=True)
class JournalHeader:
    """What a session is to measure, and where."""

    format: int
    started: str
    """UTC, ISO 8601. Names the session, in each line of its journal too."""
    machine: Machine
    plan: Plan
    seed: int
    """Of the order of the blocks."""
    workloads: dict[str, Workload]
    """Side -> its workload: equal for both, or the same scenes for two models."""
    choices: dict[str, dict[str, str]]
    """Side -> the choices of its variant."""
    remarks: tuple[str, ...]
    """What was noticed of the machine before the first run."""
    plugins: dict[str, dict[str, str]] = field(default_factory=dict)
    """Side -> file that some of its choices are of -> its SHA-256."""
    failed: dict[str, tuple[FailedSample, ...]] = field(default_factory=dict)
    """Side -> samples that it could not use, and that the workloads are without. No side: all of them can be used."""


def hashes(used: Iterable[Plugin]) -> dict[str, str]:
    """File -> SHA-256, as a header has them for a side."""
    return {plugin.file: plugin.sha256 for plugin in used}


@dataclass
class JournalState:
    """All events so far."""

    builds: dict[Side, list[Build]] = field(default_factory=dict)
    runs: dict[Side, list[Run]] = field(default_factory=dict)
    throughput_runs: dict[Side, list[ThroughputRun]] = field(default_factory=dict)
    unsteady: dict[Side, list[str]] = field(default_factory=dict)
    """Reasons why a warm-up was abandoned before the side was steady."""
    blocks: list[Block] = field(default_factory=list)

    def next_turn(self) -> int:
        """Of all runs together: the number that the next one has."""
        every = (run for by_side in (self.runs, self.throughput_runs) for runs in by_side.values() for run in runs)
        return 1 + max((run.turn for run in every), default=-1)

    def timed_seconds(self) -> float:
        """Spent in the runs of blocks so far."""
        seconds = sum(run.seconds for runs in self.runs.values() for run in runs if run.kind == "timed")
        return seconds + sum(run.seconds for runs in self.throughput_runs.values() for run in runs if run.block is not None)

    def blocked_runs(self, side: Side) -> int:
        """Of the blocked-order confirmation, how many a side has."""
        return sum(run.kind == "blocked" for run in self.runs.get(side, []))

    def drop_unfinished(self) -> None:
        """Drop the runs of a block, and of a blocked-order confirmation, that did not end: they are run again, all of them."""
        ended = {block.number for block in self.blocks}
        for side, row in self.throughput_runs.items():
            self.throughput_runs[side] = [run for run in row if run.block is None or run.block in ended]
        confirmed = all(self.blocked_runs(side) == BLOCKED_RUNS for side in self.runs)
        for side, runs in self.runs.items():
            whole = [run for run in runs if run.block is None or run.block in ended]
            self.runs[side] = [run for run in whole if run.kind != "blocked" or confirmed]
