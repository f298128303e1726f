"""What a drafter says along the answers of a target: for speculative decoding, which nobody runs here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from evbench.choices import Variant
from evbench.pipelines.generate.vocabulary import require_one_vocabulary
from evbench.places import short_workload
from evbench.results import DEADLINE, Workload
from evbench.session.compare import exclusive_device
from evbench.session.progress import ProgressListener
from evbench.worker.client import Worker
from evbench.worker.messages import BuildRequest, SayRequest

FORMAT = 1
"""Of acceptance.json."""


@dataclass(frozen=True)
class Answer:
    """Of one sample."""

    sample: str
    """Name of the target's input."""
    prompt: tuple[int, ...]
    """Token ids of the target's prompt, where the drafter is no model, and looks at them. Else empty."""
    tokens: tuple[int, ...]
    """The target's greedy answer."""
    predicted: tuple[int, ...] = ()
    """What the drafter says at each place of it. Empty if the drafter is no model."""
    own: tuple[int, ...] = ()
    """The drafter's greedy answer, decoded by itself."""
    drafts: tuple[tuple[int, ...], ...] = ()
    """Behind each token of it, what the target's own head drafts. Empty if that is not the drafter."""


@dataclass(frozen=True)
class Speaker:
    """A model that answers."""

    variant: Variant
    workload: Workload
    """Its answers end by themselves, or after so many tokens."""

    def stored(self) -> Speaker:
        """Without folders of this machine."""
        return replace(self, workload=short_workload(self.workload))


@dataclass(frozen=True)
class Answers:
    """Content of `acceptance.json`."""

    format: int
    evbench: str
    """Version that wrote this."""
    command: str
    draft: str
    target: Speaker
    drafter: Speaker | None
    """None for a drafter that is no model."""
    answers: tuple[Answer, ...]


Keep = Callable[[list[Answer]], None]
"""Called with all answers as soon as there is more in them."""


def answers(
    target: Speaker,
    drafter: Speaker | None,
    folder: Path,
    wait: bool,
    listener: ProgressListener,
    keep: Keep,
    deadline: float = DEADLINE,
    by_head: int = 0,
) -> list[Answer]:
    """Of each sample, one model after the other. Workers log into the folder.

    Args:
        deadline: seconds that a worker may take for one answer.
        drafter: its samples are the same scenes in the same order. None for a drafter that is no model.
        by_head: tokens that the target's own head drafts behind each token; 0 if that is not the drafter.

    Raises:
        UserError: a token of both vocabularies has two ids, a model cannot be run, or the target has no head that drafts.
        WorkerDied: a worker crashed.
    """
    found: list[Answer] = []
    count = len(target.workload.samples)
    speakers = [target] if drafter is None else [target, drafter]
    with exclusive_device(target.workload.device, wait, listener, [one.variant for one in speakers]):
        listener.step("target: start the worker, build the model", 0, count)
        with Worker(BuildRequest(target.variant, target.workload), folder / "worker-target.log", deadline=deadline) as worker:
            worker.built()
            words = worker.vocabulary() if drafter is not None else ()
            for sample, described in enumerate(target.workload.samples):
                listener.step("answers of the target", sample, count)
                said = worker.say(SayRequest(sample, drafts=by_head))
                looked_at = said.prompt if drafter is None and not by_head else ()
                found.append(Answer(Path(described.path).name, looked_at, said.tokens, drafts=said.drafts))
                keep(found)
        if drafter is not None:
            listener.step("drafter: start the worker, build the model", 0, count)
            with Worker(BuildRequest(drafter.variant, drafter.workload), folder / "worker-drafter.log", deadline=deadline) as worker:
                worker.built()
                shared = require_one_vocabulary(words, worker.vocabulary())
                for sample, answer in enumerate(found):
                    listener.step("drafts along the answers", sample, count)
                    predicted = worker.say(SayRequest(sample, answer.tokens, shared)).predicted
                    found[sample] = replace(answer, predicted=predicted, own=worker.say(SayRequest(sample)).tokens)
                    keep(found)
    return found
