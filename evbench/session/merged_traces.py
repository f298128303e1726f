"""Both traces of a comparison on one timeline, derived on demand from its folder."""

from __future__ import annotations

from pathlib import Path

from evbench import results
from evbench.errors import UserError
from evbench.report import comparison
from evbench.results import RESULT, Result, Side
from evbench.traces import chrome
from evbench.traces.former_tracks import redrawn
from evbench.traces.merge import TraceSide, merge
from evbench.traces.timeline import Timeline
from evbench.verdict.judge import judge

AS_IT_RAN, ALIGNED = "trace-as-it-ran.json.gz", "trace-aligned.json.gz"


def merge_folder(source: Path, target: Path, *, aligned: bool) -> Path:
    """Merge the two traces in the folder `source` into a file in the folder `target`.

    Args:
        aligned: whether each stage of both sides begins at the same time; else only the first.

    Returns:
        The file, ALIGNED or AS_IT_RAN.

    Raises:
        UserError: the folder holds no comparison, or not the traces of both sides.
        OSError: a file cannot be read or written.
    """
    if not (source / RESULT).exists():
        _refuse_other(source)
    result = results.read(source)
    merged = merge(_sides(result, source), comparison.of_stages(judge(result)), aligned)
    file = target / (ALIGNED if aligned else AS_IT_RAN)
    chrome.write(merged, file)
    return file


def _refuse_other(folder: Path) -> None:
    """Raises UserError for a folder of several comparisons."""
    if (folder / "models.json").exists():
        raise UserError(f"{folder} is a comparison of models, which records no traces; record one by evbench trace")
    if (folder / "ladder.json").exists():
        rungs = sorted(file.parent.name for file in folder.glob(f"*/{RESULT}"))
        raise UserError(f"{folder} is a ladder; give the folder of one of its comparisons: {', '.join(rungs) or 'none has ended'}")


def _sides(result: Result, folder: Path) -> dict[Side, TraceSide]:
    variants = result.variants()
    files = {side: folder / measured.trace.file for side, measured in variants.items() if measured.trace is not None}
    if len(variants) < 2 and files:
        raise UserError(f"{folder} holds one variant, and so one trace; give the file {files['baseline']}")
    if len(files) < 2:
        raise UserError(f"{folder} does not hold the traces of both sides; compare two variants with --trace-tokens above 0")
    if gone := [file.name for file in files.values() if not file.is_file()]:
        names = " and ".join(measured.variant for measured in variants.values())
        raise UserError(f"{folder} does not hold {' and '.join(gone)} any more; record {names} again by evbench trace")
    read = {side: redrawn(chrome.read(file), file) for side, file in files.items()}
    return {side: TraceSide(read[side], Timeline(read[side].events, files[side]), result.variants()[side].variant) for side in files}
