"""A result and its judgement -> JUnit XML, as servers for continuous integration read it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
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


def to_junit(result: Result, judgement: Judgement) -> str:
    """One suite: the verdict, each demand, and of each stage whether its outputs are preserved.

    A test fails where the exit code of the comparison is not 0, and else none does. Flags are the output of the suite.
    """
    cases = [_verdict(result, judgement), *map(_demand, judgement.demands), *_outputs(judgement)]
    failures = str(sum(bool(case.failed) for case in cases))
    variants = " against ".join(measured.variant for measured in reversed(list(result.variants().values())))
    counts = {"tests": str(len(cases)), "failures": failures, "errors": "0"}
    root = ElementTree.Element("testsuites", {"name": "evbench", **counts})
    name = printable(f"{result.baseline.workload.model}: {variants}")
    suite = ElementTree.SubElement(root, "testsuite", {"name": name, **counts, "skipped": "0", "timestamp": result.created[:19]})
    properties = ElementTree.SubElement(suite, "properties")
    for key, value in _properties(result, judgement).items():
        ElementTree.SubElement(properties, "property", {"name": key, "value": printable(value)})
    for case in cases:
        made = ElementTree.SubElement(suite, "testcase", {"classname": name, "name": printable(case.name)})
        if case.failed:
            told = printable(case.failed)
            ElementTree.SubElement(made, "failure", {"message": told, "type": case.kind}).text = told
    if judgement.flags:
        lines = (printable(f"{flag}: {text}") for flag, text in judgement.flags.items())
        ElementTree.SubElement(suite, "system-out").text = "\n".join(lines)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


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


def _demand(outcome: DemandOutcome) -> Case:
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
