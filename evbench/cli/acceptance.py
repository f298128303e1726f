"""`evbench acceptance`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from evbench import __version__
from evbench.api.folder import now
from evbench.api.options import OF_VIDEO, Options
from evbench.cli.console import print_line, screen
from evbench.cli.options import SessionOptions, with_options
from evbench.cli.output_folder import command_line, output_folder
from evbench.cli.working import working
from evbench.encoding import to_json, write_whole
from evbench.errors import UserError, nearest
from evbench.inputs import workload
from evbench.inputs.listing import require_list
from evbench.pipelines.registry import MODELS, SHIPPED
from evbench.report import acceptance as report
from evbench.report.render import to_rich
from evbench.results import Workload
from evbench.session.acceptance import FORMAT, Answer, Answers, Speaker, answers
from evbench.session.session_folder import TRY_AGAIN, make_folder, writing
from evbench.variants.named import parse
from evbench.variants.obstacles import require
from evbench.verdict.clusters import clusters
from evbench.verdict.speculation import Propose, acceptance, blocks, forced, prompt_lookup, replay, similarity

NOT_TAKEN = (
    "model", "weights", "plugin", "pipeline", "video", "events", "raw_events", "batch", "stop_at_end", "throughput",
    "trace_tokens", "modules", "target", "blocks", "invocations", "precision", "max_time", "warmup", "order", "cold_files", "cold_compile",
    "resume", "details", "event_window", "event_limit", "event_size",
)  # fmt: skip
"""Shared options that this command does not take: it times nothing, and has its models and the scenes of --data."""
SMALL, LOOKUP, HEAD = "small", "prompt-lookup", "head"
RAW, REPORT = "acceptance.json", "acceptance.md"
FEWEST_TOKENS = 3
"""Of an answer: the first is the prefill's, and the last that of a pass."""


@with_options(but=NOT_TAKEN)
def acceptance_command(
    *,
    target: Annotated[str, typer.Option(help=f"The model whose answers they are: {' or '.join(SHIPPED)}.")],
    draft: Annotated[str, typer.Option(help=f"The drafter: the other model, {SMALL} or {HEAD} (the target's), or {LOOKUP}.")],
    gamma: Annotated[int, typer.Option(min=1, max=16, help="Drafted tokens in a block: from 1 to so many.")] = 8,
    target_variant: Annotated[str, typer.Option(help="Of the target.")] = "baseline",
    draft_variant: Annotated[str | None, typer.Option(help="Of a drafter that is a model. Default: baseline.")] = None,
    options: Options,
    session: SessionOptions,
) -> None:
    """Count which drafted tokens a target would accept in speculative decoding, on the scenes of --data.

    The drafter is asked what it would say along the target's own greedy answers, and blocks are replayed. Nothing is timed. Exit
    codes: 0 counted, 2 wrong input, 1 a fault of evbench.

    Examples:
        evbench scenes make set --count 10
        evbench acceptance --target video-llava --draft eventgpt --data set
        evbench acceptance --target video-llava --draft prompt-lookup --data set
        evbench acceptance --target video-llava --draft head --data set
    """
    workload.require_model(target, "--target")
    if options.new_tokens < FEWEST_TOKENS:
        raise UserError(f"--new-tokens {options.new_tokens} leaves nothing to draft; give {FEWEST_TOKENS} at least")
    variant, drafter = parse(target_variant), _drafter(draft, target, draft_variant, options)
    speaker = Speaker(variant, _workload(options, target, options.preset))
    for one in (speaker, *([drafter] if drafter is not None else [])):
        require(one.variant, one.workload.model, one.workload.kind, one.workload.device)
    started = now()
    folder = output_folder(session, started, f"{target}-acceptance")
    asked = Answers(FORMAT, __version__, command_line(), draft, speaker.stored(), drafter.stored() if drafter is not None else None, ())
    kept: list[Answer] = []

    def keep(found: list[Answer]) -> None:
        kept[:] = found
        write_whole(folder / RAW, to_json(dataclasses.replace(asked, answers=tuple(found))) + "\n")

    saved = f"answers that there are stand in {folder / RAW}"
    with working(lambda: saved if kept else "nothing was answered yet") as progress, writing(folder, TRY_AGAIN):
        make_folder(folder, resumable=False)
        by_head = gamma if draft == HEAD else 0
        found = answers(speaker, drafter, folder, session.wait, progress, keep, options.deadline, by_head)
    if not any(len(answer.tokens) >= FEWEST_TOKENS for answer in found):
        raise UserError(
            f"no answer has {FEWEST_TOKENS} tokens, so nothing is drafted; ask another --prompt ({folder / RAW} has the answers)"
        )
    _tell(dataclasses.replace(asked, answers=tuple(found)), gamma, folder, started)


def _tell(found: Answers, gamma: int, folder: Path, started: str) -> None:
    drafts = [(answer.tokens, _proposed(found, answer)) for answer in found.answers]
    of = clusters(found.target.workload.samples)
    lengths = [acceptance([replay(tokens, propose, size) for tokens, propose in drafts], size, of) for size in range(1, gamma + 1)]
    speakers = [report.described("Target", found.target.workload, found.target.variant.name)]
    alike = None
    if found.drafter is not None:
        speakers.append(report.described("Drafter", found.drafter.workload, found.drafter.variant.name))
        alike = sum(similarity(answer.tokens, answer.own) for answer in found.answers) / len(found.answers)
    tokens = sum(len(answer.tokens) for answer in found.answers)
    told = [*speakers, *report.facts(of, tokens, alike, found.draft == HEAD)]
    tables = [report.table(lengths), report.by_place(lengths[-1])]
    title = f"{found.draft} drafts for {found.target.workload.model}"
    write_whole(folder / REPORT, report.to_markdown(title, tables, told, started, found.command))
    screen.print(to_rich(tables[0], numbers=True))
    for fact in told:
        print_line(fact)
    print_line(f"Written to {folder}: {REPORT}, {RAW}")


def _proposed(found: Answers, answer: Answer) -> Propose:
    if found.draft == HEAD:
        return blocks(answer.drafts)
    return prompt_lookup(answer.prompt, answer.tokens) if found.drafter is None else forced(answer.predicted)


def _drafter(draft: str, target: str, variant: str | None, options: Options) -> Speaker | None:
    """None for one that is no model."""
    others = [name for name in SHIPPED if name != target]
    if draft not in (*others, SMALL, LOOKUP, HEAD):
        raise UserError(f"unknown --draft {draft!r}; {nearest(draft, [*others, SMALL, LOOKUP, HEAD])}")
    if draft in (LOOKUP, HEAD):
        if variant is not None:
            raise UserError(f"--draft {draft} is no model: --draft-variant would have no effect; leave it out")
        return None
    if draft == SMALL and options.preset in (None, SMALL):
        raise UserError(
            f"--draft {SMALL} is the target itself at --preset {SMALL}: all would be accepted; give --preset 7b, or another draft"
        )
    model, preset = (target, SMALL) if draft == SMALL else (draft, options.preset)
    return Speaker(parse(variant or "baseline"), _workload(options, model, preset))


def _workload(options: Options, model: str, preset: str | None) -> Workload:
    """Of one of the models. Its answers may end by themselves. Raises UserError if it cannot have the other's samples."""
    require_list(options.data, "acceptance")
    of_model: dict[str, Any] = OF_VIDEO if "events" in MODELS[model].kinds else {}
    return dataclasses.replace(options, model=model, preset=preset, stop_at_end=True, **of_model).workload()
