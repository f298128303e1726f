"""evbench: is an optimized video-language model really faster, and are its outputs preserved?

    import evbench

    result = evbench.compare("baseline", "optimized", preset="tiny", blocks=6)
    judgement = evbench.judge(result)
    print(judgement.verdict, judgement.end_to_end.interval)

Nothing is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evbench.api.build import build
    from evbench.api.measure import compare, run
    from evbench.api.verify import verify
    from evbench.choices import Conflict, Evidence, Variant
    from evbench.errors import UserError
    from evbench.pipelines.clips import frames_of
    from evbench.plugin import choice
    from evbench.results import Result, Work, Workload, read
    from evbench.stages import Generation
    from evbench.verdict.judge import judge

__version__ = "0.1.0"
__all__ = [
    "Conflict", "Evidence", "Generation", "Result", "UserError", "Variant", "Work", "Workload", "build", "choice", "compare", "frames_of",
    "judge", "read", "run", "verify",
]  # fmt: skip

_MODULES = {
    "build": "evbench.api.build",
    "compare": "evbench.api.measure",
    "run": "evbench.api.measure",
    "verify": "evbench.api.verify",
    "read": "evbench.results",
    "Result": "evbench.results",
    "Variant": "evbench.choices",
    "judge": "evbench.verdict.judge",
    "choice": "evbench.plugin",
    "Conflict": "evbench.choices",
    "Evidence": "evbench.choices",
    "Generation": "evbench.stages",
    "UserError": "evbench.errors",
    "Work": "evbench.results",
    "Workload": "evbench.results",
    "frames_of": "evbench.pipelines.clips",
}
"""Name -> the module that defines it."""


if not TYPE_CHECKING:  # a checker would take any name for one that exists

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            return getattr(import_module(_MODULES[name]), name)
        raise AttributeError(f"module 'evbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
