"""`evbench schema`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from evbench.api.schemas import SCHEMAS
from evbench.cli.console import print_line
from evbench.errors import UserError, nearest


def schema_command(
    name: Annotated[
        str,
        typer.Argument(
            help="result: of result.json. verdict: of verdict.json of two variants. reproduction: of what evbench verify writes. "
            "external: of a table for evbench lint."
        ),
    ],
) -> None:
    """Print the JSON schema of a file, as this version of evbench writes it or reads it.

    It follows draft 2020-12. Results of an earlier format are read by evbench, and do not fit it.

    Examples:
        evbench schema result
        evbench schema external
    """
    if name not in SCHEMAS:
        raise UserError(f"no schema is called {name!r}; {nearest(name, list(SCHEMAS))}")
    print_line(json.dumps(SCHEMAS[name](), indent=1, ensure_ascii=False))
