"""A result, its judgement and its report -> one HTML file that needs nothing beside itself: no script, no font, no request."""

from __future__ import annotations

from evbench.choices import Choice
from evbench.pipelines.registry import OWN, PARTS
from evbench.report import drafting, drawing, explained, figures, loss, outputs, raw_runs, said, timings
from evbench.report.document import document
from evbench.report.facts import changes, no_effect
from evbench.report.markup import Child, Markup, element, folded, items, joined, pairs, row_of_figures, table
from evbench.report.metrics import PEAK_MEMORY
from evbench.report.notes import made_weights
from evbench.report.plain_words import in_plain_words, what_was_measured
from evbench.report.render import Report, Table, says_something, without_empty_columns
from evbench.report.summary import outputs_and_cost
from evbench.report.traces import TRACED
from evbench.results import Result
from evbench.verdict.judgement import Judgement, Verdict

LONG = 15
"""A table of more rows is folded."""
GOOD, BAD = (Verdict.FASTER, Verdict.SAME), (Verdict.SLOWER, Verdict.OUTPUT_DIFFERS, Verdict.INVALID)
HASH = 16
"""Digits of a hash that are shown."""
MOST_SAMPLES = 20
"""Number of samples that are named."""


def to_html(result: Result, judgement: Judgement, report: Report) -> str:
    """The whole page. `report`: of the same result."""
    with drawing.style():
        sections = {heading: parts for heading, parts in _sections(result, judgement, report).items() if parts}
    return document(report.title, _head(result, judgement, report), sections, result.evbench)


def _head(result: Result, judgement: Judgement, report: Report) -> Markup:
    """The verdict, for who reads nothing else."""
    kind = "good" if judgement.verdict in GOOD else "bad" if judgement.verdict in BAD else ""
    word = "MEASURED" if judgement.verdict is None else judgement.verdict.value.replace("_", " ")
    lines = [element("p", text, class_="quiet") for text in (report.headline, report.second_headline) if text]
    told = element("p", in_plain_words(judgement), class_="plain")
    cautions = _cautions(result, judgement, report)
    return element(
        "header",
        element("h1", report.title),
        element("p", what_was_measured(result), class_="quiet"),
        element("div", element("p", word, class_="word"), told, *lines, class_=f"verdict {kind}".strip()),
        pairs(outputs_and_cost(result, judgement)),
        element("p", explained.OF_THE_HEAD, class_="quiet"),
        *((element("h2", "Before you rely on it"), items(*cautions)) if cautions else ()),
    )


def _cautions(result: Result, judgement: Judgement, report: Report) -> list[Markup]:
    """Flags, which are the first notes of a report, each with what follows from it; and what made weights do not show."""
    told = zip(judgement.flags, report.notes, strict=False)
    flags = [joined(element("span", note), element("span", explained.FLAGS[name])) for name, note in told]
    return flags + [element("span", note) for note in made_weights(result.baseline.workload)]


def _sections(result: Result, judgement: Judgement, report: Report) -> dict[str, list[Markup]]:
    """Headings, each with its parts in order. Every table of the report stands in one of them."""
    left = [*report.tables, *report.appendix]

    def of(*names: str) -> list[Markup]:
        taken = [found for name in names for found in left if found.name == name]
        left[:] = [found for found in left if found not in taken]
        return [_table(found) for found in taken if says_something(found)]

    found: dict[str, list[Markup]] = {
        "How fast": [*row_of_figures(figures.speedups(judgement), figures.times(judgement)), *of(timings.LATENCY)],
        "What is lost": of(loss.LOST),
        "What was changed": _changes(result, report),
        "Where the difference comes from": [*row_of_figures(figures.waterfall(result, judgement), *of(timings.DIFFERENCE)), *of(TRACED)],
        "Time per token": [*row_of_figures(figures.tokens(result)), *of(timings.TOKENS, drafting.DRAFTING), *_rows(raw_runs.steps(result))],
        "Memory": [*row_of_figures(figures.memory(judgement)), *of(PEAK_MEMORY)],
        "All runs": [*row_of_figures(figures.runs(result)), *of(timings.DISTRIBUTIONS), *_rows(raw_runs.runs(result))],
        "Physical floors": [*row_of_figures(figures.floors(judgement)), *of(timings.FLOORS)],
        "Output checks": [*_grades(judgement), *_worst_picture(result), *of(outputs.CHECKS, outputs.ALL_CHECKS, outputs.ACTIVATIONS)],
        "What was generated": [said.side_by_side(result, judgement)],
    }
    return found | {
        "More measurements": [_table(one) for one in left if says_something(one)],
        "Notes": [items(*(note for note in report.notes[len(judgement.flags) :] if note not in made_weights(result.baseline.workload)))],
        "Environment": [pairs(report.facts), *_rows(_packages(result)), *_rows(_samples(result))],
        "How to reproduce it": _reproduce(result),
    }


