"""The JSON schemas of the files that evbench writes for others to read, and of the one that others write for it."""

from __future__ import annotations

from collections.abc import Callable

from evbench import digest
from evbench.external_table import ExternalTable
from evbench.json_schema import Schema, schema_of
from evbench.results import FORMAT, Result
from evbench.verdict.judgement import Judgement
from evbench.verdict.reproduction import Reproduction


def _result() -> Schema:
    """With the digest, which is of the file and not of the dataclass, and the format that this evbench writes."""
    schema = schema_of(Result)
    schema["properties"]["format"] |= {"const": FORMAT}
    schema["properties"][digest.FIELD] = {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256 of the content."}
    return schema


SCHEMAS: dict[str, Callable[[], Schema]] = {
    "result": _result,
    "verdict": lambda: schema_of(Judgement),
    "reproduction": lambda: schema_of(Reproduction),
    "external": lambda: schema_of(ExternalTable),
}
"""Name -> schema: of `result.json`, `verdict.json`, `reproduction.json`, and a table of stage times from elsewhere."""
