"""Processes that end with the one that started them. Standard library only."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1
"""Of prctl(2)."""


def end_with(parent: int) -> None:
    """Let the system kill this process as soon as the thread that started it is gone, whatever it is busy with. Only Linux can.

    Args:
        parent: number of the process that started this one. If it is gone already, this one ends at once.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        os._exit(1)


def end_forked_with_this() -> None:
    """Let processes that are forked from here on end with the one that forked them, as a plug-in may leave some behind.

    They have what is open here, such as the lock of a device, which they would hold for ever. Those of another thread than the main one are
    left alone: the system would end them with that thread.
    """
    forking: list[int] = []

    def before() -> None:
        forking[:] = [os.getpid()] if threading.current_thread() is threading.main_thread() else []

    def in_child() -> None:
        for parent in forking:
            end_with(parent)

    os.register_at_fork(before=before, after_in_child=in_child)
