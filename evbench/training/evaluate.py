"""How well a checkpoint captions scenes that were stored as files: `python -m evbench.training.evaluate eventgpt SCENES OUT`.

Through the ordinary pipeline: the MP4 is decoded, the event images are read from PNG, and the answer is generated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import typer
from rich.console import Console
from rich.progress import track

from evbench.cli.script import run
from evbench.errors import UserError
from evbench.inputs.workload import require_model
from evbench.machine.machine import choose_device
from evbench.pipelines.build import build
from evbench.pipelines.load.event_images import SLICES
from evbench.pipelines.registry import KINDS, MODELS
from evbench.results import InputKind, Sample, Workload
from evbench.scenes.captions import QUESTIONS, Register
from evbench.scenes.index import INPUTS, TURNS, read_index
from evbench.stages import run_stages
from evbench.training.batches import ANSWER_TOKENS
from evbench.variants.named import parse
from evbench.verdict.captions import Share, score


def main(
    model: Annotated[str, typer.Argument(help="video-llava, or eventgpt.")],
    scenes: Annotated[Path, typer.Argument(help="A folder that `evbench scenes make` has made.")],
    out: Annotated[Path, typer.Argument(help="Folder for scores.json, scores.md and answers.jsonl.")],
    weights: Annotated[Path | None, typer.Option(help="A checkpoint folder. Default: the one that ships with evbench.")] = None,
    variant: Annotated[str, typer.Option(help="A variant, see evbench variants.")] = "baseline",
    count: Annotated[int | None, typer.Option(min=2, help="Number of scenes, from the first. Default: all.")] = None,
    leave_out: Annotated[list[str] | None, typer.Option(help="The id of a scene to leave out. May be given several times.")] = None,
    device: Annotated[str, typer.Option(help="cuda, cpu, or auto: the GPU if there is one.")] = "auto",
) -> None:
    """Ask both questions about every scene, and score the answers."""
    require_model(model)
    device = choose_device(device)
    entries = [entry for entry in read_index(scenes) if entry["id"] not in (leave_out or ())][:count]
    if len(entries) < 2:
        raise UserError(f"{scenes} holds {len(entries)} scenes to ask about; give two or more, so that they can be shuffled")
    out.mkdir(parents=True, exist_ok=True)
    table = [f"# {model}: {len(entries)} scenes, {entries[0]['id']} to {entries[-1]['id']}\n"]
    if leave_out:
        table.append(f"Left out: {', '.join(leave_out)}.\n")
    scores: dict[str, Any] = {"model": model, "scenes": len(entries), "variant": variant, "torch": torch.__version__, "device": device}
    with (out / "answers.jsonl").open("w", encoding="utf-8") as log:
        for number, register in enumerate(QUESTIONS):
            expected = [entry[TURNS[KINDS[MODELS[model].kinds[0]].colours]][2 * number + 1]["value"] for entry in entries]
            said = []
            for entry, answer in zip(entries, _answers(model, scenes, entries, register, weights, variant, device), strict=True):
                said.append(answer)
                log.write(json.dumps({"id": entry["id"], "register": register, "answer": answer}) + "\n")
                log.flush()
            found = {"as shown": score(expected, said), "shuffled": score(expected, said[1:] + said[:1])}
            scores[register] = {which: {name: _stored(share) for name, share in shares.items()} for which, shares in found.items()}
            table += _table(register, found)
    (out / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    (out / "scores.md").write_text("\n".join(table) + "\n", encoding="utf-8")
    typer.echo("\n".join(table))


def _answers(
    model: str, scenes: Path, entries: list[dict[str, Any]], register: Register, weights: Path | None, variant: str, device: str
) -> Iterator[str]:
    kind = MODELS[model].kinds[0]
    asked = Workload(
        model=model,
        preset=None if weights else "small",
        weights=str(weights) if weights else None,
        samples=tuple(Sample(str(scenes / INPUTS[kind](entry)), "", 0, 0) for entry in entries),
        frames=MODELS[model].frames or SLICES,
        frame_policy="inclusive" if KINDS[kind].policies else "all",
        prompt=QUESTIONS[register],
        new_tokens=ANSWER_TOKENS[register],
        stop_at_end=True,
        device=device,
        dtype="bfloat16" if device == "cuda" else "float32",
        seed=None,
        kind=cast(InputKind, kind),
    )
    pipeline = build(parse(variant), asked)
    for sample in track(asked.samples, f"{model}, {register}", console=Console(stderr=True)):
        answer, _ = run_stages(pipeline, Path(sample.path), asked.new_tokens)
        yield answer.text


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
