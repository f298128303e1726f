"""Two models side by side -> words and tables. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from evbench.report import quantities
from evbench.report.expressions import Known
from evbench.report.published import examine, read_page
from evbench.report.render import Report, Table, printable
from evbench.report.units import NOT_MEASURED, format_bytes, format_ratio, format_ratios, format_seconds, format_signed
from evbench.results import STAGES, Result, Side, SideResult
from evbench.variants import choices
from evbench.verdict.blocks import MOST_DISTURBED
from evbench.verdict.models import SIDES, TOKEN, TOTAL, Account, Line, Part, Score, Split, Unit, account, leaves_out_1
from evbench.verdict.refusal import disturbed_too_often

EQUAL, OWN = "equal-length", "own-length"
LENGTHS: dict[str, bool] = {EQUAL: False, OWN: True}
"""The two sessions, and whether an answer may end by itself."""
TITLES = {EQUAL: "At equal length", OWN: "At own length"}
MEMORY = {"process": "of the process", "allocator": "of live tensors on the GPU", "device": "on the GPU in all, by the driver's count"}
KINDS = {
    "video": "decodes a video",
    "event-images": "reads event images that were made before: rendering them from events is in no stage here",
    "events": "renders event images from raw events, all of it in its time",
}


def measure(results: Mapping[str, Result]) -> dict[str, Account]:
    """Length -> what is told of its session."""
    return {name: account(result) for name, result in results.items()}


def measured(results: Mapping[str, Result], accounts: Mapping[str, Account]) -> Known:
    """What the statements of the published page are compared with."""
    texts: tuple[tuple[str, str], ...] = ()
    if EQUAL in results:
        ours, theirs = ({run.sample: run.text for run in measured.timed()} for measured in results[EQUAL].variants().values())
        texts = tuple((ours[sample], theirs[sample]) for sample in sorted(ours.keys() & theirs.keys()))
    return quantities.measured(read_page().models, accounts.get(EQUAL), accounts.get(OWN), texts)


def describe(results: Mapping[str, Result]) -> Report:
    """Of the sessions that ended, one at least."""
    accounts = measure(results)
    first = next(iter(results.values()))
    names = {side: measured.workload.model for side, measured in first.variants().items()}
    tables: list[Table] = []
    for name, told in accounts.items():
        tables += [_times(name, told, names), _counts(name, told, names), _apart(name, "all of it", told.difference, names)]
        tables.append(_apart(name, "generate", told.generate, names))
    tables.append(_as_published(accounts))
    appendix = [_statements(measured(results, accounts))]
    appendix += [_memory(name, kind, lines, names) for name, told in accounts.items() for kind, lines in told.memory.items()]
    return Report(
        title=f"{names['baseline']} beside {names['optimized']}",
        facts={name: printable(text) for name, text in _facts(results).items()},
        headline=_headline(EQUAL, accounts, names),
        second_headline=_headline(OWN, accounts, names),
        tables=tuple(tables),
        outputs=_outputs(results, names),
        notes=tuple(map(printable, _notes(results, accounts, names))),
        appendix=tuple(appendix),
    )


Names = Mapping[Side, str]


def _facts(results: Mapping[str, Result]) -> dict[str, str]:
    result = next(iter(results.values()))
    facts = {}
    for side, measured in result.variants().items():
        workload, build, work = measured.workload, measured.builds[0], measured.runs[0].work
        size = f"preset {workload.preset}" if workload.preset else f"weights of {workload.weights}"
        size += f", random weights of seed {workload.seed}" if workload.seed is not None else ""
        facts["Baseline" if side == "baseline" else "Beside it"] = (
            f"{workload.model}, {size}, {build.parameters / 1e6:,.1f} million parameters, {work.dtype} on {workload.device}, "
            f"variant {measured.variant}{_idle(measured)}"
        )
        facts[f"Loading of {workload.model}"] = KINDS[workload.kind]
    machine = result.sessions[0].machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.packages.items() if name in ("torch", "transformers") and version)
    gpu = f"{machine.gpu.name}; " if machine.gpu is not None else ""
    source = f"; evbench at {machine.source}" if machine.source else ""
    facts["Scenes"] = f"{len(result.baseline.workload.samples)}, the same for both; asked: {result.baseline.workload.prompt}"
    facts["Machine"] = f"{gpu}{machine.cpu}, {machine.cores} cores; Python {machine.python}, {versions}{source}"
    kinds = " and ".join(sorted({block.order for one in results.values() for block in one.sessions[0].blocks}))
    counts = " and ".join(str(len(one.sessions[0].blocks)) for one in results.values())
    invocations = " and ".join(str(len({block.invocation for block in one.sessions[0].blocks})) for one in results.values())
    facts["Order"] = (
        f"{_at(results)} {counts} blocks {kinds}, drawn by lot (A the baseline), over {invocations} starts of the workers; each "
        "letter one run as a user has it and one with barriers between the stages"
    )
    return facts


def _at(lengths: Iterable[str]) -> str:
    return " and ".join(TITLES[name].lower().removesuffix(" length") for name in lengths) + " length"


def _idle(measured: SideResult) -> str:
    """In brackets, the choices that are not those of `baseline` and have no effect here."""
    usual = choices.VARIANTS["baseline"].choices()
    told = []
    for part, choice in measured.choices.items():
        if part in usual and choice != usual[part]:  # a stored result may know another part
            if measured.workload.kind not in choices.EFFECT[part]:
                told.append(f"{part}={choice}: no effect on {choices.KINDS[measured.workload.kind]}")
            elif part == "feed":
                told.append(f"{part}={choice}: no effect on samples one by themselves")
    return f" ({'; '.join(told)})" if told else ""


def _headline(name: str, accounts: Mapping[str, Account], names: Names) -> str:
    if name not in accounts:
        return ""
    told = accounts[name]
    if told.invalid:
        return f"{TITLES[name]}: INVALID: {'; '.join(told.invalid)}"
    return f"{TITLES[name]}: end to end {_sentence(told.total, names)}; a further token {_sentence(told.line(TOKEN), names)}"


def _sentence(line: Line, names: Names) -> str:
    """How many times as long it takes, or that no difference was found."""
    if line.interval is None:
        return "has no interval: it takes six blocks of one scene, or two scenes, at least"
    around = f"95 % interval {format_ratios(line.interval.low, line.interval.high)}"
    if not line.different:
        return f"shows no difference ({around} times)"
    return f"takes {names['baseline']} {format_ratio(line.interval.ratio)} times as long as {names['optimized']}, {around}"


NONE_FOUND, NOT_AMONG = "no difference found", "none found among so many"
"""Where the interval includes 1, and where it does not but one of so many may well not by chance."""
FORMS: dict[Unit, Callable[[float], str]] = {
    "seconds": format_seconds,
    "bytes": lambda count: format_bytes(round(count)),
    "tokens": lambda count: f"{count:,.4g}",
}


def _columns(names: Names) -> tuple[str, ...]:
    return ("", names["baseline"], names["optimized"], "times as much", "95 % interval", "")


def _row(line: Line, name: str | None = None) -> tuple[str, ...]:
    medians = [NOT_MEASURED if (value := line.medians[side]) is None else FORMS[line.unit](value) for side in SIDES]
    if line.interval is None:
        return (name or line.name, *medians, "-", "-", "")
    found = "" if line.different else NOT_AMONG if leaves_out_1(line.interval) else NONE_FOUND
    # A ratio that may be 1 is not printed: it would be read as one that is not.
    ratio = format_ratio(line.interval.ratio) if line.different else "-"
    return (name or line.name, *medians, ratio, format_ratios(line.interval.low, line.interval.high), found)


def _times(name: str, told: Account, names: Names) -> Table:
    rows = [_row(line) for line in (*told.stages, told.total, *told.inside)]
    return Table(f"{TITLES[name]}: median times, and how many times as long {names['baseline']} takes", _columns(names), tuple(rows))


def _counts(name: str, told: Account, names: Names) -> Table:
    rows = [_row(line) for line in told.tokens]
    if LENGTHS[name]:
        rows.append(("answers cut off at the limit", *(f"{told.sides[side].cut:.0%}" for side in SIDES), "", "", ""))
    rows.append(("of the captions told right", *(_share(told.sides[side].score) for side in SIDES), "", "", ""))
    rows.append(("captions exactly right", *(_exact(told.sides[side].score) for side in SIDES), "", "", ""))
    return Table(f"{TITLES[name]}: tokens, and what of the captions is right", _columns(names), tuple(rows))


def _share(score: Score | None) -> str:
    if score is None:
        return "no caption known"
    if score.low is None or score.high is None:
        return f"{score.share:.1%}"
    return f"{score.share:.1%} ({score.low:.1%} - {score.high:.1%})"


def _exact(score: Score | None) -> str:
    return NOT_MEASURED if score is None else f"{score.exact} of {score.scenes}"


def _apart(name: str, what: str, split: Split, names: Names) -> Table:
    of = "the whole" if what == "all of it" else what
    title = f"{TITLES[name]}: where the difference of {of} comes from: means, {names['baseline']} less {names['optimized']}"
    rows = [_part(part) for part in (*split.parts, split.whole)]
    return Table(title, ("", "longer by", "95 % interval", "share"), tuple(rows))


def _part(part: Part) -> tuple[str, ...]:
    around = "-" if part.low is None or part.high is None else f"{format_signed(part.low)} to {format_signed(part.high)}"
    # Shares of a difference that was not found would be shares of noise.
    return (part.name, format_signed(part.amount), around, "-" if part.share is None else f"{part.share:.1%}")


def _as_published(accounts: Mapping[str, Account]) -> Table:
    """The published table, with what was measured here beside it."""
    length = _told_last(accounts)
    told = accounts[length]
    page = read_page()
    sides = {prefix: told.side(model["name"]) for prefix, model in page.models.items()}

    def row(name: str, line: Line, total: str) -> tuple[str, ...]:
        published = [page.figures[f"{prefix}_{total}"] for prefix in sides]
        values = [float(figure.text) for figure in published]
        ratio = f"{values[0] / values[1]:.3g}" if all(values) else "-"
        _, one, other, *_ = _row(line)
        here = {"baseline": one, "optimized": other}
        interval = line.interval
        if interval is None or not line.different:
            times = "-"
        else:
            times = format_ratio(interval.ratio if sides["video"] == "baseline" else 1 / interval.ratio)
        return (name, *map(str, published), ratio, *(here[side] for side in sides.values()), times)

    rows = [row(stage, told.line(stage), stage) for stage in STAGES]
    rows.append(row(TOTAL, told.total, "total"))
    rows.append(row("new tokens", told.line("new tokens"), "new_tokens"))
    rows.append(row("time of a token", told.line(TOKEN), "tpot"))
    titles = [model["title"] for model in page.models.values()]
    columns = ("", *(f"{title}, published" for title in titles), "ratio", *(f"{title}, here" for title in titles), "ratio")
    return Table(f"The published table, and the same of this machine and these weights {_at([length])}", columns, tuple(rows))


def _told_last(lengths: Iterable[str]) -> str:
    """The one at which answers end by themselves, if there is it: else the other."""
    return OWN if OWN in lengths else EQUAL


def statements(results: Mapping[str, Result]) -> Table:
    """What the published page states, and whether it holds, in short."""
    told = _statements(measured(results, measure(results)))
    return Table(
        told.title, tuple(told.columns[place] for place in SHORT), tuple(tuple(row[place] for place in SHORT) for row in told.rows)
    )


SHORT = (0, 2, 3, 4)
"""Columns for a terminal."""


def _statements(found: Known) -> Table:
    page = read_page()
    findings = examine(page, found)
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
    return Table(
        "What the published page states, and whether it holds", ("statement", "line", "", "it says", "found", "by", "note"), tuple(rows)
    )


def _memory(name: str, kind: str, lines: Sequence[Line], names: Names) -> Table:
    return Table(f"{TITLES[name]}: peak memory in each stage, {MEMORY[kind]}", _columns(names), tuple(_row(line) for line in lines))


def _outputs(results: Mapping[str, Result], names: Names) -> dict[str, str]:
    """Of the first scene, at the length that an answer has by itself, if that was run."""
    length = _told_last(results)
    where = "" if length == OWN else f", {_at([length])}"
    told = {}
    for side, measured in results[length].variants().items():
        told[f"{names[side]} says{where}"] = printable(next(run.text for run in measured.timed() if run.sample == 0))
        if (caption := measured.workload.samples[0].caption) is not None:
            told[f"{names[side]} should say"] = caption
        if unstable := _unstable(measured):
            told[f"{names[side]} repeats itself"] = (
                f"NO: {unstable} of {len(measured.workload.samples)} scenes were answered in several ways"
            )
    return told


def _unstable(measured: SideResult) -> int:
    return sum(len(set(answers)) > 1 for answers in measured.answers().values())


def _notes(results: Mapping[str, Result], accounts: Mapping[str, Account], names: Names) -> list[str]:
    notes = [
        "Two models, not two programs of one: nothing is FASTER here, and no output is preserved. A ratio says how many times as much of "
        f"something {names['baseline']} takes as {names['optimized']}, with the interval over the scenes; where it includes 1, no "
        "difference was found. Within each table claims are corrected for the number of rows of one kind (Holm).",
        "Captions of an event camera tell neither colours nor the time of day: the two models are each held against their own.",
        "A further token is timed by itself: decoding over all tokens but the first, without prefill.",
        f"The published page: {read_page().source}. Its times are of another machine, and of weights that are not these.",
    ]
    for name, told in accounts.items():
        result = results[name]
        if name == EQUAL:
            tokens = result.baseline.workload.new_tokens
            notes.append(f"{TITLES[name]}: both generate {tokens} tokens, silent ones behind the end of an answer.")
        else:
            limit = result.baseline.workload.new_tokens
            notes.append(f"{TITLES[name]}: an answer ends with its end token, or is cut off at {limit} tokens.")
        for side, measured in result.variants().items():
            if measured.unsteady:
                notes.append(f"NOT_STEADY, {name}: {names[side]}: {'; '.join(dict.fromkeys(measured.unsteady))}.")
        if told.disturbed:
            notes.append(f"{TITLES[name]}: {_disturbed(result, told.disturbed)}.")
        if told.invalid and any(line.interval is not None for line in told.tokens):
            notes.append(f"{TITLES[name]}: INVALID is what was timed; numbers of tokens are told, which nothing disturbs.")
        if len({block.invocation for block in result.sessions[0].blocks}) == 1:
            notes.append(f"ONE_START, {name}: each worker was started once: others may differ; give --invocations.")
        if any(session.plan.order == "reload" for session in result.sessions):
            notes.append(f"ORDER=RELOAD, {name}: only one worker fits at a time: each block starts both anew, one after the other.")
    if any(measured.workload.seed is not None for measured in next(iter(results.values())).variants().values()):
        notes.append("Random weights: the answers mean nothing, and neither does their length.")
    if len(accounts) < len(LENGTHS):
        notes.append(f"Not ended: {', '.join(name for name in LENGTHS if name not in accounts)}; go on with --resume.")
    return notes


def _disturbed(result: Result, count: int) -> str:
    """What became of the blocks that something disturbed."""
    (session,) = result.sessions
    if not disturbed_too_often(result.sessions):
        return f"{count} blocks were disturbed, run again"
    if len(session.blocks) - count < session.plan.blocks:
        return f"{count} blocks were disturbed, too many to be run again"
    # Few blocks are more than their share at once, also where as many as were asked for are clean.
    return f"{count} of {len(session.blocks)} blocks were disturbed, run again, and yet more than {MOST_DISTURBED:.0%} of all"


def file_names(results: Mapping[str, Result]) -> list[str]:
    """Of the raw runs, in the folder."""
    return [str(Path(name, "runs.jsonl")) for name in results]
