"""The ranks of a launch, and what they tell each other.

What is told is text of some megabytes, between measurements and never during one. So it goes over gloo, also where GPUs are measured: a
rank holds no CUDA context, and its worker has the GPU for itself.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from evbench.errors import UserError

LAUNCHED = "TORCHELASTIC_RUN_ID"
"""In the environment of a process that torch's launcher has started."""
LONGEST_WAIT = datetime.timedelta(days=7)
"""For another rank. One that dies does not keep others waiting: torch's launcher ends them."""
LOOK_SECONDS = 0.001
"""Between two looks at whether all have come. A call that waits inside of torch would hear no signal."""
ENDING_SECONDS = 60.0
"""How long a rank that has lost another waits to be ended."""


class RankLost(Exception):
    """Another rank is gone, and torch's launcher is about to end this one."""


@dataclass(frozen=True)
class Place:
    """Which of the ranks this process is."""

    rank: int
    ranks: int
    local_rank: int
    """Among those of this machine."""
    node: int
    """Number of the machine."""


class Ranks(Protocol):
    """All ranks of a launch, as one of them sees them. Each calls the same methods in the same order."""

    @property
    def place(self) -> Place: ...

    def gather(self, text: str) -> list[str]:
        """What each rank gives, in their order. Raises RankLost."""

    def meet(self) -> None:
        """Wait until all have come here. Raises RankLost."""


def launched_place(environment: Mapping[str, str] | None = None) -> Place | None:
    """Of a process that torch's launcher has started. None for any other.

    Raises:
        UserError: what the launcher says is no number.
    """
    given = os.environ if environment is None else environment
    if LAUNCHED not in given:
        return None
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "GROUP_RANK")
    try:
        return Place(*(int(given[name]) for name in names))
    except (KeyError, ValueError):
        told = ", ".join(f"{name} {given.get(name)!r}" for name in names)
        raise UserError(f"{LAUNCHED} is set as by torchrun, and the place among its ranks is not ({told}); start it by torchrun") from None


@dataclass(frozen=True)
class ProcessGroup:
    """torch's process group."""

    place: Place

    def gather(self, text: str) -> list[str]:
        import torch

        data = text.encode()
        sizes = [int(size) for size in self._all(torch.tensor([len(data)]))]
        padded = torch.frombuffer(bytearray(data.ljust(max(sizes) + 1, b"\0")), dtype=torch.uint8)  # torch takes no empty buffer
        return [found.numpy()[:size].tobytes().decode() for found, size in zip(self._all(padded), sizes, strict=True)]

    def meet(self) -> None:
        import torch

        self._all(torch.zeros(1))

    def _all(self, ours: Any) -> list[Any]:
        """Tensors of one shape, of each rank."""
        import torch
        import torch.distributed as distributed

        theirs = [torch.empty_like(ours) for _ in range(self.place.ranks)]
        try:
            pending: Any = distributed.all_gather(theirs, ours, async_op=True)
            while not pending.is_completed():
                time.sleep(LOOK_SECONDS)
            pending.wait()
        except RuntimeError as error:  # the connection to another rank is closed
            raise RankLost(str(error)) from error
        return theirs


@contextmanager
def process_group(place: Place) -> Iterator[ProcessGroup]:
    """The group that torch's launcher has told of by the environment."""
    import torch.distributed as distributed

    try:
        distributed.init_process_group("gloo", timeout=LONGEST_WAIT)
    except RuntimeError as error:  # another rank, or the launcher, is gone before all have met
        raise RankLost(str(error)) from error
    try:
        yield ProcessGroup(place)
    finally:
        distributed.destroy_process_group()


def wait_to_be_ended() -> None:
    """In a rank that has lost another: ending by itself it would be taken for the one that was the first to fail."""
    time.sleep(ENDING_SECONDS)
