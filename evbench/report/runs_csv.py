"""All runs of a result as a table for other programs: long form, one row for each run and timing, units in the header. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from evbench.results import Block, Memory, Result, Run, Side, SideResult
from evbench.verdict.blocks import THROUGHPUT, TIMED, seconds_per_sample

MEMORY = ("process", "allocator", "reserved", "device", "non_torch")
"""Fields of `Memory`."""
COLUMNS = (
    "session", "side", "variant", "turn", "kind", "block", "invocation", "sample", "stage_synchronization", "counts", "timing", "time_s",
    "stream_time_s", *(f"memory_{name}_bytes" for name in MEMORY),
)  # fmt: skip
"""Turn, block, invocation and sample begin at 0. `counts`: whether a run is in the figures of a report, as those of undisturbed blocks."""
HEADER = ",".join(COLUMNS)
FORMULA = ("=", "+", "-", "@")
"""What begins a formula in a spreadsheet."""


def to_csv(result: Result) -> str:
    """In the order in which they ran, with CR LF as RFC 4180 has it. Whatever is not known or does not apply is empty.

    A timing is called as in the reports: `end-to-end` of a run without stage synchronization; the stages, `ttft`, `prefill` and `tpot` (the
    mean decode step) of one with it; `throughput` of a throughput run, seconds for each of its samples.
    """
    rows = [row for side, measured in result.variants().items() for row in _of_side(result, side, measured)]
    rows.sort(key=lambda row: (row[3], row[1]))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return text.getvalue()


def _of_side(result: Result, side: Side, measured: SideResult) -> Iterator[tuple[Any, ...]]:
    blocks = {block.number: block for block in result.session(measured).blocks}
    head = (measured.session, side, _text(measured.variant))
    for run in measured.runs:
        block = None if run.block is None else blocks[run.block]
        place = (*head, run.turn, run.kind, *_of_block(block), run.sample, _truth(run.stages is not None), _truth(_counts(block)))
        for name, value in TIMED.items():
            if (seconds := value(run)) is not None:
                yield (*place, name, repr(seconds), *_of_stage(run, name))
    for row in measured.throughput_runs:
        block = None if row.block is None else blocks[row.block]
        kind = "warmup" if block is None else "timed"
        of_row = (*head, row.turn, kind, *_of_block(block), "", "", _truth(_counts(block)))
        yield (*of_row, THROUGHPUT, repr(seconds_per_sample(row)), "", *_memory(None))


def _counts(block: Block | None) -> bool:
    return block is not None and not block.disturbances


def _of_block(block: Block | None) -> tuple[Any, Any]:
    return ("", "") if block is None else (block.number, block.invocation)


def _of_stage(run: Run, timing: str) -> Sequence[Any]:
    """Time on the stream, and memory. Of a timing that is no stage they are empty."""
    stage = (run.stages or {}).get(timing)
    if stage is None:
        return ("", *_memory(None))
    return ("" if stage.stream_seconds is None else repr(stage.stream_seconds), *_memory(stage.memory))


def _memory(memory: Memory | None) -> Sequence[Any]:
    found = (None if memory is None else getattr(memory, name) for name in MEMORY)
    return tuple("" if size is None else size for size in found)


def _truth(value: bool) -> str:
    return "yes" if value else "no"


def _text(text: str) -> str:
    """A name from a file of somebody else's may begin as a formula does, which a spreadsheet would carry out."""
    return f"'{text}" if text.startswith(FORMULA) else text
