"""Journal -> the session and its sides, as a result holds them."""

from __future__ import annotations

from dataclasses import dataclass, field

from evbench.results import Activation, CacheCheck, Energy, Limits, Outputs, Session, Side, SideResult, Trace
from evbench.session.config import SessionConfig
from evbench.variants.named import used_plugins


@dataclass(frozen=True)
class Untimed:
    """What is measured after the blocks, as far as it has been by now."""

    limits: Limits | None = None
    cache_checks: dict[Side, CacheCheck] = field(default_factory=dict)
    activations: dict[Side, tuple[Activation, ...]] = field(default_factory=dict)
    outputs: Outputs | None = None
    energies: dict[Side, Energy | None] = field(default_factory=dict)
    traces: dict[Side, Trace] = field(default_factory=dict)


def session_of(config: SessionConfig, untimed: Untimed) -> Session:
    header = config.journal.header
    blocks = tuple(config.journal.state.blocks)
    return Session(header.started, header.machine, header.plan, header.seed, blocks, header.remarks, untimed.limits)


def side_results(config: SessionConfig, untimed: Untimed) -> dict[Side, SideResult]:
    """Everything measured so far. Every side has one timed run at least."""
    header, state = config.journal.header, config.journal.state
    return {
        side: SideResult(
            variant=variant.name,
            choices=variant.choices(),
            workload=header.workloads[side],
            session=header.started,
            builds=tuple(state.builds[side]),
            unsteady=tuple(state.unsteady.get(side, ())),
            runs=tuple(state.runs[side]),
            throughput_runs=tuple(state.throughput_runs.get(side, ())),
            trace=untimed.traces.get(side),
            energy=untimed.energies.get(side),
            activations=untimed.activations.get(side, ()),
            cache_check=untimed.cache_checks.get(side),
            plugins=used_plugins(variant),
            failed=header.failed.get(side, ()),
        )
        for side, variant in config.variants.items()
    }
