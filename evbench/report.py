"""Results -> console and markdown. Pure, and the only place that knows units."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table as RichTable

from evbench.results import STAGES, Kind, Machine, Memory, Result, Role, VariantResult, Work
from evbench.variants import CHOICES, VARIANTS

NOT_MEASURED = "n/a"
HOW = ("decoder", "attention")
"""Fields of Work in which two variants may differ: they say how it was done, not what."""


@dataclass(frozen=True)
class Table:
    """Rows of text under a title. The first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Report:
    """What is told of a result, in order."""

    title: str
    facts: dict[str, str]
    tables: tuple[Table, ...]
    outputs: dict[str, str]
    notes: tuple[str, ...]


def describe(result: Result) -> Report:
    """Everything a reader needs to judge the numbers, and the numbers."""
    variants = result.variants()
    title = " against ".join(f"{side.variant}" for side in reversed(list(variants.values())))
    return Report(
        title=printable(f"{result.baseline.workload.model}: {title}"),
        facts={name: printable(text) for name, text in _facts(variants).items()},
        tables=(_times(variants), _before(variants), *_memory(variants)),
        outputs=_outputs(variants),
        notes=_notes(variants),
    )


def _facts(variants: dict[Role, VariantResult]) -> dict[str, str]:
    side = next(iter(variants.values()))
    workload, run = side.workload, side.runs[0]
    size = f"preset {workload.preset}" if workload.preset else f"weights of {workload.weights}"
    if workload.seed is not None:
        size += f", random weights of seed {workload.seed}"
    work = run.work
    facts = {
        "Model": f"{workload.model}, {size}, {side.build.parameters / 1e6:,.1f} million parameters, {work.dtype} on {workload.device}",
        "Input": f"{Path(workload.input).name}, {_pictures(work, workload.frame_policy)}",
        "Tokens": f"{work.prompt_tokens} in the prompt, {work.visual_tokens} of them visual; {work.new_tokens} new, "
        + ("fewer if the answer ends" if workload.stop_at_end else "always as many"),
        "Machine": _machine(side.machine, side.build.threads),
    }
    if "optimized" in variants:
        facts["Difference"] = _difference(variants["baseline"], variants["optimized"])
        facts["Same work"] = _same_work(variants["baseline"], variants["optimized"])
        other = variants["optimized"]
        if other.session != side.session:
            here, there = _machine(side.machine, side.build.threads), _machine(other.machine, other.build.threads)
            where = "" if here == there else f" on {there}"
            facts["Measured apart"] = f"the baseline from {side.session}, the optimized side from {other.session}{where}: not in turn"
    else:
        facts["Variant"] = ", ".join(f"{part} {choice}" for part, choice in side.choices.items())
    return facts


def _times(variants: dict[Role, VariantResult]) -> Table:
    counts = {role: len(side.timed()) for role, side in variants.items()}
    same = len(set(counts.values())) == 1
    columns = ["stage"]
    for role, count in counts.items():
        columns += [role if same else f"{role}, {count} runs", "least - most"]
    rows = []
    for stage in (*STAGES, "all four"):
        row = [stage]
        for side in variants.values():
            seconds = [run.seconds if stage == "all four" else run.stages[stage].seconds for run in side.timed()]
            row += [format_seconds(statistics.median(seconds)), format_range(min(seconds), max(seconds))]
        rows.append(tuple(row))
    of = f" of {next(iter(counts.values()))} timed runs" if same else ""
    return Table(f"Time of each stage: median{of}", tuple(columns), tuple(rows))


def _before(variants: dict[Role, VariantResult]) -> Table:
    def of_kind(side: VariantResult, kind: Kind) -> list[float]:
        return [run.seconds for run in side.runs if run.kind == kind]

    sides = list(variants.values())
    warmups = [of_kind(side, "warmup") for side in sides]
    rows = (
        ("start and make the model", *(format_seconds(side.build.seconds) for side in sides)),
        ("first call, with what it compiles", *(format_seconds(sum(of_kind(side, "first"))) for side in sides)),
        ("warm-up runs", *(f"{len(seconds)} in {format_seconds(sum(seconds))}" if seconds else "none" for seconds in warmups)),
    )
    return Table("Before the timed runs", ("", *variants), rows)


