"""What `--plugin` names -> the file. Nothing of it is run."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from evbench.choices import PluginFile
from evbench.encoding import is_text
from evbench.errors import UserError

GROUP = "evbench.plugins"
"""Of entry points: name -> module."""


def find(given: Path) -> PluginFile:
    """A file of Python, or the name of an installed one.

    Raises:
        UserError: it is neither, cannot be read, or has the name of another module.
    """
    if not is_text(str(given)):
        raise UserError(f"--plugin {given} has a name that is not UTF-8; rename it")
    if given.suffix != ".py" and not given.exists():
        return _installed(str(given))
    if not given.exists():
        raise UserError(f"--plugin {given}: no such file; give a file of Python (.py)")
    if given.suffix != ".py" or not given.is_file():
        raise UserError(f"--plugin {given} is no file of Python (.py); give one, or the name of an entry point of the group {GROUP}")
    if not given.stem.isidentifier():
        raise UserError(f"--plugin {given} cannot be imported by the name {given.stem}; rename it to letters, digits and _")
    path = given.resolve()
    if _is_another_module(path):
        raise UserError(f"--plugin {given} has the name of a module that Python knows already, {given.stem}; rename it")
    return PluginFile(str(path), given.stem, sha256(path))


def sha256(path: Path) -> str:
    """Raises UserError if the file cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"cannot read the plug-in {path}: {error.strerror}; give a file that can be read") from error


def _is_another_module(path: Path) -> bool:
    if path.stem in sys.builtin_module_names or path.stem in sys.stdlib_module_names:
        return True
    # Not find_spec of importlib.util, which answers from sys.modules: the file itself may be there.
    found = importlib.machinery.PathFinder.find_spec(path.stem)
    return found is not None and (found.origin is None or Path(found.origin).resolve() != path)


def _installed(name: str) -> PluginFile:
    known = {found.name: found for found in entry_points(group=GROUP)}
    if name not in known:
        listed = f"there is {', '.join(sorted(known))}" if known else "none is installed"
        raise UserError(
            f"--plugin {name} is no file, and no entry point of the group {GROUP} has this name ({listed}); give a file of Python"
        )
    return PluginFile(str(path := _source(known[name])), known[name].module, sha256(path))


def _source(entry: EntryPoint) -> Path:
    """The file of its module. Packages that it is in are imported for it; that is how Python finds a module."""
    try:
        found = importlib.util.find_spec(entry.module)
    except ImportError as error:
        raise UserError(f"--plugin {entry.name}: its module {entry.module} is not there ({error}); install its package again") from error
    if found is None or found.origin is None or not found.has_location:
        raise UserError(f"--plugin {entry.name}: its module {entry.module} has no file; install its package again")
    return Path(found.origin).resolve()
