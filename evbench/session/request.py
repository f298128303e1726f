"""The request of a comparison, and sides that were measured before."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from evbench.choices import Variant
from evbench.errors import UserError
from evbench.machine import machine
from evbench.places import short_workload
from evbench.results import FORMAT, Delay, Machine, Outputs, Plan, Result, Rules, Session, Side, SideResult, Workload
from evbench.session.journal_state import JournalHeader, hashes
from evbench.session.same_work import require_same_images, require_same_weights, require_same_workload
from evbench.variants.named import used_plugins

Name = TypeVar("Name", bound=str)
"""Of a side."""


@dataclass(frozen=True)
class EarlierResults:
    """Sides that were measured before."""

    sides: dict[Side, SideResult] = field(default_factory=dict)
    sessions: tuple[Session, ...] = ()
    noise_floors: dict[str, float] = field(default_factory=dict)
    """By which they were judged, the larger of two."""
    outputs: Outputs | None = None
    """Of both sides, if they are of one comparison."""

    def fingerprint(self) -> str:
        """Of their weights. Empty if there is no such side."""
        return next((measured.builds[0].weights_fingerprint for measured in self.sides.values()), "")


@dataclass(frozen=True)
class ComparisonRequest:
    """One comparison, or one variant alone as baseline."""

    variants: Mapping[Side, Variant]
    """What is to be measured."""
    workloads: Mapping[Side, Workload]
    """Of what is to be measured: equal for both, or the same scenes for two models."""
    plan: Plan
    folder: Path
    created: str
    """UTC, ISO 8601."""
    command: str
    resume: bool
    wait: bool
    """Whether to wait for another evbench on the same device, or to be refused."""
    earlier: EarlierResults = field(default_factory=EarlierResults)
    rules: Rules = field(default_factory=lambda: Rules({}, (), (), False, ()))
    delays: Mapping[Side, Delay] = field(default_factory=dict)
    energy: bool = True
    """Whether energy is measured, where there is a counter."""
    recorded_fingerprint: str = ""
    """Of the weights of a recorded result that is measured again. Empty if none is."""

    def fingerprint(self) -> str:
        """Of the weights that both sides must have. Empty if any will do."""
        return self.earlier.fingerprint() or self.recorded_fingerprint

    def device(self) -> str:
        """That the workers use."""
        return next(iter(self.workloads.values())).device

    def is_of_one_model(self) -> bool:
        """Then the outputs of both sides are compared."""
        return len({workload.model for workload in self.workloads.values()}) == 1


def request_header(
    started: str, here: Machine, plan: Plan, sides: Mapping[Name, Variant], workloads: Mapping[Name, Workload]
) -> JournalHeader:
    """What is to be measured, and where: without a seed, remarks and failed samples.

    Args:
        started: UTC, ISO 8601.
        sides: name -> its variant.
        workloads: name -> its workload.
    """
    stored: dict[str, Workload] = {name: short_workload(workload) for name, workload in workloads.items()}
    choices: dict[str, dict[str, str]] = {name: {"name": variant.name, **variant.choices()} for name, variant in sides.items()}
    plugins: dict[str, dict[str, str]] = {name: hashes(used) for name, variant in sides.items() if (used := used_plugins(variant))}
    return JournalHeader(FORMAT, started, here, plan, 0, stored, choices, (), plugins)


def earlier_results(found: Mapping[Side, tuple[Result, SideResult]], allowed: Sequence[str]) -> EarlierResults:
    """Sides of earlier results. Raises UserError if they cannot be compared with each other."""
    # Their traces stay where they are.
    sides = {side: dataclasses.replace(measured, trace=None) for side, (_, measured) in found.items()}
    every = [result.session(measured) for result, measured in found.values()]
    sessions = {session.started: session for session in every}
    if any(session != sessions[session.started] for session in every):
        raise UserError("the two results name the same session and contradict each other about it; measure again")
    if len(sides) == 2:
        ours, theirs = sides.values()
        require_same_workload(ours.workload, theirs.workload)
        require_same_images(ours.workload, theirs.workload)
        require_same_weights([measured.builds[0].weights_fingerprint for measured in sides.values()])
        machines = [session.machine for session in sessions.values()]
        machine.require_same(machines[0], machines[-1], allowed)
    known = [result.rules.noise_floors for result, _ in found.values()]
    noise_floors = {
        name: max(floors.get(name, 0.0) for floors in known) for name in dict.fromkeys(name for floors in known for name in floors)
    }
    return EarlierResults(sides, tuple(sessions.values()), noise_floors, _outputs(found))


def _outputs(found: Mapping[Side, tuple[Result, SideResult]]) -> Outputs | None:
    """Checks of the outputs, where both sides are of the same comparison."""
    if len(found) < 2 or any(measured != result.variants().get(side) for side, (result, measured) in found.items()):
        return None
    ours, theirs = (result for result, _ in found.values())
    return ours.outputs if (ours.sessions, ours.outputs) == (theirs.sessions, theirs.outputs) else None