MEMORY_KINDS = {
    "process": "Peak memory of the process",
    "allocator": "Peak of live tensors on the GPU",
    "reserved": "Peak of torch's pool on the GPU",
    "device": "On the GPU in all, by the driver's count, after the stage",
}


def _memory(variants: dict[Role, VariantResult]) -> list[Table]:
    """One table for each kind of memory that this device has."""
    on_gpu = next(iter(variants.values())).workload.device == "cuda"
    tables = []
    for kind, title in MEMORY_KINDS.items():
        if kind != "process" and not on_gpu:
            continue
        rows = [
            (stage, *(_peak(kind, [run.stages[stage].memory for run in side.timed()]) for side in variants.values())) for stage in STAGES
        ]
        tables.append(Table(title, ("stage", *variants), tuple(rows)))
    return tables


def _peak(kind: str, memories: Sequence[Memory]) -> str:
    values = [getattr(memory, kind) for memory in memories]
    return NOT_MEASURED if None in values else format_bytes(max(values))


def _outputs(variants: dict[Role, VariantResult]) -> dict[str, str]:
    outputs = {}
    for role, side in variants.items():
        answers = {run.tokens for run in side.timed()}
        repeat = "" if len(answers) == 1 else f" (one of {len(answers)} different answers in {len(side.timed())} runs)"
        outputs[f"{role} says{repeat}"] = printable(side.timed()[-1].text)
    if "optimized" in variants:
        outputs["Tokens"] = _compare_answers(variants["baseline"], variants["optimized"])
    return outputs


def _compare_answers(baseline: VariantResult, optimized: VariantResult) -> str:
    """Over all timed runs: one run that agrees proves nothing of the others."""
    ours, theirs = ([run.tokens for run in side.timed()] for side in (baseline, optimized))
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


def _notes(variants: dict[Role, VariantResult]) -> tuple[str, ...]:
    notes = ["Medians and ranges only: no verdict is drawn, because none of these numbers has an interval yet."]
    if traces := [side.trace for side in variants.values() if side.trace is not None]:
        lengths = ", ".join(f"{trace.file} with {trace.new_tokens} new tokens" for trace in traces)
        notes.append(f"Traces, each of one sample in an untimed run of its own: {lengths}. Open one in https://ui.perfetto.dev.")
    if next(iter(variants.values())).workload.seed is not None:
        notes.append("Random weights: the text means nothing. It shows whether both variants compute the same.")
    return tuple(notes)


def _difference(baseline: VariantResult, optimized: VariantResult) -> str:
    parts = list(baseline.choices | optimized.choices)
    pairs = [(part, baseline.choices.get(part, "unknown"), optimized.choices.get(part, "unknown")) for part in parts]
    changed = [f"{part} {one} -> {other}" for part, one, other in pairs if one != other]
    return "; ".join(changed) or "none: the same variant twice"


def _same_work(baseline: VariantResult, optimized: VariantResult) -> str:
    ours = baseline.timed()[0].work
    runs = (*baseline.timed(), *optimized.timed())
    different = next((found for run in runs if (found := work_differences(ours, run.work))), None)
    return "yes: frames, pixels, prompt, new tokens, type" if different is None else "NO: " + "; ".join(different)


def work_differences(ours: Work, theirs: Work) -> list[str]:
    """Fields in which two runs did not do the same, with both values."""
    one, other = dataclasses.asdict(ours), dataclasses.asdict(theirs)
    return [f"{name} {one[name]} and {other[name]}" for name in one if name not in HOW and one[name] != other[name]]


def _machine(machine: Machine, threads: int) -> str:
    gpu = f"{machine.gpu.name}, driver {machine.gpu.driver}; " if machine.gpu else ""
    versions = ", ".join(f"{name} {version}" for name, version in machine.packages.items() if name in ("torch", "transformers") and version)
    return f"{gpu}{machine.cpu}, {machine.cores} cores, {threads} threads; Python {machine.python}, {versions}"


