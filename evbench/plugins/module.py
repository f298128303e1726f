"""A file -> its module. Runs what is in it: in workers, and in the process that is asked what a file holds."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from evbench.choices import PluginFile
from evbench.errors import UserError
from evbench.plugins.files import sha256


def module_of(file: PluginFile) -> ModuleType:
    """Its module, imported once. What it raises is to be told by `evbench.plugins.faults.Blaming`.

    Raises:
        UserError: the file is another than it was when the command began.
    """
    path = Path(file.path)
    if sha256(path) != file.sha256:
        raise UserError(f"the plug-in {file.name} was changed while it was measured; run again, with another --out")
    known = sys.modules.get(file.module)
    if known is not None and known.__file__ is not None and Path(known.__file__).resolve() == path:
        return known
    if "." in file.module:
        return importlib.import_module(file.module)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # for modules beside it, as for a script; last, so that none of them hides another
    spec = importlib.util.spec_from_file_location(file.module, path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[file.module] = made  # dataclasses and Triton look for it there
    spec.loader.exec_module(made)
    return made
