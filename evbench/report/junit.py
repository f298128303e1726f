"""A judgement, or demands on a history -> JUnit XML, as servers for continuous integration read it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree

from evbench.report.render import printable
from evbench.report.units import format_demanded, format_ratios, format_seconds
from evbench.results import ALLOW_LOSSY, Result
from evbench.verdict.demands import DemandOutcome
from evbench.verdict.judgement import EXIT_CODES, Judgement, Verdict

MARK = '<?xml version="1.0" encoding="utf-8"?>\n<testsuites name="evbench"'
"""How the file begins: by it evbench finds what it may replace."""


@dataclass(frozen=True)
class Case:
    """One test."""

    name: str
    failed: str
    """Why. Empty if it passed."""
    kind: str = ""
    """Type of the failure: a verdict, or what a demand came to."""


@dataclass(frozen=True)
class Suite:
    """Tests of one thing."""

    name: str
    cases: Sequence[Case]
    timestamp: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    output: str = ""


def document(suites: Sequence[Suite]) -> str:
    """The file."""
    root = ElementTree.Element("testsuites", {"name": "evbench", **_counts([case for suite in suites for case in suite.cases])})
    for suite in suites:
        name, when = printable(suite.name), {"timestamp": suite.timestamp} if suite.timestamp else {}
        found = ElementTree.SubElement(root, "testsuite", {"name": name, **_counts(suite.cases), "skipped": "0", **when})
        properties = ElementTree.SubElement(found, "properties")
        for key, value in suite.properties.items():
            ElementTree.SubElement(properties, "property", {"name": key, "value": printable(value)})
        for case in suite.cases:
            made = ElementTree.SubElement(found, "testcase", {"classname": name, "name": printable(case.name)})
            if case.failed:
                told = printable(case.failed)
                ElementTree.SubElement(made, "failure", {"message": told, "type": case.kind}).text = told
        if suite.output:
            ElementTree.SubElement(found, "system-out").text = suite.output
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _counts(cases: Sequence[Case]) -> dict[str, str]:
    return {"tests": str(len(cases)), "failures": str(sum(bool(case.failed) for case in cases)), "errors": "0"}


def to_junit(result: Result, judgement: Judgement) -> str:
    """One suite: the verdict, each demand, and of each stage whether its outputs are preserved.

    A test fails where the exit code of the comparison is not 0, and else none does. Flags are the output of the suite.
    """
    cases = [_verdict(result, judgement), *map(case_of, judgement.demands), *_outputs(judgement)]
    variants = " against ".join(measured.variant for measured in reversed(list(result.variants().values())))
    name = f"{result.baseline.workload.model}: {variants}"
    flags = "\n".join(printable(f"{flag}: {text}") for flag, text in judgement.flags.items())
    return document([Suite(name, cases, result.created[:19], _properties(result, judgement), flags)])


def _verdict(result: Result, judgement: Judgement) -> Case:
    """As the exit code has it: with --fail-if a smaller slowdown, and one that is not decided, are no failure of their own."""
    verdict = judgement.verdict
    if verdict is None:
        return Case("measured", "")
    if verdict is Verdict.LOSSY and ALLOW_LOSSY in result.rules.allowed and judgement.claim is not None:
        verdict = judgement.claim
    code = EXIT_CODES[verdict]
    if verdict not in (Verdict.OUTPUT_DIFFERS, Verdict.INVALID, Verdict.LOSSY):
        if result.rules.require_speedup and verdict is Verdict.SAME:
            return Case("verdict", "SAME, and --require-speedup was given", verdict)
        if result.rules.fail_if and not result.rules.require_speedup:
            code = 0
    interval = judgement.end_to_end.interval
    speedup = [] if interval is None else [f"end-to-end speedup 95% CI {format_ratios(interval.low, interval.high)}"]
    return Case("verdict", f"{judgement.verdict}: {'; '.join(judgement.reasons or speedup)}" if code else "", str(judgement.verdict))


def case_of(outcome: DemandOutcome) -> Case:
    """A demand. What is undecided fails, too."""
    if outcome.met:
        return Case(outcome.text, "")
    bounds = "no interval"
    if outcome.low is not None and outcome.high is not None:
        if outcome.unit == "seconds":
            bounds = f"95% CI {format_seconds(outcome.low)} - {format_seconds(outcome.high)}"
        elif outcome.unit == "ratio":
            bounds = f"95% CI {format_ratios(outcome.low, outcome.high)}"
        else:
            bounds = format_demanded(outcome.low, outcome.unit)
    told, kind = ("undecided", "UNCLEAR") if outcome.met is None else ("not met", "UNMET")
    return Case(outcome.text, f"{told}: {bounds}", kind)


def _outputs(judgement: Judgement) -> list[Case]:
    """Of each stage that was compared. Where they differ the verdict says so, too, unless something else made it INVALID."""
    differs = "the outputs of {} differ by more than rounding explains: see the output checks of the report"
    return [
        Case(f"outputs of {stage}", differs.format(stage) if grade == "fail" else "", Verdict.OUTPUT_DIFFERS)
        for stage, grade in judgement.grades.items()
    ]


def _properties(result: Result, judgement: Judgement) -> dict[str, str]:
    """The verdict, medians in seconds, and speedups with their intervals."""
    found = {"command": result.command, "verdict": judgement.verdict or "measured", "exit code": str(judgement.exit_code)}
    for timing in judgement.timings():
        for side, times in timing.sides.items():
            if times is not None:
                found[f"{timing.name}, {side}, median seconds"] = repr(times.median)
        if timing.interval is not None:
            interval = timing.interval
            found[f"{timing.name}, speedup"] = f"{interval.ratio!r} ({interval.low!r} - {interval.high!r})"
    return found
