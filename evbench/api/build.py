"""Build the pipeline of a variant in this process: what a worker of `evbench run` builds in its own."""

from __future__ import annotations

import time
from typing import Any, Unpack

from evbench.api.measure import read_variant, work_and_plan
from evbench.api.options import OF_WORKLOAD, Keywords, read, use_given
from evbench.choices import Variant
from evbench.errors import UserError
from evbench.results import Workload
from evbench.stages import Pipeline

OF_PIPELINE = (*OF_WORKLOAD, "plugin", "pipeline")
"""Options that have an effect where nothing is measured."""


def build(variant: Variant | str = "baseline", **options: Unpack[Keywords]) -> tuple[Pipeline[Any, Any, Any], Workload]:
    """The pipeline of a variant, for a script that measures something else with the same weights and prompts.

    It takes no lock on the device: run it while no other evbench measures there.

    Examples:
        >>> import evbench
        >>> pipeline, workload = evbench.build("baseline", preset="small")  # doctest: +SKIP
        >>> loaded, work = pipeline.load(Path(workload.samples[0].path))  # doctest: +SKIP

    Args:
        variant: such as "baseline" or "baseline+attention=eager".
        **options: those fields of `evbench.api.options.Options` that say what is computed, such as `preset` or `dtype`.

    Returns:
        The pipeline, whose stages `load`, `preprocess`, `vision` and `generate` each take what the one before returned and return
        `(output, evbench.Work)`; and what it is built for. Of Video-LLaVA and EventGPT `pipeline.embeddings(features)` is the prompt,
        [1, tokens, hidden], of what `vision` returned.

    Raises:
        evbench.errors.UserError: an option, the input, the weights or the device cannot be used, or an option has no effect.
    """
    from evbench.worker.build import build_pipeline
    from evbench.worker.messages import BuildRequest

    start, given = time.perf_counter(), read(options)
    if idle := [name for name in options if name not in OF_PIPELINE]:
        raise UserError(f"nothing is measured: {', '.join(idle)} would have no effect; leave it out")
    use_given(given)
    chosen = read_variant(variant)
    workload, _ = work_and_plan(given, {"baseline": chosen}, given.workload())
    return build_pipeline(BuildRequest(chosen, workload), start)[0], workload
