"""Stored weights whose names are not those of the module that they are read into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evbench.errors import UserError
from evbench.pipelines.checkpoints import checkpoint
from evbench.pipelines.checkpoints.folder import CONSTANTS

Rename = Callable[[str], str | None]
"""Stored name -> name of the parameter; None for what is not used."""


def load_renamed(
    model: nn.Module, folder: Path, rename: Rename, stored_name: Callable[[str], str], fallbacks: Sequence[tuple[str, Path, Rename]] = ()
) -> None:
    """Read a checkpoint folder into `model`.

    Args:
        stored_name: the reverse of `rename`, for messages.
        fallbacks: (prefix, folder, rename): for all parameters with this prefix, if the checkpoint has none of them. One that is there in
            part is damaged: completed from another folder, it might be of two models.

    Raises:
        UserError: a weight is missing, unknown, stored twice, or of another shape or type.
    """
    parameters = dict(model.named_parameters())
    found: dict[str, str] = {}
    unknown: list[str] = []
    mismatched: list[tuple[str, Any, Any]] = []

    def read(source: Path, rename: Rename) -> None:
        for stored, tensor in checkpoint.tensors(source):
            name = rename(stored)
            if name is None or stored.endswith(CONSTANTS):
                continue
            if name in found:
                raise UserError(f"{source} holds {found[name]} and {stored}, which are one weight; remove one of them")
            found[name] = stored
            if name not in parameters:
                unknown.append(stored)
            elif parameters[name].shape != tensor.shape:
                mismatched.append((stored, tensor.shape, parameters[name].shape))
            else:
                with torch.no_grad():
                    parameters[name].copy_(tensor)

    read(folder, rename)
    for prefix, source, rename_there in fallbacks:
        if not any(name.startswith(prefix) for name in found):
            read(source, rename_there)
    checkpoint.refuse_mismatch(folder, sorted(map(stored_name, parameters.keys() - found.keys())), unknown, mismatched)
