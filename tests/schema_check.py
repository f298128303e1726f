"""Whether parsed JSON fits a schema: those words of draft 2020-12 that `evbench.json_schema` uses, and an error for any other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

ANNOTATIONS = {"$schema", "$defs", "title", "description"}
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "number": (int, float), "integer": (int,), "boolean": (bool,),
    "null": (type(None),),
}  # fmt: skip


def faults(schema: Any, value: Any, root: Any = None, place: str = "$") -> Iterator[str]:
    """Places that do not fit, with the word of the schema that says so."""
    root = schema if root is None else root
    for word, asked in schema.items():
        if word not in ANNOTATIONS:
            yield from _faults(word, asked, schema, value, root, place)


def _faults(word: str, asked: Any, schema: Any, value: Any, root: Any, place: str) -> Iterator[str]:
    fits = True
    match word:
        case "$ref":
            yield from faults(root["$defs"][asked.removeprefix("#/$defs/")], value, root, place)
        case "type":
            fits = isinstance(value, TYPES[asked]) and (asked == "boolean" or not isinstance(value, bool))
        case "enum":
            fits = value in asked
        case "const":
            fits = value == asked
        case "pattern":
            fits = not isinstance(value, str) or re.search(asked, value) is not None
        case "anyOf":
            fits = any(not list(faults(one, value, root, place)) for one in asked)
        case "required":
            fits = not isinstance(value, dict) or set(asked) <= value.keys()
        case "minItems":
            fits = not isinstance(value, list) or len(value) >= asked
        case "maxItems":
            fits = not isinstance(value, list) or len(value) <= asked
        case "items" | "prefixItems":
            if isinstance(value, list):
                inner = [asked] * len(value) if word == "items" else asked
                for index, (one, item) in enumerate(zip(inner, value, strict=False)):
                    yield from faults(one, item, root, f"{place}[{index}]")
        case "propertyNames":
            if isinstance(value, dict):
                for name in value:
                    yield from faults(asked, name, root, f"{place}: {name}")
        case "properties" | "additionalProperties":
            if isinstance(value, dict):
                known = schema.get("properties", {})
                for name in value.keys() & known.keys() if word == "properties" else value.keys() - known.keys():
                    if asked is False:
                        yield f"{place}.{name}: {word}"
                    else:
                        yield from faults(asked[name] if word == "properties" else asked, value[name], root, f"{place}.{name}")
        case _:
            raise NotImplementedError(word)
    if not fits:
        yield f"{place}: {word}"
