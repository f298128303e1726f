"""Two models on the same scenes and their judgements -> words and tables. Pure: nothing is judged here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from evbench.report.models_context import EQUAL, LENGTHS, OWN, TITLES, Names, at_lengths, facts, last_length, notes, texts
from evbench.report.next_steps import WAIT
from evbench.report.published import Finding, read_page
from evbench.report.render import Report, Summary, Table, printable
from evbench.report.summary import LONGEST_HEADLINE, shorten
from evbench.report.units import NOT_MEASURED, format_bytes, format_claimed, format_ratio, format_ratios, format_seconds, format_signed
from evbench.results import SIDES, STAGES, Result
from evbench.verdict.blocks import TPOT
from evbench.verdict.model_difference import Decomposition, DecompositionPart
from evbench.verdict.model_side import Score
from evbench.verdict.models import Compared, ModelsJudgement, Unit

MEMORY = {"process": "process memory", "allocator": "live tensors on the GPU", "device": "GPU memory by the driver's count"}
Judgements = Mapping[str, ModelsJudgement]
"""Length -> the judgement of its session."""
Findings = Mapping[int, Finding]
"""Number of a published statement -> whether it holds."""


def describe(results: Mapping[str, Result], judgements: Judgements, findings: Findings) -> Report:
    """Of the sessions that ended, at least one."""
    first = next(iter(results.values()))
    names = {side: measured.workload.model for side, measured in first.variants().items()}
    tables: list[Table] = []
    for length, judged in judgements.items():
        title = TITLES[length]
        tables += [_times(title, judged, names), _tokens(length, judged, names)]
        for of, found in (("end-to-end", judged.difference), ("of generate", judged.generate_difference)):
            if found is not None:
                tables.append(_difference(f"{title}: where the difference {of} comes from", found, names))
    tables.append(_as_published(judgements))
    appendix = [_statements(findings)]
    appendix += [_memory(length, kind, found, names) for length, judged in judgements.items() for kind, found in judged.memory.items()]
    return Report(
        title=f"{names['baseline']} and {names['optimized']}",
        facts={name: printable(text) for name, text in facts(results).items()},
        headline=_headline(EQUAL, judgements, names),
        second_headline=_headline(OWN, judgements, names),
        tables=tuple(tables),
        outputs=texts(results, judgements, names),
        notes=tuple(map(printable, notes(results, judgements, names))),
        appendix=tuple(appendix),
    )


def summarize(results: Mapping[str, Result], judgements: Judgements, report: Report, exit_code: int) -> Summary:
    """`report`: of the same sessions."""
    invalid = [length for length, judged in judgements.items() if judged.invalid]
    scenes = len(next(iter(results.values())).baseline.workload.samples)
    return Summary(
        headlines=tuple(shorten(text, LONGEST_HEADLINE) for text in (report.headline, report.second_headline) if text),
        subject=f"{report.title}, {scenes} scenes. It is no speedup: the models differ.",
        table=report.tables[0],
        texts={},
        said={name: shorten(text) for name, text in report.outputs.items()},
        steps=(WAIT,) if invalid else (),
        exit=f"exit {exit_code}: {f'INVALID {at_lengths(invalid)}' if invalid else f'measured {at_lengths(judgements)}'}",
    )


def _headline(length: str, judgements: Judgements, names: Names) -> str:
    if length not in judgements:
        return ""
    judged = judgements[length]
    if judged.invalid:
        return f"{TITLES[length]}: INVALID: {'; '.join(judged.invalid)}"
    return f"{TITLES[length]}: {_sentence(judged.end_to_end, names)}; {_sentence(judged.quantity(TPOT), names)}"


def _sentence(compared: Compared, names: Names) -> str:
    """The ratio, or that no difference was found."""
    if compared.interval is None:
        return f"{compared.name} has no interval: it takes six blocks of one scene, or two scenes, at least"
    around = f"95% CI {format_ratios(compared.interval.low, compared.interval.high)}"
    if not compared.different:
        return f"{compared.name} shows no difference, ratio {format_claimed(compared.interval.ratio, False)}, {around}"
    return f"{compared.name} of {names['baseline']} is {format_ratio(compared.interval.ratio)} that of {names['optimized']}, {around}"


NO_DIFFERENCE = "no difference"
"""Where the interval includes 1."""
FORMS: dict[Unit, Callable[[float], str]] = {
    "seconds": format_seconds,
    "bytes": lambda count: format_bytes(round(count)),
    "tokens": lambda count: f"{count:,.4g}",
}


def _columns(names: Names) -> tuple[str, ...]:
    return ("", names["baseline"], names["optimized"], "ratio", "95% CI", "")


def _row(compared: Compared) -> tuple[str, ...]:
    medians = [NOT_MEASURED if (value := compared.medians[side]) is None else FORMS[compared.unit](value) for side in SIDES]
    if compared.interval is None:
        return (compared.name, *medians, "-", "-", "")
    ratio = format_claimed(compared.interval.ratio, bool(compared.different))
    found = "" if compared.different else NO_DIFFERENCE
    return (compared.name, *medians, ratio, format_ratios(compared.interval.low, compared.interval.high), found)


def _times(title: str, judged: ModelsJudgement, names: Names) -> Table:
    rows = tuple(map(_row, (*judged.stages, judged.end_to_end, *judged.token_timings)))
    return Table(f"{title}: median times, and their ratio, {names['baseline']} over {names['optimized']}", _columns(names), rows)


def _tokens(length: str, judged: ModelsJudgement, names: Names) -> Table:
    rows = [_row(compared) for compared in judged.token_counts]
    sides = [judged.sides[side] for side in SIDES]
    if LENGTHS[length]:
        rows.append(("outputs cut off at the limit", *(f"{side.cut_off:.0%}" for side in sides), "", "", ""))
    rows.append(("caption accuracy", *(_share(side.score) for side in sides), "", "", ""))
    rows.append(("captions exactly right", *(_exact(side.score) for side in sides), "", "", ""))
    return Table(f"{TITLES[length]}: tokens, and accuracy of the captions", _columns(names), tuple(rows))


def _share(score: Score | None) -> str:
    if score is None:
        return "no caption known"
    if score.low is None or score.high is None:
        return f"{score.share:.1%}"
    return f"{score.share:.1%} ({score.low:.1%} - {score.high:.1%})"


def _exact(score: Score | None) -> str:
    return NOT_MEASURED if score is None else f"{score.exact} of {score.scenes}"


def _difference(title: str, found: Decomposition, names: Names) -> Table:
    rows = tuple(map(_part, (*found.parts, found.total)))
    return Table(f"{title}: means, {names['baseline']} less {names['optimized']}", ("", "difference", "95% CI", "share"), rows)


def _part(part: DecompositionPart) -> tuple[str, ...]:
    around = "-" if part.low is None or part.high is None else f"{format_signed(part.low)} to {format_signed(part.high)}"
    # Shares of a difference that was not found would be shares of noise.
    return (part.name, format_signed(part.seconds), around, "-" if part.share is None else f"{part.share:.1%}")


def _as_published(judgements: Judgements) -> Table:
    """The published table, and what was measured here."""
    length = last_length(judgements)
    judged, page = judgements[length], read_page()
    sides = {prefix: judged.side(model["name"]) for prefix, model in page.models.items()}

    def row(compared: Compared, published_as: str) -> tuple[str, ...]:
        published = [page.figures[f"{prefix}_{published_as}"] for prefix in sides]
        values = [float(figure.text) for figure in published]
        published_ratio = format_ratio(values[0] / values[1]) if all(values) else "-"
        _, one, other, *_ = _row(compared)
        here = {"baseline": one, "optimized": other}
        ratio = "-"
        if compared.interval is not None:
            here_ratio = compared.interval.ratio if sides["video"] == "baseline" else 1 / compared.interval.ratio
            ratio = format_claimed(here_ratio, bool(compared.different))
        return (compared.name, *map(str, published), published_ratio, *(here[side] for side in sides.values()), ratio)

    rows = [row(judged.quantity(stage), stage) for stage in STAGES]
    rows.append(row(judged.end_to_end, "total"))
    rows.append(row(judged.quantity("new-tokens"), "new_tokens"))
    rows.append(row(judged.quantity(TPOT), "tpot"))
    titles = [model["title"] for model in page.models.values()]
    columns = ("", *(f"{title}, published" for title in titles), "ratio", *(f"{title}, here" for title in titles), "ratio")
    return Table(f"The published table, and the values of this machine and these weights {at_lengths([length])}", columns, tuple(rows))


def statements(findings: Findings) -> Table:
    """What the published page states, and whether it holds, in short for a terminal."""
    return _select(_statements(findings), (0, 2, 3, 4))


def _select(table: Table, columns: Sequence[int]) -> Table:
    def cells(row: Sequence[str]) -> tuple[str, ...]:
        return tuple(row[column] for column in columns)

    return Table(table.title, cells(table.columns), tuple(map(cells, table.rows)))


def _statements(findings: Findings) -> Table:
    page = read_page()
    rows = [
        (
            f"{number}. {statement.says}",
            page.lines(statement),
            findings[number].verdict,
            findings[number].said,
            printable(findings[number].found),
            statement.by,
            printable(findings[number].note),
        )
        for number, statement in enumerate(page.statements, 1)
    ]
    columns = ("statement", "line", "", "it says", "found", "by", "note")
    return Table("What the published page states, and whether it holds", columns, tuple(rows))


def _memory(length: str, kind: str, compared: Iterable[Compared], names: Names) -> Table:
    return Table(f"{TITLES[length]}: peak memory of each stage, {MEMORY[kind]}", _columns(names), tuple(map(_row, compared)))
