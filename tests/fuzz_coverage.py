"""Hostile files that are changed so as to reach new lines of evbench's own parsers: `python -m tests.fuzz_coverage --minutes 15`.

A file is opened as `tests.fuzz` opens it, and the same is a fault. Only how it is changed is different, by atheris: byte by byte, going on
from what reached a line or a branch that nothing before had reached.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
OWN = ("evbench.encoding", "evbench.lint", "evbench.pipelines.checkpoints.folder", "evbench.pipelines.load", "evbench.results",
       "evbench.scenes.index", "evbench.session.journal", "evbench.session.journal_replay", "evbench.traces")  # fmt: skip
"""Modules whose lines count."""
PARSED = ("MP4", "npz", "npy", "PNG", "EVT", "DAT", "safetensors", "result", "journal", "scenes", "table", "table in CSV", "trace")
"""Kinds of input that code in OWN takes apart."""
SEEN = re.compile(r"^#(\d+)\t.*?cov: (\d+)", re.MULTILINE)
"""A line of libFuzzer: examples so far, and the branches that they have reached."""


def run(name: str, folder: Path, seconds: float, seed: int) -> tuple[int, int, int, str]:
    """One kind of input, in a process of its own. What is left of a fault stays in the folder.

    Returns:
        Examples; branches that whole files reach, and that were reached at the end; and the fault, empty if there is none.
    """
    (folder / "reached").mkdir(parents=True)
    command = [sys.executable, "-m", "tests.fuzz_coverage", "--child", name, str(folder), str(max(1, round(seconds))), str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", env=os.environ | {"TMPDIR": str(folder)})
    seen = [(int(examples), int(branches)) for examples, branches in SEEN.findall(done.stderr)] or [(0, 0)]
    fault = f"the process ended with code {done.returncode}: {done.stderr[-3000:]}" if done.returncode else ""
    return seen[-1][0], seen[0][1], seen[-1][1], fault


def child(name: str, folder: str, seconds: str, seed: str) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=list(OWN)):
        from tests import fuzz
        from tests.hostile_inputs import TARGETS
    target, place = TARGETS[name], Path(folder).resolve() / "input"
    whole = target.made()
    changed = target.changes or min(whole[0])
    for number, files in enumerate(whole):
        (Path(folder) / "reached" / f"whole-{number}").write_bytes(files[changed])
    tempfile.gettempdir()  # tries where files can be written, the first time
    sys.addaudithook(fuzz.WATCH)

    def one(content: bytes) -> None:
        fuzz.open_one(target, {**whole[0], changed: content}, place)

    largest = 4 * max(len(files[changed]) for files in whole)
    limits = [f"-max_total_time={seconds}", f"-max_len={largest}", "-rss_limit_mb=4096", f"-artifact_prefix={folder}/", f"-seed={seed}"]
    atheris.Setup(["fuzz", *limits, f"{folder}/reached"], one)
    atheris.Fuzz()


def told(rows: Sequence[tuple[str, int, int, int, str]], command: str, commit: str) -> str:
    """What is recorded."""
    lines = [f"$ {command}", f"evbench at {commit}, Python {sys.version.split()[0]}", ""]
    lines.append(f"{'input':16}{'examples':>10}{'branches of whole files':>25}{'at the end':>12}")
    for name, examples, before, after, fault in rows:
        lines.append(f"{name:16}{examples:>10,}{before:>25,}{after:>12,}" + ("  FAULT" if fault else ""))
    faults = [(name, fault) for name, *_, fault in rows if fault]
    lines += [f"{'all':16}{sum(row[1] for row in rows):>10,}", "", f"{len(faults)} faults" if faults else "no fault"]
    return "\n".join(lines + [f"{name}: {fault.splitlines()[0]}" for name, fault in faults]) + "\n"


def main() -> int:
    """Exit code 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=15.0, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", choices=PARSED, help="a kind of input; can be given several times")
    parser.add_argument("--out", type=Path, help="where the result is written, too")
    options = parser.parse_args()
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    folder = Path(tempfile.mkdtemp(prefix="evbench-fuzz-"))
    names, rows = options.only or PARSED, []
    for name in names:
        found = run(name, folder / name.replace(" ", "-"), options.minutes * 60 / len(names), options.seed)
        rows.append((name, *found))
        state = f"FAULT, its input is in {folder}\n{found[-1]}" if found[-1] else "no fault"
        print(f"{name}: {found[0]:,} examples, {state}", flush=True)
    text = told(rows, f"python -m tests.fuzz_coverage {' '.join(sys.argv[1:])}", commit)
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    if any(fault for *_, fault in rows):
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        sys.exit(main())
