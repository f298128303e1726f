"""Frozen dataclasses -> the JSON schema of what `evbench.encoding` writes of them, and reads. Standard library only.

Source of the vocabulary: https://json-schema.org/draft/2020-12. What a class checks of its values when it is made is not in its schema.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import textwrap
import types
import typing
from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

from evbench.encoding import field_types, optional_fields

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]
PLAIN: dict[Any, str] = {
    float: "number", Decimal: "number", int: "integer", bool: "boolean", str: "string", type(None): "null",
}  # fmt: skip


def schema_of(kind: type[Any]) -> Schema:
    """Of a dataclass. Those that its fields are made of stand in `$defs`, by their names; docstrings are descriptions.

    Raises:
        ValueError: two classes have the same name.
        KeyError: a type that `evbench.encoding` does not read.
    """
    found: dict[type[Any], Schema] = {}
    whole = _object(kind, found)
    names = [inner.__name__ for inner in found]
    if len(set(names)) < len(names):
        raise ValueError(f"two classes in {kind.__name__} have the same name: {', '.join(sorted(names))}")
    definitions = {inner.__name__: schema for inner, schema in sorted(found.items(), key=lambda pair: pair[0].__name__)}
    return {"$schema": DIALECT, "title": kind.__name__, **whole, **({"$defs": definitions} if definitions else {})}


def _object(kind: Any, found: dict[type[Any], Schema]) -> Schema:
    fields, optional, defined = field_types(kind), optional_fields(kind), _definition(kind)
    texts = _field_docstrings(defined)
    properties = {name: _of(hint, found) | _described(texts.get(name, "")) for name, hint in fields.items()}
    required = [name for name in fields if name not in optional]
    text = _described(ast.get_docstring(defined) or "")
    return {"type": "object", **text, "properties": properties, "required": required, "additionalProperties": False}


def _of(kind: Any, found: dict[type[Any], Schema]) -> Schema:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        named = typing.cast(type[Any], kind)
        if named not in found:
            found[named] = {}  # one that holds itself is not begun again
            found[named] = _object(named, found)
        return {"$ref": f"#/$defs/{named.__name__}"}
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [_of(argument, found) for argument in arguments]}
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return {"type": "array", "items": _of(arguments[0], found)}
        places = [_of(argument, found) for argument in arguments]
        return {"type": "array", "prefixItems": places, "minItems": len(places), "maxItems": len(places)}
    if origin is dict:
        names = {} if arguments[0] is str else {"propertyNames": _of(arguments[0], found)}
        return {"type": "object", **names, "additionalProperties": _of(arguments[1], found)}
    if origin is Literal:
        return _one_of(arguments)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return _one_of(map(str, kind))
    return {"type": PLAIN[kind]}


def _one_of(words: Iterable[Any]) -> Schema:
    return {"enum": list(words)}


def _described(text: str) -> Schema:
    words = " ".join(text.split())
    return {"description": words} if words else {}


@functools.cache
def _definition(kind: type[Any]) -> ast.ClassDef:
    """Its source: Python keeps the texts under fields nowhere else."""
    (defined,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(defined, ast.ClassDef)
    return defined


def _field_docstrings(defined: ast.ClassDef) -> dict[str, str]:
    """Field -> the text under it, which says its unit."""
    texts = {}
    for field, behind in zip(defined.body, defined.body[1:], strict=False):
        match field, behind:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str() as text)):
                texts[name] = text
    return texts
