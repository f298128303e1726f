"""A table of stage times from somebody else's script: frozen dataclasses. `docs/external-table.md` describes it, with examples.

Numbers keep the digits that they are written with: 0.7 s may be 0.65 s to 0.75 s, and 0.700 s may not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
"""Ending of a column's name -> its seconds."""
TOTAL, ALL_SAMPLES, TTFT, TPOT = "total", "all_samples", "ttft", "tpot"
PREFILL, DECODE, GENERATE = "prefill", "decode", "generate"
NO_STAGES = (TOTAL, ALL_SAMPLES, TTFT, TPOT)
"""Names of times that are no stage. Each other one is; prefill and decode only where there is no generate, which they are parts of."""
SPECULATIVE = "speculative"
"""What a claim is of that follows from an acceptance rate, and from no time."""
Order = Literal["interleaved", "one after the other"]
Statistic = Literal["mean", "median"]
Formula = Literal[
    "ratio of means", "ratio of medians", "ratio of sums", "geometric mean of ratios", "mean of ratios", "time over baseline",
    "tokens per pass", "other",
]  # fmt: skip
"""tokens per pass: (1 - a^(g+1)) / (1 - a), with an acceptance rate a and g drafted tokens."""


@dataclass(frozen=True)
class Claim:
    """A speedup as it is written: how many times as long the baseline takes."""

    of: str
    """`total`, a stage, `ttft`, `tpot`, or `speculative`."""
    value: Decimal | None = None
    """None where only a formula is given."""
    formula: Formula | None = None
    """How it is said to be computed. None if that is not told."""


@dataclass(frozen=True)
class Row:
    """One side: a model or a variant. Rows of the same name are single runs of it, in the same order of samples on every side."""

    name: str
    times: dict[str, Decimal]
    """Name and unit, such as `load_s` or `load_ms` -> time of one sample. `total`, `ttft` (time to first token), `tpot` (time of a decode
    step) and `all_samples` (all of `samples`, one behind the other) are no stages."""
    new_tokens: Decimal | None = None
    """Generated for each sample."""
    tokens_per_second: Decimal | None = None
    """New tokens over the time of generate, or of all stages, or over that of decode steps."""
    do_sample: bool | None = None
    """Whether tokens are drawn at random."""
    temperature: Decimal | None = None
    """Above 0 tokens are drawn at random, unless `do_sample` is false."""
    warmup_runs: int | None = None
    """Runs in front of the first one that counts."""
    runs: int | None = None
    """Runs, or samples, that the times are of."""
    samples: int | None = None
    """How many of them were planned."""
    order: Order | None = None
    """Of this side's runs and the others'."""
    statistic: Statistic | None = None
    """What the times are of the runs. None is taken for the mean."""
    dtype: str | None = None
    baseline: str | None = None
    """Name of the side that this one is compared with. None: the first of the table."""
    shares: dict[str, Decimal] = field(default_factory=dict)
    """Stage -> per cent of the total that it is said to take."""
    saved_shares: dict[str, Decimal] = field(default_factory=dict)
    """Stage -> per cent of the speedup that it is said to give: of the difference to the baseline's total."""
    speedups: tuple[Claim, ...] = ()
    acceptance_rate: Decimal | None = None
    """Of drafted tokens, 0 to 1, where this side drafts for its baseline."""
    draft_tokens: int | None = None
    """In a block."""
    tokens: tuple[tuple[int, ...], ...] = ()
    """Ids of the new tokens, of each sample in order. Empty if they are not told."""


@dataclass(frozen=True)
class ExternalTable:
    """Stage times of two sides or more, and what is stated of them."""

    rows: tuple[Row, ...]
    source: str = ""
    """Where it was published. Empty if that is not told."""
    version: Literal[1] = 1
    """Of this format. Fields are only added to it; where one would change its meaning, the number is raised."""


def time_name(column: str) -> tuple[str, float] | None:
    """The name of a time, and the seconds of its unit. None for a column that is no time, but a rate among others.

    >>> time_name("load_ms"), time_name("new_tokens"), time_name("tokens_per_s")
    (('load', 0.001), None, None)
    """
    name, _, unit = column.rpartition("_")
    return (name, UNITS[unit]) if name and unit in UNITS and not name.endswith("_per") else None
