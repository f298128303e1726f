"""How a session reports what it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

MEDIANS = "; medians: "
"""Between the name of an activity and the medians of the runs so far."""


class ProgressListener(Protocol):
    """Whoever wants to follow a session."""

    def step(self, activity: str, done: int, total: int, /) -> None:
        """An activity begins; `done` of `total` steps, such as blocks, have ended. Medians of the runs so far may stand behind its name."""

    def message(self, text: str, /) -> None:
        """One sentence that a user should read."""


class SilentListener:
    """Shows nothing."""

    def step(self, activity: str, done: int, total: int, /) -> None: ...

    def message(self, text: str, /) -> None: ...


@dataclass(frozen=True)
class NamedListener:
    """Forwards to another listener, with the name of one of several sessions in front."""

    name: str
    listener: ProgressListener

    def step(self, activity: str, done: int, total: int, /) -> None:
        self.listener.step(f"{self.name}: {activity}", done, total)

    def message(self, text: str, /) -> None:
        self.listener.message(f"{self.name}: {text}")
