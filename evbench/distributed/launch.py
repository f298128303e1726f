"""torch's launcher, as `torchrun` calls it, for ranks on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evbench.machine import cores

THREADS = "OMP_NUM_THREADS"
RUN = "evbench"
"""Name of such a launch, which the ranks find in their environment."""


@dataclass(frozen=True)
class Failed:
    """The rank that was the first to fail."""

    rank: int
    code: int
    """Negative for a signal, as `subprocess` has it."""


def launch(ranks: int, arguments: Sequence[str], *, silent: bool = False) -> Failed | None:
    """Run `evbench` with these arguments in so many ranks, and wait for all of them. The first that fails ends the others.
    They have 30 seconds for that, as has each on an interrupt, before they are killed: the launcher's own limit.

    Each has its part of the cores, unless OMP_NUM_THREADS is set.

    Args:
        silent: whether what they print on standard output is dropped.

    Returns:
        None if none failed.

    Raises:
        KeyboardInterrupt: a signal came. All ranks have ended.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with tempfile.TemporaryDirectory(prefix="evbench-ranks-") as scratch, _quiet(), _share_of_cores(ranks):
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=ranks,
            run_id=RUN,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=scratch, redirects=Std.OUT if silent else Std.NONE),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "evbench", *arguments)
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            return Failed(rank, failure.exitcode)
        except SignalException as error:
            raise KeyboardInterrupt from error
    return None


@contextlib.contextmanager
def _share_of_cores(ranks: int) -> Iterator[None]:
    """In the environment, which ranks take over. Another launch of this process has its own."""
    given = os.environ.get(THREADS)
    os.environ.setdefault(THREADS, str(max(1, cores.usable() // ranks)))
    try:
        yield
    finally:
        if given is None:
            del os.environ[THREADS]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What torch says of a rank that fails is said by evbench, in one line."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
