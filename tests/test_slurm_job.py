"""examples/ranks.sbatch with Slurm's commands replaced: what it starts, and how it goes on. Both machines are this one."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from evbench.machine.conditions import descendants
from evbench.session.session_folder import RANKS
from tests.command import is_running, workers
from tests.ranks import blocks, command, place_clips, ranks_of, require_one_result_as, wait_until, was_measured

ROOT = Path(__file__).parent.parent
JOB = ROOT / "examples" / "ranks.sbatch"
SRUN = f"""#!{sys.executable}
# As srun starts one task on each machine: here both on this one, each with a folder of its own for locks. When one has failed, or the job's
# time is up, all that they have started is asked to end, and killed after Slurm's KillWait, which is shorter here.
import os, signal, subprocess, sys, time
from contextlib import suppress
from evbench.machine.conditions import descendants

def send(number):
    for process in descendants(os.getpid()):
        with suppress(ProcessLookupError):
            os.kill(process, number)

def end(*_):
    global killed_at
    killed_at = time.monotonic() + 5
    send(signal.SIGTERM)

killed_at = None
signal.signal(signal.SIGTERM, end)
command = sys.argv[1:]
while command[0].startswith("--"):
    print("srun", command.pop(0), file=sys.stderr)
tasks = []
for node in range(int(os.environ["SLURM_NNODES"])):
    temporary = os.path.abspath(f"node-{{node}}")
    os.makedirs(temporary, exist_ok=True)
    tasks.append(subprocess.Popen(command, env=os.environ | {{"SLURM_NODEID": str(node), "TMPDIR": temporary}}))
while any(task.poll() is None for task in tasks):
    time.sleep(0.1)
    if killed_at is None and any(task.returncode for task in tasks):
        end()
    elif killed_at is not None and time.monotonic() > killed_at:
        send(signal.SIGKILL)
sys.exit(max(abs(task.returncode) for task in tasks))
"""
ASKED = """#!/bin/sh
printf '%s\\n' "$OMP_NUM_THREADS" "$@"
"""
SCONTROL = """#!/bin/sh
[ "$*" = "show hostnames here-[1-2]" ] || exit 1
echo localhost
echo 127.0.0.1
"""


def slurm(folder: Path, srun: str, gpus: int, port: int) -> dict[str, str]:
    """What a job finds in its environment, on two machines. Slurm's commands are replaced."""
    for name, text in {"srun": srun, "scontrol": SCONTROL}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    told = {"JOB_ID": "7", "JOB_NODELIST": "here-[1-2]", "NNODES": "2", "GPUS_ON_NODE": str(gpus), "CPUS_ON_NODE": str(4 * gpus)}
    given = {f"SLURM_{name}": value for name, value in told.items()}
    return os.environ | given | {"PATH": f"{folder}:{os.environ['PATH']}", "PORT": str(port), "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("begun", [False, True])
def test_the_job_starts_a_launcher_on_each_machine_and_resumes_what_was_begun(begun: bool, tmp_path: Path) -> None:
    if begun:
        (tmp_path / "a spread").mkdir()
        (tmp_path / "a spread" / RANKS).touch()
    line = ["bash", str(JOB), "a spread", "optimized", "--data", "a street"]
    done = subprocess.run(line, cwd=tmp_path, env=slurm(tmp_path, ASKED, 8, 29), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    launcher = "--nnodes 2 --nproc-per-node 8 --rdzv-id 7 --rdzv-backend c10d --rdzv-endpoint localhost:29"
    command = ["run", "optimized", "--data", "a street", "--out", "a spread", *(["--resume"] if begun else [])]
    asked = ["4", "--kill-on-bad-exit=1", ".venv/bin/python", "-m", "torch.distributed.run", *launcher.split(), "-m", "evbench", *command]
    assert done.stdout.splitlines() == asked


def begin(folder: Path) -> subprocess.Popen[str]:
    """The job, with ranks that measure. What it says is added to a file."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    line = ["bash", str(JOB), "out", *shlex.split(command(place_clips(folder), ""))[1:]]
    with (folder / "said").open("a") as said:
        return subprocess.Popen(line, cwd=folder, env=slurm(folder, SRUN, 1, port), stdout=said, stderr=said, text=True)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("killed", [False, True])
def test_ranks_of_two_machines_go_on_where_they_were_ended(killed: bool, one_process: Path, tmp_path: Path) -> None:
    """When its time is up, or one of its ranks is lost."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    out = tmp_path / "out"
    with begin(tmp_path) as job:
        wait_until(lambda: bool(blocks(out, 1)), "a block of the second rank", job)
        started = descendants(job.pid)
        (srun,) = workers(job)
        if killed:
            os.kill(ranks_of(job.pid)[1], signal.SIGKILL)
        else:
            os.kill(srun, signal.SIGTERM)
        assert job.wait(120) != 0
    said = (tmp_path / "said").read_text()
    assert "srun --kill-on-bad-exit=1" in said
    named = re.search(r"rank +: 1 \(local_rank: 0\)\n +exitcode +: -9 ", said)  # by torch's launcher
    assert bool(named) == killed
    wait_until(lambda: not any(map(is_running, started)), "the end of all that it has started")
    kept = {rank: blocks(out, rank) for rank in (0, 1)}
    assert kept[1]
    with begin(tmp_path) as job:
        code = job.wait(400)
    said = (tmp_path / "said").read_text()
    assert was_measured(code, said), said
    for rank, before in kept.items():
        assert blocks(out, rank)[: len(before)] == before
    require_one_result_as(one_process, out)
    ranks = json.loads((out / RANKS).read_text())
    assert [(share["rank"], share["node"]) for share in ranks["shares"]] == [(0, 0), (1, 1)]
