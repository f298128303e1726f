"""Where things lie on this machine -> what may stand in a file that is given to others.

Files of a session name no folder of a user's, no temporary folder and no host. Inside the current folder a path is relative to it; else it
is cut to `~`, to the package, or to its name.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

from evbench.results import Workload

END = r"""\s"'`),;:\]\\"""
"""Characters that end a path in a text, for a regular expression."""
PACKAGE = Path(__file__).parent


def short_path(path: str | Path) -> str:
    """Of the folders known here, the innermost that it lies in decides.

    Inside a temporary folder, and where it lies in none of them, its name is left.
    """
    whole = os.path.abspath(path)
    inside = [(folder, replacement) for folder, replacement in _folders() if whole == folder or whole.startswith(folder + os.sep)]
    folder, replacement = max(inside, key=lambda found: len(found[0]), default=("", None))
    if replacement is None:
        return os.path.basename(whole) or whole
    return os.path.join(replacement, whole[len(folder) :].lstrip(os.sep)).rstrip(os.sep) or "."


def without_places(text: str) -> str:
    """A text in which each path into a folder known here is cut as by `short_path`."""
    for folder, _ in sorted(_folders(), key=lambda known: -len(known[0])):
        if folder in text:
            text = re.sub(rf"(?<![\w.-]){re.escape(folder)}(?=[/{END}]|$)[^{END}]*", lambda found: short_path(found[0]), text)
    return text


def short_command(arguments: Sequence[str]) -> str:
    """A command as it was typed, its paths cut. `~` stays outside of the quotes, so that a shell still knows it."""
    return " ".join(_quoted(_short_argument(argument)) for argument in arguments)


def short_workload(workload: Workload) -> Workload:
    """As it is stored: what its files are is known by their hashes, and what its weights are by their fingerprint."""
    samples = tuple(dataclasses.replace(sample, path=short_path(sample.path)) for sample in workload.samples)
    return dataclasses.replace(workload, samples=samples, weights=None if workload.weights is None else short_path(workload.weights))


def _short_argument(argument: str) -> str:
    option, equals, value = argument.partition("=") if argument.startswith("-") else ("", "", argument)
    return option + equals + (short_path(value) if os.path.isabs(value) else without_places(value))


def _quoted(argument: str) -> str:
    return f"~/{shlex.quote(argument[2:])}" if argument.startswith("~/") else shlex.quote(argument)


def _folders() -> list[tuple[str, str | None]]:
    """Each folder, and what stands for it. None: nothing does, the name of the file is left."""
    known: dict[str, str | None] = {}
    for temporary in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        known[temporary] = known[os.path.realpath(temporary)] = None
    home = os.path.expanduser("~")
    known |= {home: "~", os.path.realpath(home): "~", str(PACKAGE): PACKAGE.name, os.getcwd(): ""}
    return [(folder, replacement) for folder, replacement in known.items() if os.path.isabs(folder) and folder != os.sep]
