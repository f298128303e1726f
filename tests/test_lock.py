from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from evbench.errors import UserError
from evbench.machine import gpu, lock
from evbench.machine.lock import exclusive
from evbench.session.compare import exclusive_device
from evbench.session.progress import SilentListener
from evbench.variants.named import parse
from tests.command import is_running

pytestmark = pytest.mark.slow

HOLD = """
import sys
from evbench.machine.lock import exclusive
with exclusive("cpu", False, print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the locks of this test are made: never beside a real one."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@contextmanager
def another_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """It holds the lock of the CPU until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(folder)}
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            yield holder
        finally:
            holder.kill()


def silent(text: str) -> None:
    raise AssertionError(f"nothing was to be told, and this was: {text}")


def is_free(device: str = "cpu") -> bool:
    try:
        with exclusive(device, False, silent):
            return True
    except UserError:
        return False


def test_a_second_measurement_that_is_not_to_wait_is_refused_with_the_number_of_the_process(folder: Path) -> None:
    with another_process(folder) as holder, pytest.raises(UserError) as caught, exclusive("cpu", False, silent):
        pytest.fail("two measure at the same time")
    told = str(caught.value)
    assert told.startswith(f"another evbench (process {holder.pid}) is measuring on this CPU")
    assert told.endswith("leave out --no-wait")


def test_a_holder_that_has_not_yet_written_its_number_is_unknown(folder: Path) -> None:
    with (folder / "evbench-GPU-1.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"process unknown\) is measuring on this GPU"), exclusive("GPU-1", False, silent):
            pytest.fail("two measure at the same time")


def test_a_second_measurement_waits_says_so_once_and_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    waits: list[float] = []
    with another_process(folder) as holder:

        def pass_time(seconds: float) -> None:
            waits.append(seconds)
            assert len(waits) <= 3
            if len(waits) == 3:
                holder.communicate()  # ends its input

        monkeypatch.setattr(time, "sleep", pass_time)
        with exclusive("cpu", True, told.append):
            assert not is_free()
    assert holder.returncode == 0
    assert waits == [lock.LOOK_SECONDS] * 3
    assert told == [
        f"another evbench (process {holder.pid}) is measuring on this CPU, and the two would disturb each other; waiting for it to end"
    ]


def test_nothing_is_said_where_nobody_else_measures(folder: Path) -> None:
    with exclusive("cpu", True, silent):
        assert (folder / "evbench-cpu.lock").read_text() == str(os.getpid())


def test_all_gpus_that_a_variant_works_on_are_held_and_no_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "visible", lambda: ["GPU-3", "GPU-1", "GPU-2"])
    variants = [parse(f"optimized-gpu{change}") for change in ("", "+parallel=tensor-2")]
    for among, held in ((variants[:1], ["GPU-3"]), (variants, ["GPU-3", "GPU-1"])):
        with exclusive_device("cuda", False, SilentListener(), among):
            assert [name for name in gpu.visible() if not is_free(name)] == held
        assert all(is_free(name) for name in gpu.visible())
    with (
        exclusive("GPU-1", False, silent),
        pytest.raises(UserError, match="is measuring on this GPU"),
        exclusive_device("cuda", False, SilentListener(), variants),
    ):
        pytest.fail("two measure at the same time")
    assert is_free("GPU-3"), "what was held already is given back"


def test_the_lock_of_a_holder_that_is_killed_is_free(folder: Path) -> None:
    with another_process(folder) as holder:
        assert not is_free()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert is_free()


def test_a_shorter_process_number_replaces_a_longer_one(folder: Path) -> None:
    (folder / "evbench-cpu.lock").write_text("123456789012345")
    with exclusive("cpu", False, silent):
        assert (folder / "evbench-cpu.lock").read_text() == str(os.getpid())


def test_the_lock_is_free_after_the_block_and_after_an_error_in_it() -> None:
    with exclusive("cpu", False, silent):
        assert not is_free()
    assert is_free()
    with pytest.raises(ZeroDivisionError), exclusive("cpu", False, silent):
        raise ZeroDivisionError
    assert is_free()


def test_a_program_that_was_started_meanwhile_does_not_keep_the_lock() -> None:
    program = [sys.executable, "-c", "import sys; print('started', flush=True); sys.stdin.read()"]
    with ExitStack() as stack:
        with exclusive("cpu", False, silent):
            # As a library would start one that leaves it all that is open.
            started = stack.enter_context(subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False))
            assert started.stdout is not None
            assert started.stdout.readline() == b"started\n"
        assert is_free()
        assert started.poll() is None
        started.kill()


