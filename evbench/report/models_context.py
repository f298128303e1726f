"""Two models on the same scenes -> lines at the head of a report, generated texts, and notes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from evbench.choices import STREAM
from evbench.pipelines.registry import KINDS, PARTS, parts_with_effect
from evbench.report import quantities
from evbench.report.expressions import Known
from evbench.report.facts import LETTERS, model_size, versions
from evbench.report.published import read_page
from evbench.report.render import printable
from evbench.report.units import format_samples
from evbench.results import Result, Side, SideResult
from evbench.variants.named import VARIANTS
from evbench.verdict.blocks import MOST_DISTURBED, too_disturbed
from evbench.verdict.clusters import clusters
from evbench.verdict.models import ModelsJudgement

EQUAL, OWN = "equal-length", "own-length"
LENGTHS: dict[str, bool] = {EQUAL: False, OWN: True}
"""The two sessions, and whether an output may end by itself."""
TITLES = {EQUAL: "At equal length", OWN: "At own length"}
LOADING = {
    "video": "decodes a video",
    "event-images": "reads event images that exist: rendering them from events is in no stage here",
    "events": "renders event images from raw events, included in its time",
}
Names = Mapping[Side, str]


def measured(results: Mapping[str, Result], judgements: Mapping[str, ModelsJudgement]) -> Known:
    """What the statements of the published page are compared with."""
    texts: tuple[tuple[str, str], ...] = ()
    if EQUAL in results:
        ours, theirs = ({run.sample: run.text for run in side.timed()} for side in results[EQUAL].variants().values())
        texts = tuple((ours[sample], theirs[sample]) for sample in sorted(ours.keys() & theirs.keys()))
    return quantities.measured(read_page().models, judgements.get(EQUAL), judgements.get(OWN), texts)


def last_length(lengths: Iterable[str]) -> str:
    """The one at which outputs end by themselves, if it was run; else the other."""
    return OWN if OWN in lengths else EQUAL


def at_lengths(lengths: Iterable[str]) -> str:
    return " and ".join(TITLES[length].lower().removesuffix(" length") for length in lengths) + " length"


def facts(results: Mapping[str, Result]) -> dict[str, str]:
    """Name -> text."""
    result = next(iter(results.values()))
    found = {}
    for side, one in result.variants().items():
        build, work = one.builds[0], one.runs[0].work
        found["Baseline" if side == "baseline" else "Other model"] = (
            f"{model_size(one.workload)}, {build.parameters / 1e6:,.1f} million parameters, {work.dtype} on {one.workload.device}, "
            f"variant {one.variant}{_idle(one)}"
        )
        found[f"Loading of {one.workload.model}"] = LOADING[one.workload.kind]
    machine = result.sessions[0].machine
    gpu = f"{machine.gpu.name}; " if machine.gpu is not None else ""
    found["Scenes"] = f"{len(result.baseline.workload.samples)}, the same for both; prompt: {result.baseline.workload.prompt}"
    found["Machine"] = f"{gpu}{machine.cpu}, {machine.cores} cores; {versions(machine)}"
    blocks = [one.sessions[0].blocks for one in results.values()]
    kinds = " and ".join(sorted({block.order for some in blocks for block in some}))
    counts = " and ".join(str(len(some)) for some in blocks)
    invocations = " and ".join(str(len({block.invocation for block in some})) for some in blocks)
    found["Order"] = (
        f"{at_lengths(results)} {counts} blocks {kinds} in random order ({LETTERS.replace('optimized side', 'other model')}), over "
        f"{invocations} invocations (process restarts); for each letter one run without and one with stage synchronization"
    )
    return found


def _idle(one: SideResult) -> str:
    """In brackets, the choices that differ from `baseline` and have no effect here."""
    usual = VARIANTS["baseline"].choices()
    idle = []
    for part, choice in one.choices.items():
        if part in usual and choice != usual[part]:  # a stored result may have a part that is no longer known
            if part not in parts_with_effect(one.workload.model, one.workload.kind):
                idle.append(f"{part}={choice}: no effect on {KINDS[one.workload.kind].title}")
            elif PARTS[part].stages == (STREAM,):
                idle.append(f"{part}={choice}: no effect without throughput runs")
    return f" ({'; '.join(idle)})" if idle else ""


def texts(results: Mapping[str, Result], judgements: Mapping[str, ModelsJudgement], names: Names) -> dict[str, str]:
    """Of the first scene, at the length that an output has by itself, if that was run."""
    length = last_length(results)
    where = "" if length == OWN else f", {at_lengths([length])}"
    found = {}
    for side, one in results[length].variants().items():
        found[f"Output of {names[side]}{where}"] = printable(next(run.text for run in one.timed() if run.sample == 0))
        if (caption := one.workload.samples[0].caption) is not None:
            found[f"Expected of {names[side]}"] = caption
        if different := judgements[length].different_outputs[side]:
            found[f"{names[side]} is repeatable"] = f"NO: different outputs for {different} of {len(one.workload.samples)} scenes"
    return found


def notes(results: Mapping[str, Result], judgements: Mapping[str, ModelsJudgement], names: Names) -> list[str]:
    samples = next(iter(results.values())).baseline.workload.samples
    over = "the scenes" if len(set(clusters(samples))) == len(samples) else format_samples(samples)
    found = [
        f"Two models, not two variants of one: nothing is FASTER here, and no output is preserved. A ratio is {names['baseline']} over "
        f"{names['optimized']}, with the 95% CI over {over}; where it includes 1, no difference was found, and the ratio stands in "
        "brackets. Within each table the intervals of one kind (stages, tokens, peaks of memory) are simultaneous.",
        "Captions of an event camera have neither colours nor the time of day: each model is compared with its own captions.",
        "TPOT is the mean decode step, without prefill.",
        f"The published page: {read_page().source}. Its times are of another machine, and of other weights.",
    ]
    for length, judged in judgements.items():
        found += _of_session(length, results[length], judged, names)
    if any(one.workload.seed is not None for one in next(iter(results.values())).variants().values()):
        found.append("Random weights: the outputs mean nothing, and neither does their length.")
    if len(judgements) < len(LENGTHS):
        found.append(f"Not ended: {', '.join(length for length in LENGTHS if length not in judgements)}; continue with --resume.")
    return found


def _of_session(length: str, result: Result, judged: ModelsJudgement, names: Names) -> list[str]:
    limit, title = result.baseline.workload.new_tokens, TITLES[length]
    if length == EQUAL:
        found = [f"{title}: both generate {limit} tokens, also after the end-of-text token."]
    else:
        found = [f"{title}: an output ends with its end-of-text token, or is cut off at {limit} tokens."]
    for side, one in result.variants().items():
        if one.unsteady:
            found.append(f"NOT_STEADY, {length}: {names[side]}: {'; '.join(dict.fromkeys(one.unsteady))}.")
    if judged.disturbed:
        found.append(f"{title}: {_disturbed(result, judged.disturbed)}.")
    if judged.invalid and any(one.interval is not None for one in judged.token_counts):
        found.append(f"{title}: the times are INVALID; the numbers of tokens are valid, interference does not change them.")
    if len({block.invocation for block in result.sessions[0].blocks}) == 1:
        found.append(f"ONE_INVOCATION, {length}: each worker process was started once: others may differ; give --invocations.")
    if any(session.plan.order == "reload" for session in result.sessions):
        found.append(f"ORDER=RELOAD, {length}: only one worker fits in memory at a time: each block restarts both, one after the other.")
    return found


def _disturbed(result: Result, count: int) -> str:
    """What was done about disturbed blocks."""
    (session,) = result.sessions
    if not too_disturbed(session):
        return f"{count} blocks were disturbed, run again"
    if len(session.blocks) - count < session.plan.blocks:
        return f"{count} blocks were disturbed, too many to be run again"
    # Of few blocks one is soon more than that share, also where as many as planned are clean.
    return f"{count} of {len(session.blocks)} blocks were disturbed, run again, and yet more than {MOST_DISTURBED:.0%} of all"


def file_names(results: Mapping[str, Result]) -> list[str]:
    """Of the raw runs, in the folder."""
    return [str(Path(length, "runs.jsonl")) for length in results]
