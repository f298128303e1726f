"""Why a command ends with its exit code -> one line. Pure."""

from __future__ import annotations

from evbench.report.units import NOT_MEASURED, format_demanded, format_range, format_ratio, format_ratios, format_seconds
from evbench.results import ALLOW_LOSSY, Result
from evbench.verdict import demands
from evbench.verdict.demands import Demand, DemandOutcome
from evbench.verdict.judgement import UNCLEAR, UNMET, Judgement, Verdict

MOST = 3
"""Number of demands that are named."""


def exit_reason(result: Result, judgement: Judgement) -> str:
    """Such as `exit 3: generate 441 ms, target 100 ms`."""
    return f"exit {judgement.exit_code}: {_reason(result, judgement)}"


def _reason(result: Result, judgement: Judgement) -> str:
    verdict, rules, before = judgement.verdict, result.rules, ""
    if verdict not in (Verdict.OUTPUT_DIFFERS, Verdict.INVALID):
        asked = demands.read(rules.targets, rules.fail_if, result.baseline.workload.model)
        for code, met in ((UNMET, False), (UNCLEAR, None)):
            found = [_demand(one, outcome) for one, outcome in zip(asked, judgement.demands, strict=True) if outcome.met is met]
            if found and judgement.exit_code == code:
                more = [f"and {len(found) - MOST} more"] if len(found) > MOST else []
                return "; ".join([*found[:MOST], *more])
    if verdict is None:
        return "measured" + (", each target is met" if judgement.demands else "")
    if verdict is Verdict.LOSSY:
        if ALLOW_LOSSY not in rules.allowed:
            return f"{verdict}: outputs are not preserved, by design; --allow {ALLOW_LOSSY} makes it the code of the times"
        verdict, before = judgement.claim, f"LOSSY, which --allow {ALLOW_LOSSY} takes, and "
    if rules.require_speedup and verdict is Verdict.SAME:
        return f"{before}{verdict}, and --require-speedup asks for more"
    if rules.fail_if and judgement.exit_code == 0 and verdict not in (Verdict.FASTER, Verdict.SAME):
        return f"{before}{verdict}, and each --fail-if allows it"
    return f"{before}{verdict}" + (", each demand is met" if judgement.demands and judgement.exit_code == 0 else "")


def _demand(asked: Demand, outcome: DemandOutcome) -> str:
    """What was measured, and what was asked for; with the interval where that does not decide."""
    if asked.most is not None:
        measured = NOT_MEASURED if outcome.measured is None else format_demanded(outcome.measured, outcome.unit)
        return f"{asked.timing} {measured}, target below {format_demanded(asked.most, outcome.unit)}"
    if asked.seconds is not None:
        measured = NOT_MEASURED if outcome.measured is None else format_seconds(outcome.measured)
        if outcome.met is None and outcome.low is not None and outcome.high is not None:
            measured += f" (95% CI {format_range(outcome.low, outcome.high)})"
        return f"{asked.timing} {measured}, target {format_seconds(asked.seconds)}"
    assert asked.slower is not None
    limit = f"--fail-if allows {format_ratio(1 / (1 + asked.slower))}"
    if outcome.low is None or outcome.high is None:
        return f"{asked.timing} has no interval, {limit}"
    return f"{asked.timing} has a speedup of 95% CI {format_ratios(outcome.low, outcome.high)}, {limit}"
