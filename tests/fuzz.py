"""Opens hostile files for as long as it is told to: `python -m tests.fuzz --minutes 60 --out profiles/cpu/fuzz/fuzz.txt`.

Each kind of input of `tests.hostile_inputs` is opened in a process of its own, with a limit on its memory. An example may end well or with
a UserError of one line. A fault is everything else: another error, a process that crashes or takes longer than an example may, one that
wants more memory, and what only code that was smuggled in does: starting a process, unpickling, a connection, a file written elsewhere.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import gc
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st

from evbench.errors import UserError
from tests.hostile_inputs import TARGETS, Files, Target

ROOT = Path(__file__).parent.parent
MEMORY = 6 * 2**30
"""Bytes of addresses that a process may take beyond what it has after opening whole files. Of a clip 4 GiB of pixels are taken."""
RESIDENT = 2**30
"""Bytes of real memory that it may take beyond that."""
ROUND = 200
"""Examples that are drawn one after the other from one seed."""
LONGEST_LINE = 10_000
RUNS_CODE = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.find_class", "socket.connect", "socket.bind")
"""Events of `sys.addaudithook` that opening a file never causes."""
OWN = ("git", "uname")
"""Programs that are asked for evbench's own version, and the machine's."""
WRITES = {"os.remove": 0, "os.rmdir": 0, "os.mkdir": 0, "os.rename": 1, "os.link": 1, "os.symlink": 1, "os.truncate": 0}
"""Events with a path, and its place among their arguments."""


@dataclass
class Watch:
    """What this process must not do while a file is opened. Once begun it cannot be taken away, only told to look elsewhere."""

    folder: Path | None = None
    """Outside of which nothing is written. None: nothing is watched."""
    starts_processes: bool = False
    seen: list[str] = field(default_factory=list)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event in RUNS_CODE and not self.starts_processes and not (event == "subprocess.Popen" and arguments[0] in OWN):
            self.seen.append(f"{event} {arguments!r}"[:200])
        elif event in WRITES:
            self._written(event, arguments[WRITES[event]])
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            self._written(event, arguments[0])

    def _written(self, event: str, path: Any) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return  # the number of a file that is open already
        place = os.path.abspath(os.fsdecode(path))
        if not place.startswith(f"{self.folder}{os.sep}") and place not in (os.devnull, str(self.folder)):
            self.seen.append(f"{event} of {place}"[:200])


@dataclass
class Outcome:
    """Of one process."""

    target: str
    opened: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    """Seconds of one example."""
    resident: int = 0
    """Bytes, beyond what was taken for whole files."""
    fault: str = ""
    """What happened to the last example. Empty if nothing did."""


WATCH = Watch()
"""Of this process."""


def open_one(target: Target, files: Files, folder: Path) -> bool:
    """Whether it was opened, not refused. Raises AssertionError, or whatever must not be raised."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    faulthandler.dump_traceback_later(target.seconds, exit=True)
    WATCH.folder, WATCH.starts_processes = folder, target.starts_processes
    try:
        target.opened(folder)
        return True
    except UserError as error:
        assert str(error) and "\n" not in str(error), f"not one line: {error!r}"
        assert len(str(error)) < LONGEST_LINE, f"a line of {len(str(error))} characters: {str(error)[:200]!r}"
        return False
    finally:
        WATCH.folder = None
        faulthandler.cancel_dump_traceback_later()
        seen, WATCH.seen = WATCH.seen, []
        assert not seen, f"it did what no file may cause: {'; '.join(seen)}"


def fuzz(name: str, folder: Path, examples: int, until: float, first_seed: int) -> Outcome:
    """In a process of its own, which is then of no other use.

    Args:
        folder: in which each example is written into a folder called `input`, that of a fault last.
        until: moment of `time.monotonic` at which no further round begins.
    """
    target, outcome = TARGETS[name], Outcome(name)
    whole, place = target.made(), folder / "input"
    for files in whole:
        assert open_one(target, files, place), f"{name}: a whole one is refused"
    base = _resident()
    resource.setrlimit(resource.RLIMIT_AS, (_addresses() + MEMORY, resource.RLIM_INFINITY))

    def one(files: Files, name: str, content: bytes) -> None:
        begun = time.monotonic()
        if open_one(target, {**files, name: content}, place):
            outcome.opened += 1
        else:
            outcome.refused += 1
        outcome.slowest = max(outcome.slowest, time.monotonic() - begun)
        outcome.resident = max(outcome.resident, _resident() - base)
        assert outcome.resident < RESIDENT, f"it takes {outcome.resident / 2**30:.1f} GiB of memory"

    @st.composite
    def inputs(draw: Any) -> tuple[Files, str, bytes]:
        files = draw(st.sampled_from(whole))
        name = target.changes or draw(st.sampled_from(sorted(files)))
        return files, name, draw(target.change(files[name]))

    begun, number = time.monotonic(), 0
    while number * ROUND < examples and (number == 0 or time.monotonic() < until):

        @seed(first_seed + number)
        @settings(
            max_examples=min(ROUND, examples - number * ROUND), deadline=None, database=None, verbosity=Verbosity.quiet,
            phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck), print_blob=False,
        )  # fmt: skip
        @given(inputs())
        def each(drawn: tuple[Files, str, bytes]) -> None:
            one(*drawn)

        try:
            each()
        except Exception as error:  # whatever it is: to find it is what this is for
            outcome.fault = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
            break
        number += 1
        gc.collect()  # or what hypothesis has kept of this round is counted as the reader's
    outcome.seconds = time.monotonic() - begun
    return outcome


