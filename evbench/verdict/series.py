"""Runs -> series over an answer and over a session. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from evbench.results import Kind, Result, Side
from evbench.verdict.blocks import counted_blocks, counted_runs, end_to_end_seconds, mean
from evbench.verdict.statistics import Distribution, distribution


@dataclass(frozen=True)
class PlacedRun:
    """One run, at its place in the session."""

    turn: int
    """Position in the order of all runs."""
    side: Side
    kind: Kind
    block: int | None
    invocation: int | None
    """None outside of blocks."""
    sample: int
    synchronized: bool
    """Whether the stages were synchronized: then `seconds` is their sum."""
    disturbed: bool
    """Whether its block does not count."""
    seconds: float


def runs_in_order(result: Result) -> tuple[PlacedRun, ...]:
    """All single runs of both sides, first calls, warm-up and disturbed blocks included. Turns of sides measured apart do not compare."""
    found = []
    for side, measured in result.variants().items():
        blocks = {block.number: block for block in result.session(measured).blocks}
        for run in measured.runs:
            block = None if run.block is None else blocks[run.block]
            invocation, disturbed = (None, False) if block is None else (block.invocation, bool(block.disturbances))
            found.append(
                PlacedRun(run.turn, side, run.kind, run.block, invocation, run.sample, run.stages is not None, disturbed, run.seconds)
            )
    return tuple(sorted(found, key=lambda run: (run.turn, run.side)))


def decode_steps(result: Result) -> dict[Side, tuple[Distribution, ...]]:
    """Side -> seconds behind the token before, of each token over its counted runs, the first behind the prefill first. With drafts most
    come with the token before them. Sides without such a token are left out."""
    found: dict[Side, tuple[Distribution, ...]] = {}
    for side, measured in result.variants().items():
        runs = counted_runs(measured, counted_blocks(result.session(measured)))
        answers = [run.decode_step_seconds for run in runs if run.decode_step_seconds]
        longest = max(map(len, answers), default=0)
        steps = (distribution([answer[step] for answer in answers if step < len(answer)]) for step in range(longest))
        if known := tuple(step for step in steps if step is not None):
            found[side] = known
    return found


def mean_end_to_end(result: Result, side: Side) -> float | None:
    """Mean seconds of its counted runs without stage synchronization, as the decomposition takes it. None if no run counts."""
    measured = result.variants()[side]
    runs = counted_runs(measured, counted_blocks(result.session(measured)))
    return mean(runs, end_to_end_seconds) if runs else None