def _changes(result: Result, report: Report) -> list[Markup]:
    """Of each part in which the sides differ, what both do. Empty for one side."""
    if result.optimized is None:
        return []
    workload, different = result.baseline.workload, changes(result.baseline, result.optimized)
    if not different or OWN in different:
        return [element("p", report.facts["Difference"])]
    return [pairs({part: _change(part, one, other, no_effect(part, workload)) for part, (one, other) in different.items()})]


def _change(part: str, one: str, other: str, effect: str) -> Markup:
    """The two choices, and what each means where that is known: a stored result may have some that are gone."""
    entries: dict[str, Choice] = dict(PARTS[part].entries) if part in PARTS and not effect.startswith(" (no effect") else {}
    meanings = (element("p", f"{choice}: {entries[choice].meaning}.", class_="quiet") for choice in (one, other) if choice in entries)
    return joined(element("p", f"{one} -> {other}{effect}"), *meanings)


def _rows(found: Table) -> list[Markup]:
    return [_table(found)] if found.rows else []


def _table(found: Table) -> Markup:
    found = without_empty_columns(found)
    return folded(f"{found.title} ({len(found.rows)} rows)", table(found)) if len(found.rows) > LONG else table(found)


def _grades(judgement: Judgement) -> list[Markup]:
    """The worst of each stage, in one line."""
    if not judgement.grades:
        return [element("p", "Outputs were not compared.")]
    return [pairs({stage: GRADES[grade] for stage, grade in judgement.grades.items()})]


def _worst_picture(result: Result) -> list[Markup]:
    """Of the frames, where some differ."""
    found = None if result.outputs is None else result.outputs.worst_picture
    if found is None:
        return []
    samples = len(result.baseline.workload.samples)
    of = f" of sample {found.sample + 1}" if samples > 1 else ""
    told = f"Image {found.frame + 1}{of}, where what was loaded differs most, by {found.levels:.1f} of 255 levels"
    told += " at about the size that the model sees"
    sides = "from the left the baseline's, that of the optimized side, and their difference times eight (black: equal)"
    picture = element("img", src=f"data:image/png;base64,{found.png}", alt=f"{told}: {sides}")
    return [element("figure", picture, element("figcaption", f"{told}: {sides}."), class_="wide")]


GRADES = {
    "pass": "pass: within the error of the baseline itself",
    "warn": "WARN: a difference above its threshold, but too small to call the outputs different",
    "fail": "FAIL: the outputs differ by more than rounding explains",
}


def _packages(result: Result) -> Table:
    """Of the machine of each session."""
    sides = {side: result.session(measured).machine.packages for side, measured in result.variants().items()}
    names = dict.fromkeys(name for packages in sides.values() for name in packages)
    rows = tuple((name, *(packages.get(name) or "not installed" for packages in sides.values())) for name in names)
    return Table("Packages", ("", *sides), rows)


def _samples(result: Result) -> Table:
    samples = result.baseline.workload.samples
    rows = [(sample.path, f"{sample.width}x{sample.height}", sample.sha256[:HASH]) for sample in samples[:MOST_SAMPLES]]
    more = f", the first {MOST_SAMPLES} of {len(samples)}" if len(samples) > MOST_SAMPLES else ""
    columns = ("", "size", "begin of its SHA-256")
    beside = [sample.beside for sample in samples if sample.beside is not None]
    if len(beside) < len(samples):
        return Table(f"Input{more}", columns, tuple(rows))
    drafted = tuple((*row, f"{images.count}: {images.sha256[:HASH]}") for row, images in zip(rows, beside, strict=False))
    return Table(f"Input{more}", (*columns, "event images beside it"), drafted)


def _reproduce(result: Result) -> list[Markup]:
    session = result.session(result.baseline)
    source = session.machine.source or "not known: it was not run from a git checkout"
    fingerprints = {
        f"Weights of {side}": f"{measured.variant}, fingerprint {measured.builds[0].weights_fingerprint[:HASH]}"
        for side, measured in result.variants().items()
    }
    steps: list[Child] = [
        element("li", f"evbench {result.evbench}, commit {source}; its requirements.lock has the versions of all packages: make setup."),
        element("li", "The same command, on an idle machine of the same kind:", _code(result.command)),
        element("li", "This report once more, from result.json in the folder of the comparison:", _code("evbench report FOLDER")),
    ]
    order = {"Measured": result.created, "Order of the blocks": f"drawn with seed {session.seed}"}
    return [element("ol", *steps), pairs(order | fingerprints)]


def _code(text: str) -> Markup:
    return element("pre", element("code", text))
