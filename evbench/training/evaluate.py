"""How well a checkpoint captions scenes that were stored as files: `python -m evbench.training.evaluate eventgpt SCENES OUT`.

Through the ordinary pipeline: the MP4 is decoded, the event images are read from PNG, and the answer is generated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import typer
from rich.console import Console
from rich.progress import track

from evbench.cli.script import run
from evbench.errors import UserError, first_line, nearest
from evbench.inputs.workload import choose_dtype, require_model
from evbench.machine.machine import choose_device
from evbench.pipelines.build import build
from evbench.pipelines.load.event_images import SLICES
from evbench.pipelines.registry import KINDS, MODELS
from evbench.results import InputKind, Sample, Workload
from evbench.scenes.captions import QUESTIONS, Register
from evbench.scenes.index import INPUTS, TURNS, read_index
from evbench.stages import Generation, Sampler, run_stages
from evbench.training.batches import ANSWER_TOKENS
from evbench.variants.named import parse
from evbench.verdict.captions import Share, score
from evbench.verdict.tokens import first_difference


def main(
    model: Annotated[str, typer.Argument(help="video-llava, or eventgpt.")],
    scenes: Annotated[Path, typer.Argument(help="A folder that `evbench scenes make` has made.")],
    out: Annotated[Path, typer.Argument(help="Folder for scores.json, scores.md and answers.jsonl.")],
    weights: Annotated[Path | None, typer.Option(help="A checkpoint folder, instead of a preset.")] = None,
    preset: Annotated[str, typer.Option(help="With trained or grown weights.")] = "small",
    variant: Annotated[str, typer.Option(help="A variant, see evbench variants.")] = "baseline",
    count: Annotated[int | None, typer.Option(min=2, help="Number of scenes, from the first. Default: all.")] = None,
    leave_out: Annotated[list[str] | None, typer.Option(help="The id of a scene to leave out. May be given several times.")] = None,
    register: Annotated[list[str] | None, typer.Option(help=f"Of the questions: {' or '.join(QUESTIONS)}. Default: both.")] = None,
    against: Annotated[Path | None, typer.Option(help="answers.jsonl of another run, whose tokens are compared with these.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 or bfloat16. Default: that of the device.")] = None,
    device: Annotated[str, typer.Option(help="cuda, cpu, or auto: the GPU if there is one.")] = "auto",
) -> None:
    """Ask questions about every scene, and score the answers."""
    require_model(model)
    if (unknown := next((name for name in register or () if name not in QUESTIONS), None)) is not None:
        raise UserError(f"unknown --register {unknown!r}; {nearest(unknown, list(QUESTIONS))}")
    device = choose_device(device)
    dtype = choose_dtype(dtype, device)
    others = _tokens(against) if against is not None else {}
    entries = [entry for entry in read_index(scenes) if entry["id"] not in (leave_out or ())][:count]
    if len(entries) < 2:
        raise UserError(f"{scenes} holds {len(entries)} scenes to ask about; give two or more, so that they can be shuffled")
    out.mkdir(parents=True, exist_ok=True)
    table = [f"# {model}: {len(entries)} scenes, {entries[0]['id']} to {entries[-1]['id']}\n"]
    if leave_out:
        table.append(f"Left out: {', '.join(leave_out)}.\n")
    scores: dict[str, Any] = {"model": model, "weights": str(weights or preset), "scenes": len(entries), "variant": variant}
    scores |= {"torch": torch.__version__, "device": device, "dtype": dtype}
    compared, apart = 0, list[dict[str, Any]]()
    with (out / "answers.jsonl").open("w", encoding="utf-8") as log:
        for number, question in enumerate(QUESTIONS):
            if register and question not in register:
                continue
            expected = [entry[TURNS[KINDS[MODELS[model].kinds[0]].colours]][2 * number + 1]["value"] for entry in entries]
            said = []
            asked = _asked(model, scenes, entries, question, weights, preset, device, dtype)
            for entry, (answer, logits) in zip(entries, _answers(asked, variant), strict=True):
                said.append(answer.text)
                line = {"id": entry["id"], "register": question, "answer": answer.text, "tokens": list(answer.tokens)}
                log.write(json.dumps(line) + "\n")
                log.flush()
                if (other := others.get((entry["id"], question))) is not None:
                    compared += 1
                    if (position := first_difference(answer.tokens, other)) is not None:
                        apart.append({"id": entry["id"], "register": question} | _parting(position, answer.tokens, other, logits))
            found = {"as shown": score(expected, said), "shuffled": score(expected, said[1:] + said[:1])}
            scores[question] = {which: {name: _stored(share) for name, share in shares.items()} for which, shares in found.items()}
            table += _table(question, found)
    if against is not None:
        scores["tokens"] = {"compared": compared, "parted": apart}
        table.append(_told(compared, apart))
    (out / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    (out / "scores.md").write_text("\n".join(table) + "\n", encoding="utf-8")
    typer.echo("\n".join(table))


def _asked(
    model: str,
    scenes: Path,
    entries: list[dict[str, Any]],
    register: Register,
    weights: Path | None,
    preset: str,
    device: str,
    dtype: str,
) -> Workload:
    kind = MODELS[model].kinds[0]
    return Workload(
        model=model,
        preset=None if weights else preset,
        weights=str(weights) if weights else None,
        samples=tuple(Sample(str(scenes / INPUTS[kind](entry)), "", 0, 0) for entry in entries),
        frames=MODELS[model].frames or SLICES,
        frame_policy="inclusive" if KINDS[kind].policies else "all",
        prompt=QUESTIONS[register],
        new_tokens=ANSWER_TOKENS[register],
        stop_at_end=True,
        device=device,
        dtype=dtype,
        seed=None,
        kind=cast(InputKind, kind),
    )


def _answers(asked: Workload, variant: str) -> Iterator[tuple[Generation, dict[int, torch.Tensor]]]:
    """Of each sample the answer, and the logits of each of its tokens: [1, vocabulary]."""
    pipeline = build(parse(variant), asked)
    for sample in track(asked.samples, asked.prompt, console=Console(stderr=True)):
        sampler = Sampler(keep=range(asked.new_tokens))
        answer, _ = run_stages(pipeline, Path(sample.path), asked.new_tokens, sampler=sampler)
        yield answer, sampler.kept


def _tokens(file: Path) -> dict[tuple[str, str], list[int]]:
    """Tokens of each answer of another run, by scene and register. Raises UserError if it has none."""
    try:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return {(line["id"], line["register"]): line["tokens"] for line in lines}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"--against {file} holds no answers ({first_line(error)}); give answers.jsonl of another run") from error


def _parting(position: int, tokens: Sequence[int], other: Sequence[int], logits: dict[int, torch.Tensor]) -> dict[str, Any]:
    """The first token that differs: up to it both had the same text, so that these logits judge both. None after the end of an answer."""
    own, theirs = (answer[position] if position < len(answer) else None for answer in (tokens, other))
    gap = None if own is None or theirs is None else float(logits[position][0, own] - logits[position][0, theirs])
    return {"position": position, "token": own, "other": theirs, "gap": gap}


def _told(compared: int, apart: list[dict[str, Any]]) -> str:
    gaps = [found["gap"] for found in apart if found["gap"] is not None]
    widest = f"; where they part, the two tokens are {max(gaps):.3g} nats apart at most" if gaps else ""
    return f"Token by token as the other run: {compared - len(apart)} of {compared} answers{widest}.\n"


def _stored(share: Share) -> dict[str, Any]:
    return {"right": share.right, "of": share.of, "share": share.value, "interval": share.interval()}


def _table(register: Register, found: dict[str, dict[str, Share]]) -> list[str]:
    lines = [f"## {QUESTIONS[register]}\n", "| what | right | of | share | 95 % interval | inputs shuffled |", "| --- " * 6 + "|"]
    for name, share in found["as shown"].items():
        low, high = share.interval()
        chance = found["shuffled"][name].value
        lines.append(f"| {name} | {share.right} | {share.of} | {share.value:.1%} | {low:.1%} - {high:.1%} | {chance:.1%} |")
    return [*lines, ""]


if __name__ == "__main__":
    run(main)
