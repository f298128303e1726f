"""A recorded comparison and the same one measured again -> words, tables and two files. Pure, but for `write`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evbench.encoding import to_json, write_whole
from evbench.report.render import Table, file_of, printable, tables_and_notes
from evbench.report.units import NOT_MEASURED, format_ratio, format_ratios, format_seconds
from evbench.results import SIDES
from evbench.verdict.blocks import END_TO_END
from evbench.verdict.judgement import Judgement
from evbench.verdict.reproduction import Change, Outcome, Reproduction

JUDGED, REPORT = "reproduction.json", "reproduction.md"
COLUMNS = ("", *(name for side in SIDES for name in (side, "now")))
"""Of each side what was recorded, and what it is now."""


def write(found: Reproduction, recorded: Judgement, again: Judgement, created: str, command: str, folder: Path) -> None:
    """Write `reproduction.json` and `reproduction.md`, each whole or not at all. Raises OSError."""
    write_whole(folder / JUDGED, to_json(found, indent=1) + "\n")
    lines = [
        "# The same comparison again",
        "",
        f"{created}, `{command}`; recorded {found.recorded_session}",
        "",
        f"**{headline(found)}**",
        "",
    ]
    write_whole(folder / REPORT, file_of([*lines, *tables_and_notes(tables(found, recorded, again), notes(found, recorded, again))]))


def headline(found: Reproduction) -> str:
    """The outcome in one sentence."""
    whole = next((change for change in found.changes if change.name == END_TO_END), None)
    speedups = (
        "" if whole is None else f"end-to-end speedup {format_ratio(whole.recorded.ratio)} recorded, {format_ratio(whole.again.ratio)} now"
    )
    if found.outcome is Outcome.REPRODUCED and whole is not None:
        return f"{found.outcome}: {speedups}; {found.again_claim} again, and no other speedup is found"
    return f"{found.outcome}: {'; '.join(filter(None, (speedups, *found.reasons, _share(found))))}"


def _share(found: Reproduction) -> str:
    """How near the optimized side comes to the limits of each machine. Empty where that is not asked, or not known."""
    shares = [of.get(END_TO_END, {}).get("optimized") for of in (found.recorded_shares, found.again_shares)]
    if found.outcome is not Outcome.OTHER_HARDWARE or None in shares:
        return ""
    then, now = shares
    return f"of its machine's limit the optimized side reached {then:.2%}, and {now:.2%} here"


def tables(found: Reproduction, recorded: Judgement, again: Judgement) -> tuple[Table, ...]:
    """Those that say something."""
    every = (_speedups(found), _medians(recorded, again), _shares(found))
    return tuple(table for table in every if table.rows)


def exit_reason(found: Reproduction) -> str:
    return f"exit {found.exit_code}: {found.outcome}"


def _speedups(found: Reproduction) -> Table:
    return Table("Speedups, 95% CIs", ("", "recorded", "now", "now / recorded", "differs"), tuple(map(_speedup, found.changes)))


def _speedup(change: Change) -> tuple[str, ...]:
    intervals = (format_ratios(one.low, one.high) for one in (change.recorded, change.again, change.ratio))
    return (change.name, *intervals, "YES" if change.differs else "no")


def _medians(recorded: Judgement, again: Judgement) -> Table:
    then, now = ((judged.end_to_end, *judged.stages) for judged in (recorded, again))
    rows = []
    for one, other in zip(then, now, strict=True):
        cells = [
            NOT_MEASURED if found is None else format_seconds(found.median)
            for side in one.sides
            for found in (one.sides[side], other.sides[side])
        ]
        rows.append((one.name, *cells))
    return Table("Median times, recorded and now", COLUMNS, tuple(rows))


def _shares(found: Reproduction) -> Table:
    """Of the floor in each time, on the machine that it was measured on. Without rows where the hardware is the same, or has no floors."""
    shared = (
        [name for name in found.recorded_shares if name in found.again_shares]
        if found.hardware and found.outcome is not Outcome.INVALID
        else []
    )
    rows = []
    for name in shared:
        both = [shares[name].get(side) for side in SIDES for shares in (found.recorded_shares, found.again_shares)]
        rows.append((name, *(NOT_MEASURED if share is None else f"{share:.2%}" for share in both)))
    return Table("Shares of each machine's own limit, recorded and now: physical floor over median", COLUMNS, tuple(rows))


def notes(found: Reproduction, recorded: Judgement, again: Judgement) -> tuple[str, ...]:
    """What a reader has to know before believing the tables, the most important first."""
    texts = []
    if found.changes:
        texts.append(_detectable(found.changes))
    if found.outcome is Outcome.OTHER_HARDWARE:
        texts.append("On other hardware other speedups are no contradiction, and equal ones no proof. Here the shares compare.")
        if not (found.recorded_shares and found.again_shares):
            missing = "the recorded result" if not found.recorded_shares else "this one"
            texts.append(f"No shares of the limits: {missing} has no measured rates of its machine.")
    texts += _differing("Other hardware", found.hardware) + _differing("Other versions", found.versions)
    for side, tokens in found.tokens.items():
        texts.append(f"Tokens of the {side} side: as recorded in {tokens.identical} of {tokens.samples} samples.")
    texts.append(f"Outputs: {_grade(recorded)} in the recorded comparison, {_grade(again)} now.")
    return tuple(map(printable, texts))


def _detectable(changes: Sequence[Change]) -> str:
    """What would have been seen."""
    whole, stages = ([change.detectable for change in changes if (change.name == END_TO_END) is of_whole] for of_whole in (True, False))
    found = [f"end-to-end a difference of {whole[0]:.0%}"] if whole else []
    found += [f"in a stage one of {min(stages):.0%} to {max(stages):.0%}"] if stages else []
    return (
        f"Between the two speedups, {', '.join(found)} would have been found in about 80 of 100 such verifications; smaller ones may be "
        "there. Intervals of the stages are simultaneous."
    )


def _grade(judgement: Judgement) -> str:
    return {None: "not compared", "pass": "preserved", "warn": "nearly preserved", "fail": "NOT preserved", "lossy": "lossy"}[
        judgement.preserved
    ]


def _differing(what: str, values: dict[str, str]) -> list[str]:
    return [f"{what}, recorded and now: {'; '.join(f'{name} {both}' for name, both in values.items())}."] if values else []
