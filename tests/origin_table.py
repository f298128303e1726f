"""The stage times of the published comparison as an external table: the figures of `published.toml`, and no others."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from evbench.report.published import read_page

PAGE = read_page()
STAGES = ("load", "preprocess", "vision", "generate")


def origin(**changed: str) -> Any:
    """Parsed JSON, with numbers as the page writes them. `changed`: figure of the page -> another text."""
    text = {name: figure.text for name, figure in PAGE.figures.items()} | changed
    number = {name: Decimal(text[name]) for name, figure in PAGE.figures.items() if figure.unit not in ("", "UTC", "words and marks")}

    def row(model: str) -> dict[str, Any]:
        times = {f"{stage}_s": number[f"{model}_{stage}"] for stage in STAGES}
        return {
            "name": PAGE.models[model]["title"],
            "times": times | {"total_s": number[f"{model}_total"], "tpot_ms": number[f"{model}_tpot"]},
            "new_tokens": number[f"{model}_new_tokens"],
            "runs": int(number[f"{model}_samples_done"]),
            "samples": int(number["samples"]),
            "dtype": text[f"{model}_dtype"],
            "order": "one after the other",  # its two phases
        }

    video, events = row("video"), row("events")
    video["times"]["all_samples_s"] = number["video_most_for_all"]
    video["warmup_runs"] = int(number["video_warmup_samples"])
    video["shares"] = {stage: number[f"video_share_of_{stage}"] for stage in ("load", "preprocess", "generate")}
    events["saved_shares"] = {"load": number["share_of_loading"], "generate": number["share_of_generate"]}
    events["speedups"] = [
        {"of": "total", "value": number["speedup"]},
        {"of": "load", "value": number["speedup_of_loading"]},
        {"of": "generate", "value": number["speedup_of_generate"]},
        {"of": "total", "formula": "time over baseline"},
        {"of": "speculative", "formula": "tokens per pass"},
    ]
    events["draft_tokens"] = int(number["draft_tokens"])
    return {"source": PAGE.source, "rows": [video, events]}


def written(table: Any) -> bytes:
    """As a file, each number with its digits."""
    if isinstance(table, dict):
        return b"{" + b", ".join(json.dumps(name).encode() + b": " + written(value) for name, value in table.items()) + b"}"
    if isinstance(table, list):
        return b"[" + b", ".join(map(written, table)) + b"]"
    return str(table).encode() if isinstance(table, Decimal) else json.dumps(table).encode()
