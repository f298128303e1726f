"""The command line: reads options, calls, prints by `evbench.cli.console`, exits. Nothing else prints or exits."""

from __future__ import annotations

import dataclasses
import datetime
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from evbench.choices import Variant
from evbench.cli.console import ProgressLines, complain, show_progress
from evbench.cli.options import Options
from evbench.errors import UserError, nearest
from evbench.results import Plan, Result, Side, Workload
from evbench.session import compare
from evbench.variants.obstacles import require
from evbench.worker.client import WorkerDied


class Interruptible(TyperGroup):
    """Commands that end with a line also where Ctrl-C comes before or behind their work, such as while input is probed."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with _told_if_interrupted():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        with _told_if_interrupted():
            return super().invoke(ctx)


@contextmanager
def _told_if_interrupted() -> Iterator[None]:
    """Raises typer.Exit, which typer would do without a word."""
    try:
        yield
    except KeyboardInterrupt:
        complain("interrupted")
        raise typer.Exit(130) from None


app = typer.Typer(
    cls=Interruptible,
    help="Is an optimized video-language model really faster, and does it still say the same?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _plan(fresh: dict[Side, Variant], asked: Workload, options: Options) -> Plan:
    """Raises UserError if a variant lacks something here, or the weights cannot fit."""
    for variant in fresh.values():
        require(variant, asked.model, asked.kind, asked.device)
    _require_order(options)
    return options.plan([asked] * len(fresh))


def _require_order(options: Options) -> None:
    """Raises UserError if it is unknown."""
    if options.order not in ("auto", "in-turn", "reload"):
        raise UserError(f"unknown --order {options.order!r}; {nearest(options.order, ['auto', 'in-turn', 'reload'])}")


def _now() -> str:
    """To the microsecond: it names a session, and two may begin in the same second."""
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def _folder(options: Options, now: str, model: str) -> Path:
    if options.resume and options.out is None:
        raise UserError("--resume goes on with the session in --out, which is not given; give its folder")
    return options.out or Path("profiles", f"{now.partition('.')[0].replace(':', '-')}-{model}")


def _carry_out(order: compare.ComparisonRequest) -> Result:
    with _working(lambda: f"the runs that ended are in {order.folder / 'runs.jsonl'}", _how_to_go_on(order.folder)) as progress:
        return compare.carry_out(order, progress)


@contextmanager
def _working(left: Callable[[], str], advice: str = "") -> Iterator[ProgressLines]:
    """Shows progress. What is interrupted, or loses a worker, ends with a line and the exit code of that.

    Args:
        left: what there is after an interruption, as it is then.
        advice: a sentence on what to do about either.
    """
    try:
        with show_progress() as progress:
            yield progress
    except KeyboardInterrupt:
        complain(_sentences(f"interrupted; {left()}", advice))
        raise typer.Exit(130) from None
    except WorkerDied as error:
        complain(_sentences(str(error), advice))
        raise typer.Exit(1) from None


def _sentences(told: str, advice: str) -> str:
    return f"{told}. {advice}" if advice else told


def _how_to_go_on(folder: Path) -> str:
    return f"To go on, give the same command with --out {shlex.quote(str(folder))} --resume"


EVENT_OPTIONS = ("event_window", "event_limit", "event_size")
MEASURING = (
    "blocks",
    "invocations",
    "precision",
    "max_time",
    "warmup",
    "order",
    "cold_files",
    "cold_compile",
    "throughput",
    "target",
    "resume",
)
"""Options of commands that time something."""


def _refuse_idle(options: Options, heeded: Sequence[str], why: str) -> None:
    """Raises UserError for an option that has no effect."""
    idle = [
        field.name for field in dataclasses.fields(Options) if field.name not in heeded and getattr(options, field.name) != field.default
    ]
    if idle:
        told = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        raise UserError(f"{why}: {told} would have no effect; leave it out")


def _refuse_replaced(option: str, given: str | None, instead: Mapping[str, object]) -> None:
    """Raises UserError for an option of both sides, if each has another of its own instead."""
    if given is not None and None not in instead.values():
        raise UserError(f"{' and '.join(instead)} stand instead of it: {option} would have no effect; leave it out")
