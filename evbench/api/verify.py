"""Measure the comparison of a recorded result again: what `evbench verify` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evbench.api.folder import default_folder, now, require_folder
from evbench.choices import Variant
from evbench.errors import UserError, nearest
from evbench.inputs.drafter import drafter, seen_by
from evbench.inputs.recorded import workload_here
from evbench.machine import machine, noise_floors
from evbench.machine.machine import HARDWARE
from evbench.report import reproduction as report
from evbench.results import ALLOWED_CLAIMS, Plan, Result, Rules, SideResult, Workload
from evbench.session import memory_fit
from evbench.session.compare import JudgedResult, carry_out
from evbench.session.progress import ProgressListener, SilentListener
from evbench.session.request import ComparisonRequest
from evbench.session.session_folder import writing
from evbench.session.verification import read_verified
from evbench.variants.named import recorded
from evbench.variants.obstacles import in_words, obstacles
from evbench.verdict.judge import judge
from evbench.verdict.judgement import Judgement
from evbench.verdict.reproduction import Reproduction, is_reproducible, reproduce

SELFTEST = "evbench selftest"
"""How the command of a result begins whose sides are one variant, one of them perhaps made slower."""


@dataclass(frozen=True)
class Verified:
    """A recorded comparison, the same one measured again, and what follows from both."""

    recorded: JudgedResult
    again: JudgedResult
    reproduction: Reproduction


def verify(
    result: Path | str,
    *,
    folder: Path | str | None = None,
    inputs: Sequence[Path] = (),
    weights: Path | None = None,
    allow: Sequence[str] = (),
    resume: bool = False,
    wait: bool = True,
    command: str = "evbench.verify",
    on_progress: ProgressListener | None = None,
) -> Verified:
    """Run the comparison of a recorded result again, with the options that it was run with, and hold both against each other.

    Example:
        >>> import evbench
        >>> evbench.verify("out", folder="again").reproduction.outcome  # doctest: +SKIP
        <Outcome.REPRODUCED: 'REPRODUCED'>

    Args:
        result: the folder of a comparison, or the `result.json` in it.
        folder: for all files of the comparison, and `reproduction.json` and `reproduction.md`. Default: `profiles/<time>-verify`.
        inputs: inputs of the result, or folders that hold them, where they do not lie where they lay.
        weights: checkpoint folder of the result, if it does not lie where it lay.
        allow: properties of the machine that may differ, such as "cores", without the hardware counting as other.
        resume: whether to go on with the interrupted session in `folder`, of an equal call.
        wait: whether to wait for another evbench on the same device, or to be refused.
        command: what the report names as the origin of the new result.
        on_progress: is called with each step and message.

    Raises:
        evbench.errors.UserError: the result was changed, cannot be read or claims nothing; its input, weights, GPU or choices are not
            here; or as `compare`.
        evbench.worker.client.WorkerDied: as `compare`.
    """
    if (unknown := next((name for name in allow if name not in HARDWARE), None)) is not None:
        raise UserError(f"unknown --allow {unknown!r}; {nearest(unknown, HARDWARE)}")
    require_folder(resume, folder)
    before = read_comparison(Path(result))
    request = _request(before.result, folder, inputs, weights, command, resume, wait)
    listener = on_progress or SilentListener()
    listener.message(_announced(request, before.result))
    again = carry_out(request, listener)
    found = reproduce((before.result, before.judgement), (again.result, again.judgement), allow)
    with writing(request.folder):
        report.write(found, before.judgement, again.judgement, request.created, request.command, request.folder)
    return Verified(before, again, found)


def read_comparison(path: Path) -> JudgedResult:
    """A recorded comparison that can be reproduced. Raises UserError for any other, saying why."""
    result = read_verified(path)
    judgement = judge(result)
    if result.optimized is None:
        raise UserError(f"{path} is of one variant, {result.baseline.variant}, and claims no speedup; give the result of a comparison")
    if result.command.startswith(SELFTEST):
        raise UserError(f"{path} is of a self-test, and does not hold what it planted; run this again: {result.command}")
    if len(result.sessions) > 1:
        raise UserError(f"the sides of {path} were measured apart, and nothing is claimed of them; give the result of one session")
    if result.baseline.workload != result.optimized.workload:
        raise UserError(f"the two sides of {path} did not have the same work, and nothing is claimed of them; give another result")
    if not is_reproducible(judgement):
        raise UserError(f"{path} claims nothing that could be reproduced: {_refused(judgement)}; give a result with a claim")
    return JudgedResult(result, judgement)


def _announced(request: ComparisonRequest, before: Result) -> str:
    """What is measured again, for who has given no option of it."""
    workload, plan = request.workloads["baseline"], request.plan
    variants = " against ".join(variant.name for variant in reversed(list(request.variants.values())))
    samples = workload.samples[0].path if len(workload.samples) == 1 else f"{len(workload.samples)} samples"
    unverified = next((f"; not verified: {side.unverified}" for side in before.variants().values() if side.unverified), "")
    return (
        f"measure again what was recorded {before.baseline.session}: {variants}, {workload.model} {workload.preset or workload.weights} on "
        f"{workload.device}, {samples}, {plan.blocks} blocks{unverified}"
    )


def _refused(judgement: Judgement) -> str:
    return f"{judgement.verdict}{f', {judgement.reasons[0]}' if judgement.reasons else ''}"


def _request(
    before: Result, folder: Path | str | None, given: Sequence[Path], weights: Path | None, command: str, resume: bool, wait: bool
) -> ComparisonRequest:
    workload = workload_here(before.baseline.workload, given, weights)
    variants = {side: _variant(measured, workload) for side, measured in before.variants().items()}
    drafters = [drafter(variant, workload) for variant in variants.values()]
    started = now()
    return ComparisonRequest(
        variants=variants,
        workloads=dict.fromkeys(variants, seen_by(drafters, workload)),
        plan=_plan(before, workload, drafters),
        rules=_rules(before, noise_floors.smallest(machine.read(workload.device), workload)),
        folder=Path(folder) if folder else default_folder(started, "verify"),
        created=started,
        command=command,
        resume=resume,
        wait=wait,
        recorded_fingerprint=before.baseline.builds[0].weights_fingerprint,
    )


def _variant(measured: SideResult, workload: Workload) -> Variant:
    """Raises UserError if it does not run here."""
    variant = recorded(measured.variant, measured.choices)
    if found := obstacles(variant, workload.model, workload.kind, workload.device):
        raise UserError(f"{variant.name} of the result cannot run here: {in_words(variant, found)}; verify it where it can")
    return variant


def _plan(before: Result, workload: Workload, drafters: Sequence[Workload | None]) -> Plan:
    """As recorded. Raises UserError if the workers do not fit into memory."""
    plan = before.sessions[0].plan
    if memory_fit.choose_order("auto", [workload] * len(before.variants()), drafters) != plan.order == "interleaved":
        raise UserError("the result had both workers in memory at the same time, and they do not fit here; verify it where there is more")
    return plan


def _rules(before: Result, floors: dict[str, float]) -> Rules:
    """With the noise floors of this machine, and without demands: what is asked here is whether the result is reproduced."""
    return Rules(floors, (), (), False, tuple(name for name in before.rules.allowed if name in ALLOWED_CLAIMS))
