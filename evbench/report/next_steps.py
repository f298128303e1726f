"""What a reader can do next, from the verdict and its reasons -> sentences, the most helpful first. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from evbench.results import ALLOW_CACHED, ALLOW_LOSSY, Result, Sample
from evbench.verdict.blocks import too_disturbed
from evbench.verdict.clusters import clusters
from evbench.verdict.judgement import CLAIMED, MIN_CLAIM, Judgement, Verdict
from evbench.verdict.refusal import is_compared, unevenly_failed
from evbench.verdict.statistics import FEWEST_BLOCKS

FEW_CAPTIONS = 100
"""Below it, the interval of a share reaches further than 4 % to one side at least."""
MOST = 3
"""Number of sentences that are given."""
OF_FLAGS = {
    "FAILED_SAMPLES": "Some samples could not be used: give whole ones in their place, or choose variants that read all of them.",
    "NOT_STEADY": "The warm-up did not become steady: give a higher --warmup, or end other programs on this machine.",
    "ONE_INVOCATION": "Other processes of the same variants may differ: give --invocations 4.",
    "NOT_PRECISE": "The interval is wider than --precision asks for: give a higher --max-time.",
    "ORDER_SENSITIVE": "The ratio depends on the order of runs: let the machine rest, and compare again.",
    "MEASURED_APART": "Sides of one comparison are interleaved: name two variants instead of earlier results.",
}
"""Name of a flag -> what to do about it."""
WAIT = "Wait for an idle machine: end other programs on it, then give the same command with another --out."
GO_ON = "Outputs were not compared: give the same command with --resume."
COMPARE_VARIANTS = (
    "Outputs were not compared, and earlier results do not have them: name the two variants instead, or go on with an interrupted session "
    "by its own command and --resume."
)


def next_steps(result: Result, judgement: Judgement) -> tuple[str, ...]:
    """At most MOST."""
    found: list[str] = []
    match judgement.verdict:
        case Verdict.INVALID:
            found += _of_invalid(result, judgement)
        case Verdict.OUTPUT_DIFFERS:
            found += _of_other_outputs(result, judgement)
        case Verdict.INCONCLUSIVE:
            found += _of_inconclusive(result, judgement)
        case Verdict.LOSSY:
            found += _of_lossy(result, judgement)
        case Verdict.SLOWER:
            found.append("Where the difference comes from is in report.md, stage by stage.")
    if judgement.verdict is not Verdict.INVALID:
        found += [step for flag, step in OF_FLAGS.items() if flag in judgement.flags]
    if judgement.claim in (*CLAIMED, Verdict.SAME) and judgement.end_to_end.name not in result.rules.noise_floors:
        found.append("The noise floor of this machine is not known: evbench selftest measures it.")
    return tuple(dict.fromkeys(found))[:MOST]


def _of_invalid(result: Result, judgement: Judgement) -> list[str]:
    found = []
    if any(too_disturbed(session) for session in result.sessions):
        found.append(WAIT)
    if judgement.unequal_work:
        found.append("Both sides must do the same work: choose variants that keep frames, prompt and tokens as they are.")
    if judgement.inactive:
        found.append(f"Leave out {judgement.inactive[0]}, or see 'Activation evidence' in report.md for what a run must show, and did not.")
    if any(reason.startswith("CACHED") for reason in judgement.reasons):
        found.append(f"Turn the cache off; with --allow {ALLOW_CACHED} times with it are claimed.")
    if "INPUT_IGNORED" in judgement.flags:
        found.append("Look for a buffer that is not filled again, or a result that is kept; --data with several scenes shows whose it is.")
    if "IMPOSSIBLE" in judgement.flags:
        found.append("A stage cannot have done its work in that time: look in its trace at what it left out.")
    return found or ["report.md says what a valid result is missing."]


def _of_lossy(result: Result, judgement: Judgement) -> list[str]:
    found = []
    if judgement.loss is not None and not judgement.loss.exact:
        found.append("A task score needs captions that are known: evbench scenes make DIR draws such scenes, and --data DIR takes them.")
    elif judgement.loss is not None and judgement.loss.captions < FEW_CAPTIONS:
        found.append(f"Scores of few captions have a wide interval, here of {judgement.loss.captions}: give --data with more scenes.")
    if ALLOW_LOSSY not in result.rules.allowed:
        found.append(f"If that loss is acceptable: with --allow {ALLOW_LOSSY} the exit code is that of the times.")
    return found


def _of_other_outputs(result: Result, judgement: Judgement) -> list[str]:
    sides = [measured.variant for measured in result.variants().values()]
    changed = [
        part for part, choice in result.baseline.choices.items() if (result.optimized or result.baseline).choices.get(part) != choice
    ]
    found = ["'All checks of outputs' in report.md says which element of which stage is furthest off."]
    if len(changed) > 1:
        found.insert(0, f"Find the choice at fault: evbench ladder --from {sides[0]} --to {sides[-1]}")
    return found


def _is_of_its_session(result: Result) -> bool:
    """Whether the result was written by the session that measured it. One of earlier sides, or of a session that was resumed, is newer."""
    return all(session.started == result.created for session in result.sessions)


def _of_inconclusive(result: Result, judgement: Judgement) -> list[str]:
    interval, blocks = judgement.end_to_end.interval, judgement.blocks.counted
    if len({measured.session for measured in result.variants().values()}) > 1:
        return []  # the flag says it
    if unevenly_failed(result.variants()):
        return []  # the flag says it
    if result.outputs is None or not is_compared(result):
        return [GO_ON if _is_of_its_session(result) else COMPARE_VARIANTS]
    if result.outputs.reference is None:
        return ["Compare where there is more memory, or with a smaller --preset: a reference must fit beside the workers."]
    if interval is None:
        return [f"Give --blocks {FEWEST_BLOCKS} at least; 12 are usual."]
    found = [_narrower(result.baseline.workload.samples, blocks)]
    if judgement.end_to_end.claim_threshold > MIN_CLAIM:
        floor = f"{judgement.end_to_end.claim_threshold:.1%}"
        found.append(f"Nothing below the noise floor of {floor} is claimed: on an idle machine, evbench selftest finds a lower one.")
    return found


def _narrower(samples: Sequence[Sample], blocks: int) -> str:
    """Units of the interval are what samples, or their sequences, differ by: more blocks of the same ones would leave it as it is."""
    if len(samples) == 1:
        return f"More blocks narrow the interval: --blocks {4 * blocks} about halves it."
    units = len(set(clusters(samples)))
    what = "samples" if units == len(samples) else "sequences"
    more = 4 * units * (len(samples[0].rows()) if what == "samples" else 1)
    return f"More {what} narrow the interval: {more} in --data about halve it."
