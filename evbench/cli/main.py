"""The entry point of `evbench`: its commands, and what becomes of errors."""

from __future__ import annotations

import typer

from evbench.cli.completion import CompletedCommands
from evbench.cli.console import print_error
from evbench.cli.interrupts import FAULT, INTERRUPTED, ended_as_by_ctrl_c, ignore_further
from evbench.cli.later import add_later
from evbench.cli.streams import all_is_printed, open_streams
from evbench.cli.usage import Commands
from evbench.cli.version import version_option
from evbench.errors import UserError
from evbench.report.render import printable

COMMANDS = {
    "compare": "evbench.cli.compare:compare_command",
    "run": "evbench.cli.run:run_command",
    "ladder": "evbench.cli.ladder:ladder_command",
    "sweep": "evbench.cli.sweep:sweep_command",
    "scaling": "evbench.cli.scaling:scaling_command",
    "compare-models": "evbench.cli.compare_models:compare_models_command",
    "acceptance": "evbench.cli.acceptance:acceptance_command",
    "selftest": "evbench.cli.selftest:selftest_command",
    "trace": "evbench.cli.trace:trace_command",
    "diff": "evbench.cli.diff:diff_command",
    "open": "evbench.cli.open:open_command",
    "merge": "evbench.cli.merge:merge_command",
    "report": "evbench.cli.report:report_command",
    "history": "evbench.cli.history:history_command",
    "verify": "evbench.cli.verify:verify_command",
    "lint": "evbench.cli.lint:lint_command",
    "schema": "evbench.cli.schema:schema_command",
    "limits": "evbench.cli.limits:limits_command",
    "variants": "evbench.cli.variants:variants_command",
    "doctor": "evbench.cli.doctor:doctor_command",
    "frames": "evbench.cli.frames:frames_command",
}
"""Name -> `module:function`."""
SCENES = {"make": "evbench.cli.scenes:scenes_make_command", "show": "evbench.cli.scenes:scenes_show_command"}
"""Commands of `evbench scenes`."""
OF_MODELS = {"list": "evbench.cli.models_list:models_list_command", "grow": "evbench.cli.grow:models_grow_command"}
"""Commands of `evbench models`."""


def make_app() -> typer.Typer:
    """The command line with all its commands."""
    app = typer.Typer(
        cls=CompletedCommands,
        help="Is an optimized video-language model really faster, and are its outputs preserved?",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    of_scenes = "Make street scenes, seen by a video camera and an event camera, with captions."
    scenes = typer.Typer(cls=Commands, help=of_scenes, no_args_is_help=True)
    models = typer.Typer(cls=Commands, help="Models: which there are, and writing checkpoint folders.", no_args_is_help=True)
    for group, commands in ((app, COMMANDS), (scenes, SCENES), (models, OF_MODELS)):
        for name, place in commands.items():
            add_later(group, name, place)
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
        if ended.code == INTERRUPTED:
            ignore_further()
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
