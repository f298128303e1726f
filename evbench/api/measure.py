"""Compare two variants, or run one: what `evbench compare` and `evbench run` do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Unpack

from evbench.api.folder import default_folder, now, require_folder
from evbench.api.options import OF_WORKLOAD, Keywords, Options, read, use_given
from evbench.choices import Variant
from evbench.errors import UserError, nearest
from evbench.inputs import batches
from evbench.inputs.drafter import drafter, seen_by
from evbench.machine import machine, noise_floors
from evbench.pipelines.registry import gpus, loses_as, without_rounding
from evbench.plugins.use import require_used
from evbench.results import ALLOWED_CLAIMS, Plan, Result, Rules, Side, Workload
from evbench.session.compare import carry_out
from evbench.session.progress import ProgressListener, SilentListener
from evbench.session.request import ComparisonRequest, EarlierResults, earlier_results
from evbench.session.same_work import require_same_images, require_same_workload
from evbench.session.verification import read_verified
from evbench.variants.named import VARIANTS, parse
from evbench.variants.obstacles import require
from evbench.verdict import demands
from evbench.verdict.judgement import Judgement

Measured = Variant | Result | Path | str
"""What can be a side: a variant, an earlier result, the folder or `result.json` of one, or a name as on the command line."""


def compare(
    baseline: Measured,
    optimized: Measured,
    workload: Workload | None = None,
    *,
    folder: Path | str | None = None,
    fail_if: Sequence[str] | str = (),
    target: Sequence[str] | str = (),
    require_speedup: bool = False,
    allow: Sequence[str] | str = (),
    resume: bool = False,
    wait: bool = True,
    command: str = "evbench.compare",
    on_progress: ProgressListener | None = None,
    on_judgement: Callable[[Judgement], None] | None = None,
    **options: Unpack[Keywords],
) -> Result:
    """Run two variants in turn on the same work, and write the result, its verdict, a report and the traces into a folder.

    Examples:
        >>> import evbench
        >>> result = evbench.compare("baseline", "optimized", preset="tiny", blocks=6, folder=Path("out"))  # doctest: +SKIP
        >>> evbench.judge(result).verdict  # doctest: +SKIP
        <Verdict.FASTER: 'FASTER'>

    Args:
        baseline: a variant, such as "baseline" or "baseline+attention=eager"; or an earlier result, whose side of that name is used.
        optimized: the other side.
        workload: what both sides do. By default the options describe it; with it, no option of a workload may be given.
        folder: for all files. Default: `profiles/<time>-<model>` in the current folder.
        fail_if: demands such as "slower:2%" or "vision.slower:5%", for the exit code.
        target: demands such as "video-llava.generate<2.5s", for the exit code.
        require_speedup: whether being equally fast is not enough, for the exit code.
        allow: names of differences between the machines of two results that may be, such as "torch"; "cached", to claim also
            where a side is faster on input that it has seen; and "lossy", for the exit code of the times where a side is lossy by design.
        resume: whether to go on with the interrupted session in `folder`, of an equal call.
        wait: whether to wait for another evbench on the same device, or to be refused.
        command: what the report names as the origin of the result.
        on_progress: is called with each step and message.
        on_judgement: is called once with what may be claimed of the result, so that nobody has to judge it again.
        **options: fields of `evbench.api.options.Options`, as on the command line: `blocks=6` for `--blocks 6`.

    Returns:
        Everything measured, times in seconds and sizes in bytes. `judge` says what may be claimed of it.

    Raises:
        evbench.errors.UserError: an option, the input, the weights or the folder cannot be used, or another evbench holds the device.
        evbench.worker.client.WorkerDied: a worker crashed. What ran before is in the folder; go on with `resume=True`.
    """
    use_given(read(options))
    sides: dict[Side, Variant | Result] = {"baseline": read_side(baseline), "optimized": read_side(optimized)}
    rules = Rules({}, _texts(fail_if), _texts(target), require_speedup, _texts(allow))
    request = _request(sides, workload, options, rules, folder, command, resume, wait)
    return _carry_out(request, on_progress, on_judgement)


def run(
    variant: Variant | str,
    workload: Workload | None = None,
    *,
    folder: Path | str | None = None,
    target: Sequence[str] | str = (),
    resume: bool = False,
    wait: bool = True,
    command: str = "evbench.run",
    on_progress: ProgressListener | None = None,
    on_judgement: Callable[[Judgement], None] | None = None,
    **options: Unpack[Keywords],
) -> Result:
    """Run one variant. The result, or its folder, can be one side of a later `compare`.

    Examples:
        >>> import evbench
        >>> first = evbench.run("baseline", preset="tiny", folder=Path("first"))  # doctest: +SKIP
        >>> evbench.compare(first, "optimized", preset="tiny")  # doctest: +SKIP

    Args:
        variant: such as "baseline" or "baseline+attention=eager".
        workload: what it does. All other arguments are those of `compare`.

    Returns:
        A result without an optimized side, times in seconds and sizes in bytes.

    Raises:
        evbench.errors.UserError: as `compare`.
        evbench.worker.client.WorkerDied: as `compare`.
    """
    request = request_to_run(variant, workload, folder, target, resume, wait, command, options)
    return _carry_out(request, on_progress, on_judgement)


def request_to_run(
    variant: Variant | str,
    workload: Workload | None,
    folder: Path | str | None,
    target: Sequence[str] | str,
    resume: bool,
    wait: bool,
    command: str,
    options: Keywords,
) -> ComparisonRequest:
    """What `run` measures. Raises UserError as it does."""
    use_given(read(options))
    chosen = read_variant(variant)
    rules = Rules({}, (), _texts(target), False, ())
    return _request({"baseline": chosen}, workload, options, rules, folder, command, resume, wait)


def read_variant(given: object) -> Variant:
    """What is meant by a variant. Raises UserError for an unknown one, and for what is none."""
    if isinstance(given, Variant):
        return given
    if not isinstance(given, str):
        raise UserError(f"{given!r} is no variant; give the name of one, or a Variant")
    return parse(given)


def read_side(given: Measured) -> Variant | Result:
    """What is meant by one side. Raises UserError for an unknown variant, or a result that cannot be read."""
    if isinstance(given, Variant | Result):
        return given
    if isinstance(given, Path):
        return read_verified(given)
    if not isinstance(given, str):
        raise UserError(f"{given!r} is no side of a comparison; give the name of a variant, a Variant, a Result, or the folder of one")
    names_file = bool(given) and (Path(given).exists() or "/" in given or given.endswith((".json", ".csv")))
    if given.partition("+")[0] in VARIANTS or not names_file:
        return parse(given)
    return read_verified(Path(given))


def work_and_plan(options: Options, variants: Mapping[Side, Variant], workload: Workload) -> tuple[Workload, Plan]:
    """The workload of all sides, with what a model that drafts sees beside it, and the plan by which they are measured.

    Raises UserError if a variant cannot run here, a plug-in is given for nothing, or the workers do not fit into memory; or if a sample
    lacks what another model that drafts is to see."""
    require_used(options.plugin or (), variants.values())
    for variant in variants.values():
        require(variant, workload.model, workload.kind, workload.device)
        batches.require_takes(variant, workload.batch)
    if options.throughput and workload.batch > 1:
        raise UserError("--throughput runs samples one after the other, and --batch together; leave one of them out")
    if options.throughput and (waiting := [one for one in variants.values() if gpus(one.choices()) > 1 and one["prefetch"] != "off"]):
        # What loads the next sample waits for the first GPU, and may keep a graph from being launched that the others wait for.
        reason = f"with --throughput, {waiting[0].name} would load samples beside a model that is divided over several GPUs"
        raise UserError(f"{reason}; add +prefetch=off to it")
    drafters = [drafter(variant, workload) for variant in variants.values()]
    return seen_by(drafters, workload), options.plan([workload] * len(variants), drafters)


def _request(
    sides: Mapping[Side, Variant | Result],
    workload: Workload | None,
    keywords: Keywords,
    rules: Rules,
    folder: Path | str | None,
    command: str,
    resume: bool,
    wait: bool,
) -> ComparisonRequest:
    variants = {side: measured for side, measured in sides.items() if isinstance(measured, Variant)}
    found = {side: measured for side, measured in sides.items() if isinstance(measured, Result)}
    if not found and (unknown := next((name for name in rules.allowed if name not in ALLOWED_CLAIMS), None)) is not None:
        raise UserError(f"unknown --allow {unknown!r} where no earlier results are given; {nearest(unknown, ALLOWED_CLAIMS)}")
    before = earlier_results(
        {side: (result, result.variants().get(side, result.baseline)) for side, result in found.items()}, rules.allowed
    )
    require_folder(resume, folder)
    work, plan, floors = _work(variants, before, workload, keywords)
    if len(sides) > 1:
        ours = sides["baseline"]
        _require_strict_baseline(ours.choices() if isinstance(ours, Variant) else ours.baseline.choices, work.model)
    demands.read(rules.targets, rules.fail_if, work.model)
    started = now()
    return ComparisonRequest(
        variants=variants,
        earlier=before,
        workloads=dict.fromkeys(variants, work),
        plan=plan,
        rules=Rules(floors, rules.fail_if, rules.targets, rules.require_speedup, rules.allowed),
        folder=Path(folder) if folder else default_folder(started, work.model),
        created=started,
        command=command,
        resume=resume,
        wait=wait,
    )


def _require_strict_baseline(choices: Mapping[str, str], model: str) -> None:
    """Raises UserError if it rounds what it computes: all thresholds are relative to the baseline's own error, and so would be wide."""
    losing = loses_as(choices, model)
    rounding = [f"{part}={choices[part]}" for part in losing if part not in without_rounding(losing)]
    if rounding:
        cure = f"compare it as --optimized, with a --baseline without {rounding[0]}"
        raise UserError(f"{rounding[0]} rounds what is computed: as baseline it would hide faults of the other side; {cure}")


