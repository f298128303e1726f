"""The entry point of `evbench`."""

from __future__ import annotations

from evbench.cli import compare, inputs, ladder, models, report, selftest, trace  # noqa: F401 (they put their commands into `app`)
from evbench.cli.app import app
from evbench.cli.console import complain
from evbench.errors import UserError
from evbench.report.render import printable


def main() -> None:
    """Entry point. Exit codes: those of the verdict, 1 a fault of evbench, 2 wrong input or options, 130 interrupted."""
    try:
        app()
    except UserError as error:
        complain(printable(str(error)))
        raise SystemExit(2) from None
    except OSError as error:  # what the file system says of a path that the user gave
        complain(f"{printable(str(error.filename or 'file system'))}: {error.strerror}; give a path that can be read")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
