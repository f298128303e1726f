"""`evbench doctor`: what is said of made-up machines, and how libraries are asked that do not behave."""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pynvml
import pytest
from rich.console import Console

from evbench.cli.console import MOST_LINES
from evbench.doctor import ask as asking
from evbench.doctor import driver, gather, nvdec, questions
from evbench.doctor.examine import Examination, examine, to_json
from evbench.doctor.facts import Answer, Driver, Facts, Place, Requirement, VariantHere
from evbench.doctor.faults import fault
from evbench.doctor.findings import MISSING, OK, PROBLEM, Finding
from evbench.doctor.gpu import has_kernels
from evbench.doctor.lines import to_console
from evbench.doctor.requirements import requirements
from evbench.machine import gpu, lock, machine
from evbench.machine.needs import NEEDS, Lack
from evbench.pipelines.registry import MODELS, SHIPPED
from evbench.results import Gpu
from evbench.variants.named import VARIANTS
from evbench.variants.obstacles import obstacles
from tests.command import evbench, refused
from tests.examples import MACHINE

H200 = Gpu("NVIDIA H200", "580.95", 140 * 2**30, 700.0, 700.0, 1980, None)
IDLE = Driver(uuid="GPU-1", cuda=(13, 0), capability=(9, 0), sm_mhz=345, processes=0, busy=0)
TORCH = {
    "torch": "2.14.0+cu130",
    "cuda": "13.0",
    "architectures": ["sm_75", "sm_80", "sm_90"],
    "gpus": 1,
    "compile cache": "/tmp/cache",
    "transformers": "5.20.0",
    "loaded": list(MODELS),
}
ANSWERS = {
    "models": Answer(TORCH),
    "av": Answer({"version": "17.0", "ffmpeg": "8.0"}),
    "triton": Answer({"version": "3.8", "compiled": ["cubin"], "C compiler": "/usr/bin/gcc"}),
    "dali": Answer({"version": "2.4"}),
    "flash2": Answer({"version": "2.8"}),
    "flash3": Answer({"function": "flash_attn_func"}),
    "flash4": Answer({"function": "flash_attn_func"}),
    "nvdec": Answer({"library": True, "decoders": {"H.264": 7, "HEVC": 7, "AV1": 7}}),
}
NO_DALI = Lack("NVIDIA DALI, which is not installed", "pip install nvidia-dali-cuda130; Linux x86-64 only")
NO_GPU = Lack("an NVIDIA GPU, and the run is on the CPU")


def lacking(monkeypatch: pytest.MonkeyPatch, lacks: dict[str, Lack]) -> None:
    for need in NEEDS:
        monkeypatch.setitem(NEEDS, need, partial(_lack, lacks.get(need)))


def _lack(lack: Lack | None, device: str) -> Lack | None:
    return lack


def make_facts(monkeypatch: pytest.MonkeyPatch, lacks: dict[str, Lack] | None = None, **changed: Any) -> Facts:
    """A machine with an H200 and everything that evbench can use, but for what is changed."""
    lacks = lacks or {}
    lacking(monkeypatch, lacks)
    device = changed.get("device", "cuda")
    facts = Facts(
        device=device,
        machine=replace(MACHINE, gpu=H200, cores=16, memory_bytes=128 * 2**30),
        available_bytes=120 * 2**30,
        no_gpu="",
        no_gpu_cure="",
        measured_by=None,
        driver=IDLE,
        requirements=(Requirement("torch", ">=2.11", "2.14", True), Requirement("pillow", "", "12.0", True)),
        answers=ANSWERS,
        lacks=lacks,
        compiler="/usr/bin/g++",
        interpreted=False,
        places=(Place("results", "/work/profiles", 2**36, True), Place("compile cache", "/tmp/cache", 2**36, True)),
        presets={model: dict.fromkeys(known.preset_names(), "") for model, known in SHIPPED.items()},
        floors=("video-llava small on cuda, 72 new tokens",),
        floors_fault="",
        variants=tuple(
            VariantHere(name, model, kind, obstacles(variant, model, kind, device))
            for name, variant in VARIANTS.items()
            for model, known in SHIPPED.items()
            for kind in known.kinds
        ),
    )
    return replace(facts, **changed)


def without_gpu(monkeypatch: pytest.MonkeyPatch, **changed: Any) -> Facts:
    kept = {question: ANSWERS[question] for question in ("models", "av", "triton", "dali")}
    machine = replace(MACHINE, gpu=None)
    usual = {"device": "cpu", "machine": machine, "driver": None, "answers": kept, "no_gpu": "no NVIDIA GPU found"}
    return make_facts(monkeypatch, {"NVIDIA GPU": NO_GPU}, **(usual | changed))