ORPHAN = """
import subprocess, sys, time
from pathlib import Path
from evbench.machine.lock import exclusive
from evbench.results import Sample, Workload
from evbench.variants.named import parse
from evbench.worker.client import Worker
from evbench.worker.messages import BuildRequest
work = Workload("eventgpt", "tiny", None, (Sample("", "", 1, 1),), 5, "all", "Q", 1, False, "cpu", "float32", 0, kind="event-images")
with exclusive("cpu", False, print), Worker(BuildRequest(parse("baseline"), work), Path(sys.argv[1])) as worker:
    print(worker.pid, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("wait", [0.0, pytest.param(0.5, marks=pytest.mark.long), 3.0])
def test_the_worker_of_a_parent_that_is_killed_ends_with_it_and_holds_the_lock_until_then(wait: float, folder: Path) -> None:
    """While it imports what it needs: then it looks at no pipe."""
    environment = os.environ | {"TMPDIR": str(folder)}
    command = [sys.executable, "-c", ORPHAN, str(folder / "worker.log")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        time.sleep(wait)
        assert is_running(worker) and not is_free()
        parent.kill()
        parent.wait()
        killed = time.monotonic()
        while is_running(worker):
            free = is_free()
            assert not free or not is_running(worker), "the worker is still there, and another measurement may begin"
            assert time.monotonic() < killed + 5
        assert is_free()


def test_a_worker_whose_parent_is_gone_already_ends_at_once(tmp_path: Path) -> None:
    script = "from evbench.parent_death import end_with; end_with(1 << 30); print('lives')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


FORKS = """
import os, threading, time
from evbench.parent_death import end_forked_with_this
end_forked_with_this()

def fork():
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            time.sleep(60)
        time.sleep(60)
    print(child, flush=True)

fork()
other = threading.Thread(target=fork)
other.start()
other.join()
print("forked", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_what_a_worker_forked_ends_with_it(folder: Path) -> None:
    """Else a plug-in's processes hold the lock of the device, which they have open, for ever."""
    with exclusive("cpu", False, silent):
        descriptors = [int(name) for name in os.listdir("/proc/self/fd") if os.path.realpath(f"/proc/self/fd/{name}").endswith(".lock")]
        worker = subprocess.Popen([sys.executable, "-c", FORKS], stdout=subprocess.PIPE, text=True, pass_fds=descriptors)
        assert worker.stdout is not None
        child, of_thread = int(worker.stdout.readline()), int(worker.stdout.readline())
        assert worker.stdout.readline() == "forked\n"
        assert is_running(child) and is_running(of_thread), "and not with the thread that forked it"
    try:
        assert not is_free()
        worker.kill()
        worker.wait()
        killed = time.monotonic()
        while is_running(child):
            assert time.monotonic() < killed + 5
    finally:
        os.kill(of_thread, signal.SIGKILL)


def test_devices_do_not_exclude_each_other() -> None:
    with exclusive("cpu", False, silent):
        assert is_free("GPU-1")
        with exclusive("GPU-1", False, silent):
            assert is_free("GPU-2")
            assert not is_free("GPU-1")


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_in_the_place_of_the_lock_is_refused_and_not_followed(exists: bool, folder: Path) -> None:
    target = folder / "precious"
    if exists:
        target.write_text("precious")
    (folder / "evbench-cpu.lock").symlink_to(target)
    with pytest.raises(UserError, match=r"cannot open .*evbench-cpu\.lock .*mend that, or set TMPDIR"), exclusive("cpu", True, silent):
        pytest.fail("the link was followed")
    assert target.exists() == exists
    assert not exists or target.read_text() == "precious"


@pytest.mark.parametrize(("make", "told"), [(Path.mkdir, "cannot open"), (os.mkfifo, "is no plain file")], ids=["folder", "pipe"])
def test_what_is_no_plain_file_is_refused(make: Callable[[Path], None], told: str, folder: Path) -> None:
    make(folder / "evbench-cpu.lock")
    with pytest.raises(UserError, match=told), exclusive("cpu", True, silent):
        pytest.fail("it cannot be locked")


def test_a_folder_for_temporary_files_that_is_missing_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "missing"))
    with pytest.raises(UserError, match=r"missing/evbench-cpu\.lock \(No such file or directory\)"), exclusive("cpu", True, silent):
        pytest.fail("there is no lock")


def test_a_file_of_another_user_is_locked_though_it_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "evbench-cpu.lock"
    file.write_text("1")
    really_open = os.open

    def only_for_reading(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied")
        return really_open(path, flags, mode)

    monkeypatch.setattr(os, "open", only_for_reading)
    with exclusive("cpu", False, silent):
        assert not is_free()
    assert is_free()
