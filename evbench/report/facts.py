"""What was compared, on what, and how -> lines at the head of a report. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from evbench.choices import STREAM
from evbench.pipelines.registry import KINDS, OWN, OWN_MODEL, PARTS, model_of
from evbench.report import units
from evbench.report.units import format_samples, format_seconds
from evbench.results import Build, Machine, Plan, Result, Side, SideResult, Work, Workload
from evbench.verdict.context import BlockCounts
from evbench.verdict.judgement import Judgement

COMPARED = ("frame_indices", "frame_seconds", "pixel_shape", "visual_tokens", "prompt_tokens", "new_tokens", "dtype")
"""Fields of Work that a report tells of."""
HASH = 12
"""Characters of a hash that are shown."""
LETTERS = "A the baseline, B the optimized side"


def facts(result: Result, judgement: Judgement) -> dict[str, str]:
    """Name -> text."""
    variants = result.variants()
    measured, session = result.baseline, result.session(result.baseline)
    workload, work, build = measured.workload, measured.runs[0].work, measured.builds[0]
    found = {
        "Model": f"{model_size(workload)}, {_parameters(build)}, {work.dtype or workload.dtype} on {workload.device}",
        "Input": _input(measured) + _beside(variants),
        **_batch(workload),
        "Tokens": f"{_told(work.prompt_tokens)} in the prompt, {_told(_of_one(work.visual_tokens, workload))} of them visual; "
        + f"{work.new_tokens} new, "
        + ("fewer if the output ends before" if workload.stop_at_end else "a fixed number"),
        "Machine": _machine(session.machine, build),
        "Order": _order(session.plan, judgement.blocks),
    }
    if "optimized" not in variants:
        found["Variant"] = ", ".join(f"{part}={choice}{no_effect(part, workload)}" for part, choice in measured.choices.items())
        return found | _plugins(variants)
    optimized = variants["optimized"]
    found["Difference"] = _difference(measured, optimized)
    found |= _plugins(variants)
    different = judgement.unequal_work
    found["Same work"] = "NO: " + "; ".join(different) if different else _same_work(measured, optimized)
    found["Active"] = _active(judgement)
    if optimized.session != measured.session:
        found |= _measured_apart(result, judgement, variants)
    return found


def _parameters(build: Build) -> str:
    return f"{build.parameters / 1e6:,.1f} million parameters" if build.parameters else "parameters that it does not tell"


def _told(number: int | None) -> str:
    return "an unknown number" if number is None else str(number)


def model_size(workload: Workload) -> str:
    """Model, and where its weights come from."""
    if workload.model == OWN_MODEL:
        return "a pipeline of its own" + (f", weights of {workload.weights}" if workload.weights else "")
    size = f"preset {workload.preset}" if workload.preset else f"weights of {workload.weights}"
    return f"{workload.model}, {size}{_weights(workload)}"


def _weights(workload: Workload) -> str:
    """What they are, if they are not stored ones."""
    if workload.seed is not None:
        return f", random weights of seed {workload.seed}"
    origin = model_of(workload.model).grown_from(workload.preset)
    return f", grown from the trained {origin}" if origin is not None else ""


def _input(measured: SideResult) -> str:
    samples, work = measured.workload.samples, measured.runs[0].work
    window = f"{units.format_window(measured.workload.window)}, " if measured.workload.window is not None else ""
    several = f"{samples[0].streams} video streams in the file, of which FFmpeg's choice, " if samples[0].streams > 1 else ""
    batch = measured.workload.batch
    first = Path(samples[0].path).name + (f" and {batch - 1} more" if batch > 1 else "")
    text = f"{first}, {several}{window}{_frames(work, measured.workload)}"
    return text if len(samples) == 1 else f"{format_samples(samples)}; the first: {text}"


def _batch(workload: Workload) -> dict[str, str]:
    """Of a workload whose samples go through the stages together."""
    if workload.batch == 1:
        return {}
    rows = [row.sha256 for row in workload.samples[0].rows()]
    count = len(set(rows))
    different = "all different" if count == len(rows) else "all the same" if count == 1 else f"{count} of them different"
    return {"Batch": f"{workload.batch} samples go through the stages together ({different}): a time is that of all of them"}


def _of_one(number: int | None, workload: Workload) -> int | None:
    """What is of a whole batch, for one of its samples."""
    return None if number is None else number // workload.batch


def _beside(variants: Mapping[Side, SideResult]) -> str:
    """What another model drafts from. The sides may be of two sessions, of which one has it."""
    images = next((beside for measured in variants.values() if (beside := measured.workload.samples[0].beside) is not None), None)
    if images is None:
        return ""
    return f"; {images.count} event images beside it (SHA-256 {images.sha256[:HASH]}), from which another model drafts"


def _frames(work: Work, workload: Workload) -> str:
    """Of a batch, those of its first sample are told by their numbers."""
    indices, policy = work.frame_indices or (), workload.frame_policy
    size = f"of {work.frame_width}x{work.frame_height}"
    if work.frame_seconds is not None:
        of_first = indices[: len(indices) // workload.batch]
        told = " ".join(map(str, of_first)) + (" of the first" if workload.batch > 1 else "")
        return f"{len(indices)} frames {size}: {told} ({policy})"
    events = ""
    if work.events is not None and work.events_microseconds is not None:
        events = f" of {work.events:,} events over {format_seconds(work.events_microseconds / 1e6)}"
    return f"{len(indices)} event images {size}{events}"


def _order(plan: Plan, blocks: BlockCounts) -> str:
    kinds = " and ".join(blocks.orders)
    text = f"{blocks.counted} blocks {kinds} in random order ({LETTERS})" if "B" in kinds else f"{blocks.counted} blocks"
    text += f" over {blocks.invocations} invocations (process restarts)" if blocks.invocations > 1 else ""
    text += "; for each letter one run without and one with stage synchronization"
    text += f", and one throughput run of {plan.throughput} samples" if plan.throughput else ""
    return text + disturbed(blocks)


def disturbed(blocks: BlockCounts) -> str:
    """How many blocks do not count, as the end of a sentence. Empty if all do."""
    return f"; {blocks.disturbed} more blocks were disturbed and do not count" if blocks.disturbed else ""


def _difference(baseline: SideResult, optimized: SideResult) -> str:
    if OWN in baseline.choices or OWN in optimized.choices:
        return " -> ".join(measured.choices.get(OWN, f"{measured.variant} of evbench") for measured in (baseline, optimized))
    changed = [
        f"{part} {one} -> {other}{no_effect(part, baseline.workload)}" for part, (one, other) in changes(baseline, optimized).items()
    ]
    return "; ".join(changed) or "none: the same variant on both sides"


def changes(baseline: SideResult, optimized: SideResult) -> dict[str, tuple[str, str]]:
    """Part -> the choices of both sides, where they differ."""
    pairs = {
        part: (baseline.choices.get(part, "unknown"), optimized.choices.get(part, "unknown"))
        for part in baseline.choices | optimized.choices
    }
    return {part: (one, other) for part, (one, other) in pairs.items() if one != other}


def _same_work(baseline: SideResult, optimized: SideResult) -> str:
    """What was compared of it. A pipeline of somebody else's need not tell all."""
    if OWN not in baseline.choices and OWN not in optimized.choices:
        return "yes: frames, frame sizes, prompt and new tokens, dtype"
    ours, theirs = baseline.runs[0].work, optimized.runs[0].work
    told = [name for name in COMPARED if None not in (getattr(ours, name), getattr(theirs, name))]
    untold = [name for name in COMPARED if name not in told]
    return f"as far as both sides tell: {', '.join(told)}" + (f"; not told: {', '.join(untold)}" if untold else "")


