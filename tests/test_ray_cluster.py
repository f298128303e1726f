"""examples/ray_cluster.py on Ray's cluster of this machine: one result as of one device, and a rank or a machine that is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from evbench.machine.conditions import descendants
from tests.command import is_running
from tests.dev_packages import needs
from tests.ranks import MEASURED, blocks, command, place_clips, ranks_of, require_one_result_as, wait_until

pytestmark = [pytest.mark.slow, needs("ray")]

ROOT = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"RAY_ADDRESS": "local", "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)}


def on_ray(asked: str, *options: str) -> list[str]:
    """As `evbench` is asked: `run`, its variant and its options."""
    script = [sys.executable, str(ROOT / "examples" / "ray_cluster.py"), "--ranks", "2", "--cpu", *options]
    return [*script, "out", *asked.split()[1:]]


@contextmanager
def machines(count: int, folder: Path) -> Iterator[tuple[str, list[subprocess.Popen[str]]]]:
    """A cluster of as many machines with one core, all of them this one, each with a folder of its own for locks. With its address."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", "1"]
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "RAY_ADDRESS"}
    with ExitStack() as opened:
        short = opened.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))  # as names of sockets are
        places = [["--head", "--port", str(port), "--include-dashboard", "false", "--temp-dir", short]]
        places += [["--address", f"127.0.0.1:{port}"]] * (count - 1)
        started = []
        for number, place in enumerate(places):
            (temporary := folder / f"machine-{number}").mkdir()
            said = opened.enter_context((folder / f"machine-{number}.log").open("w"))
            own = environment | {"TMPDIR": str(temporary)}
            machine = subprocess.Popen([*start, *place], env=own, stdout=said, stderr=said, text=True)
            opened.callback(end, machine)
            wait_until(partial(has_started, Path(said.name)), "a machine", machine)
            started.append(machine)
        yield f"127.0.0.1:{port}", started


def has_started(log: Path) -> bool:
    return "Ray runtime started" in log.read_text()


def end(machine: subprocess.Popen[str]) -> None:
    """As when its power is lost."""
    for process in (machine.pid, *descendants(machine.pid)):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    machine.wait()


@pytest.mark.long
def test_two_ranks_on_ray_have_one_result_as_of_one_process(one_process: Path, tmp_path: Path) -> None:
    asked = on_ray(command(place_clips(tmp_path), ""))
    done = subprocess.run(asked, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode in MEASURED, done.stdout + done.stderr
    require_one_result_as(one_process, tmp_path / "out")


@pytest.mark.parametrize("again", [1, pytest.param(0, marks=pytest.mark.long)])
def test_a_rank_that_is_killed_is_named_and_the_ranks_go_on_to_one_result_as_of_one_process(
    again: int, one_process: Path, tmp_path: Path
) -> None:
    """By themselves as often as is asked, and then by the same line."""
    asked, out = on_ray(command(place_clips(tmp_path), ""), "--again", str(again)), tmp_path / "out"
    with (
        (tmp_path / "said").open("w") as said,
        subprocess.Popen(asked, cwd=tmp_path, env=ENVIRONMENT, stdout=said, stderr=said, text=True) as running,
    ):
        wait_until(lambda: bool(blocks(out, 0)) and bool(blocks(out, 1)), "a block of each rank", running)
        started = descendants(running.pid)
        os.kill(ranks_of(running.pid)[1], signal.SIGKILL)
        kept = {rank: blocks(out, rank) for rank in (0, 1)}
        code = running.wait(400)
    told = (tmp_path / "said").read_text()
    assert "ray_cluster: rank 1 ended with code -9, and the others were ended; what had ended is in out" in told
    assert code in (MEASURED if again else (1,)), told
    wait_until(lambda: not any(map(is_running, started)), "the end of all that it has started")
    if not again:
        done = subprocess.run(asked, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=400)
        assert done.returncode in MEASURED, done.stdout + done.stderr
    for rank, before in kept.items():
        assert blocks(out, rank)[: len(before)] == before
    require_one_result_as(one_process, out)
    ranks = json.loads((out / "ranks.json").read_text())
    assert [share["samples"] for share in ranks["shares"]] == [[0, 2], [1, 3]]


@pytest.mark.long
def test_another_machine_takes_over_what_a_lost_one_had_left(one_process: Path, tmp_path: Path) -> None:
    asked, out = on_ray(command(place_clips(tmp_path), ""), "--again", "1"), tmp_path / "out"
    with (
        machines(3, tmp_path) as (address, started),
        (tmp_path / "said").open("w") as said,
        subprocess.Popen(asked, cwd=tmp_path, env=ENVIRONMENT | {"RAY_ADDRESS": address}, stdout=said, stderr=said, text=True) as running,
    ):
        wait_until(lambda: bool(blocks(out, 0)) and bool(blocks(out, 1)), "a block of each rank", running)
        # Ray has two of the three for the ranks. The first keeps the cluster together.
        rank, lost = next((rank, machine) for machine in started[1:] for rank in ranks_of(machine.pid))
        kept = {rank: blocks(out, rank) for rank in (0, 1)}
        end(lost)
        code = running.wait(400)
    told = (tmp_path / "said").read_text()
    assert code in MEASURED, told
    assert f"ray_cluster: rank {rank} is gone: " in told
    for rank, before in kept.items():
        assert blocks(out, rank)[: len(before)] == before
    require_one_result_as(one_process, out)


@pytest.mark.long
def test_ctrl_c_ends_the_ranks(tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = on_ray(command(place_clips(tmp_path), ""))
    # A shell that starts this test in the background has told its children to ignore the signal.
    heed = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    with (
        (tmp_path / "said").open("w") as said,
        subprocess.Popen(asked, cwd=tmp_path, env=ENVIRONMENT, stdout=said, stderr=said, text=True, preexec_fn=heed) as running,
    ):
        wait_until(lambda: bool(blocks(out, 0)), "a block", running)
        ranks = ranks_of(running.pid)
        running.send_signal(signal.SIGINT)
        code = running.wait(120)
    told = (tmp_path / "said").read_text()
    assert code == 130, told
    assert "ray_cluster: interrupted; the same line goes on" in told
    assert set(ranks) == {0, 1}
    wait_until(lambda: not any(map(is_running, ranks.values())), "the end of the ranks")


@pytest.mark.long
def test_what_evbench_refuses_is_said_and_not_tried_again(tmp_path: Path) -> None:
    asked = on_ray(command(place_clips(tmp_path)[:1], ""))
    done = subprocess.run(asked, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 2, done.stdout
    assert len(re.findall("2 ranks are more than 1 sample", done.stdout + done.stderr)) == 1
