from __future__ import annotations

import importlib.util
import shutil
import sysconfig
from pathlib import Path

import pynvml
import pytest

from evbench.errors import UserError
from evbench.machine import gpu, machine
from evbench.pipelines.registry import MODELS
from evbench.variants.named import VARIANTS, parse
from evbench.variants.obstacles import obstacles, require


def test_this_machine_is_described() -> None:
    here = machine.read("cpu")
    assert here.cores >= 1
    assert here.cpu
    assert here.gpu is None
    assert here.packages["torch"]
    assert here.memory_bytes is None or here.memory_bytes > 2**28


def test_the_baseline_runs_everywhere() -> None:
    for model, known in MODELS.items():
        for kind in known.kinds:
            assert obstacles(VARIANTS["baseline"], model, kind, "cpu") == {}


def test_dali_without_a_gpu_is_named_with_the_cure() -> None:
    with pytest.raises(UserError) as caught:
        require(VARIANTS["optimized-gpu"], "video-llava", "video", "cpu")
    told = str(caught.value)
    assert "decode=dali and preprocess=triton and vision=fused" in told
    assert "needs an NVIDIA GPU" in told
    cure = "optimized-gpu+decode=threaded+preprocess=direct+vision=compile+generate=static-compile+prefill=eager"
    assert told.endswith(f"Or choose another: {cure}")


def test_fewer_gpus_than_a_choice_works_on_are_told_with_a_choice_that_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "visible", lambda: ["GPU-1", "GPU-2"])
    graph = "baseline+generate=graph+prefill=compile"
    require(parse(f"{graph}+parallel=tensor-2"), "video-llava", "video", "cuda")
    with pytest.raises(UserError) as caught:
        require(parse(f"{graph}+parallel=tensor-8"), "video-llava", "video", "cuda")
    told = str(caught.value)
    assert "parallel=tensor-8 needs 8 GPUs, and this machine shows 2." in told
    assert told.endswith("parallel=tensor-2")


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install nvidia-dali-cuda130" in obstacles(parse("baseline+decode=dali"), "video-llava", "video", "cuda")["decode"]


def test_a_missing_compiler_is_named_and_nothing_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError) as caught:
        require(VARIANTS["optimized"], "video-llava", "video", "cpu")
    told = str(caught.value)
    assert "vision=compile and generate=static-compile needs a C++ compiler" in told
    assert told.count("apt install g++") == 1
    cure = told.rpartition(" ")[2]
    assert cure == "optimized+vision=batched+generate=static"
    require(parse(cure), "video-llava", "video", "cpu")


def test_missing_python_headers_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/" + name)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    assert "Python.h" in obstacles(parse("baseline+vision=compile"), "video-llava", "video", "cpu")["vision"]


def test_a_choice_for_other_input_is_refused() -> None:
    batches = parse("baseline+decode=dali+prefetch=batched")
    assert obstacles(batches, "eventgpt", "event-images", "cuda") == {"prefetch": "is for a video only"}


def test_a_choice_without_effect_is_no_obstacle() -> None:
    painted = parse("baseline+render=triton+pooling=first")
    assert list(obstacles(painted, "eventgpt", "events", "cpu")) == ["render"]
    assert obstacles(painted, "eventgpt", "event-images", "cpu") == obstacles(painted, "video-llava", "video", "cpu") == {}
    assert list(obstacles(parse("baseline+decode=dali"), "eventgpt", "event-images", "cpu")) == ["decode"]
    assert obstacles(parse("baseline+decode=dali"), "eventgpt", "events", "cpu") == {}
    with pytest.raises(UserError) as caught:
        require(parse("baseline+render=triton+decode=dali"), "eventgpt", "events", "cpu")
    assert "baseline+render=triton+decode=dali cannot run here: render=triton needs an NVIDIA GPU" in str(caught.value)
    assert str(caught.value).endswith("Or choose another: baseline+decode=dali+render=vectorised")


def test_cuda_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "find_gpu", lambda: None)
    assert machine.choose_device("auto") == "cpu"
    with pytest.raises(UserError, match="run with --device cpu"):
        machine.choose_device("cuda")


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(UserError, match="unknown --device 'gpu'"):
        machine.choose_device("gpu")


@pytest.mark.parametrize(("visible", "asked"), [("1", "index 1"), ("GPU-abc,0", "uuid GPU-abc"), ("", None), ("-1", None)])
def test_the_gpu_described_is_the_one_that_is_visible(visible: str, asked: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: f"index {index}")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", lambda uuid: f"uuid {uuid}")
    assert gpu.first_visible() == asked


@pytest.mark.parametrize(
    ("named", "found"),
    [(None, ["GPU-0", "GPU-1"]), ("1,0", ["GPU-1", "GPU-0"]), ("GPU-1", ["GPU-1"]), ("0,7,1", ["GPU-0"]), ("", []), ("-1", [])],
)
def test_all_visible_gpus_are_told_by_names_that_no_order_changes(
    named: str | None, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two. What stands behind one that is not there is not seen, as CUDA has it."""

    def handle(index: int) -> str:
        if index > 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return f"GPU-{index}"

    if named is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    replaced = {"Init": lambda: None, "DeviceGetCount": lambda: 2, "DeviceGetHandleByIndex": handle}
    for name, function in (replaced | {"DeviceGetHandleByUUID": str, "DeviceGetUUID": str}).items():
        monkeypatch.setattr(pynvml, f"nvml{name}", function)
    assert gpu.visible() == found