def _work(
    variants: Mapping[Side, Variant],
    before: EarlierResults,
    workload: Workload | None,
    keywords: Keywords,
) -> tuple[Workload, Plan, dict[str, float]]:
    """The workload, the plan, and the noise floors of such work on this machine."""
    if workload is not None and (idle := [name for name in keywords if name in OF_WORKLOAD]):
        raise UserError(f"the workload is given: {', '.join(idle)} would have no effect; leave it out")
    if not variants:
        if keywords or workload is not None:
            raise UserError(f"both sides are earlier results, nothing is run: {', '.join(keywords) or 'the workload'} would have no effect")
        return before.sides["baseline"].workload, before.sessions[0].plan, before.noise_floors
    options = read(keywords)
    work = options.workload() if workload is None else workload
    for measured in before.sides.values():
        require_same_workload(measured.workload, work)
    work, plan = work_and_plan(options, variants, work)
    for measured in before.sides.values():
        require_same_images(measured.workload, work)
    return work, plan, noise_floors.smallest(machine.read(work.device), work)


def _texts(given: Sequence[str] | str) -> tuple[str, ...]:
    """One text, or several."""
    return (given,) if isinstance(given, str) else tuple(given)


def _carry_out(
    request: ComparisonRequest, on_progress: ProgressListener | None, on_judgement: Callable[[Judgement], None] | None
) -> Result:
    judged = carry_out(request, on_progress or SilentListener())
    if on_judgement is not None:
        on_judgement(judged.judgement)
    return judged.result
