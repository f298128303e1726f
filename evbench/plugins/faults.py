"""An error that came through a plug-in is told as the plug-in's."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from evbench.choices import PluginFile
from evbench.errors import UserError, first_line, is_out_of_memory


class PluginFault(UserError):
    """A plug-in raised an error, or handed over something that it must not. Its traceback was printed on standard error."""


class Blaming:
    """A context manager. Whatever is raised in it, and passed through one of these files, is printed with its traceback, and raised anew
    as a PluginFault of one line that names the file and the line in it. A UserError is left as it is, and so is a lack of memory: that is
    the variant's, whoever asked for the last byte."""

    def __init__(self, files: Sequence[PluginFile]) -> None:
        self._files = {file.path: file for file in files}

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not isinstance(error, Exception | SystemExit) or isinstance(error, UserError) or is_out_of_memory(error):
            return
        if (place := self._place(error)) is None:
            return
        traceback.print_exception(error)
        what = f"{type(error).__name__}: {first_line(error)}" if not isinstance(error, SystemExit) else "it ends the process (SystemExit)"
        raise PluginFault(f"the plug-in {place} has a fault: {what}; mend it and run again") from error

    def _place(self, error: BaseException) -> str | None:
        """File and line of the innermost frame of a plug-in. None if no frame is of one."""
        if isinstance(error, SyntaxError) and (file := self._files.get(_whole(error.filename))) is not None:
            return f"{file.name}, line {error.lineno},"
        frames = [
            (file, frame.lineno)
            for frame in traceback.extract_tb(error.__traceback__)
            if (file := self._files.get(_whole(frame.filename))) is not None
        ]
        return f"{frames[-1][0].name}, line {frames[-1][1]}," if frames else None


def _whole(name: str | None) -> str:
    return "" if name is None else str(Path(name).resolve())
