"""Progress for a person: a live bar on a terminal, lines with their times in a file or a pipe."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from evbench.cli.console import errors, print_note
from evbench.report.render import plain
from evbench.session.progress import MEDIANS


class TimeLeft:
    """When the steps that are left will have ended, from how long those before took, with all that lay between them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds."""
        self._clock = clock
        self._begun: dict[str, float] = {}
        """Kind of activity -> when it was seen for the first time."""
        self._last = ("", 0)
        self._from: tuple[float, int] | None = None
        """When the first step began that has ended here, and how many had ended before it: in an earlier session that is resumed."""

    def step(self, kind: str, done: int, total: int) -> float | None:
        """Seconds left. None if no step has ended yet, or none is left."""
        now, (before, ended) = self._clock(), self._last
        if done < ended:  # another session has begun
            self._begun, self._from = {}, None
        elif done > ended and before and self._from is None:
            # What came before the first step, such as building the models, is no part of it.
            self._from = self._begun.get(kind, self._begun[before]), ended
        self._begun.setdefault(kind, now)
        self._last = kind, done
        if self._from is None or done >= total:
            return None
        since, at = self._from
        return (now - since) / (done - at) * (total - done)


def in_words(seconds: float | None) -> str:
    """In the unit that a person waits in. Empty for None.

    >>> in_words(42), in_words(200), in_words(5000), in_words(None)
    ('about 42 s left', 'about 3 min left', 'about 1 h 23 min left', '')
    """
    if seconds is None:
        return ""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"about {max(1, round(seconds))} s left"
    return f"about {minutes} min left" if minutes < 60 else f"about {minutes // 60} h {minutes % 60} min left"


def _kind(activity: str) -> str:
    """What all runs of one kind have in common: "baseline: warm-up, run 3" is a warm-up."""
    return activity.partition(MEDIANS)[0].partition(", run ")[0]


class ProgressLines:
    """Progress without a terminal: one line for each kind of step and each tenth of the way."""

    def __init__(self, left: TimeLeft | None = None, now: Callable[[], datetime.datetime] = datetime.datetime.now) -> None:
        """`now`: time of day that stands in front of each line."""
        self._printed: set[tuple[str, int]] = set()
        self._left, self._now = left or TimeLeft(), now

    def step(self, activity: str, done: int, total: int, /) -> None:
        kind = _kind(activity)
        left = in_words(self._left.step(kind, done, total))
        if (kind, 10 * done // total) not in self._printed:
            self._printed.add((kind, 10 * done // total))
            _, between, medians = activity.partition(MEDIANS)
            text = f"{self._now():%H:%M:%S} [{done}/{total}] {kind}{left and f', {left}'}{between}{medians}"
            errors.print(plain(text), soft_wrap=True)

    def message(self, text: str, /) -> None:
        print_note(text)


class BarWithMedians(Progress):
    """A live bar, and under it the medians of the runs so far."""

    medians = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.medians:
            yield Text(f"  {self.medians}", style="dim")


class ProgressBar(ProgressLines):
    """Progress on a terminal: a live bar."""

    def __init__(self, bar: BarWithMedians) -> None:
        super().__init__()
        self._bar, self._task = bar, bar.add_task("", total=None, left="")

    def step(self, activity: str, done: int, total: int, /) -> None:
        left = in_words(self._left.step(_kind(activity), done, total))
        name, _, medians = activity.partition(MEDIANS)
        self._bar.medians = medians and f"medians: {medians}"
        self._bar.update(self._task, description=name, completed=done, total=total, left=left)


@contextmanager
def show_progress() -> Iterator[ProgressLines]:
    """A live bar on a terminal; elsewhere lines."""
    if not errors.is_terminal:
        yield ProgressLines()
        return
    text = TextColumn("{task.description}", markup=False)
    columns = (SpinnerColumn(), text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[left]}"))
    with BarWithMedians(*columns, console=errors, transient=True) as bar:
        yield ProgressBar(bar)
