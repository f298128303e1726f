"""What every operator of evbench.kernels must do for torch.compile: tell what it writes and returns without running."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

CHECKS = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
"""Of torch.library.opcheck. What is missing is about gradients, which there are none of."""


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps each call of an operator of ours with copies of what it is given."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "evbench":
            self.calls.append((func, copy.deepcopy(args), copy.deepcopy(kwargs or {})))
        return func(*args, **(kwargs or {}))


def require_operator(name: str, function: Callable[..., Any], *arguments: Any) -> None:
    """The function calls `evbench::NAME` once, which keeps to its schema, and of which torch.compile makes one graph.

    Args:
        arguments: of the function. Tensors among them may be written to.
    """
    with Recorder() as recorder:
        expected, written = _called(function, arguments)
    assert [call.name() for call, _, _ in recorder.calls] == [f"evbench::{name}"]
    for operator, args, kwargs in recorder.calls:
        torch.library.opcheck(operator, args, kwargs, test_utils=CHECKS)
    _require_fake(function, arguments, expected)
    torch.compiler.reset()
    results, changed = _called(torch.compile(function, fullgraph=True, backend="aot_eager"), arguments)
    for one, other in zip(_tensors((results, changed)), _tensors((expected, written)), strict=True):
        assert torch.equal(one, other)


def _called(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """What it returns, and copies of the arguments as they are behind it."""
    copies = copy.deepcopy(arguments)
    return function(*copies), copies


def _require_fake(function: Callable[..., Any], arguments: tuple[Any, ...], expected: Any) -> None:
    with FakeTensorMode() as mode:
        made = function(*tree_map_only(torch.Tensor, mode.from_tensor, arguments))
    for fake, real in zip(_tensors(made), _tensors(expected), strict=True):
        assert (fake.shape, fake.dtype, fake.stride(), fake.device) == (real.shape, real.dtype, real.stride(), real.device)


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, torch.Tensor)]
