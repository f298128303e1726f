from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.cores import keep_to_a_share_of_the_cores

if gc.isenabled():  # until all tests are collected: nothing of what is loaded is ever freed, and looking for it takes a fifth of the time
    gc.disable()
if "PYTEST_XDIST_WORKER" in os.environ:
    keep_to_a_share_of_the_cores(os.environ["PYTEST_XDIST_WORKER"], int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
# Before torch is loaded, also in the processes that tests start. Its threads wait for each other in a busy loop: on a machine with
# other work, two of them take ten times as long as one, and models of this size gain nothing by a second.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

# Before any kernel is defined: then is when Triton decides how it will run.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

import av
import numpy as np
import pytest
import triton.language as tl
from triton.runtime import interpreter

from evbench.inputs import sample, torture
from tests.command import evbench
from tests.h264 import write
from tests.ranks import MEASURED, command, place_clips
from tests.scene_files import make_scenes

MakeClip = Callable[..., Path]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: what is left at the end, when one of two processes waits for the other, is then short."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def ctrl_c_ends_the_tests() -> Iterator[None]:
    """Also after a command that was interrupted in this process, and heeds no further one."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def make_clip(tmp_path: Path) -> MakeClip:
    """A function that writes a small H.264 clip whose frame n is of grey level 40 + 5 n."""

    def make(name: str = "clip.mp4", frames: int = 20, width: int = 64, height: int = 48) -> Path:
        path = tmp_path / name
        write(path, [np.full((height, width, 3), 40 + 5 * index, np.uint8) for index in range(frames)], {"crf": "10"})
        return path

    return make


@pytest.fixture
def products_of_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are on a GPU. The interpreter (of Triton 3.6 to 3.8 at least) multiplies their bits, as if they were integers."""
    really = interpreter.InterpreterBuilder.create_dot

    def create_dot(builder: Any, first: Any, second: Any, *rest: Any) -> Any:
        return really(builder, widened(first), widened(second), *rest)

    def widened(handle: Any) -> Any:
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        return interpreter.TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", create_dot)


@pytest.fixture
def rounding_to_eight_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is on a GPU. The interpreter (of Triton 3.6 to 3.8 at least) loses the carry of a mantissa that is rounded up."""
    really = interpreter._convert_float

    def convert(numbers: Any, given: Any, wanted: Any, rounding: Any) -> Any:
        if wanted != tl.float8e4nv:
            return really(numbers, given, wanted, rounding)
        exact = torch.from_numpy(np.frombuffer(numbers.tobytes(), np.float32).reshape(numbers.shape).copy())
        return exact.to(torch.float8_e4m3fn).view(torch.uint8).numpy()

    monkeypatch.setattr(interpreter, "_convert_float", convert)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a set of two scenes."""
    place = tmp_path_factory.mktemp("scenes")
    make_scenes(place / "set", 4, 2, 0.5, 320, 240)
    return place


@pytest.fixture(scope="session")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of one process, of samples that tests give to several ranks."""
    place = tmp_path_factory.mktemp("one-process")
    done = evbench(command(place_clips(place), "--out one"), place)
    assert done.returncode in MEASURED, done.stderr
    return place / "one"


@pytest.fixture(scope="session")
def torture_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all torture clips but the long one."""
    folder = tmp_path_factory.mktemp("torture")
    torture.make(folder, torture.recipes())
    return folder


@pytest.fixture(params=["missing", "folder", "empty", "png", "text", "audio", "truncated", "headless", "short", "playlist"])
def broken_clip(request: pytest.FixtureRequest, tmp_path: Path, make_clip: MakeClip) -> tuple[Path, str]:
    """A file that is no usable clip, and a part of what is told of it."""
    path = tmp_path / "broken.mp4"
    match request.param:
        case "missing":
            return path, "no such file"
        case "folder":
            path.mkdir()
            return path, "is a folder"
        case "empty":
            path.touch()
            return path, "is empty"
        case "png":
            path.write_bytes((sample.EVENTS / "0.png").read_bytes())
            return path, "is a picture (PNG), and videos in mov, mp4, "
        case "text":
            path.write_text("not a video\n" * 100)
            return path, "damaged or no video"
        case "audio":
            write_audio(path)
            return path, "no video stream, only audio"
        case "truncated":
            whole = sample.CLIP.read_bytes()
            path.write_bytes(whole[: len(whole) * 2 // 3])
            return path, "cut off: its header promises 20 frames"
        case "headless":
            whole = sample.CLIP.read_bytes()
            path.write_bytes(whole[:600])
            return path, "damaged or no video"
        case "short":
            return make_clip("short.mp4", frames=7), "has 7 frames and the model is given 8"
        case _:
            other = make_clip("other.mp4")
            path.write_text(f"ffconcat version 1.0\nfile '{other}'\n")
            return path, "is a playlist, and videos in mov, mp4, "


def write_audio(path: Path) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=44100)
        for _ in range(10):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 44100
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