def answering(question: str, said: dict[str, Any], fault: str = "") -> dict[str, Answer]:
    return ANSWERS | {question: Answer(said, fault)}


def told(examination: Examination, subject: str) -> Finding:
    (finding,) = [one for one in examination.findings if one.subject == subject and not one.detail]
    return finding


def lines(examination: Examination, details: bool = False, width: int = 80) -> list[str]:
    screen = Console(width=width, no_color=True)
    with screen.capture() as captured:
        screen.print(to_console(examination, details, lambda shown: len(screen.render_lines(shown)), MOST_LINES - 2))
    return captured.get().splitlines()


def test_where_everything_is_there_everything_is_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    found = examine(make_facts(monkeypatch))
    assert {finding.grade for finding in found.findings} == {OK}
    assert not [finding for finding in found.findings if finding.cure]
    assert (found.exit_code, found.conclusion) == (0, "exit 0: the baseline can run on the GPU")
    assert told(found, "GPU").text == "NVIDIA H200, 140 GiB, compute capability 9.0"
    assert told(found, "driver").text == "580.95, supports CUDA 13.0"
    assert told(found, "NVDEC").text == "7 decoders: H.264, HEVC, AV1"
    assert told(found, "power limit").text == "700 W, the default"
    assert told(found, "torch").text == "2.14.0+cu130 (evbench needs >=2.11)"
    assert told(found, "optimized-h100").text == "has all that it needs for each model and input"


def test_without_a_gpu_what_is_of_use_on_one_only_is_a_detail(monkeypatch: pytest.MonkeyPatch) -> None:
    found = examine(without_gpu(monkeypatch))
    assert (found.exit_code, found.conclusion) == (0, "exit 0: the baseline can run on the CPU")
    assert told(found, "GPU") == Finding("GPU", "GPU", MISSING, "no NVIDIA GPU found; evbench measures on the CPU")
    assert told(found, "optimized").grade == OK
    assert told(found, "optimized-gpu").text == str(NO_GPU)
    assert not [finding for finding in found.findings if finding.grade == PROBLEM]


def test_a_gpu_that_is_asked_for_and_missing_is_a_refusal_and_a_hidden_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = examine(without_gpu(monkeypatch, device="cuda"))
    assert found.exit_code == 2
    assert found.conclusion == "exit 2: the baseline cannot run on the GPU; mend first: GPU; on the CPU it can, with --device cpu"
    hidden = without_gpu(monkeypatch, no_gpu="CUDA_VISIBLE_DEVICES= leaves none of 8", no_gpu_cure="unset CUDA_VISIBLE_DEVICES")
    assert (told(examine(hidden), "GPU").grade, examine(hidden).exit_code) == (PROBLEM, 0)


def test_torch_without_cuda_on_a_machine_with_a_gpu_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    said = TORCH | {"torch": "2.14.0+cpu", "cuda": None, "gpus": 0, "architectures": []}
    found = examine(make_facts(monkeypatch, answers=answering("models", said)))
    wrong = told(found, "torch on the GPU")
    assert (wrong.grade, wrong.stops, wrong.text) == (PROBLEM, True, "torch 2.14.0+cpu is built without CUDA")
    assert "pip install --force-reinstall torch torchvision --index-url https://download.pytorch.org/whl/cu130" in wrong.cure
    assert found.exit_code == 2 and found.conclusion.endswith("mend first: torch on the GPU; on the CPU it can, with --device cpu")
    assert told(found, "each variant").text == "waits for what is wrong with torch on the GPU"
    assert not [one for one in json.loads(to_json(found))["variants"] if one["runs"]]


