"""How much of a multiprocessor's memory is shared memory, and not first-level cache.

The driver chooses for each kernel, by what its programs need. Where two kernels ask for different splits, no multiprocessor can hold
programs of both: one has to be empty before it changes, so that nothing is read ahead while the kernel in front ends. In a chain of
kernels that need much and kernels that need none, it is the same for all.

Source: CUDA C++ Programming Guide, "Shared Memory", `cudaFuncAttributePreferredSharedMemoryCarveout`; driver API, `cuFuncSetAttribute`.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

OF_SEVERAL = 50
"""Per cent, of kernels for several vectors: 45 and 52, which are alike, were the fastest of those tried on an H200 for steps of a batch."""
_PREFERRED = 9
"""CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT."""


def set_carveout(kernel: Any, percent: int) -> None:
    """Have it in all launches from now on; it is a wish, and the driver gives more where one program needs more.

    Args:
        kernel: what the launch of a Triton kernel returned. None, as in its interpreter: there is nothing to be done.

    Raises:
        RuntimeError: the driver refuses.
    """
    if kernel is not None:
        _set(kernel.function, percent)


@cache
def _set(function: int, percent: int) -> None:
    # Triton has no way to say it.
    if code := ctypes.CDLL("libcuda.so.1").cuFuncSetAttribute(ctypes.c_void_p(function), _PREFERRED, percent):
        raise RuntimeError(f"cuFuncSetAttribute returned {code}")
