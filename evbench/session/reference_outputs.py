"""Outputs of the reference: copied from the cache, or computed by a worker that is started when one is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from evbench.session import references
from evbench.worker.capture_outputs import CapturedOutputs
from evbench.worker.client import OutOfMemory


class ReferenceSource(Protocol):
    """A worker that stores the outputs of the reference on the baseline's input."""

    def capture_reference(self, sample: int, file: Path, baseline: CapturedOutputs) -> None: ...


class Room(Protocol):
    """Where the reference's worker is started."""

    @property
    def room(self) -> bool:
        """Whether it fits into memory beside the workers that are live."""

    def free(self) -> None:
        """Make room in memory for one more worker: end the others."""

    def report(self, activity: str) -> None:
        """Report what is done now."""


@dataclass(frozen=True)
class Reference:
    """A pipeline of these weights in higher precision, with nothing fused or cached."""

    dtype: str | None
    """None if it does not fit into this machine."""
    identity: str
    """Of the weights, the choices and the code: with the baseline's outputs, it names what is cached."""
    start: Callable[[], AbstractContextManager[ReferenceSource]]
    """Starts its worker, and does not wait until it is built."""
    rounds: bool = False
    """Whether it rounds what it computes, as a side that loses the same declares: another computation that is as exact rounds otherwise."""
    unrounded: Reference | None = None
    """If so, the reference that loses all but that. None if it loses nothing else."""


class ReferenceOutputs:
    """The outputs of a reference. A context manager: leaving it ends its worker, if one was started."""

    def __init__(self, reference: Reference, where: Room) -> None:
        self._reference, self._where = reference, where
        self._live = ExitStack()
        self._source: ReferenceSource | None = None
        self._too_large = False
        """Whether it has run out of memory beside the workers: by its weights there was room, and what a long prompt takes besides is not
        known before."""
        self._names: dict[int, str] = {}
        """Of the samples that are expected: in the cache. Naming one reads all of the baseline's outputs for it."""

    def __enter__(self) -> ReferenceOutputs:
        return self

    def __exit__(self, *failed: object) -> None:
        self._live.__exit__(*failed)  # type: ignore[arg-type]

    @property
    def dtype(self) -> str | None:
        return self._reference.dtype

    def prepare(self, baseline: Mapping[int, CapturedOutputs]) -> None:
        """Expect these outputs of the baseline. Where some are not in the cache, and there is room beside the workers, start to build."""
        if self.dtype is None:
            return
        self._names = {sample: references.name(self._reference.identity, captured.file) for sample, captured in baseline.items()}
        if not self._alone and self._missing():
            self._started()

    def files(self, baseline: Mapping[int, CapturedOutputs], folder: Path) -> dict[int, Path]:
        """Sample -> the reference's outputs, in the folder: computed once for the same input, weights and code. None if it has no type.

        Args:
            baseline: what `prepare` was given.
        """
        names = self._names
        files = {sample: folder / f"{sample}-reference" for sample in names}
        missing = self._missing()
        if missing:
            if self._alone:
                self._where.free()
            for sample in missing:
                try:
                    self._started().capture_reference(sample, files[sample], baseline[sample])
                except OutOfMemory:
                    if self._alone:
                        raise
                    self._too_large = True
                    self.end()
                    self._where.free()
                    self._started().capture_reference(sample, files[sample], baseline[sample])
            if self._alone:
                self.end()
        for sample in names.keys() - set(missing):  # before anything is stored, which may remove them
            references.copy(names[sample], files[sample])
        for sample in missing:
            references.store(names[sample], files[sample])
        return files

    @property
    def _alone(self) -> bool:
        """Whether it is run without the workers of the sides."""
        return self._too_large or not self._where.room

    def _missing(self) -> list[int]:
        """Samples whose outputs are not in the cache."""
        return [sample for sample, name in self._names.items() if references.find(name) is None]

    def _started(self) -> ReferenceSource:
        if self._source is None:
            self._where.report(f"build the reference ({self.dtype})")
            self._source = self._live.enter_context(self._reference.start())
        return self._source

    def end(self) -> None:
        """End its worker, if there is one. It is started again where outputs are missing later."""
        self._source = None
        self._live.close()
