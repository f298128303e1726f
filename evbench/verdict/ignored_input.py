"""Other input, and a stage that returns what it returned before: of one sample, all of it would look right. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from evbench.results import STAGES, Result, Side, SideResult

MOST_MORE = 0.05
"""Share of rows that stay, more than of the other side. Of equal computations hardly any stays, one frame of eight is 0.125."""


def ignored(sides: Mapping[Side, SideResult]) -> list[str]:
    """The first stage of each side whose output did not follow its input, while that of the other side did, in words."""
    checks = {side: measured.cache_check.unchanged for side, measured in sides.items() if measured.cache_check is not None}
    if len(checks) < 2:
        return []
    found = []
    others: tuple[tuple[Side, Side], ...] = (("baseline", "optimized"), ("optimized", "baseline"))
    for side, other in others:
        ours, theirs = checks[side], checks[other]
        stages = (stage for stage in STAGES if stage in ours and stage in theirs and ours[stage] > theirs[stage] + MOST_MORE)
        if (stage := next(stages, None)) is not None:
            share = f"{ours[stage]:.0%} of its output as it was, and that of the {other} side {theirs[stage]:.0%}"
            found.append(f"{side}: given other input, {stage} leaves {share}")
    return found


def refused(result: Result) -> list[str]:
    """Why no time may be compared. Empty if each stage follows its input."""
    found = ignored(result.variants())
    return [f"INPUT_IGNORED: {'; '.join(found)}"] if found else []
