"""A command whose output nobody reads, or that is ended by a signal, still ends with its exit code and no traceback."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evbench import results
from tests.examples import make_result, make_side, scaled

pytestmark = pytest.mark.slow

COMMAND = f"{shlex.quote(sys.executable)} -m evbench.cli.main"
FULL = "evbench: cannot print any further: No space left on device; give the output another place\n"
SAME = "compare --baseline equal --optimized equal --out equal/out"
SLOW = "import sys; from evbench.cli.main import main; sys.argv = ['evbench', *sys.argv[1:]]; main()"


def shell(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a person types; its exit code is that of evbench, not of a pipe's last command."""
    script = line.replace("evbench", COMMAND)
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False, env=os.environ | environment)


@pytest.fixture
def slower(tmp_path: Path) -> str:
    """A command with much to print, and exit code 3."""
    side = make_side()
    (tmp_path / "earlier").mkdir()
    results.write(make_result(scaled(side, 2.0)), tmp_path / "earlier" / "result.json")
    return "evbench compare --baseline earlier --optimized earlier --out out"


@pytest.mark.parametrize(
    "ending",
    [
        "| head -1; exit ${PIPESTATUS[0]}",
        ">&-",
        "2>&-",
        "<&- >&- 2>&-",
    ],
)
def test_the_exit_code_of_a_verdict_does_not_depend_on_who_reads_it(ending: str, slower: str, tmp_path: Path) -> None:
    done = shell(f"{slower} {ending}", tmp_path)
    assert (done.returncode, done.stderr) == (3, "")
    assert results.read(tmp_path / "out").optimized is not None
    assert (tmp_path / "out" / "report.md").stat().st_size > 1000
    # The first file that was opened would have the number of a closed stream, and be printed into.
    assert not [file.name for file in (tmp_path / "out").iterdir() if "Written to" in file.read_text()]
    assert done.stdout.count("\n") == (1 if "head" in ending else done.stdout.count("\n") if ending == "2>&-" else 0)


@pytest.mark.parametrize("arguments", ["--help", "report nowhere"])
def test_help_and_errors_without_a_stream_end_as_with_one(arguments: str, tmp_path: Path) -> None:
    usual = shell(f"evbench {arguments}", tmp_path)
    for ending in (">&-", "2>&-", "| true; exit ${PIPESTATUS[0]}"):
        done = shell(f"evbench {arguments} {ending}", tmp_path)
        assert done.returncode == usual.returncode, ending
        assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr
        if "2>&-" not in ending:
            assert done.stderr == usual.stderr


def test_a_full_disk_behind_the_output_is_told_and_costs_no_verdict(slower: str, tmp_path: Path) -> None:
    done = shell(f"{slower} >/dev/full", tmp_path)
    assert (done.returncode, done.stderr) == (3, FULL)


@pytest.mark.parametrize("arguments", ["--help", "compare --help", "variants --device cpu", "report earlier", SAME])
def test_output_that_a_full_disk_did_not_take_is_no_success(arguments: str, slower: str, tmp_path: Path) -> None:
    side = make_side()
    (tmp_path / "equal").mkdir()
    results.write(make_result(side), tmp_path / "equal" / "result.json")
    done = shell(f"evbench {arguments} >/dev/full", tmp_path)
    assert (done.returncode, done.stderr) == (1, FULL)
    for nobody_reads in (">&-", "| true; exit ${PIPESTATUS[0]}"):
        assert shell(f"rm -rf equal/out; evbench {arguments} {nobody_reads}", tmp_path).returncode == 0


SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_ends_a_command_is_heeded_as_ctrl_c(number: signal.Signals, tmp_path: Path) -> None:
    """While it waits for another evbench to end."""
    (tmp_path / "evbench-cpu.lock").touch()
    hold = f"exec 9<>{tmp_path}/evbench-cpu.lock; flock 9; trap '' INT; "
    asked = "run baseline --preset tiny --device cpu --blocks 1 --out out"
    command = [sys.executable, "-c", SLOW, *shlex.split(asked)]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(["bash", "-c", f"{hold} echo held; read"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        # Whatever starts the tests, such as nohup, may have them ignored.
        heed = lambda: [signal.signal(one, signal.SIG_DFL) for one in SIGNALS]  # noqa: E731
        with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=heed) as running:
            assert running.stderr is not None
            assert "waiting for it to end" in running.stderr.readline()
            running.send_signal(number)
            assert running.stderr.read().splitlines()[-1] == "evbench: interrupted"
            assert running.wait(timeout=30) == 130
        holder.kill()


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    script = "import os, signal; from evbench.cli.interrupts import ended_as_by_ctrl_c as ended\n"
    script += "with ended(): os.kill(os.getpid(), signal.SIGHUP); print('still here')"
    done = subprocess.run(["nohup", sys.executable, "-c", script], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (0, "still here\n")
