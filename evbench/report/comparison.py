"""A result and what may be claimed of it -> the words and tables of a report. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from evbench.choices import STREAM, Choice
from evbench.machine.machine import machine_differences
from evbench.pipelines.registry import KINDS, PARTS, kinds_with, parts_with_effect
from evbench.report import traces as trace_tables
from evbench.report import units
from evbench.report.render import Report, Table, printable
from evbench.report.units import NOT_MEASURED, format_bytes, format_range, format_ratio, format_ratios, format_seconds, format_signed
from evbench.results import (
    STAGES,
    Build,
    Check,
    Energy,
    Fed,
    Machine,
    Outputs,
    Result,
    Run,
    Section,
    Session,
    Side,
    SideResult,
    ThroughputRun,
    Trace,
    Work,
    Workload,
)
from evbench.traces.completeness import stamp
from evbench.variants.named import VARIANTS
from evbench.verdict.blocks import counted_throughput_runs, stage_seconds
from evbench.verdict.demands import DemandOutcome
from evbench.verdict.equivalence import FED, GRADES, distance
from evbench.verdict.judge import MOST_ENERGY_ERROR, OVERLAP, judge
from evbench.verdict.judgement import SMALLEST, THROUGHPUT, TOTAL, Judgement, Line, Part, Spread, Verdict
from evbench.verdict.refusal import not_active, unequal_work
from evbench.verdict.statistics import FEWEST_BLOCKS, BreakEven, Interval

CLAIMS = {Verdict.FASTER: "faster", Verdict.SLOWER: "slower", Verdict.SAME: "same", Verdict.INCONCLUSIVE: "unclear"}


def describe(result: Result) -> Report:
    """Everything a reader needs to judge the numbers, and the numbers."""
    variants, judged = result.variants(), judge(result)
    title = " against ".join(f"{measured.variant}" for measured in reversed(list(variants.values())))
    tables = [_times(variants, judged)]
    if judged.throughput is not None:
        tables.append(_in_a_row(result, judged, judged.throughput))
    if result.outputs is not None:
        tables.append(_stages_of_outputs(result.outputs))
    tables.append(_inside(variants, judged))
    if len(variants) == 2 and unequal_work(variants):
        tables.append(_by_unit(variants))
    if judged.gain:
        tables.append(_gain(judged))
    if judged.demands:
        tables.append(_demands(judged.demands))
    tables += [_before(variants, judged), _spreads(judged), *_memory(variants)]
    traced: dict[str, Sequence[Section]] = {
        side: measured.trace.sections for side, measured in variants.items() if measured.trace is not None
    }
    if traced:
        tables.append(trace_tables.where_the_time_went(traced))
    return Report(
        title=printable(f"{result.baseline.workload.model}: {title}"),
        facts={name: printable(text) for name, text in _facts(result).items()},
        headline=_headline(judged),
        second_headline=_second_headline(judged, variants),
        tables=tuple(tables),
        outputs=_outputs(variants),
        notes=_notes(result, judged),
        appendix=(
            *((trace_tables.families(traced),) if traced else ()),
            *((trace_tables.gone_and_new(traced),) if len(traced) == 2 else ()),
            _proofs(variants),
            *((_all_checks(result.outputs),) if result.outputs else ()),
        ),
    )


def _facts(result: Result) -> dict[str, str]:
    variants = result.variants()
    measured, session = result.baseline, result.session(result.baseline)
    workload, run = measured.workload, measured.runs[0]
    size = f"preset {workload.preset}" if workload.preset else f"weights of {workload.weights}"
    if workload.seed is not None:
        size += f", random weights of seed {workload.seed}"
    work, build = run.work, measured.builds[0]
    facts = {
        "Model": f"{workload.model}, {size}, {build.parameters / 1e6:,.1f} million parameters, {work.dtype} on {workload.device}",
        "Input": _input(measured),
        "Tokens": f"{work.prompt_tokens} in the prompt, {work.visual_tokens} of them visual; {work.new_tokens} new, "
        + ("fewer if the answer ends" if workload.stop_at_end else "always as many"),
        "Machine": _machine(session.machine, build),
        "Order": _order(session),
    }
    if "optimized" in variants:
        facts["Difference"] = _difference(variants["baseline"], variants["optimized"])
        facts["Same work"] = _same_work(variants["baseline"], variants["optimized"])
        facts["Active"] = _active(variants)
        other = variants["optimized"]
        if other.session != measured.session:
            there = result.session(other).machine
            where = "" if session.machine == there else f" on {_machine(there, other.builds[0])}"
            if different := machine_differences(session.machine, there):
                facts["Machines differ"] = "; ".join(f"{name}: {values}" for name, values in different.items())
            facts["Measured apart"] = f"the baseline from {measured.session}, the optimized side from {other.session}{where}: not in turn"
    else:
        facts["Variant"] = ", ".join(f"{part} {choice}{_reach(part, workload)}" for part, choice in measured.choices.items())
    return facts


def _input(measured: SideResult) -> str:
    samples, work = measured.workload.samples, measured.runs[0].work
    window = f"{units.told(measured.workload.window)}, " if measured.workload.window is not None else ""
    told = f"{Path(samples[0].path).name}, {window}{_pictures(work, measured.workload.frame_policy)}"
    return told if len(samples) == 1 else f"{len(samples)} samples; the first: {told}"


def _order(session: Session) -> str:
    blocks, counted = session.blocks, [block for block in session.blocks if not block.disturbances]
    kinds = " and ".join(sorted({block.order for block in blocks}))
    told = (
        f"{len(counted)} blocks {kinds}, drawn by lot (A the baseline, B the optimized side)" if "B" in kinds else f"{len(counted)} blocks"
    )
    invocations = len({block.invocation for block in counted})
    told += f" over {invocations} starts of the workers" if invocations > 1 else ""
    told += "; each letter one run as a user has it and one with barriers between the stages"
    told += f", and {session.plan.throughput} samples in a row" if session.plan.throughput else ""
    return told + (f"; {len(blocks) - len(counted)} more were disturbed and are not counted" if len(blocks) > len(counted) else "")


def _headline(judged: Judgement) -> str:
    """The verdict in one sentence."""
    if judged.verdict is None:
        return ""
    interval = judged.total.interval
    if interval is None or judged.reasons:
        return f"{judged.verdict}: {'; '.join(judged.reasons)}"
    return f"{judged.verdict}: {_claim(judged.verdict, interval, judged.total.smallest, 'end to end ')}"


def _claim(claim: Verdict, interval: Interval, smallest: float, of: str) -> str:
    around = f"95 % interval {format_ratios(interval.low, interval.high)}"
    if claim in (Verdict.FASTER, Verdict.SLOWER):
        return f"{of}{format_ratio(interval.ratio)} times as fast, {around}"
    if claim is Verdict.SAME:
        return f"{around} times as fast, which is within {SMALLEST:.1%} of no change"
    return f"{around} times as fast, which shows neither a difference above {smallest:.1%} nor that there is none"


def _second_headline(judged: Judgement, variants: dict[Side, SideResult]) -> str:
    """Of the throughput, if it was measured on two sides."""
    line = judged.throughput
    if judged.verdict is None or line is None:
        return ""
    lengths = dict.fromkeys(stream.samples for measured in variants.values() for stream in measured.timed_throughput_runs())
    told = f"Throughput, {' and '.join(map(str, lengths))} samples in a row"
    if line.interval is None or line.claim is None:
        if judged.reasons:
            return f"{told}: nothing is claimed either"
        missing = any(spread is None for spread in line.sides.values())
        return f"{told}: {'measured on one side only' if missing else f'too few blocks for an interval, {FEWEST_BLOCKS} at least'}"
    return f"{told}: {line.claim}: {_claim(line.claim, line.interval, line.smallest, '')}"


def _times(variants: dict[Side, SideResult], judged: Judgement) -> Table:
    """The total is of runs without barriers, the stages of runs with them."""
    comparing = len(variants) == 2
    columns = ("", *variants, *(("times as fast", "95 % interval", "") if comparing else ()))
    rows = [_row(line, judged, comparing) for line in (*judged.stages, judged.total)]
    return Table("Time: median of each stage, and end to end without barriers between them", columns, tuple(rows))


def of_stages(result: Result) -> dict[str, dict[str, str]]:
    """Stage -> what its line of the report says, and how its outputs compare: for the stages of a merged trace."""
    judged, names = judge(result), ("times as fast", "95 % interval", "claim")
    told = {}
    for line in judged.stages:
        _, baseline, optimized, *compared = _row(line, judged, True)
        told[line.name] = {"baseline, median": baseline, "optimized, median": optimized, **dict(zip(names, compared, strict=True))}
        grades = [check.grade for check in result.outputs.checks if check.stage == line.name] if result.outputs is not None else []
        told[line.name]["outputs"] = max(grades, key=GRADES.index) if grades else "not compared"
    return told


def shortened(trace: Trace, workload: Workload) -> str:
    """How much of an answer a trace holds."""
    of = f" of {workload.new_tokens}" if trace.new_tokens < workload.new_tokens else ""
    return f"{trace.new_tokens}{of} new tokens"


def _in_a_row(result: Result, judged: Judgement, line: Line) -> Table:
    """Latency and throughput side by side, and what of the throughput is loading."""
    variants = result.variants()
    comparing = len(variants) == 2
    empty = ("",) * 3 if comparing else ()
    streams = [counted_throughput_runs(measured, result.session(measured)) for measured in variants.values()]

    def of_streams(value: Callable[[ThroughputRun], float]) -> list[str]:
        return [format_seconds(statistics.median(map(value, some))) if some else NOT_MEASURED for some in streams]

    lengths = [{str(stream.samples) for stream in some} for some in streams]
    rows = [
        ("by itself (latency)", *_row(judged.total, judged, comparing)[1:]),
        ("in a row (throughput)", *_row(line, judged, comparing)[1:]),
        ("loading it, in a row", *of_streams(lambda stream: stream.load_seconds / stream.samples), *empty),
        ("waiting for that", *of_streams(lambda stream: stream.load_wait_seconds / stream.samples), *empty),
        ("samples in a row", *(" ".join(sorted(found)) or NOT_MEASURED for found in lengths), *empty),
        ("prefetch", *(measured.choices.get("prefetch", "unknown") for measured in variants.values()), *empty),
    ]
    columns = ("a sample", *variants, *(("times as fast", "95 % interval", "") if comparing else ()))
    return Table("Latency and throughput: median time of a sample by itself, and of one in a row", columns, tuple(rows))


LINES = {TOTAL: "end to end", THROUGHPUT: "a sample in a row"}
"""As they are called in tables; others by their names."""


def _row(line: Line, judged: Judgement, comparing: bool) -> tuple[str, ...]:
    name = LINES.get(line.name, line.name)
    row = (name, *(_median(measured) for measured in line.sides.values()))
    if not comparing:
        return row
    if line.interval is None or line.claim is None or judged.preserved in (None, "fail"):
        return (*row, "-", "-", "")
    # A ratio that is not claimed is not printed: it would be read as one that is.
    ratio = format_ratio(line.interval.ratio) if line.claim in (Verdict.FASTER, Verdict.SLOWER) else "-"
    return (*row, ratio, format_ratios(line.interval.low, line.interval.high), CLAIMS[line.claim])


def _inside(variants: dict[Side, SideResult], judged: Judgement) -> Table:
    comparing = len(judged.total.sides) == 2
    columns = ("", *judged.total.sides, *(("times as fast", "95 % interval", "") if comparing else ()))
    rows = [_row(line, judged, comparing) for line in judged.inside]
    empty = ("",) * 3 if comparing else ()
    rows.append(("further token, p90", *(_tail(spread) for spread in judged.steps.values()), *empty))
    rows += [(f"{stage}, on the GPU's stream", *map(format_seconds, streams), *empty) for stage, streams in _streams(variants).items()]
    return Table("Inside: from the start to the first token, and within generate", columns, tuple(rows))


def _streams(variants: dict[Side, SideResult]) -> dict[str, list[float]]:
    """Stage -> the median between its first and last moment on the compute stream, of each side. What is missing to the stage's
    time went by on the host.
    """
    found: dict[str, list[float]] = {}
    for measured in variants.values():
        for stage in STAGES:
            timed = [run.stages[stage].stream_seconds for run in measured.timed() if run.stages is not None]
            if seconds := [value for value in timed if value is not None]:
                found.setdefault(stage, []).append(statistics.median(seconds))
    return found


def _stages_of_outputs(outputs: Outputs) -> Table:
    """For each stage the check that comes nearest to its line, and all that are beyond it."""
    grouped: dict[tuple[Fed, str], list[Check]] = {}
    for check in outputs.checks:
        grouped.setdefault((check.fed, check.stage), []).append(check)
    rows = []
    for (_, stage), checks in sorted(grouped.items(), key=lambda item: (FED.index(item[0][0]), STAGES.index(item[0][1]))):
        nearest = max(checks, key=lambda check: (GRADES.index(check.grade), distance(check.figure, check.line)))
        beyond = [check for check in checks if check.grade != "pass"]
        rows += [_check(check) for check in beyond or [nearest]]
        if len(checks) > 1 and not beyond:
            rows[-1] = (stage, *rows[-1][1:3], f"{nearest.rule} (nearest of {len(checks)})", *rows[-1][4:])
    reference = f"against a reference in {outputs.reference}" if outputs.reference else "without a reference"
    some = f", {len(outputs.samples)} samples" if len(outputs.samples) > 1 else ""
    title = f"Outputs, {reference}{some}. twice: baseline and itself; chained: as it ran; swapped: each stage fed with the baseline's input"
    return Table(title, CHECKS, tuple(rows))


CHECKS = ("stage", "fed", "", "rule", "figure", "line", "worst at")


def _check(check: Check) -> tuple[str, ...]:
    place = f"sample {check.sample + 1}, {check.place}" if check.samples > 1 and check.place else check.place
    kept = check.grade if check.grade == "pass" else check.grade.upper()
    return (check.stage, check.fed, kept, check.rule, f"{check.figure:.3g}", f"{check.line:.3g}", place)


def _all_checks(outputs: Outputs) -> Table:
    rows = [(*_check(check), printable(check.told)) for check in outputs.checks]
    return Table("All checks of outputs", (*CHECKS, "of it"), tuple(rows))


def _proofs(variants: dict[Side, SideResult]) -> Table:
    rows = [
        (f"{proof.part} {proof.choice}", side, "yes" if proof.active else "NOT ACTIVE", printable(proof.evidence))
        for side, measured in variants.items()
        for proof in measured.activations
    ]
    return Table("Choices, and what the run shows of them", ("choice", "", "active", "seen"), tuple(rows))


def _by_unit(variants: dict[Side, SideResult]) -> Table:
    """What can be told of two sides that did not do the same."""
    units: dict[str, tuple[str, Callable[[Run], float | None], Callable[[Work], int | None]]] = {
        "load": ("a frame", stage_seconds("load"), lambda work: len(work.frame_indices or ())),
        "preprocess": ("a frame", stage_seconds("preprocess"), lambda work: len(work.frame_indices or ())),
        "vision": ("a visual token", stage_seconds("vision"), lambda work: work.visual_tokens),
        "prefill": ("a token of the prompt", lambda run: run.prefill_seconds, lambda work: work.prompt_tokens),
        "generate": ("a new token", stage_seconds("generate"), lambda work: work.new_tokens),
    }

    def told(measured: SideResult, seconds: Callable[[Run], float | None], count: Callable[[Work], int | None]) -> str:
        shares = [taken / number for run in measured.timed() if (taken := seconds(run)) is not None and (number := count(run.work))]
        return format_seconds(statistics.median(shares)) if shares else NOT_MEASURED

    rows = [
        (f"{name}, {unit}", *(told(measured, seconds, count) for measured in variants.values()))
        for name, (unit, seconds, count) in units.items()
    ]
    return Table("By unit of work, since the two sides did not do the same: medians", ("", *variants), tuple(rows))


def _median(spread: Spread | None) -> str:
    return NOT_MEASURED if spread is None else format_seconds(spread.median)


def _tail(spread: Spread | None) -> str:
    if spread is None:
        return NOT_MEASURED
    return f"n too small ({spread.runs})" if spread.p90 is None else format_seconds(spread.p90)


def _gain(judged: Judgement) -> Table:
    # Shares of a difference that is not claimed would be shares of noise.
    claimed = judged.verdict in (Verdict.FASTER, Verdict.SLOWER)
    whole = Part("all of it", math.fsum(part.seconds for part in judged.gain), math.fsum(part.share for part in judged.gain))
    rows = [(part.name, format_signed(part.seconds), f"{part.share:.1%}" if claimed else "-") for part in (*judged.gain, whole)]
    return Table("Where the difference comes from: means, baseline less optimized", ("", "saved", "share"), tuple(rows))


def _demands(outcomes: Sequence[DemandOutcome]) -> Table:
    rows = []
    for outcome in outcomes:
        met = {True: "yes", False: "NO", None: "unclear"}[outcome.met]
        if outcome.low is None or outcome.high is None or outcome.measured is None:
            measured, around = NOT_MEASURED, "-"
        elif outcome.is_time:
            measured, around = format_seconds(outcome.measured), format_range(outcome.low, outcome.high)
        else:
            # Not claimed by itself: the interval is what decides.
            measured, around = "-", f"{format_ratios(outcome.low, outcome.high)} times as fast"
        rows.append((printable(outcome.text), measured, around, met))
    return Table("Demanded", ("", "measured", "95 % interval", "met"), tuple(rows))


def _before(variants: dict[Side, SideResult], judged: Judgement) -> Table:
    sides = list(variants.values())

    def told(measured: SideResult) -> tuple[str, str, str]:
        first = [run for run in measured.runs if run.kind == "first"]
        warm = [run for run in measured.runs if run.kind == "warmup"]
        cache = f"{measured.builds[0].cached_files} files" if measured.builds[0].cached_files else "empty"
        prepared = first[0].compile_counts
        compiled = (
            f"{prepared.compiled} graphs, {prepared.cached} from the cache; {prepared.captured} CUDA graphs" if prepared else "nothing"
        )
        return (
            f"{format_seconds(first[0].seconds)} ({compiled})",
            f"{len(warm)} in {format_seconds(math.fsum(run.seconds for run in warm))}, {'NOT steady' if measured.unsteady else 'steady'}",
            cache,
        )

    first, warm, cache = zip(*map(told, sides), strict=True)
    rows = [
        ("start and make the model", *(format_seconds(measured.builds[0].seconds) for measured in sides)),
        ("first call, and what it compiled", *first),
        ("warm-up runs", *warm),
        ("compile cache before", *cache),
        ("preparation in all", *(format_seconds(max(0.0, seconds)) for seconds in judged.preparation.values())),
    ]
    return Table("Before the timed runs", ("", *variants), tuple(rows))


def _spreads(judged: Judgement) -> Table:
    columns = ["", *(name for side in judged.total.sides for name in (f"{side}: least - most", "p90", "outliers"))]
    rows = []
    for line in (*judged.stages, judged.total, *(() if judged.throughput is None else (judged.throughput,))):
        row = [LINES.get(line.name, line.name)]
        for spread in line.sides.values():
            if spread is None:
                row += [NOT_MEASURED] * 3
            else:
                row += [format_range(spread.least, spread.most), _tail(spread), f"{spread.outliers} of {spread.runs}"]
        rows.append(tuple(row))
    return Table("Spread of single runs; outliers are counted, and kept", tuple(columns), tuple(rows))


MEMORY_KINDS = {
    "process": "Peak memory of the process",
    "allocator": "Peak of live tensors on the GPU",
    "reserved": "Peak of torch's pool on the GPU",
    "device": "On the GPU in all, by the driver's count, after the stage",
    "other": "Of that not torch's: CUDA context, video decoder, DALI",
}


def _memory(variants: dict[Side, SideResult]) -> list[Table]:
    """One table for each kind of memory that this device has."""
    on_gpu = next(iter(variants.values())).workload.device == "cuda"
    tables = []
    for kind, title in MEMORY_KINDS.items():
        if kind != "process" and not on_gpu:
            continue
        rows = [(stage, *(_peak(kind, stage, measured) for measured in variants.values())) for stage in STAGES]
        tables.append(Table(title, ("stage", *variants), tuple(rows)))
    return tables


def _peak(kind: str, stage: str, measured: SideResult) -> str:
    values = [getattr(run.stages[stage].memory, kind) for run in measured.timed() if run.stages is not None]
    return NOT_MEASURED if None in values or not values else format_bytes(max(values))


def _outputs(variants: dict[Side, SideResult]) -> dict[str, str]:
    outputs = {}
    for side, measured in variants.items():
        first = [run for run in measured.timed() if run.sample == 0]
        told = measured.answers()[0]
        repeat = "" if len(set(told)) == 1 else f" (one of {len(set(told))} different answers in {len(told)} runs)"
        outputs[f"{side} says{repeat}"] = printable(first[-1].text)
    if "optimized" in variants:
        outputs["Tokens"] = _compare_answers(variants["baseline"], variants["optimized"])
    return outputs


def _compare_answers(baseline: SideResult, optimized: SideResult) -> str:
    """Over all timed runs and streams of all samples: one run that agrees proves nothing of the others."""
    ours, theirs = baseline.answers(), optimized.answers()
    samples = sorted(ours.keys() & theirs.keys())
    told = [_compare_answer(ours[sample], theirs[sample]) for sample in samples]
    different = [text for text in told if not text.startswith("identical")]
    if len(samples) == 1:
        return told[0]
    if not different:
        return f"identical in all runs of all {len(samples)} samples"
    return f"NOT identical for {len(different)} of {len(samples)} samples; the first of these: {different[0]}"


def _compare_answer(ours: Sequence[tuple[int, ...]], theirs: Sequence[tuple[int, ...]]) -> str:
    told = compare_tokens(ours[-1], theirs[-1])
    if len(set(ours)) == 1 and len(set(theirs)) == 1:
        return told
    return f"NOT identical in every run: {len(set(ours))} and {len(set(theirs))} different answers; the last two are {told}"


def compare_tokens(ours: Sequence[int], theirs: Sequence[int]) -> str:
    """In words: whether two answers are the same, and if not, from where on."""
    if tuple(ours) == tuple(theirs):
        return f"identical, all {len(ours)}"
    pairs = zip(ours, theirs, strict=False)  # the shorter decides; lengths are told
    first = next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(ours), len(theirs)))
    return f"NOT identical: they differ from token {first + 1} on; lengths {len(ours)} and {len(theirs)}"


def _notes(result: Result, judged: Judgement) -> tuple[str, ...]:
    variants = result.variants()
    notes = [f"{name}: {told}." for name, told in judged.flags.items()]
    if len(variants) == 2:
        notes += _on_claims(result, judged)
    sums = ", ".join(f"{side} {excess:+.1%}" for side, excess in judged.stage_sync.items())
    notes.append(f"Price of the barriers: the stages' sum against the run without them: {sums}.")
    if overlap := [side for side, excess in judged.stage_sync.items() if excess > OVERLAP]:
        notes.append(f"Stages overlap when nothing keeps them apart ({' and '.join(overlap)}): their single times are upper bounds.")
    if judged.break_even is not None:
        notes.append(_paid_back(judged.break_even, judged.preparation))
    notes += [f"{told}." for session in result.sessions if (told := _clock(session))]
    if told := _remarks(result):
        notes.append(f"Noticed beside the runs: {told}.")
    notes += [note for side, measured in variants.items() if (note := _energy(side, measured.energy))]
    if any(session.plan.cold_files for session in result.sessions):
        streams = "; in a row, all inputs before the first sample" if judged.throughput is not None else ""
        notes.append(f"The input was dropped from the page cache before each run{streams}.")
    if traces := [measured.trace for measured in variants.values() if measured.trace is not None]:
        lengths = ", ".join(
            f"{trace.file} with {shortened(trace, result.baseline.workload)} ({trace.slowdown:.2f} times as long as without the profiler)"
            for trace in traces
        )
        both = f" Both on one timeline, and stage by stage: {', '.join(result.merged_traces)}." if result.merged_traces else ""
        notes.append(f"Traces, each of one sample in an untimed run of its own: {lengths}.{both} Open one with evbench open.")
        notes += [f"{trace.file} is {stamp(trace.completeness)}." for trace in traces]
    if result.baseline.workload.seed is not None:
        notes.append("Random weights: the text means nothing. It shows whether both variants compute the same.")
    return tuple(printable(note) for note in notes)


def _on_claims(result: Result, judged: Judgement) -> list[str]:
    floors = result.rules.noise_floors
    floor = f"evbench selftest measured {floors['total']:.1%} here" if "total" in floors else "not measured here; evbench selftest does it"
    told = f"Noise floor: {floor}. No difference below {judged.total.smallest:.1%} of the total is claimed"
    parts = [*judged.stages, *(() if judged.throughput is None else (judged.throughput,))]
    other = {line.name: line.smallest for line in parts if line.smallest > SMALLEST}
    stages = "; of " + ", ".join(f"{name} {smallest:.1%}" for name, smallest in other.items()) if other else ""
    notes = [f"{told}{stages}. Claims of stages are corrected for their number (Holm)."]
    if judged.total.interval is not None and judged.ratio_of_medians is not None and judged.ratio_of_totals is not None:
        told = f"End to end by {_method(result, len(result.baseline.workload.samples))}: {judged.total.interval.half_width:.1%} half-width."
        if judged.verdict in (Verdict.FASTER, Verdict.SLOWER):
            told += f" Ratio of the medians {judged.ratio_of_medians:.3f}, ratio of the totals {judged.ratio_of_totals:.3f}."
        notes.append(told)
    if judged.throughput is not None and judged.throughput.interval is not None:
        width = f"{judged.throughput.interval.half_width:.1%} half-width"
        of = "" if len(result.baseline.workload.samples) == 1 else ". Every row is of the same samples: it says nothing of others"
        notes.append(f"Throughput by {_method(result, 1)}: {width}{of}.")
    return notes


def _method(result: Result, samples: int) -> str:
    invocations = len({block.invocation for block in result.session(result.baseline).blocks})
    if samples == 1:
        how, over = "Hodges-Lehmann", "Wilcoxon's over blocks"
    else:
        how, over = "the geometric mean", f"that over {samples} samples"
    return (
        f"{how}, interval {over}"
        if invocations == 1
        else f"{how}, the interval the wider of {over} and that over {invocations} starts of the workers"
    )


def _paid_back(even: BreakEven, preparation: dict[Side, float]) -> str:
    longer = preparation["optimized"] - preparation["baseline"]
    if longer <= 0:
        return f"Preparation takes {format_seconds(-longer)} less: there is nothing to pay back."
    if even.samples is None or even.low is None or even.high is None:
        return f"Preparation takes {format_seconds(longer)} longer and is never paid back: no gain of a sample is certain."
    return (
        f"Preparation takes {format_seconds(longer)} longer and is paid back after {even.samples:,} samples "
        f"(95 % interval {even.low:,} - {even.high:,})."
    )


def _clock(session: Session) -> str:
    readings = [block.sm_mhz for block in session.blocks if block.sm_mhz is not None]
    if not readings or session.machine.gpu is None:
        return ""
    most = session.machine.gpu.max_sm_mhz
    of = "" if most is None else f", {most:,} at most"
    return f"Clock of the GPU's multiprocessors over the blocks: {min(readings):,} - {max(readings):,} MHz{of}"


def _remarks(result: Result) -> str:
    counts: dict[str, int] = {}
    for session in result.sessions:
        for block in session.blocks:
            for told in block.remarks + block.disturbances:
                counts[told] = counts.get(told, 0) + 1
    told_before = [remark for session in result.sessions for remark in session.remarks]
    return "; ".join(told_before + [f"{remark} in {count} blocks" for remark, count in counts.items()])


def _energy(side: Side, energy: Energy | None) -> str:
    if energy is None:
        return ""
    error = abs(energy.integrated_joules / energy.joules - 1) if energy.joules else math.inf
    if error > MOST_ENERGY_ERROR:
        return f"Energy of the {side} side: the GPU's counter and its power readings differ by {error:.0%}; neither is believed."
    idle = "idle draw unknown" if energy.idle_watts is None else f"idle draw of {energy.idle_watts:.0f} W not subtracted"
    return (
        f"Energy of the {side} side: {energy.joules / energy.samples:.3g} J a sample on the GPU, over {energy.samples} samples in "
        f"{format_seconds(energy.seconds)} (power readings within {error:.0%}); {idle}."
    )


def _difference(baseline: SideResult, optimized: SideResult) -> str:
    parts = list(baseline.choices | optimized.choices)
    pairs = [(part, baseline.choices.get(part, "unknown"), optimized.choices.get(part, "unknown")) for part in parts]
    changed = [f"{part} {one} -> {other}{_reach(part, baseline.workload)}" for part, one, other in pairs if one != other]
    return "; ".join(changed) or "none: the same variant twice"


def _reach(part: str, workload: Workload) -> str:
    """What a choice has no effect on, in brackets."""
    if part not in PARTS:  # a stored result may know another part
        return ""
    if part not in parts_with_effect(workload.model, workload.kind):
        return f" (no effect on {KINDS[workload.kind].title})"
    return " (of samples in a row only)" if PARTS[part].stages == (STREAM,) else ""


def _same_work(baseline: SideResult, optimized: SideResult) -> str:
    different = unequal_work({"baseline": baseline, "optimized": optimized})
    return "NO: " + "; ".join(different) if different else "yes: frames, picture sizes, tokens in and out, type"


def _active(variants: dict[Side, SideResult]) -> str:
    if not all(measured.activations for measured in variants.values()):
        return "not looked into"
    if not (inactive := not_active(variants)):
        return "yes: each choice left its signs in a run of either side"
    return "NO: " + "; ".join(f"{proof.part}={proof.choice} of the {side} side" for side, proof in inactive)


def _machine(machine: Machine, build: Build) -> str:
    gpu = ""
    if machine.gpu is not None:
        limit = f", power limit {machine.gpu.power_limit_watts:.0f} W" if machine.gpu.power_limit_watts is not None else ""
        fixed = f", clock set to {machine.gpu.applications_sm_mhz:,} MHz" if machine.gpu.applications_sm_mhz is not None else ""
        gpu = f"{machine.gpu.name}, driver {machine.gpu.driver}, CUDA {build.libraries['cuda']}{limit}{fixed}; "
    versions = ", ".join(f"{name} {version}" for name, version in machine.packages.items() if name in ("torch", "transformers") and version)
    source = f"; evbench at {machine.source}" if machine.source else ""
    return f"{gpu}{machine.cpu}, {machine.cores} cores, {build.threads} threads; Python {machine.python}, {versions}{source}"


def _pictures(work: Work, policy: str) -> str:
    indices = work.frame_indices or ()
    size = f"of {work.frame_width}x{work.frame_height}"
    if work.frame_seconds is None:
        taken = ""
        if work.events is not None and work.events_microseconds is not None:
            taken = f" of {work.events:,} events over {format_seconds(work.events_microseconds / 1e6)}"
        return f"{len(indices)} event images {size}{taken}"
    return f"{len(indices)} frames {size}: {' '.join(map(str, indices))} ({policy})"


def list_variants(obstacles: dict[str, str]) -> tuple[Table, ...]:
    """All variants, what keeps them from running here (name -> reason, empty if nothing does), and what each choice means."""
    rows = tuple((name, *variant.choices().values(), "no" if obstacles[name] else "yes") for name, variant in VARIANTS.items())
    lacking = tuple((name, reason) for name, reason in obstacles.items() if reason)
    choices = tuple(
        (part, name, _told_kinds(part, choice), ", ".join(choice.needs) or "-", choice.meaning)
        for part, found in PARTS.items()
        for name, choice in found.choices.items()
    )
    tables = (
        Table("Variants", ("variant", *PARTS, "runs here"), rows),
        Table("What is missing here", ("variant", "reason"), lacking),
        Table("Choices", ("part", "choice", "for", "needs", "meaning"), choices),
    )
    return tuple(table for table in tables if table.rows)


def _told_kinds(part: str, choice: Choice) -> str:
    kinds = [KINDS[kind].title for kind in kinds_with(part) if choice.takes(kind)]
    return "all" if len(kinds) == len(KINDS) else ", ".join(kinds)