def _resident() -> int:
    """The most so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _addresses() -> int:
    """Bytes that are mapped."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def run(names: Sequence[str], folder: Path, examples: int, seconds: float, first_seed: int) -> list[Outcome]:
    """Kinds of input, one after the other, in a process of their own. What it leaves of a fault stays in the folder.

    Args:
        examples: of each kind; of one whose examples take long, its share of them.
        seconds: of each kind, whole files being made included. A round that has begun is ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz", "--child", json.dumps(names), str(folder), str(examples), str(seconds), str(first_seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", env=os.environ | {"TMPDIR": str(folder)})
    outcomes = [Outcome(**json.loads(line)) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or len(outcomes) < len(names):
        outcomes.append(Outcome(names[len(outcomes)], fault=f"the process ended with code {done.returncode}: {done.stderr[-3000:]}"))
    return outcomes


def told(outcomes: Sequence[Outcome], command: str, commit: str) -> str:
    """What is recorded."""
    total: Counter[str] = Counter()
    lines = [f"$ {command}", f"evbench at {commit}, Python {sys.version.split()[0]}", ""]
    lines.append(f"{'input':24}{'examples':>10}{'opened':>9}{'refused':>9}{'seconds':>9}{'slowest':>10}{'memory':>11}")
    for found in outcomes:
        total.update(opened=found.opened, refused=found.refused, seconds=round(found.seconds))
        row = f"{found.target:24}{found.opened + found.refused:>10,}{found.opened:>9,}{found.refused:>9,}{found.seconds:>9.0f}"
        lines.append(f"{row}{found.slowest:>8.2f} s{found.resident / 2**20:>7.0f} MiB" + ("  FAULT" if found.fault else ""))
    both = total["opened"] + total["refused"]
    lines.append(f"{'all':24}{both:>10,}{total['opened']:>9,}{total['refused']:>9,}{total['seconds']:>9,}")
    faults = [found for found in outcomes if found.fault]
    lines += ["", f"{len(faults)} faults" if faults else "no fault"]
    return "\n".join(lines + [f"{found.target}: {found.fault.splitlines()[0]}" for found in faults]) + "\n"


def main() -> int:
    """Exit code 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=60.0, help="of all kinds together")
    parser.add_argument("--examples", type=int, default=10**9, help="of each kind, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=list(TARGETS), help="a kind of input; can be given several times")
    parser.add_argument("--out", type=Path, help="where the result is written, too")
    options = parser.parse_args()
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    folder = Path(tempfile.mkdtemp(prefix="evbench-fuzz-"))
    outcomes = []
    names = options.only or list(TARGETS)
    for name in names:
        (found,) = run([name], folder / name.replace(" ", "-"), options.examples, options.minutes * 60 / len(names), options.seed)
        outcomes.append(found)
        state = f"FAULT, its input is in {folder}\n{found.fault}" if found.fault else "no fault"
        print(f"{found.target}: {found.opened + found.refused:,} examples in {found.seconds:.0f} s, {state}", flush=True)
    text = told(outcomes, f"python -m tests.fuzz {' '.join(sys.argv[1:])}", commit)
    print(text)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")
    if any(found.fault for found in outcomes):
        return 1
    shutil.rmtree(folder)
    return 0


def child(names: str, folder: str, examples: str, seconds: str, first_seed: str) -> None:
    """Print what was found of each kind as a line of JSON. What evbench prints is of no interest."""
    tempfile.gettempdir()  # tries where files can be written, the first time
    sys.addaudithook(WATCH)
    for name in json.loads(names):
        most = max(4, round(int(examples) * TARGETS[name].share))
        with contextlib.redirect_stdout(sys.stderr):
            found = fuzz(name, Path(folder).resolve(), most, time.monotonic() + float(seconds), int(first_seed))
        print(json.dumps(asdict(found)), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        from tests import fuzz as module  # under its importable name, of which there is one watch

        module.child(*sys.argv[2:])
    else:
        sys.exit(main())
