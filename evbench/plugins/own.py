"""A class in a file, `--pipeline mine.py:MyPipeline` -> its variants, as choices of a part of their own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from evbench.choices import Evidence, OwnPipeline, PluginFile, resolve
from evbench.errors import UserError, nearest
from evbench.machine.needs import NEEDS
from evbench.pipelines.registry import ANY, MODELS, OWN, PARTS
from evbench.results import STAGES, Workload

HIDEABLE = STAGES[1:]
"""Stages whose output a pipeline may not be able to show. Frames can always be seen."""
DTYPES = ("float64", "float32")
"""Types that a pipeline may be built in anew, as its own reference."""


def own_variants(module: ModuleType, file: PluginFile, wrong: Callable[[tuple[Evidence, ...]], str | None]) -> dict[str, OwnPipeline]:
    """Name -> what is run, of the class that is asked for.

    Args:
        wrong: says what is wrong with evidence, if anything is.

    Raises:
        UserError: the first thing that cannot be.
    """

    def fault(what: str) -> UserError:
        return UserError(f"the plug-in {file.name}: {file.pipeline}: {what}")

    made = getattr(module, file.pipeline, None)
    if not inspect.isclass(made):
        known = [name for name, found in vars(module).items() if inspect.isclass(found) and found.__module__ == module.__name__]
        raise fault(f"there is no such class; {nearest(file.pipeline, known) if known else 'write one'}")
    if missing := [stage for stage in STAGES if not callable(getattr(made, stage, None))]:
        raise fault(f"it has no method {' and no '.join(missing)}; a pipeline has {', '.join(STAGES)}")
    variants = getattr(made, "variants", None)
    if not isinstance(variants, dict) or not variants or not all(isinstance(options, dict) for options in variants.values()):
        raise fault('it has no variants; write variants = {"mine": {}}, name -> arguments of __init__')
    against = getattr(made, "compares_with", "")
    if against and against not in (ANY, *MODELS):
        raise fault(f"compares_with={against!r} is no model; {nearest(str(against), [ANY, *MODELS])}")
    reference = getattr(made, "reference", "")
    if reference and reference not in (*variants, *DTYPES):
        raise fault(f"reference={reference!r} is neither one of its variants nor {' or '.join(DTYPES)}; name one, or leave it out")
    unseen = tuple(getattr(made, "unseen", ()))
    if unknown := [stage for stage in unseen if stage not in HIDEABLE]:
        raise fault(f"unseen names {unknown[0]!r}; {nearest(unknown[0], list(HIDEABLE))}")
    needs = tuple(getattr(made, "needs", ()))
    if unknown := [need for need in needs if need not in NEEDS]:
        raise fault(f"unknown need {unknown[0]!r}; {nearest(str(unknown[0]), list(NEEDS))}")
    evidence: Mapping[str, Any] = getattr(made, "evidence", {})
    if len(variants) > 1 and (silent := [name for name in variants if not evidence.get(name)]):
        raise fault(
            f"nothing would show that {silent[0]} was used, and not another of its variants; write evidence = {{{silent[0]!r}: [...]}}"
        )
    called = Evidence("generate", "call of it", rf"function:{module.__name__.replace('.', chr(92) + '.')}\.{made.__qualname__}\.generate$")
    found = {}
    for name, options in variants.items():
        shown = (called, *evidence.get(name, ()))
        if (reason := wrong(shown)) is not None:
            raise fault(f"{name}: {reason}")
        found[name] = OwnPipeline(
            meaning=(inspect.getdoc(made) or "a pipeline of its own").splitlines()[0],
            implementation=f"{module.__name__}:{made.__qualname__}",
            evidence=shown,
            needs=needs,
            plugin=file,
            options=options,
            reference=reference,
            compares_with=against,
            unseen=unseen,
        )
    return found


def build_own(choice: str, workload: Workload, dtype: str | None) -> Any:
    """The pipeline of a variant. Runs in workers."""
    from evbench.pipelines.own import Own

    entry = PARTS[OWN].entries[choice]
    assert isinstance(entry, OwnPipeline) and entry.plugin is not None
    made = resolve(str(entry.implementation))(workload, dtype or workload.dtype, **entry.options)
    return Own(made, workload, dtype, entry.unseen, f"the plug-in {entry.plugin.name}: {entry.plugin.pipeline}")


def split_place(text: str) -> tuple[Path, str]:
    """`mine.py:MyPipeline` -> file and class. Raises UserError."""
    place, colon, name = text.rpartition(":")
    if not colon or not place or not name.isidentifier():
        raise UserError(f"--pipeline {text!r} does not name a class in a file; write it such as mine.py:MyPipeline")
    return Path(place), name