@pytest.mark.parametrize(("cuda", "grade"), [((12, 4), PROBLEM), ((13, 0), OK), ((13, 2), OK), ((14, 0), OK), (None, OK)])
def test_a_driver_of_an_older_major_version_of_cuda_is_too_old(
    cuda: tuple[int, int] | None, grade: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = TORCH | {"cuda": "13.1", "gpus": 0 if grade == PROBLEM else 1}
    found = examine(make_facts(monkeypatch, driver=replace(IDLE, cuda=cuda), answers=answering("models", said)))
    assert told(found, "driver").grade == grade
    if grade == PROBLEM:
        assert told(found, "driver").text == "580.95, supports CUDA 12.4 only, and torch is built for CUDA 13.1"
        assert "driver 580 or newer, or pip install" in told(found, "driver").cure
        assert "whl/cu126" in told(found, "driver").cure
        assert found.stopped_by == ("driver",), "that torch finds no GPU is no second cause"


def test_torch_that_cannot_use_the_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    old = examine(make_facts(monkeypatch, driver=replace(IDLE, capability=(6, 1))))
    assert told(old, "torch on the GPU").text == "torch is built for sm_75 sm_80 sm_90, and not for compute capability 6.1"
    unseen = examine(make_facts(monkeypatch, answers=answering("models", TORCH | {"gpus": 0})))
    assert told(unseen, "torch on the GPU").text == "torch is built for CUDA 13.0, and finds no GPU"
    assert old.exit_code == unseen.exit_code == 2


@pytest.mark.parametrize(
    ("built", "runs_on", "not_on"),
    [
        (["sm_80"], [(8, 0), (8, 6), (8, 9)], [(7, 5), (9, 0), (12, 0)]),
        (["sm_90a"], [(9, 0)], [(8, 0), (10, 0)]),
        (["sm_120"], [(12, 0), (12, 1)], [(10, 0), (9, 0)]),
        (["sm_80", "compute_90"], [(8, 6), (9, 0), (10, 0)], [(7, 5)]),
    ],
)
def test_machine_code_is_for_one_major_version_and_ptx_for_all_later(built: list[str], runs_on: list[Any], not_on: list[Any]) -> None:
    assert all(has_kernels(built, capability) for capability in runs_on)
    assert not any(has_kernels(built, capability) for capability in not_on)


def test_dali_that_is_missing_is_named_with_the_variants_that_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {question: answer for question, answer in ANSWERS.items() if question != "dali"}
    found = examine(make_facts(monkeypatch, {"NVIDIA DALI": NO_DALI}, answers=answers))
    assert found.exit_code == 0
    dali = told(found, "DALI")
    assert dali.text == "decode=dali and preprocess=dali and prefetch=batched need NVIDIA DALI, which is not installed"
    assert (dali.grade, dali.cure) == (MISSING, NO_DALI.cure)
    assert told(found, "optimized").grade == OK
    summary = told(found, "optimized-gpu")
    assert (summary.grade, summary.text) == (MISSING, f"with video-llava of a video and eventgpt of event images {NO_DALI}")
    by_input = {(one.variant, one.kind): one for one in found.runs}
    assert by_input["optimized-gpu", "video"].in_words == f"decode=dali {NO_DALI}", "the words of evbench variants and of a refusal"
    assert by_input["optimized-gpu", "events"].reasons == ()


def test_a_library_that_is_there_and_broken_keeps_its_variants_from_running(monkeypatch: pytest.MonkeyPatch) -> None:
    found = examine(make_facts(monkeypatch, answers=answering("flash3", {}, "ends with SIGSEGV")))
    assert told(found, "FlashAttention 3").text == "importing it ends with SIGSEGV"
    assert told(found, "FlashAttention 3").grade == PROBLEM
    assert told(found, "optimized-h100").text == "needs FlashAttention 3, which is a problem here"
    assert told(found, "optimized-gpu").grade == OK


def test_flash_attention_3_is_for_hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    on_ampere = replace(IDLE, capability=(8, 0))
    assert told(examine(make_facts(monkeypatch, driver=on_ampere)), "FlashAttention 3").grade == PROBLEM
    lack = {"FlashAttention 3": Lack("FlashAttention 3, whose module is not installed", "Dao-AILab")}
    assert told(examine(make_facts(monkeypatch, lack, driver=on_ampere)), "FlashAttention 3").cure == ""
    assert told(examine(make_facts(monkeypatch, lack)), "FlashAttention 3").cure == "Dao-AILab"


def test_without_video_decoders_dali_does_not_run_on_a_video(monkeypatch: pytest.MonkeyPatch) -> None:
    found = examine(make_facts(monkeypatch, answers=answering("nvdec", {}, "fails: OSError")))
    assert told(found, "NVDEC").grade == MISSING and "NVIDIA_DRIVER_CAPABILITIES=all" in told(found, "NVDEC").cure
    assert told(found, "optimized-gpu").grade == MISSING
    assert {one.kind for one in found.runs if one.variant == "optimized-gpu" and one.reasons} == {"video"}
    none = examine(make_facts(monkeypatch, answers=answering("nvdec", {"library": True, "decoders": {}})))
    refused = examine(make_facts(monkeypatch, answers=answering("nvdec", {"library": True}, "fails: OSError: cuInit returned error 100")))
    assert told(none, "NVDEC").grade == MISSING and told(refused, "NVDEC").grade == PROBLEM


def test_other_processes_and_a_hot_gpu_are_problems_that_stop_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = replace(IDLE, processes=2, busy=80, throttled=("thermal slowdown by the driver",))
    found = examine(make_facts(monkeypatch, driver=busy))
    assert told(found, "other processes").text == "2 other processes have it open; busy for 80 % of the last second"
    assert told(found, "clock").grade == PROBLEM
    assert found.exit_code == 0
    answers = {question: answer for question, answer in ANSWERS.items() if question != "nvdec"}
    measured = examine(make_facts(monkeypatch, measured_by="4242", answers=answers))
    assert "another evbench (process 4242)" in told(measured, "other processes").text
    assert told(measured, "NVDEC").text == "not asked: it would disturb the measurement"
    assert "process 4242" in told(examine(without_gpu(monkeypatch, measured_by="4242")), "other processes").text


def test_what_comes_after_a_fault_was_not_tried_and_is_not_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = examine(make_facts(monkeypatch, answers=answering("models", {}, "fails in /x/torch.py: RuntimeError: broken")))
    assert found.stopped_by == ("torch",)
    assert told(found, "torch").text == "importing it fails in /x/torch.py: RuntimeError: broken"
    assert not {"transformers", "models", "torch on the GPU"} & {finding.subject for finding in found.findings}
    late = ANSWERS | {"models": Answer({"torch": "2.14"}, "takes more than 10 s", late=True)}
    assert told(examine(make_facts(monkeypatch, answers=late)), "transformers").cure.startswith("try again")


def test_a_version_that_is_too_old_is_told_with_the_line_that_installs_another(monkeypatch: pytest.MonkeyPatch) -> None:
    required = (Requirement("torch", ">=2.11", "2.9.1", False), Requirement("pillow", "", None, False))
    found = examine(make_facts(monkeypatch, requirements=required))
    assert told(found, "torch").text == "torch 2.9.1, and evbench needs >=2.11"
    assert told(found, "torch").cure == "pip install 'torch>=2.11'"
    assert told(found, "other packages").cure == "pip install pillow"
    assert found.stopped_by == ("torch",)


def test_the_least_versions_are_those_of_pyproject() -> None:
    declared = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    found = {one.package: one for one in requirements()}
    assert f"torch{found['torch'].versions}" in declared
    assert f"transformers{found['transformers'].versions}" in declared
    assert found["torch"].met and "pytest" not in found, "extras are left out"


def test_presets_that_do_not_fit_are_named_and_only_the_default_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = {model: dict.fromkeys(known.preset_names(), "") for model, known in SHIPPED.items()}
    large = {**usual, "eventgpt": usual["eventgpt"] | {"7b": "7.1 billion", "7b-random": "7.1 billion"}}
    texts = [finding.text for finding in examine(make_facts(monkeypatch, presets=large)).findings if finding.subject == "eventgpt"]
    assert texts == ["fits into memory: small, tiny", "does not fit: 7b, 7b-random; 7.1 billion"]
    tiny_machine = {**usual, "eventgpt": dict.fromkeys(usual["eventgpt"], "too large")}
    assert examine(make_facts(monkeypatch, presets=tiny_machine)).stopped_by == ("eventgpt",)


def test_a_full_disk_and_a_folder_that_cannot_be_written_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    places = (Place("results", "/full", 2**20, True), Place("compile cache", "/closed", 2**40, False))
    found = examine(make_facts(monkeypatch, places=places))
    assert told(found, "results").cure == "make room, or give another folder by --out"
    assert told(found, "compile cache").cure == "set TORCHINDUCTOR_CACHE_DIR to another folder"


MACHINES: dict[str, Callable[[pytest.MonkeyPatch], Facts]] = {
    "everything": make_facts,
    "no GPU": without_gpu,
    "nothing": lambda monkeypatch: make_facts(
        monkeypatch,
        {need: Lack(f"{need}, which is not installed", f"pip install {need}") for need in NEEDS if need != "NVIDIA GPU"},
        answers={"models": Answer({}, "fails: " + "x" * 160), "av": Answer({}, "fails: " + "y" * 160), "nvdec": Answer({}, "fails")},
        requirements=(),
        floors=(),
        driver=replace(IDLE, processes=3, busy=90, throttled=("power brake",)),
    ),
}


@pytest.mark.parametrize("name", MACHINES)
def test_a_screen_holds_it_and_details_have_all(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = examine(MACHINES[name](monkeypatch))
    shown, everything = lines(found), lines(found, details=True)
    assert len(shown) <= MOST_LINES - 2
    assert max(map(len, everything)) <= 80
    assert not [line for line in everything if "…" in line]
    words = " ".join(" ".join(shown).split())
    assert not [one for one in found.findings if one.grade == PROBLEM and not one.detail and one.subject not in words]
    assert len(everything) > len(shown)


def test_what_is_ok_is_left_out_first_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    found = examine(make_facts(monkeypatch))
    screen = Console(width=80)
    with screen.capture() as captured:
        screen.print(to_console(found, False, lambda shown: len(screen.render_lines(shown)), 19))
    few = captured.get().splitlines()
    whole = [finding for finding in found.findings if not finding.detail]
    left = len([line for line in few if line.startswith(OK)])
    assert len(few) == 19 and few[-1] == f"{len(whole) - left} more with --details"


def test_json_has_the_keys_that_the_help_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    found = json.loads(to_json(examine(make_facts(monkeypatch))))
    assert list(found) == ["device", "baseline_runs", "exit_code", "conclusion", "findings", "variants"]
    assert set(found["findings"][0]) == {"area", "subject", "grade", "text", "cure", "stops", "detail"}
    assert set(found["variants"][0]) == {"variant", "model", "input", "runs", "reason"}
    assert {one["runs"] for one in found["variants"]} == {True}


# How libraries are asked.


def hidden_by(tmp_path: Path, module: str, code: str) -> str:
    """PYTHONPATH with a file in it that hides a library."""
    (tmp_path / f"{module}.py").write_text(code, encoding="utf-8")
    return os.pathsep.join([str(tmp_path), str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("raise RuntimeError('broken')", "fails in {}: RuntimeError: broken"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ends with SIGSEGV"),
        ("import sys; print('text that nobody asked for'); sys.exit(3)", "ends with code 3: text that nobody asked for"),
    ],
)
def test_a_library_that_fails_or_crashes_ends_its_own_process(code: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", hidden_by(tmp_path, "av", code))
    assert asking.ask({"av": ""}) == {"av": Answer({}, how.format(tmp_path / "av.py"))}


def test_a_library_that_hangs_is_ended_and_what_it_said_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import time\n__version__ = '9'\ndef __getattr__(name):\n    time.sleep(100)\n"
    monkeypatch.setenv("PYTHONPATH", hidden_by(tmp_path, "av", code))
    found = asking.ask({"av": "", "triton": "", "nvdec": "", "dali": ""}, seconds=3)
    assert found["av"] == Answer({"version": "9"}, "takes more than 3 s", late=True)
    assert set(found) == {"av", "triton", "nvdec", "dali"}


def test_triton_compiles_a_kernel_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    answer = asking.ask({"triton": "90"})["triton"]
    assert answer.fault == "" and "cubin" in answer.said["compiled"]


def test_a_user_without_a_home_or_a_name_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    for variable in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    asked: dict[str, str] = {}
    nameless = {"models": Answer({name: value for name, value in TORCH.items() if name != "compile cache"}, "fails: KeyError: uid")}
    monkeypatch.setattr(gather, "ask", lambda questions: asked.update(questions) or ANSWERS | nameless)
    found = examine(gather.gather("cpu"))
    assert set(asked) <= {"models", "av", "triton", "dali"}, "nothing is asked that is for a GPU"
    assert told(found, "noise floor").text.endswith("set HOME")
    assert told(found, "compile cache").text == "asking torch for it fails: KeyError: uid"
    assert told(found, "GPU").text == "left out, as --device cpu says; evbench measures on the CPU"


def test_beside_a_measurement_no_question_makes_a_context(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    asked: list[set[str]] = []

    def answer(questions: dict[str, str]) -> dict[str, Answer]:
        asked.append(set(questions))
        return ANSWERS

    monkeypatch.setattr(gather, "ask", answer)
    monkeypatch.setattr(gather, "look", lambda: IDLE)
    monkeypatch.setattr(machine, "find_gpu", lambda: H200)
    assert gather.gather("auto").measured_by is None
    with lock.exclusive("GPU-1", wait=False, report=lambda _: None):
        assert gather.gather("auto").measured_by == str(os.getpid())
    assert "nvdec" in asked[0] and "nvdec" not in asked[1]


def test_every_question_is_about_something_that_is_looked_at() -> None:
    assert set(questions.QUESTIONS) == set(ANSWERS)
    assert set(gather.FLASH.values()) < set(ANSWERS)


def test_how_it_ended_is_said_in_one_line() -> None:
    assert fault(0, "warnings") == ""
    assert fault(-9, "") == "ends with SIGKILL"
    assert (
        fault(1, 'File "a.py", line 1\n  File "b/c.py", line 2, in <module>\nImportError: no x\n\n') == "fails in b/c.py: ImportError: no x"
    )


# The GPU, as a driver of our own tells it.


def test_the_driver_is_read_and_what_it_does_not_know_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    for name in dir(pynvml):
        if name.startswith(("nvmlDeviceGet", "nvmlSystemGet")):
            monkeypatch.setattr(pynvml, name, unknown)
    monkeypatch.setattr(gpu, "first_visible", lambda: "handle")
    assert driver.look() == Driver(None, None, None, None, 0, None)
    monkeypatch.setattr(pynvml, "nvmlSystemGetCudaDriverVersion", lambda: 12040)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCudaComputeCapability", lambda handle: (9, 0))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetComputeRunningProcesses", lambda handle: [1, 2])
    assert driver.look() == Driver(None, (12, 4), (9, 0), None, 2, None)
    assert machine.find_gpu() is None, "one that does not even tell its name"


def test_why_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", absent)
    monkeypatch.setattr(driver, "PCI", tmp_path)
    assert driver.why_no_gpu() == ("no NVIDIA GPU found", "")
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0" / "vendor").write_text("0x10de\n")
    (tmp_path / "0000:01:00.0" / "class").write_text("0x030200\n")
    assert driver.why_no_gpu()[1] == driver.NO_DRIVER
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert driver.why_no_gpu() == ("CUDA_VISIBLE_DEVICES= leaves none of 8", "unset CUDA_VISIBLE_DEVICES")


def test_the_structure_of_nvdec_is_as_large_as_in_the_header() -> None:
    assert ctypes.sizeof(nvdec.DecoderCaps) == 88
    assert (nvdec.DecoderCaps.supported.offset, nvdec.DecoderCaps.decoders.offset, nvdec.DecoderCaps.max_width.offset) == (24, 25, 28)


def test_who_holds_a_lock_is_known_without_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    assert lock.holder("cpu") is None
    with lock.exclusive("cpu", wait=False, report=lambda _: None):
        assert lock.holder("cpu") == str(os.getpid())
    assert lock.holder("cpu") is None


# The command.


def test_the_command_tells_of_this_machine(tmp_path: Path) -> None:
    done = evbench("doctor --device cpu", tmp_path, COLUMNS="80", NO_COLOR="1", XDG_STATE_HOME=str(tmp_path))
    assert done.returncode == 0 and done.stderr == ""
    shown = done.stdout.splitlines()
    assert len(shown) <= MOST_LINES and max(map(len, shown)) <= 80
    assert shown[-1] == "exit 0: the baseline can run on the CPU"
    assert "\x1b" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_broken_torch_is_no_traceback(tmp_path: Path) -> None:
    path = hidden_by(tmp_path, "torch", "raise RuntimeError('broken')")
    done = evbench("doctor --device cpu --json", tmp_path, PYTHONPATH=path)
    assert done.returncode == 2 and done.stderr == ""
    found = json.loads(done.stdout)
    assert found["baseline_runs"] is False and found["conclusion"].endswith("mend first: torch")


@pytest.mark.parametrize("code", ["raise RuntimeError('broken')", "import os; os.abort()"])
def test_what_the_command_itself_imports_may_be_broken(code: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "evbench.cli.start", "doctor"]
    environment = os.environ | {"PYTHONPATH": hidden_by(tmp_path, "numpy", code)}
    plain = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (plain.returncode, plain.stderr) == (2, "")
    assert plain.stdout.startswith("problem  numpy  importing it ")
    assert plain.stdout.splitlines()[-1] == "exit 2: evbench cannot start; mend first: numpy"
    as_json = subprocess.run([*command, "--json"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60)
    found = json.loads(as_json.stdout)
    assert set(found["findings"][0]) == {field.name for field in dataclasses.fields(Finding)}


def test_an_unknown_device_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown --device 'gpu'; did you mean 'cuda'?" in refused("doctor --device gpu", monkeypatch, capsys)
