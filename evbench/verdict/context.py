"""Conditions under which a result was measured: blocks, clock of the GPU, energy counter, observations. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from evbench.results import Energy as EnergyReading
from evbench.results import Result, Session
from evbench.verdict.reasons import counted

MAX_ENERGY_ERROR = 0.15
"""Between the GPU's energy counter and its power readings (as ml-energy/zeus checks)."""


@dataclass(frozen=True)
class BlockCounts:
    """Of a session."""

    counted: int
    disturbed: int
    """Blocks with interference, which were run again."""
    invocations: int
    """Process restarts of the workers over which the counted blocks are spread."""
    orders: tuple[str, ...]
    """Such as ABBA."""


@dataclass(frozen=True)
class Clock:
    """Of the GPU's multiprocessors over the blocks of a session, in MHz."""

    minimum: int
    maximum: int
    limit: int | None
    """Highest clock of this GPU."""


@dataclass(frozen=True)
class Energy:
    """Energy of a side, and whether the GPU's counter is credible."""

    error: float | None
    """Relative difference of the counter and the integrated power readings. None if the counter reads zero."""
    credible: bool
    joules_per_sample: float | None
    """None if not credible."""


def block_counts(session: Session) -> BlockCounts:
    used = [block for block in session.blocks if not block.disturbances]
    return BlockCounts(
        len(used),
        len(session.blocks) - len(used),
        len({block.invocation for block in used}),
        tuple(sorted({block.order for block in session.blocks})),
    )


def clocks(sessions: Iterable[Session]) -> tuple[Clock, ...]:
    """Of each session with readings of a GPU."""
    found = []
    for session in sessions:
        readings = [block.sm_mhz for block in session.blocks if block.sm_mhz is not None]
        if readings and session.machine.gpu is not None:
            found.append(Clock(min(readings), max(readings), session.machine.gpu.max_sm_mhz))
    return tuple(found)


def energy(reading: EnergyReading) -> Energy:
    error = abs(reading.integrated_joules / reading.joules - 1) if reading.joules else None
    credible = error is not None and error <= MAX_ENERGY_ERROR
    return Energy(error, credible, reading.joules / reading.samples if credible else None)


def observations(result: Result) -> tuple[str, ...]:
    """Before the first run, and during the blocks with their number."""
    before = [remark for session in result.sessions for remark in session.remarks]
    counts = counted(seen for session in result.sessions for block in session.blocks for seen in block.remarks + block.disturbances)
    return (*before, *(f"{seen} in {count} blocks" for seen, count in counts.items()))
