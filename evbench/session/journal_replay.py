"""The lines of a journal -> its state, each line checked against those before it.

A journal says what was measured, so a line that was lost, doubled, moved or taken from elsewhere is found: lines name their session, runs
are numbered without a gap, and a block has just the runs of its order.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evbench.encoding import from_json
from evbench.errors import UserError
from evbench.results import LETTERS, Block, Build, Run, Side, ThroughputRun
from evbench.session.journal_state import JournalHeader, JournalState
from evbench.session.schedule import BLOCKED_RUNS, block_runs, pattern

EVENTS = ("build", "run", "throughput_run", "unsteady")
"""Of a side."""


def replay(header: JournalHeader, data: bytes, path: Path) -> JournalState:
    """The events in the whole lines of a journal. Runs of what did not end are dropped: they are run again.

    Args:
        data: content of `runs.jsonl`. What a killed process has left behind its last whole line is not looked at.
        path: of the file, for messages.

    Raises:
        UserError: a line is damaged, or is not what can follow the lines before it.
    """
    events = _Replay(header)
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].split(b"\n")[:-1], 1):
        try:
            events.add(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {number} is damaged ({error}); measure again, with another --out") from error
    events.state.drop_unfinished()
    return events.state


class _Replay:
    def __init__(self, header: JournalHeader) -> None:
        self.state = JournalState()
        self._header, self._sides = header, [side for side in LETTERS if side in header.workloads]
        self._samples = min(len(workload.samples) for workload in header.workloads.values())
        self._turn = 0
        """That the next run must have."""
        self._uncalled: set[Side] = set()
        """Sides whose worker has been built, and has not been called yet."""
        self._left: list[tuple[Side, bool | None]] = []
        """Runs that the block is still to have. Empty outside of one."""
        self._sample = 0
        """Of the block."""

    def add(self, line: Any) -> None:
        """One line. Raises ValueError, saying what is wrong with it."""
        if not isinstance(line, dict):
            raise ValueError(f"it is {line!r}")
        if line.get("session") != self._header.started:
            raise ValueError(f"it is of session {line.get('session')!r}, and this is {self._header.started!r}")
        names = line.keys() - {"session", "side"}
        if len(names) != 1:
            raise ValueError(f"it has {', '.join(sorted(names)) or 'nothing'}, and one event is expected")
        (name,) = names
        if name in ("block", "resumed"):
            if "side" in line:
                raise ValueError(f"{name} has no side")
            return self._block(from_json(Block, line[name], name)) if name == "block" else self._resumed()
        side = next((side for side in self._sides if side == line.get("side")), None)
        if side is None:
            raise ValueError(f"side {line.get('side')!r} is not of this session, which has {' and '.join(self._sides)}")
        if name not in EVENTS:
            raise ValueError(f"unknown event {name!r}")
        self._of_side(side, name, line[name])

    def _of_side(self, side: Side, name: str, content: Any) -> None:
        if name == "build":
            if side in self._uncalled:
                raise ValueError(f"{side} is built twice, without a first call")
            self._uncalled.add(side)
            self.state.builds.setdefault(side, []).append(from_json(Build, content, name))
        elif name == "run":
            run = from_json(Run, content, name)
            self._check_run(side, run)
            self.state.runs.setdefault(side, []).append(run)
        elif name == "throughput_run":
            throughput_run = from_json(ThroughputRun, content, name)
            self._check_throughput_run(side, throughput_run)
            self.state.throughput_runs.setdefault(side, []).append(throughput_run)
        else:
            if not isinstance(content, list) or not all(isinstance(reason, str) for reason in content):
                raise ValueError(f"unsteady is {content!r}")
            self.state.unsteady.setdefault(side, []).extend(content)

    def _resumed(self) -> None:
        self.state.drop_unfinished()
        self._turn = self.state.next_turn()
        self._uncalled.clear()
        self._left = []

    # Runs.

    def _check_run(self, side: Side, run: Run) -> None:
        self._next_turn(run.turn)
        self._require_sample(run.sample)
        if (run.block is not None) != (run.kind == "timed"):
            raise ValueError(f"a {run.kind} run has block {run.block}")
        if run.kind == "first":
            if side not in self._uncalled:
                raise ValueError(f"a first call of {side}, which was not built before it")
            self._uncalled.remove(side)
        elif side in self._uncalled or side not in self.state.builds:
            raise ValueError(f"a {run.kind} run of {side} before its first call")
        if run.kind == "timed":
            assert run.block is not None
            self._take(side, run.block, run.stages is not None, run.sample)
        if run.kind == "blocked":
            self._check_blocked(side)

    def _check_throughput_run(self, side: Side, run: ThroughputRun) -> None:
        self._next_turn(run.turn)
        if run.samples != self._header.plan.throughput:
            raise ValueError(f"a throughput run of {run.samples} samples, and {self._header.plan.throughput} are planned")
        if run.block is not None:
            self._take(side, run.block, None, self._sample)

    def _check_blocked(self, side: Side) -> None:
        if self._left or self._is_whole():
            raise ValueError(f"a blocked run in block {len(self.state.blocks)}, which has not ended")
        before = self._sides[: self._sides.index(side)]
        if any(self.state.blocked_runs(other) != BLOCKED_RUNS for other in before) or self.state.blocked_runs(side) == BLOCKED_RUNS:
            raise ValueError(f"a blocked run of {side} too many, or too early: {BLOCKED_RUNS} of each side follow each other")

    def _next_turn(self, turn: int) -> None:
        if turn != self._turn:
            raise ValueError(f"turn {turn} follows turn {self._turn - 1}: a run is missing, doubled or moved")
        self._turn += 1

    def _require_sample(self, sample: int) -> None:
        if not 0 <= sample < self._samples:
            raise ValueError(f"sample {sample} of {self._samples}")

    # Blocks.

    def _letters(self) -> str:
        """Order of the block that is next."""
        return pattern(self._sides, self._header.plan.order, self._header.seed, len(self.state.blocks))

    def _take(self, side: Side, block: int, stage_sync: bool | None, sample: int) -> None:
        """The next run of the block that is next. Without stage synchronization None if it is a throughput run."""
        number = len(self.state.blocks)
        if block != number:
            raise ValueError(f"a run of block {block}, where block {number} is next")
        if not self._left and self._is_whole():
            raise ValueError(f"a run too many in block {number}")
        if not self._left:
            self._left, self._sample = block_runs(self._letters(), throughput=bool(self._header.plan.throughput)), sample
        if (side, stage_sync) != self._left[0] or sample != self._sample:
            raise ValueError(f"a run of {side} and sample {sample} that block {number}, of order {self._letters()}, does not have here")
        del self._left[0]

    def _is_whole(self) -> bool:
        """Whether all runs of the block that is next are there."""
        number = len(self.state.blocks)
        return not self._left and any(run.block == number for runs in self.state.runs.values() for run in runs[-1:])

    def _block(self, block: Block) -> None:
        number = len(self.state.blocks)
        if block.number != number:
            raise ValueError(f"block {block.number}, where block {number} is next")
        if not self._is_whole():
            raise ValueError(f"block {number} ends before all of its runs are there")
        if (block.order, block.sample) != (self._letters(), self._sample):
            raise ValueError(f"block {number} is of order {block.order} and sample {block.sample}, and its runs are not")
        last = self.state.blocks[-1].invocation if self.state.blocks else -1
        if block.invocation not in (last, last + 1) or block.invocation < 0:
            raise ValueError(f"block {number} is of invocation {block.invocation}, which cannot follow invocation {last}")
        self.state.blocks.append(block)
