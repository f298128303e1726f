"""A result and its judgement -> the few lines that are printed at the end of a session. All else is in the report. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from evbench.report import loss, notes, outputs, timings
from evbench.report.exit_reason import exit_reason
from evbench.report.facts import disturbed
from evbench.report.metrics import format_value
from evbench.report.next_steps import next_steps
from evbench.report.outputs import TOKENS
from evbench.report.render import Report, Summary, Table
from evbench.report.units import format_bytes, format_seconds
from evbench.results import STAGES, Result, Side, Workload
from evbench.verdict.blocks import TPOT, TTFT
from evbench.verdict.judgement import Judgement
from evbench.verdict.metrics import MEMORY, STARTUP, Metric
from evbench.verdict.refusal import unseen
from evbench.verdict.statistics import Distribution

LONGEST, LONGEST_HEADLINE = 150, 300
"""Characters of one text. The report has all of it."""
OF_MEMORY = ("device", "process")
"""Kinds of memory, of which the first that is known is shown."""


def summarize(result: Result, judgement: Judgement, report: Report) -> Summary:
    """`report`: of the same result."""
    headline = report.headline or f"{result.baseline.variant}: {_median(judgement, result.baseline.workload)}"
    return Summary(
        headlines=tuple(shorten(text, LONGEST_HEADLINE) for text in (headline, report.second_headline) if text),
        subject=shorten(f"{report.title}; {_work(result, judgement)}{_changed(report)}", 2 * LONGEST),
        table=_times(judgement),
        texts=_shortened(_outputs(result, judgement) | _flags(judgement) | _cost(judgement)),
        said=_shortened(_said(result, judgement)),
        steps=next_steps(result, judgement),
        exit=exit_reason(result, judgement),
    )


def shorten(text: str, longest: int = LONGEST) -> str:
    """Cut between two words.

    >>> shorten("a long text", 7)
    'a long …'
    """
    return text if len(text) <= longest else f"{text[: longest + 1].rpartition(' ')[0] or text[:longest]} …"


def outputs_and_cost(result: Result, judgement: Judgement) -> dict[str, str]:
    """Name -> text, for who reads no more: whole ones, and without flags."""
    return _outputs(result, judgement) | _cost(judgement)


def _shortened(texts: dict[str, str]) -> dict[str, str]:
    return {name: shorten(text) for name, text in texts.items()}


def _median(judgement: Judgement, workload: Workload) -> str:
    found = judgement.end_to_end.sides["baseline"]
    if found is None:
        return "no run counts"
    each = "one sample" if workload.batch == 1 else f"{workload.batch} samples together"
    return f"{format_seconds(found.median)} end-to-end, the median of {found.runs} runs of {each}" + (
        " each" if workload.batch == 1 else ""
    )


def _changed(report: Report) -> str:
    return f"; {report.facts['Difference']}" if "Difference" in report.facts else ""


def _work(result: Result, judgement: Judgement) -> str:
    workload, blocks = result.baseline.workload, judgement.blocks
    of = workload.preset or workload.weights or "a pipeline of its own"
    invocations = f"{blocks.invocations} invocation{'' if blocks.invocations == 1 else 's'}"
    counted = f"{blocks.counted} block{'' if blocks.counted == 1 else 's'} over {invocations}"
    return f"{of}, {workload.dtype} on {workload.device}; {counted}{disturbed(blocks)}"


def _times(judgement: Judgement) -> Table:
    """Of the stages, of one sample end-to-end, of tokens, and of throughput runs."""
    tokens = [timing for timing in judgement.tokens if timing.name in (TTFT, TPOT)]
    shown = [*judgement.stages, judgement.end_to_end, *tokens, *(() if judgement.throughput is None else (judgement.throughput,))]
    rows = tuple(timings.row(timing, judgement) for timing in shown)
    return Table("Median times", timings.columns(judgement), rows)


def _outputs(result: Result, judgement: Judgement) -> dict[str, str]:
    """Whether they are preserved. Empty for one side."""
    tokens = outputs.texts(result, judgement).get(TOKENS)
    told = {} if tokens is None else {"Outputs": f"{_preserved(result, judgement)}; tokens {tokens}"}
    return told if judgement.loss is None else told | {"Loss": loss.in_short(judgement.loss)}


def _said(result: Result, judgement: Judgement) -> dict[str, str]:
    """Generated text, once if both sides said the same."""
    told = {name: text for name, text in outputs.texts(result, judgement).items() if name != TOKENS}
    return {"Output of both": next(iter(told.values()))} if len(told) > 1 and len(set(told.values())) == 1 else told


def _preserved(result: Result, judgement: Judgement) -> str:
    if result.outputs is None:
        return "not compared"
    checks = result.outputs.checks
    beyond = [summary.check for summary in judgement.checks if summary.closest_of is None]
    against = f"against {result.outputs.reference}" if result.outputs.reference else "without a reference"
    if hidden := unseen(result):
        word = "differ" if judgement.preserved == "fail" else "not all seen"
        return f"{word}, {len(checks) - len(beyond)} of {len(checks)} checks pass {against} ({hidden[0].partition(':')[0]}: see above)"
    if judgement.loss is not None:
        chosen = ", ".join(dict.fromkeys(choice for choices in judgement.loss.choices.values() for choice in choices))
        if judgement.preserved == "lossy":
            return f"LOSSY by {chosen}, {len(checks) - len(beyond)} of {len(checks)} checks pass less that loss"
        word = "not judged" if judgement.preserved is None else f"NOT as {chosen} alone makes them"
        return f"{word}, {len(beyond)} of {len(checks)} checks {against} do not pass"
    if not beyond:
        return f"preserved, {len(checks)} checks pass {against}"
    word = "NOT preserved" if judgement.preserved == "fail" else "nearly preserved"
    return f"{word}, {len(beyond)} of {len(checks)} checks {against} do not pass ({beyond[0].stage}: {beyond[0].rule})"


def _cost(judgement: Judgement) -> dict[str, str]:
    """Memory and start-up of each side, and when a longer start-up has paid off."""
    found = {}
    if (kind := memory_kind(judgement)) is not None:
        stages = list(memory_of_stages(kind, judgement).values())
        found["Peak memory"] = f"{_of_sides({side: _largest(stages, side) for side in judgement.end_to_end.sides})} ({MEMORY[kind][0]})"
    if STARTUP in judgement.metrics:
        startup = judgement.metrics[STARTUP]
        found["Start-up"] = _of_sides({side: format_value(startup.unit, value) for side, value in startup.sides.items()})
    if judgement.break_even is not None:
        found["Break-even"] = notes.break_even(judgement.break_even, judgement).removeprefix("Break-even: ")
    return found


def memory_kind(judgement: Judgement) -> str | None:
    """That is told first: of the GPU, or of the process. None if none is known."""
    return next((kind for kind in OF_MEMORY if memory_of_stages(kind, judgement)), None)


def memory_of_stages(kind: str, judgement: Judgement) -> dict[str, Metric]:
    """Stage -> its peak, in bytes."""
    return {stage: judgement.metrics[name] for stage in STAGES if (name := f"{kind}-memory-{stage}") in judgement.metrics}


def _largest(stages: list[Metric], side: Side) -> str:
    """Of the peaks of all stages."""
    values = [value.maximum if isinstance(value, Distribution) else value for metric in stages if (value := metric.sides[side]) is not None]
    return format_bytes(round(max(values))) if values else "n/a"


def _of_sides(values: Mapping[Side, str]) -> str:
    return ", ".join(f"{side} {value}" for side, value in values.items()) if len(values) > 1 else next(iter(values.values()))


def _flags(judgement: Judgement) -> dict[str, str]:
    """Their names: what each means is in the report."""
    names = ", ".join(judgement.flags)
    return {"Flags": f"{names}: see the notes of report.md"} if names else {}
