"""`--plugin` -> choices and variants that can be named like those of evbench."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from multiprocessing.connection import Pipe
from pathlib import Path

from evbench.choices import OwnPipeline, PluginFile, Variant
from evbench.errors import UserError
from evbench.pipelines.registry import ANY, DEFAULT_MODEL, OWN, OWN_MODEL, PARTS, plug_in
from evbench.plugins.contents import Contents, contents_of
from evbench.plugins.files import find
from evbench.plugins.module import module_of
from evbench.plugins.own import split_place
from evbench.variants.named import VARIANTS, parse

SECONDS = 120.0
"""That a file may take to be imported: torch, which most of them import, may have to be read from a slow disk."""
ENDING_SECONDS = 10.0
"""That its process may take to end."""
_IN_USE: dict[PluginFile, tuple[str, ...]] = {}
"""File -> names of its variants."""


def use(given: Sequence[Path]) -> None:
    """Make what these files hold known to this process. What it knows already is not asked for again.

    Raises:
        UserError: one cannot be read or has a fault, or two have something of the same name.
    """
    for path in given:
        file = find(path)
        if file not in _IN_USE:
            _add(file, _asked(file))


def use_pipeline(place: str) -> PluginFile:
    """Make the variants of a class known, `mine.py:MyPipeline`. Raises UserError."""
    given, name = split_place(place)
    file = replace(find(given), pipeline=name)
    if file not in _IN_USE:
        _add(file, _asked(file))
    return file


def require_another_file(place: str, given: Sequence[Path]) -> None:
    """Raises UserError if choices are taken from the file of a class, `mine.py:MyPipeline`: one would replace the other."""
    path = find(split_place(place)[0]).path
    if both := next((one for one in given if find(one).path == path), None):
        advice = "leave --plugin out, or put its choices into a file of their own"
        raise UserError(f"--plugin {both} and --pipeline {place} name one file, which is used as either; {advice}")


def model_of_pipeline(place: str, model: str) -> str:
    """The model of the workload of a class, `mine.py:MyPipeline`: one of its own, or the one of evbench that it stands in for.

    Raises:
        UserError: another model is asked for.
    """
    file = use_pipeline(place)
    (against,) = {entry.compares_with for entry in PARTS[OWN].entries.values() if isinstance(entry, OwnPipeline) and entry.plugin == file}
    if against and against not in (ANY, model):
        raise UserError(f"--pipeline {place} stands in for --model {against}, not for {model}; give --model {against}")
    if not against and model != DEFAULT_MODEL:
        raise UserError(f"--pipeline {place} is a model of its own: --model {model} would have no effect; leave it out")
    return model if against else OWN_MODEL


def require_used(given: Sequence[Path], variants: Iterable[Variant]) -> None:
    """Raises UserError if one of these files has no choice in any of the variants."""
    used = {file for variant in variants for file in variant.plugins}
    if idle := next((file for file in map(find, given) if file not in used), None):
        held = [f"{part}={name}" for part, known in PARTS.items() for name, entry in known.entries.items() if entry.plugin == idle]
        cure = f"name {' or '.join([*_IN_USE[idle], *held])}, or leave it out"
        raise UserError(f"--plugin {idle.name} would have no effect: no side has a choice of it; {cure}")


def enter(file: PluginFile) -> None:
    """Run a file in this process, a worker, and make what it holds known to it. Raises UserError."""
    module = module_of(file)
    if file not in _IN_USE:
        _add(file, contents_of(module, file))


def forget_all() -> None:
    """As if none had been used."""
    for file in tuple(_IN_USE):
        _forget(file)


def _add(file: PluginFile, contents: Contents) -> None:
    for known in tuple(_IN_USE):
        if known.path == file.path:
            _forget(known)  # the same file, as it was before
        elif known.name == file.name:
            raise UserError(f"two plug-ins are called {file.name}; rename one of them")
    if part := next((part for part in contents.choices if any(_taken(part, name, file) for name in contents.choices[part])), None):
        name = next(name for name in contents.choices[part] if _taken(part, name, file))
        raise UserError(f"the plug-in {file.name}: {part}={name} is of another plug-in, too; give another name to one of them")
    if name := next((name for name in contents.variants if name in VARIANTS), ""):
        raise UserError(f"the plug-in {file.name}: there is a variant called {name} already; give it another name")
    plug_in(file, contents.choices)
    _IN_USE[file] = ()
    try:
        made = {name: _named(file, name, text) for name, text in contents.variants.items()}
    except UserError:
        _forget(file)
        raise
    VARIANTS.update(made)
    _IN_USE[file] = tuple(made)


def _taken(part: str, name: str, file: PluginFile) -> bool:
    entry = PARTS[part].entries.get(name) if part in PARTS else None  # the part of pipelines is there while one is in use
    return entry is not None and (entry.plugin is None or entry.plugin.path != file.path)


def _named(file: PluginFile, name: str, text: str) -> Variant:
    if file.pipeline:
        return Variant(name, ((OWN, name),), (file,))
    try:
        variant = parse(text)
    except UserError as error:
        raise UserError(f"the plug-in {file.name}: its variant {name}: {error}") from error
    return Variant(name, variant.selection, variant.plugins)


def _forget(file: PluginFile) -> None:
    for name in _IN_USE.pop(file):
        del VARIANTS[name]
    plug_in(file, {})


def _last_words(process: subprocess.Popen[bytes]) -> bytes:
    """What it wrote, once it has ended. If it does not, or what it has begun holds its output open, nothing."""
    for _ in range(2):
        try:
            return process.communicate(timeout=ENDING_SECONDS)[1]
        except subprocess.TimeoutExpired:
            process.kill()
    return b""


def _asked(file: PluginFile) -> Contents:
    """What it holds, by a process of its own. Raises UserError if it has a fault, ends that process, or is not imported after SECONDS."""
    connection, child = Pipe()
    command = [sys.executable, "-m", "evbench.plugins.process", str(os.getpid()), str(child.fileno())]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=(child.fileno(),)
    )
    child.close()
    late = f"the plug-in {file.name} was not imported after {SECONDS:.0f} s"
    answer: Contents | str | None = f"{late}; mend it, or move what takes so long from its top level into its functions"
    try:
        connection.send(file)
        if connection.poll(SECONDS):
            answer = connection.recv()
    except (EOFError, OSError):
        answer = None
    finally:
        connection.close()
        if answer is not None:  # nothing more is asked of it, and a thread that it has begun may go on for ever
            process.kill()
        said = _last_words(process)
    if isinstance(answer, Contents):
        return answer
    if isinstance(answer, str):
        raise UserError(answer)
    last = said.decode("utf-8", errors="replace").strip().splitlines()
    how = f"(code {process.returncode}): {last[-1] if last else 'it wrote nothing'}"
    raise UserError(f"the plug-in {file.name} ended the process that imported it {how}; mend it")