def _pictures(work: Work, policy: str) -> str:
    indices = work.frame_indices or ()
    size = f"of {work.frame_width}x{work.frame_height}"
    if work.frame_seconds is None:
        return f"{len(indices)} event images {size}"
    return f"{len(indices)} frames {size}: {' '.join(map(str, indices))} ({policy})"


def list_variants(obstacles: dict[str, str]) -> tuple[Table, Table]:
    """All variants with what keeps them from running here, and what each choice means."""
    parts = tuple(CHOICES)
    variants = tuple((name, *variant.choices().values(), obstacles[name] or "yes") for name, variant in VARIANTS.items())
    choices = tuple(
        (part, name, ", ".join(choice.needs) or "-", choice.meaning) for part, named in CHOICES.items() for name, choice in named.items()
    )
    return Table("Variants", ("variant", *parts, "runs here"), variants), Table("Choices", ("part", "choice", "needs", "meaning"), choices)


def to_markdown(report: Report, created: str, command: str) -> str:
    """The report as a file that reads well unrendered too."""
    lines = [f"# {report.title}", "", f"{created}, `{printable(command)}`", ""]
    lines += [f"- **{name}**: {text}" for name, text in report.facts.items()] + [""]
    for table in report.tables:
        lines += [f"## {table.title}", "", *_markdown_table(table), ""]
    lines += ["## Outputs", ""] + [f"- **{name}**: {text}" for name, text in report.outputs.items()] + [""]
    lines += [*report.notes, ""]
    return "\n".join(lines)


def _markdown_table(table: Table) -> list[str]:
    ruler = ["---"] + ["---:"] * (len(table.columns) - 1)
    return [f"| {' | '.join(cells)} |" for cells in (table.columns, ruler, *table.rows)]


def to_console(report: Report) -> RenderableType:
    """The report for a terminal."""
    parts: list[RenderableType] = [f"[bold]{escape(report.title)}[/bold]", _pairs(report.facts), ""]
    parts += [to_rich(table, numbers=True) for table in report.tables]
    return Group(*parts, _pairs(report.outputs), "", *(f"[dim]{escape(note)}[/dim]" for note in report.notes))


def to_rich(table: Table, *, numbers: bool) -> RichTable:
    """A table for a terminal; columns of numbers are aligned to the right."""
    made = RichTable(title=table.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for index, column in enumerate(table.columns):
        made.add_column(column, justify="right" if numbers and index else "left", no_wrap=numbers or index == 0)
    for row in table.rows:
        made.add_row(*map(escape, row))
    return made


def _pairs(texts: dict[str, str]) -> RichTable:
    grid = RichTable.grid(padding=(0, 2))
    for name, text in texts.items():
        grid.add_row(f"[bold]{escape(name)}[/bold]", escape(text))
    return grid


def printable(text: str) -> str:
    """Text of a model for a terminal: control characters would act on it."""
    return "".join(character if character.isprintable() else "·" for character in text)


def format_seconds(seconds: float) -> str:
    """Three digits, in s, ms or µs.

    >>> format_seconds(0.0123456), format_seconds(1.5), format_seconds(187.31)
    ('12.3 ms', '1.50 s', '187 s')
    """
    unit, size = _unit(seconds)
    return f"{_three_digits(seconds / size)} {unit}"


def format_range(least: float, most: float) -> str:
    """Both ends in the unit of the larger.

    >>> format_range(0.0832, 0.104)
    '83.2 - 104 ms'
    """
    unit, size = _unit(most)
    return f"{_three_digits(least / size)} - {_three_digits(most / size)} {unit}"


def _unit(seconds: float) -> tuple[str, float]:
    return ("s", 1.0) if seconds >= 0.9995 else ("ms", 1e-3) if seconds >= 0.9995e-3 else ("µs", 1e-6)


def format_bytes(count: int) -> str:
    """Three digits, in GiB or MiB.

    >>> format_bytes(3 * 2**30), format_bytes(5_000_000)
    ('3.00 GiB', '4.77 MiB')
    """
    unit, size = ("GiB", 2**30) if count >= 0.9995 * 2**30 else ("MiB", 2**20)
    return f"{_three_digits(count / size)} {unit}"


def _three_digits(value: float) -> str:
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f}"
