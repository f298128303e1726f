"""A judgement -> a few sentences for who does not measure. Pure."""

from __future__ import annotations

from evbench.report.facts import model_size
from evbench.report.units import format_ratio, format_ratios, format_seconds
from evbench.results import Result
from evbench.verdict.judgement import MIN_CLAIM, Judgement, Preserved, Verdict

OUTPUTS: dict[Preserved | None, str] = {
    "pass": "Its outputs are preserved.",
    "warn": "Its outputs are nearly preserved: some values differ by more than expected, but by too little to call the outputs different.",
    "fail": "Its outputs are not preserved.",
    "lossy": "Its outputs are not preserved, by design: how much is lost stands below.",
    None: "Outputs were not compared.",
}


def what_was_measured(result: Result) -> str:
    """The model, the machine and the day."""
    workload = result.baseline.workload
    machines = (result.session(measured).machine for measured in result.variants().values())
    names = dict.fromkeys(machine.gpu.name if machine.gpu is not None else machine.cpu for machine in machines)
    ways = "run in two ways" if result.optimized is not None else "run in one way"
    return f"{model_size(workload)}, in {workload.dtype}, {ways} on {' and '.join(names)}; measured on {result.created[:10]}."


def in_plain_words(judgement: Judgement) -> str:
    """What was found, how sure that is, and whether outputs are preserved."""
    timing, because = judgement.end_to_end, "; ".join(judgement.reasons)
    medians = {side: format_seconds(found.median) for side, found in timing.sides.items() if found is not None}
    if judgement.verdict is None:
        return f"One variant was measured: one sample takes {medians.get('baseline', 'an unknown time')} from file to text, at the median."
    if judgement.verdict is Verdict.OUTPUT_DIFFERS:
        return f"The optimized variant gives other outputs than the baseline, so no speedup is claimed: {because}."
    if judgement.verdict is Verdict.INVALID:
        what = "The two sides cannot be compared, so nothing is claimed" if len(timing.sides) > 1 else "No run counts, so nothing is told"
        return f"{what}: {because}."
    interval = timing.interval
    if interval is None or judgement.claim is Verdict.INCONCLUSIVE:
        open_question = "It is open which side is faster: the interval allows both, or too small a difference."
        lossy = f" {OUTPUTS['lossy']}" if judgement.preserved == "lossy" else ""
        return (f"No difference is claimed: {because}." if because else open_question) + lossy
    between = format_ratios(interval.low, interval.high).replace(" - ", " and ")
    sure = f"With 95 % confidence the true ratio is between {between}."
    times = f"from file to text: {medians.get('optimized')} for one sample, where the baseline takes {medians.get('baseline')}"
    if judgement.claim is Verdict.SAME:
        return f"Both sides are equally fast, within {MIN_CLAIM:.0%}, {times}. {sure} {OUTPUTS[judgement.preserved]}"
    how = (
        f"{format_ratio(interval.ratio)} as fast"
        if judgement.claim is Verdict.FASTER
        else f"slower, {format_ratio(interval.ratio)} as fast"
    )
    quotient = judgement.ratio_of_medians
    apart = f"; their quotient is {format_ratio(quotient)}, the ratio in front is of neighbouring runs" if quotient is not None else ""
    return f"The optimized variant is {how} {times} (medians{apart}). {sure} {OUTPUTS[judgement.preserved]}"
