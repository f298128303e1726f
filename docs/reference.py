"""Tables of the pages that are generated: choices with what was recorded of them, variants, and commands. Returns Markdown."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer.main

from evbench import results
from evbench.choices import STREAM, Choice, Part
from evbench.cli.later import EXAMPLES
from evbench.cli.main import COMMANDS, OF_MODELS, SCENES, make_app
from evbench.pipelines.registry import KINDS, MODELS, PARTS
from evbench.report.units import format_claimed, format_ratios
from evbench.report.variants import BASE
from evbench.results import Machine, Workload
from evbench.session import ladder
from evbench.variants.named import VARIANTS, effective, parse
from evbench.verdict.judge import judge
from evbench.verdict.judgement import CLAIMED, Judgement, Timing, Verdict
from evbench.verdict.ladder import Rung, RungTiming
from evbench.verdict.statistics import Interval

PROFILES = Path(__file__).parent.parent / "profiles"
GRADES = {"pass": "preserved", "warn": "nearly preserved", "fail": "not preserved", "lossy": "lossy", None: "not compared"}

UNBROKEN = '<span style="white-space: nowrap">'
"""In front of what must stay on one line."""
OF_ALL = ("NOT_VERIFIED",)
"""Flags that each of them has, as no runs.jsonl is kept."""


# Choices.


@dataclass(frozen=True)
class Recorded:
    """What a recorded comparison of two sides that differ in one choice shows of it."""

    instead_of: str
    """Choice of the other side."""
    gains: tuple[str, ...]
    """Each a timing with its speedup and interval."""
    outputs: str
    flags: tuple[str, ...]
    where: str
    """Model, machine, and what else the choice was added to."""
    link: str
    """From docs/ to its report."""

    def row(self) -> str:
        """Of a table."""
        flags = [f"[{flag}](troubleshooting.md#{anchor(flag)})" for flag in self.flags if flag not in OF_ALL]
        gains = "<br>".join(f"{UNBROKEN}{gain}</span>" for gain in self.gains)
        cells = (f"[{self.where}]({self.link})", f"`{self.instead_of}`", gains, self.outputs, ", ".join(flags) or "none")
        return f"| {' | '.join(cells)} |"


def choices() -> str:
    """A section for each part, and in it one for each of its choices."""
    found = recorded()
    return "\n\n".join(_of_part(part, found) for part in PARTS.values())


def _of_part(part: Part, found: dict[tuple[str, str], list[Recorded]]) -> str:
    where = "throughput runs" if part.stages == (STREAM,) else f"stage {' and '.join(part.stages)}"
    kinds = f"; of {' and '.join(KINDS[kind].title for kind in part.kinds)} only" if part.kinds else ""
    lines = [f"## {part.name}", "", f"In {where}{kinds}."]
    for name, choice in part.choices.items():
        lines += ["", *_of_choice(part, name, choice, found.get((part.name, name), []))]
    return "\n".join(lines)


def _of_choice(part: Part, name: str, choice: Choice, found: list[Recorded]) -> Iterator[str]:
    yield f"### {part.name}={name}"
    yield ""
    yield f"{_sentence(choice.meaning)}."
    yield ""
    has = [variant.name for variant in VARIANTS.values() if variant[part.name] == name]
    models = [title for title, model in MODELS.items() if part.name in model.parts and model.has(part.name, name)]
    yield f"- **In**: {', '.join(f'`{one}`' for one in has) or 'no named variant'}; model{'s' * (len(models) > 1)} {', '.join(models)}"
    if choice.kinds:
        yield f"- **For**: {' and '.join(KINDS[kind].title for kind in choice.kinds)} only"
    if choice.needs:
        yield f"- **Needs**: {', '.join(choice.needs)}"
    for other in choice.conflicts:
        yield f"- **Not with**: {', '.join(f'`{other.part}={one}`' for one in other.choices)}, because {other.reason}"
    if choice.risk:
        yield f"- **Risk**: {choice.risk}"
    if VARIANTS[BASE][part.name] == name:
        yield "- **Gain**: others are measured against it"
    elif not found:
        yield "- **Gain**: no comparison of this choice alone is recorded"
    else:
        yield "- **Gain**, as recorded:"
        yield from ("", "| where | in place of | speedup, 95% CI | outputs | flags |", f"|{' --- |' * 5}", *(one.row() for one in found))


def _sentence(text: str) -> str:
    """With a capital, unless it begins with a name from code."""
    return text[:1].upper() + text[1:] if text.partition(" ")[0].strip(",:;").isalpha() else text


@functools.cache
def recorded() -> dict[tuple[str, str], list[Recorded]]:
    """(part, choice) -> what ladders and comparisons under profiles/ show of it, added to a side that differs in nothing else."""
    found: dict[tuple[str, str], list[Recorded]] = {}
    folders = [file.parent for file in sorted(PROFILES.glob("*/**/ladder.json"))]
    for folder in folders:
        for key, one in _of_ladder(folder):
            found.setdefault(key, []).append(one)
    for file in sorted(PROFILES.glob("*/**/result.json")):
        if not any(file.is_relative_to(folder) for folder in folders) and (compared := _of_comparison(file.parent)) is not None:
            found.setdefault(compared[0], []).append(compared[1])
    return found


def _of_ladder(folder: Path) -> Iterator[tuple[tuple[str, str], Recorded]]:
    content = ladder.derive(folder)
    header = content.header
    seen = set()
    for rung in content.rungs:
        outcome, step = rung.outcome, rung.step
        if step.kind == "whole" or outcome is None or len(step.parts) > 1 or step.folder in seen:
            continue
        seen.add(step.folder)
        (part,) = step.parts
        choice, other = step.optimized[part], step.baseline[part]
        place = "going up" if step.kind == "rung" else "left out last"
        where = f"{_described(header.workloads['from'], header.machine)}, ladder, {place}"
        link = _link(folder / ladder.REPORT)
        yield (part, choice), Recorded(other, _gains_of_rung(rung), GRADES[outcome.preserved], outcome.flags, where, link)


def _gains_of_rung(rung: Rung) -> tuple[str, ...]:
    assert rung.outcome is not None
    timings = {"end-to-end": (rung.end_to_end, rung.claim)}
    timings |= {stage: (timing, timing.claim) for stage, timing in rung.outcome.stages.items()}
    return tuple(_gain(name, timing, claim) for name, (timing, claim) in timings.items())


def _gain(name: str, timing: RungTiming | Timing | None, claim: Verdict | None) -> str:
    interval: Interval | None = None if timing is None else timing.interval
    if interval is None:
        return f"{name} without an interval"
    return f"{name} {format_claimed(interval.ratio, claim in CLAIMED)}, {format_ratios(interval.low, interval.high)}"


def _of_comparison(folder: Path) -> tuple[tuple[str, str], Recorded] | None:
    """None if its sides differ in no choice, or in several."""
    result = results.read(folder)
    if result.optimized is None:
        return None
    workload = result.baseline.workload
    ours, theirs = (effective(parse(_named(side.choices)), workload.model, workload.kind) for side in (result.baseline, result.optimized))
    differing = [part for part in ours if ours[part] != theirs[part]]
    if len(differing) != 1:
        return None
    (part,) = differing
    judgement = judge(result)
    gains = tuple(_gain(timing.name, timing, timing.claim) for timing in _concerned(part, judgement))
    where = _described(workload, result.session(result.baseline).machine)
    one = Recorded(ours[part], gains, GRADES[judgement.preserved], tuple(judgement.flags), where, _link(folder / "report.md"))
    return (part, theirs[part]), one


def _named(choices: dict[str, str]) -> str:
    return "+".join([BASE, *(f"{part}={choice}" for part, choice in choices.items())])


def _concerned(part: str, judgement: Judgement) -> list[Timing]:
    """What the part can change."""
    stages = PARTS[part].stages
    if stages == (STREAM,):
        return [judgement.throughput] if judgement.throughput is not None else []
    return [judgement.end_to_end, *(timing for timing in judgement.stages if timing.name in stages)]


def _described(workload: Workload, machine: Machine) -> str:
    weights = ", random weights" if workload.seed is not None else ""
    samples = f", {len(workload.samples)} samples" if len(workload.samples) > 1 else ""
    earlier = ", an earlier version" if str(machine.source).endswith("-dirty") else ""
    device = machine.cpu if machine.gpu is None else machine.gpu.name
    return f"{MODELS[workload.model].title} {workload.preset}{weights}{samples}, {workload.dtype}, {device}{earlier}"


def _link(file: Path) -> str:
    return f"../{file.relative_to(PROFILES.parent)}"


def anchor(heading: str) -> str:
    """Of a heading, as Markdown makes it.

    >>> anchor("ORDER=RELOAD"), anchor("NOT_STEADY"), anchor("The verdict")
    ('orderreload', 'not_steady', 'the-verdict')
    """
    return re.sub(r"[^\w\s-]", "", heading.lower()).strip().replace(" ", "-")


def variants() -> str:
    """Each named variant with its choices; those that differ from the baseline's in bold."""
    base = VARIANTS[BASE].choices()
    lines = [f"| variant | {' | '.join(PARTS)} |", f"| --- |{' --- |' * len(PARTS)}"]
    for variant in VARIANTS.values():
        cells = [f"**{choice}**" if choice != base[part] else choice for part, choice in variant.choices().items()]
        lines.append(f"| `{variant.name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


# Commands.


def command_names() -> list[str]:
    """All of them, such as `scenes make`."""
    return [*COMMANDS, *(f"scenes {name}" for name in SCENES), *(f"models {name}" for name in OF_MODELS)]


def find(name: str) -> Any:
    """The command that typer has by this name, such as `scenes make`."""
    command: Any = typer.main.get_command(make_app())
    for part in name.split():
        command = command.commands[part]
    return command.loaded()


@functools.cache
def commands() -> str:
    """A section for each command: what it does, what it takes, examples."""
    return "\n\n".join(_of_command(name, find(name)) for name in command_names())


def _of_command(name: str, command: Any) -> str:
    context = command.make_context(f"evbench {name}", [], resilient_parsing=True)
    usage = " ".join([f"evbench {name}", *command.collect_usage_pieces(context)])
    examples = command.epilog.removeprefix(EXAMPLES).strip()
    lines = [f"## evbench {name}", "", plain(command.help), "", f"    {usage}"]
    groups: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        if not parameter.hidden and (record := parameter.get_help_record(context)) is not None:
            kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
            groups.setdefault(getattr(parameter, "rich_help_panel", None) or kind, []).append(record)
    for group, records in groups.items():
        lines += ["", f"| {group} | |", "| --- | --- |", *(f"| `{cell(names)}` | {plain(cell(text))} |" for names, text in records)]
    return "\n".join([*lines, "", "Examples:", "", *(f"    {line}" for line in examples.splitlines())])


def plain(text: str) -> str:
    """As text of Markdown, in which nothing is a mark.

    >>> plain("a<b, list[int], --no_x and *")
    'a&lt;b, list\\\\[int\\\\], --no\\\\_x and \\\\*'
    """
    return re.sub(r"([\\`*_\[\]])", r"\\\1", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cell(text: str) -> str:
    """As a cell of a table, which ends at a bar and at the end of a line."""
    return " ".join(text.replace("|", "\\|").split())
