"""`evbench doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from evbench.cli.console import MOST_LINES, print_line, screen
from evbench.doctor.examine import examine, to_json
from evbench.doctor.gather import gather
from evbench.doctor.lines import to_console


def doctor_command(
    device: Annotated[str, typer.Option(help="cuda, cpu, or auto: the GPU if there is one.")] = "auto",
    details: Annotated[
        bool, typer.Option("--details", help="All findings, also what each variant lacks with each model and input.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON instead.")] = False,
) -> None:
    """Tell what this machine can do: GPU, libraries, memory, disks, and which variants run here. What is missing is told with its cure.

    Grades: ok; missing, without which some choices do not run; problem, which is there and does not work, or disturbs. It takes 5 to 15 s.

    JSON has the keys device, baseline_runs, exit_code, conclusion, findings (each with area, subject, grade, text, cure, stops, detail) and
    variants (each with variant, model, input, runs, reason).

    Exit codes: 0 the baseline can run here, 2 it cannot: the last line says what to mend first.

    Examples:
        evbench doctor
        evbench doctor --details
        evbench doctor --device cpu --json
    """
    examination = examine(gather(device))
    if as_json:
        print_line(to_json(examination))
    else:
        room = MOST_LINES - -(-len(examination.conclusion) // screen.width)
        screen.print(to_console(examination, details, lambda shown: len(screen.render_lines(shown)), room))
        print_line(examination.conclusion)
    raise typer.Exit(examination.exit_code)
