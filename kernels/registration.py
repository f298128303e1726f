"""How an operation of this folder becomes an operator of torch, `evbench::NAME`, which torch.compile takes as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

LIBRARY = torch.library.Library("evbench", "FRAGMENT")


def register(schema: str, launch: Callable[..., Any], fake: Callable[..., Any]) -> Callable[..., Any]:
    """Register an operator by the lower interface of torch.library, and return it.

    torch.library.custom_op would do the same with layers of Python for autograd and views around each call. Nothing here is
    differentiated, and some of these operators run once for each sample, outside of a CUDA graph, on the host's time: a call with seven
    tensors takes it 9 us more than the bare function in this way, and 12 us (in inference mode) to 50 us more in that one.

    Args:
        schema: `NAME(arguments) -> results`; what is written to is marked, `Tensor(a!)`, and is no result.
        launch: runs the kernel on tensors of a GPU; on those of a CPU where Triton interprets.
        fake: makes empty results of the same shapes, strides and types, and looks at no values.
    """
    name = schema.partition("(")[0]
    LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    for key in ("CUDA", "CPU"):
        LIBRARY.impl(name, launch, key)
    torch.library.register_fake(f"evbench::{name}", fake, lib=LIBRARY)
    operator: Callable[..., Any] = getattr(torch.ops.evbench, name).default
    return operator
