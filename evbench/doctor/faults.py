"""How an import ended that was tried in a process of its own. Imports Python's own modules only."""

from __future__ import annotations

import re
import signal

MOST = 160
"""Letters of a library's error."""
IN_FILE = re.compile(r'^ *File "([^"]+)", line \d+', re.MULTILINE)
"""Of a traceback."""


def reinstall(package: str) -> str:
    """What to do where importing it fails."""
    return f"pip install --force-reinstall {package}; or rename the file, if it hides the package"


def fault(code: int, log: str) -> str:
    """In words that "importing it" may stand in front of. Empty if it ended without error.

    Args:
        code: negative for a signal, as `subprocess` has it.
        log: what the process wrote.

    >>> fault(1, 'Traceback\\n  File "a/torch.py", line 1, in <module>\\nRuntimeError: broken\\n'), fault(-11, "")
    ('fails in a/torch.py: RuntimeError: broken', 'ends with SIGSEGV')
    """
    if code == 0:
        return ""
    last = next((line.strip()[:MOST] for line in reversed(log.splitlines()) if line.strip()), "")
    if -code in set(signal.Signals):
        ending = f"ends with {signal.Signals(-code).name}"
    elif files := IN_FILE.findall(log):
        ending = f"fails in {files[-1]}"
    else:
        ending = f"ends with code {code}"
    return f"{ending}: {last}" if last else ending
