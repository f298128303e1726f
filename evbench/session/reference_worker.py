"""The reference: the same weights in higher precision, in a worker of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from evbench.choices import OwnPipeline, Variant
from evbench.pipelines.registry import OWN, PARTS, loses_as, lossy, without_rounding
from evbench.results import Machine, Plan, Side, Workload
from evbench.session import references
from evbench.session.memory_fit import reference_dtype
from evbench.session.outputs import LossyReference
from evbench.session.reference_outputs import Reference
from evbench.variants.named import REFERENCE, VARIANTS, change
from evbench.worker.capture_outputs import CapturedOutputs
from evbench.worker.client import Worker
from evbench.worker.messages import BuildRequest


def reference_for(
    workload: Workload,
    plan: Plan,
    fingerprint: str,
    here: Machine,
    folder: Path,
    baseline: Variant | None = None,
    losing: Mapping[str, str] | None = None,
    drafting: int = 0,
) -> Reference:
    """What both sides are compared with. Its worker logs into the folder.

    Args:
        fingerprint: of the weights of both sides.
        baseline: a pipeline of somebody else's names its own reference, or has none. None for variants of evbench.
        losing: part -> hidden choice with which it loses what a side loses by design.
        drafting: weights of the other models that draft in the workers of both sides.
    """
    losing = losing or {}
    variant, dtype, computed = change(REFERENCE, losing), reference_dtype(plan.order, workload, drafting), ""
    if baseline is not None and OWN in baseline.choices():
        variant, dtype, computed = _own_reference(baseline)

    @contextmanager
    def start() -> Iterator[_Building]:
        build, log = BuildRequest(variant, workload, dtype=dtype), folder / "worker-reference.log"
        with Worker(build, log, deadline=plan.deadline_seconds) as worker:
            yield _Building(worker)

    identity = references.identity(fingerprint, dtype, workload.device, here.packages, variant)
    rest = without_rounding(losing)
    rounds = rest != losing
    common = workload, plan, fingerprint, here, folder, baseline
    return Reference(computed or dtype, identity, start, rounds, reference_for(*common, rest, drafting) if rounds and rest else None)


def lossy_references(
    variants: Mapping[Side, Variant], model: str, make: Callable[[Mapping[str, str]], Reference]
) -> dict[Side, LossyReference]:
    """Of the sides that have lossy choices.

    Args:
        make: part -> hidden choice -> the reference that has it.
    """
    chosen = {side: variant.choices() for side, variant in variants.items()}
    return {
        side: LossyReference(found, make(loses_as(choices, model))) for side, choices in chosen.items() if (found := lossy(choices, model))
    }


def _own_reference(baseline: Variant) -> tuple[Variant, str | None, str]:
    """The variant that is run as reference, the type that it is built in anew, and what it is called. Two of them None and empty: none."""
    entry = PARTS[OWN].entries[baseline[OWN]]
    assert isinstance(entry, OwnPipeline)
    if entry.reference in VARIANTS:
        return VARIANTS[entry.reference], None, f"the variant {entry.reference}"
    return baseline, entry.reference or None, ""


class _Building:
    """A worker that may not be built yet when it is asked for something."""

    def __init__(self, worker: Worker) -> None:
        self._worker, self._built = worker, False

    def capture_reference(self, sample: int, file: Path, baseline: CapturedOutputs) -> None:
        if not self._built:
            self._worker.built()
            self._built = True
        self._worker.capture_reference(sample, file, baseline)
