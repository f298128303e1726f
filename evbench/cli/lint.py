"""`evbench lint`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evbench.cli.console import print_line, print_lines
from evbench.lint.examine import examine
from evbench.lint.finding import conclusion, exit_code
from evbench.report.render import printable
from evbench.report.summary import LONGEST_HEADLINE, shorten


def lint_command(
    file: Annotated[
        Path, typer.Argument(help="A table of stage times in JSON or CSV, a folder of a comparison or run, or the result.json in it.")
    ],
    details: Annotated[bool, typer.Option("--details", help="All lines, each whole.")] = False,
) -> None:
    """Name the mistakes in a result, or in a table of stage times from another script: each by computation from its own figures.

    It looks at unequal tokens, sampling, missing warm-up, stages that do not add up to the total, averages of ratios, formulas
    called speedup, and sides measured one after the other. What the file does not tell is named apart.

    docs/external-table.md has the format; evbench schema external prints its JSON schema.

    Exit codes: 0 nothing was found, 6 there are mistakes, 2 the file cannot be read.

    Examples:
        evbench lint out
        evbench lint table.csv --details
    """
    found = examine(file)
    lines = [printable(finding.line()) for finding in found]
    if details:
        for line in lines:
            print_line(line)
        print_line(conclusion(found))
    else:
        print_lines([shorten(line, LONGEST_HEADLINE) for line in lines], [conclusion(found)], "... and {} more lines; --details has them")
    raise typer.Exit(exit_code(found))
