"""`evbench run` on several devices: the launcher's end, and that of each rank."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import typer

from evbench.choices import Variant
from evbench.cli.console import print_error, print_note
from evbench.cli.interrupts import FAULT, INTERRUPTED
from evbench.cli.one_session import report_session
from evbench.cli.output_folder import how_to_resume
from evbench.cli.progress import show_progress
from evbench.distributed.group import LAUNCHED, Place, RankLost, process_group, wait_to_be_ended
from evbench.distributed.launch import RUN, launch
from evbench.distributed.rank import RANKS_REPORT, RankedResult, blocks_ended, not_enough_gpus, run_rank, use_local_gpu
from evbench.errors import UserError
from evbench.machine import gpu
from evbench.parent_death import end_with
from evbench.report import ranks as report
from evbench.session.request import ComparisonRequest
from evbench.worker.client import WorkerDied, how_it_ended

WRONG = 2
"""Exit code of a user's mistake."""
SPEAK_SECONDS = 10.0
"""How long another rank waits before it says what is wrong: rank 0 takes some seconds to end, with torch in it."""
SAID = (WRONG, FAULT, INTERRUPTED)
"""Exit codes of a rank that has said itself why it ended."""


def launch_ranks(ranks: int, device: str, folder: Path, given: bool) -> NoReturn:
    """Run this very command in so many ranks, and exit as they do.

    Args:
        folder: that all of them write into.
        given: whether the command names it by `--out`.

    Raises:
        UserError: there are not so many GPUs.
    """
    if device != "cpu" and ranks > len(gpu.visible()):
        raise UserError(not_enough_gpus(ranks, len(gpu.visible())))
    out = [] if given else ["--out", str(folder)]
    raise typer.Exit(carry_out_ranks(ranks, [*sys.argv[1:], *out], lambda: _what_is_left(ranks, folder)))


def carry_out_ranks(ranks: int, arguments: Sequence[str], left: Callable[[], str], *, silent: bool = False) -> int:
    """Run `evbench` with these arguments in so many ranks.

    Args:
        left: what was measured if they are interrupted or one fails, and how to go on. Looked up then.
        silent: whether what they print on standard output is dropped.

    Returns:
        The exit code of their judgement.

    Raises:
        typer.Exit: there is none, and it has been said why.
    """
    try:
        failed = launch(ranks, arguments, silent=silent)
    except KeyboardInterrupt:
        print_error(f"interrupted; {left()}")
        raise typer.Exit(INTERRUPTED) from None
    if failed is None:
        return 0
    if failed.rank == 0 and failed.code > 0 and failed.code not in SAID:
        return failed.code
    if failed.code == WRONG:
        raise typer.Exit(WRONG)
    print_error(f"rank {failed.rank} {how_it_ended(failed.code, 'it has said why')}, and the others were ended; {left()}")
    raise typer.Exit(FAULT)


def _what_is_left(ranks: int, folder: Path) -> str:
    ended = blocks_ended(folder, ranks)
    if not ended:
        return "nothing had been measured"
    return f"what had ended, {ended} block{'s' * (ended != 1)} of runs, is in {folder}. {how_to_resume(folder)}"


@dataclass(frozen=True)
class RankLines:
    """Progress of a rank whose steps are not shown, as those of rank 0 are."""

    rank: int

    def step(self, activity: str, done: int, total: int, /) -> None: ...

    def message(self, text: str, /) -> None:
        print_note(f"rank {self.rank}: {text}")


def run_as_rank(
    place: Place,
    asked: int | None,
    device: str,
    variant: Variant,
    folder: Path | None,
    wait: bool,
    make_request: Callable[[], ComparisonRequest],
    details: bool,
) -> NoReturn:
    """Be one of the ranks, and exit: rank 0 with the code of its judgement.

    Args:
        asked: what `--gpus` says, if it is given.

    Raises:
        UserError: on rank 0, or with the rank's number in front.
    """
    end_with(os.getppid())  # the launcher: without it nobody would end the other ranks
    try:
        result = _measured(place, asked, device, variant, folder, wait, make_request)
    except KeyboardInterrupt:
        # Its launcher says so, once for all ranks.
        if place.rank == 0 and os.environ[LAUNCHED] != RUN:
            print_error("interrupted; to go on, start the same ranks with --resume")
        raise typer.Exit(INTERRUPTED) from None
    except RankLost:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        wait_to_be_ended()
        raise typer.Exit(FAULT) from None
    except WorkerDied as error:
        print_error(f"rank {place.rank}: {error}")
        raise typer.Exit(FAULT) from None
    except UserError as error:
        if place.rank == 0:
            raise
        _let_rank_0_speak()
        raise UserError(f"rank {place.rank}: {error}") from error
    if result is None:
        raise typer.Exit()
    assert folder is not None
    said = [*report.facts(result.ranks), f"Each rank's part: {folder / RANKS_REPORT}, and one folder for each rank"]
    report_session(result.judged.result, result.judged.judgement, folder, measured=True, details=details, said=said)


def _let_rank_0_speak() -> None:
    """What is wrong on every rank is said once: the end of rank 0 ends this one."""
    try:
        time.sleep(SPEAK_SECONDS)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _measured(
    place: Place,
    asked: int | None,
    device: str,
    variant: Variant,
    folder: Path | None,
    wait: bool,
    make_request: Callable[[], ComparisonRequest],
) -> RankedResult | None:
    if folder is None:
        raise UserError("several ranks write into one folder; name it by --out")
    if asked is not None and asked != int(os.environ["LOCAL_WORLD_SIZE"]):
        raise UserError(f"--gpus {asked}, and the launcher has started {os.environ['LOCAL_WORLD_SIZE']} ranks here; leave --gpus out")
    if device != "cpu":
        use_local_gpu(place.local_rank)
    progress = show_progress() if place.rank == 0 else nullcontext(RankLines(place.rank))
    with process_group(place) as ranks, progress as listener:
        return run_rank(ranks, variant, folder, wait, make_request, listener)
