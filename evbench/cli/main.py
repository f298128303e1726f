"""The entry point of `evbench`: its commands, and what becomes of errors."""

from __future__ import annotations

from collections.abc import Callable

import typer

from evbench.cli.acceptance import acceptance_command
from evbench.cli.compare import compare_command
from evbench.cli.compare_models import compare_models_command
from evbench.cli.console import print_error
from evbench.cli.diff import diff_command
from evbench.cli.doctor import doctor_command
from evbench.cli.frames import frames_command
from evbench.cli.grow import models_grow_command
from evbench.cli.interrupts import FAULT, ended_as_by_ctrl_c
from evbench.cli.ladder import ladder_command
from evbench.cli.merge import merge_command
from evbench.cli.open import open_command
from evbench.cli.report import report_command
from evbench.cli.run import run_command
from evbench.cli.scenes import scenes_make_command, scenes_show_command
from evbench.cli.selftest import selftest_command
from evbench.cli.streams import all_is_printed, open_streams
from evbench.cli.trace import trace_command
from evbench.cli.usage import Commands, OneLineCommand, help_and_examples
from evbench.cli.variants import variants_command
from evbench.cli.version import version_option
from evbench.errors import UserError
from evbench.report.render import printable

COMMANDS: dict[str, Callable[..., None]] = {
    "compare": compare_command,
    "run": run_command,
    "ladder": ladder_command,
    "compare-models": compare_models_command,
    "acceptance": acceptance_command,
    "selftest": selftest_command,
    "trace": trace_command,
    "diff": diff_command,
    "open": open_command,
    "merge": merge_command,
    "report": report_command,
    "variants": variants_command,
    "doctor": doctor_command,
    "frames": frames_command,
}
SCENES: dict[str, Callable[..., None]] = {"make": scenes_make_command, "show": scenes_show_command}
"""Commands of `evbench scenes`."""
OF_MODELS: dict[str, Callable[..., None]] = {"grow": models_grow_command}
"""Commands of `evbench models`."""


def make_app() -> typer.Typer:
    """The command line with all its commands."""
    app = typer.Typer(
        cls=Commands,
        help="Is an optimized video-language model really faster, and are its outputs preserved?",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    of_scenes = "Make street scenes, seen by a video camera and an event camera, with captions."
    scenes = typer.Typer(cls=Commands, help=of_scenes, no_args_is_help=True)
    models = typer.Typer(cls=Commands, help="Models as checkpoint folders.", no_args_is_help=True)
    for group, commands in ((app, COMMANDS), (scenes, SCENES), (models, OF_MODELS)):
        for name, command in commands.items():
            text, examples = help_and_examples(command)
            group.command(name, cls=OneLineCommand, help=text, epilog=examples)(command)
    app.add_typer(scenes, name="scenes")
    app.add_typer(models, name="models")
    app.callback()(version_option)
    return app


def main() -> None:
    """Exit codes: those of the verdict, 1 a fault of evbench, 2 wrong input or options, 130 interrupted."""
    open_streams()
    try:
        with ended_as_by_ctrl_c():
            make_app()()
    except SystemExit as ended:
        # Any other code says already that something is not as wished, and a verdict is in the folder, too.
        if not ended.code and not all_is_printed():
            raise SystemExit(FAULT) from None
        raise
    except UserError as error:
        print_error(printable(str(error)))
        raise SystemExit(2) from None
    except OSError as error:  # what the file system says of a path that the user gave
        print_error(f"{printable(str(error.filename or 'file system'))}: {error.strerror}; give a path that can be read")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
