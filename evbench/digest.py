"""A digest of what is measured, stored in its file: whether somebody has changed the file since. Standard library only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from evbench.errors import UserError

FIELD = "digest"
"""Of the object in the file. Files of earlier versions have none."""


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a file, with its digest."""
    return {**content, FIELD: _digest(content)}


def unsealed(content: Any, file: str) -> Any:
    """Parsed JSON without its digest, if it has one.

    Raises:
        UserError: the content is not what was written.
    """
    if not isinstance(content, dict) or FIELD not in content:
        return content
    plain = {name: value for name, value in content.items() if name != FIELD}
    if content[FIELD] != _digest(plain):
        raise UserError(f"{file} was changed after it was written: its digest is not that of its content; measure again")
    return plain


def _digest(content: Mapping[str, Any]) -> str:
    """Of the values, however they are laid out."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
