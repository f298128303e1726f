"""The live workers of a session."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType

from evbench.results import Side
from evbench.session.config import SessionConfig, SessionWorker
from evbench.session.same_work import require_same_weights, require_weights_of

Failed = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]
"""What a context manager is given when it is left."""


class WorkerPool:
    """Starts and ends workers. A context manager: leaving it ends all of them, at once if something went wrong."""

    def __init__(self, config: SessionConfig) -> None:
        self._config = config
        self._live: dict[Side, tuple[ExitStack, SessionWorker]] = {}

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *failed: object) -> None:
        self._end(failed)  # type: ignore[arg-type]

    def __contains__(self, side: Side) -> bool:
        return side in self._live

    def __len__(self) -> int:
        return len(self._live)

    def __getitem__(self, side: Side) -> SessionWorker:
        """Of a side that is live."""
        _, worker = self._live[side]
        return worker

    def start(self, sides: Sequence[Side]) -> None:
        """Start the workers of these sides. Raises UserError if the weights of one are not those of the other, or of an earlier result.

        They import their libraries at the same time, on a core each, which takes longer than anything else here.
        """
        for side in sides:
            self._config.report(f"{side}: start the worker, build the model")
            stack = ExitStack()
            self._live[side] = stack, stack.enter_context(self._config.start(side))
        for side in sides:
            self._built(side)

    def _built(self, side: Side) -> None:
        config = self._config
        config.journal.add_build(side, self[side].built())
        model = config.workload(side).model
        alike = [other for other in config.variants if config.workload(other).model == model]
        builds = [build for other in alike for build in config.journal.state.builds.get(other, [])]
        require_same_weights(build.weights_fingerprint for build in builds)
        require_weights_of(config.fingerprint, builds[-1].weights_fingerprint)

    def end_all(self) -> None:
        self._end((None, None, None))

    def _end(self, failed: Failed) -> None:
        with ExitStack() as ending:  # each of them, also if a second interrupt comes while one ends
            for side in tuple(self._live):
                stack, _ = self._live.pop(side)
                ending.callback(stack.__exit__, *failed)
