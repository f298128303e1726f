"""What a session may be written into, and that two do not write into it at the same time."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import evbench
from evbench import results
from evbench.cli.main import main
from evbench.errors import UserError
from evbench.session import journal
from evbench.session.session_folder import HEADER, PROTECTED, RUNS, lock_runs, make_folder, require_unused, writing
from tests.command import refused
from tests.examples import make_result, make_side
from tests.simulation import SimulatedMachine, run_simulated
from tests.test_journal import ASKED, go_on, interrupted

HOLD = """
import sys
from pathlib import Path
from evbench.session.session_folder import lock_runs
lock_runs(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(folder: Path) -> Iterator[None]:
    """It writes into the folder: from elsewhere, so with a lock of the device that is not ours."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            yield
        finally:
            holder.kill()


def test_a_folder_with_a_session_is_not_begun_again(tmp_path: Path) -> None:
    interrupted(tmp_path / "out")
    with pytest.raises(UserError, match="go on with it by --resume"), journal.create(tmp_path / "out", ASKED):
        pass
    with journal.create(tmp_path / "new", ASKED):
        (tmp_path / "new" / "worker-baseline.log").touch()
    with journal.create(tmp_path / "new", ASKED):
        pass  # it was refused before its first run


def test_a_session_is_not_begun_within_an_interrupted_comparison_of_models(tmp_path: Path) -> None:
    (tmp_path / "models.json").write_text("{}")
    with pytest.raises(UserError, match="holds an earlier comparison of models"), journal.create(tmp_path, ASKED):
        pass
    assert not (tmp_path / HEADER).exists()
    make_folder(tmp_path, ["models.json"])


@pytest.mark.parametrize("name", PROTECTED)
def test_nothing_is_begun_beside_what_another_command_has_left(name: str, tmp_path: Path) -> None:
    make_folder(tmp_path / "out")
    (tmp_path / "out" / name).write_text("{}", encoding="utf-8")
    message = f"out holds an earlier {PROTECTED[name]}; go on with it by --resume, give another --out, or remove it"
    with pytest.raises(UserError, match=message):
        make_folder(tmp_path / "out")
    with pytest.raises(UserError, match=f"out holds an earlier {PROTECTED[name]}; give another --out, or remove it"):
        make_folder(tmp_path / "out", resumable=False)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["cat.jpg"], r"is not empty \(cat\.jpg\)"),
        (["images"], r"is not empty \(images\)"),
        ([".hidden"], r"is not empty \(\.hidden\)"),
        ([f"{number}.png" for number in range(9)], r"is not empty \(0\.png, 1\.png, 2\.png and 6 more\)"),
        (["worker-baseline.log", "train.csv"], r"is not empty \(train\.csv\)"),
    ],
)
def test_a_folder_of_somebody_else_is_refused_and_stays_as_it_is(names: list[str], told: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in names:
        (folder / name).write_text("precious") if "." in name else (folder / name).mkdir()
    with pytest.raises(UserError, match=told), journal.create(folder, ASKED):
        pytest.fail("it was written into")
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    (tmp_path / "empty").mkdir()
    require_unused(tmp_path / "empty")
    require_unused(tmp_path / "none")


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("precious")
    with pytest.raises(UserError, match="out is a file; give a folder by --out"), journal.create(tmp_path / "out", ASKED):
        pytest.fail("it was written into")
    assert (tmp_path / "out").read_text() == "precious"


def test_two_processes_do_not_write_into_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    interrupted(folder)
    before = (folder / RUNS).read_bytes()
    with another_process(folder):
        with pytest.raises(UserError, match=r"another evbench is writing into .*out; wait for it to end"):
            go_on(folder)
        assert (folder / RUNS).read_bytes() == before
        with pytest.raises(UserError, match="holds an earlier session"), journal.create(folder, ASKED):
            pytest.fail("two sessions in one folder")
    go_on(folder)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    with (
        another_process(fresh),
        pytest.raises(UserError, match="another evbench is writing"),
        journal.create(fresh, ASKED),
    ):
        pytest.fail("two sessions in one folder")
    assert not (fresh / HEADER).exists()


def test_a_second_session_of_this_process_is_refused_as_well(tmp_path: Path) -> None:
    with journal.create(tmp_path / "out", ASKED):
        with pytest.raises(UserError, match="another evbench is writing"), journal.create(tmp_path / "out", ASKED):
            pytest.fail("two sessions in one folder")
        with pytest.raises(UserError, match="another evbench is writing"), journal.resume(tmp_path / "out", ASKED):
            pytest.fail("two sessions in one folder")
    os.close(lock_runs(tmp_path / "out"))


def test_a_link_in_the_place_of_the_runs_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / RUNS).symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match="cannot write to"), writing(tmp_path / "out"), journal.create(tmp_path / "out", ASKED):
        pytest.fail("the link was followed")
    assert (tmp_path / "precious").read_text() == ""


@pytest.mark.parametrize("what", ["folder", "file", "replaced"])
def test_a_session_whose_folder_is_removed_stops_at_the_next_run_and_says_what_is_lost(what: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"

    class Removed(SimulatedMachine):
        def end(self) -> object:  # type: ignore[override]
            if self._blocks == 1:
                shutil.rmtree(folder) if what == "folder" else (folder / RUNS).unlink()
                if what == "replaced":
                    (folder / RUNS).write_text("")
            return super().end()

    machine = Removed(1)
    with (
        pytest.raises(UserError, match=r"runs\.jsonl was removed or replaced .* its 28 runs and 1 blocks are lost; begin anew"),
        writing(folder),
        journal.create(folder, ASKED) as written,
    ):
        run_simulated(machine, written)
    assert len(machine.order) == 28
    assert not machine.live, "workers are ended"
    if what == "replaced":
        assert (folder / RUNS).read_text() == ""


def test_a_folder_that_is_gone_when_a_file_is_written_is_told_as_what_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with pytest.raises(UserError, match="out was removed meanwhile, and what was measured into it is lost"), writing(folder):
        (folder / "result.json.part").write_text("{}")


def test_what_the_file_system_refuses_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write to .*No space left on device.*What is written stays"), writing(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_was_measured_before_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two earlier results nothing is run, and --resume would be refused."""
    results.write(make_result(make_side()), tmp_path / "earlier.json")
    asked = f"compare --baseline {tmp_path}/earlier.json --optimized {tmp_path}/earlier.json --out {tmp_path}/"
    interrupted(tmp_path / "out")
    assert refused(f"{asked}out", monkeypatch, capsys).endswith("out holds an earlier session; give another --out, or remove it")
    (tmp_path / "file").touch()
    assert refused(f"{asked}file/out", monkeypatch, capsys).endswith("which is a file, and results are written into a folder; give another")

    def interrupt(*unused: object, **also_unused: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evbench, "compare", interrupt, raising=False)
    monkeypatch.setattr(sys, "argv", ["evbench", *f"{asked}out".split()])
    with pytest.raises(SystemExit) as caught:
        main()
    assert (caught.value.code, capsys.readouterr().err) == (130, "evbench: interrupted\n")
