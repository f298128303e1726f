"""Both traces of a comparison on one timeline, derived on demand from its folder."""

from __future__ import annotations

from pathlib import Path

from evbench import results
from evbench.errors import UserError
from evbench.report import comparison
from evbench.results import Result, Side
from evbench.traces import chrome
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
    result = results.read(source)
    merged = merge(_sides(result, source), comparison.of_stages(judge(result)), aligned)
    file = target / (ALIGNED if aligned else AS_IT_RAN)
    chrome.write(merged, file)
    return file


def _sides(result: Result, folder: Path) -> dict[Side, TraceSide]:
    files = {side: folder / measured.trace.file for side, measured in result.variants().items() if measured.trace is not None}
    if len(files) < 2 or not all(file.is_file() for file in files.values()):
        raise UserError(
            f"{folder} does not hold the traces of both sides; compare two variants with --trace-tokens above 0, or open one file"
        )
    read = {side: chrome.read(file) for side, file in files.items()}
    return {side: TraceSide(read[side], Timeline(read[side].events, files[side]), result.variants()[side].variant) for side in files}