def _plugins(variants: Mapping[Side, SideResult]) -> dict[str, str]:
    """Files of somebody else's, each once."""
    used = {
        f"{', '.join(f'{part}={choice}' for part, choice in plugin.choices.items())} of {plugin.file} (SHA-256 {plugin.sha256[:HASH]})"
        for measured in variants.values()
        for plugin in measured.plugins
    }
    return {"Plug-ins": "; ".join(sorted(used))} if used else {}


def no_effect(part: str, workload: Workload) -> str:
    """In brackets, where a choice has no effect, or not in all runs. Empty elsewhere."""
    if part not in PARTS or part == OWN:  # a stored result may have a part that is no longer known
        return ""
    if not PARTS[part].has_effect(workload.kind):
        return f" (no effect on {KINDS[workload.kind].title})"
    if part not in model_of(workload.model).parts:
        return f" (no effect on {workload.model})"
    return " (in throughput runs only)" if PARTS[part].stages == (STREAM,) else ""


def _active(judgement: Judgement) -> str:
    if not judgement.activations_known:
        return "not examined"
    if judgement.inactive:
        return f"NO: {'; '.join(judgement.inactive)}"
    return "yes: activation evidence for each choice on both sides"


def _measured_apart(result: Result, judgement: Judgement, variants: Mapping[Side, SideResult]) -> dict[str, str]:
    baseline, optimized = variants["baseline"], variants["optimized"]
    here, there = (result.session(measured).machine for measured in (baseline, optimized))
    where = "" if here == there else f" on {_machine(there, optimized.builds[0])}"
    found = {}
    if judgement.machine_differences:
        found["Machines differ"] = "; ".join(f"{name}: {values}" for name, values in judgement.machine_differences.items())
    return found | {
        "Measured apart": f"the baseline from {baseline.session}, the optimized side from {optimized.session}{where}: not interleaved"
    }


def _machine(machine: Machine, build: Build) -> str:
    gpu = ""
    if machine.gpu is not None:
        limit = f", power limit {machine.gpu.power_limit_watts:.0f} W" if machine.gpu.power_limit_watts is not None else ""
        fixed = f", clock set to {machine.gpu.applications_sm_mhz:,} MHz" if machine.gpu.applications_sm_mhz is not None else ""
        gpu = f"{machine.gpu.name}, driver {machine.gpu.driver}, CUDA {build.libraries['cuda']}{limit}{fixed}; "
    return f"{gpu}{machine.cpu}, {machine.cores} cores, {build.threads} threads; {versions(machine)}"


def versions(machine: Machine) -> str:
    """Of Python, of what computes, and of evbench."""
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items() if name in ("torch", "transformers") and version)
    source = f"; evbench at {machine.source}" if machine.source else ""
    return f"Python {machine.python}, {packages}{source}"
