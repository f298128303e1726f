"""Facts -> findings about the GPU, its driver, and whether torch can use it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from evbench.doctor.facts import Driver, Facts
from evbench.doctor.findings import GPU, MISSING, OK, PROBLEM, TRY_AGAIN, Finding
from evbench.report.units import format_bytes
from evbench.results import Gpu

DRIVERS = {12: 525, 13: 580}
"""Major version of CUDA -> the first driver that runs programs of any of its minor versions (NVIDIA: CUDA Compatibility)."""
WHEELS = {12: "cu126", 13: "cu130"}
"""Major version of CUDA -> an index of PyTorch's with builds for it."""
NO_NVDEC = "ask the administrator for the driver's video library (Debian: libnvcuvid1); in a container set NVIDIA_DRIVER_CAPABILITIES=all"


def about_gpu(facts: Facts) -> Iterator[Finding]:
    """One finding if there is no GPU, or if the run is to be on the CPU."""
    gpu, driver = facts.machine.gpu, facts.driver
    if gpu is None or driver is None:
        yield _no_gpu(facts)
        return
    capability = "" if driver.capability is None else f", compute capability {_dotted(driver.capability)}"
    yield Finding(GPU, "GPU", OK, f"{gpu.name}, {format_bytes(gpu.memory_bytes)}{capability}")
    yield _driver(facts, gpu, driver)
    if torch := _torch(facts, driver):
        yield torch
    yield _nvdec(facts)
    yield from _state(facts, gpu, driver)


def _no_gpu(facts: Facts) -> Finding:
    if facts.device == "cpu" and not facts.no_gpu_cure:
        return Finding(GPU, "GPU", MISSING, f"{facts.no_gpu}; evbench measures on the CPU")
    wanted = facts.device == "cuda"
    return Finding(GPU, "GPU", PROBLEM, facts.no_gpu, facts.no_gpu_cure or "run with --device cpu", stops=wanted)


def _driver(facts: Facts, gpu: Gpu, driver: Driver) -> Finding:
    """Whether it is new enough for torch. Of one major version of CUDA, a driver for an older minor version will do."""
    if driver.cuda is None:
        return Finding(GPU, "driver", OK, f"{gpu.driver}; it does not tell which CUDA it supports")
    built = built_for(facts)
    text = f"{gpu.driver}, supports CUDA {_dotted(driver.cuda)}"
    if built is None or built[0] <= driver.cuda[0]:
        return Finding(GPU, "driver", OK, text)
    newer = f"ask the administrator for {f'driver {DRIVERS[built[0]]} or newer' if built[0] in DRIVERS else 'a newer driver'}"
    older = f", or {_install(driver.cuda[0])}" if driver.cuda[0] in WHEELS else ""
    return Finding(GPU, "driver", PROBLEM, f"{text} only, and torch is built for CUDA {_dotted(built)}", newer + older, stops=True)


def _torch(facts: Facts, driver: Driver) -> Finding | None:
    """Whether torch can use the GPU. None where torch did not even say what it is built for: that is a finding about software."""
    said = facts.answer("models").said
    if "cuda" not in said or "gpus" not in said:
        return None
    built = built_for(facts)
    name = "torch on the GPU"
    if built is None:
        major = min(max(WHEELS), driver.cuda[0] if driver.cuda is not None else max(WHEELS))
        cure = f"{_install(major)}; or run with --device cpu" if major in WHEELS else "run with --device cpu"
        return Finding(GPU, name, PROBLEM, f"torch {said['torch']} is built without CUDA", cure, stops=True)
    if driver.capability is not None and not has_kernels(said.get("architectures", ()), driver.capability):
        text = f"torch is built for {' '.join(said['architectures'])}, and not for compute capability {_dotted(driver.capability)}"
        return Finding(GPU, name, PROBLEM, text, "install a torch that is, or run with --device cpu", stops=True)
    if not said["gpus"]:
        if driver.cuda is not None and driver.cuda[0] < built[0]:
            return None  # which is why
        cure = "nvidia-smi tells more; start a container with --gpus all; else ask the administrator to load the driver anew"
        return Finding(GPU, name, PROBLEM, f"torch is built for CUDA {_dotted(built)}, and finds no GPU", cure, stops=True)
    return Finding(GPU, name, OK, f"built for CUDA {_dotted(built)}, with kernels for this GPU")


def built_for(facts: Facts) -> tuple[int, int] | None:
    """The CUDA that torch is built for. None if it is built without, or did not say."""
    text = facts.answer("models").said.get("cuda")
    if not isinstance(text, str):
        return None
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)


def has_kernels(architectures: list[str] | tuple[str, ...], capability: tuple[int, int]) -> bool:
    """Whether code for one of these runs on a GPU: machine code (sm_) of its major version and no newer minor one, or PTX (compute_) that
    is no newer. A letter behind the number, as in sm_90a, stands for one GPU only.

    >>> has_kernels(["sm_80", "sm_90"], (8, 6)), has_kernels(["sm_80", "sm_90"], (7, 5)), has_kernels(["sm_80", "compute_80"], (9, 0))
    (True, False, True)
    """
    return not architectures or any(_runs(*architecture.partition("_")[::2], capability) for architecture in architectures)


def _runs(kind: str, number: str, capability: tuple[int, int]) -> bool:
    digits = number.rstrip("abcdefghijklmnopqrstuvwxyz")
    built = int(digits[:-1] or 0), int(digits[-1:] or 0)
    if digits != number:
        return built == capability
    return built <= capability and (kind == "compute" or built[0] == capability[0])


def _nvdec(facts: Facts) -> Finding:
    answer = facts.answers.get("nvdec")
    if answer is None:
        return Finding(GPU, "NVDEC", OK, "not asked: it would disturb the measurement")
    found = answer.said.get("decoders")
    if found:
        return Finding(GPU, "NVDEC", OK, f"{max(found.values())} decoders: {', '.join(found)}")
    if found is not None:
        return Finding(GPU, "NVDEC", MISSING, "this GPU decodes no video; decode=dali needs one that does")
    if answer.said.get("library"):
        return Finding(GPU, "NVDEC", PROBLEM, f"the library is there; asking for its codecs {answer.fault}")
    if answer.late:
        return Finding(GPU, "NVDEC", PROBLEM, f"loading libnvcuvid.so.1 {answer.fault}", TRY_AGAIN)
    return Finding(GPU, "NVDEC", MISSING, "libnvcuvid.so.1 does not load; decode=dali needs it for a video", NO_NVDEC)


def _state(facts: Facts, gpu: Gpu, driver: Driver) -> Iterator[Finding]:
    clock = "left to the driver" if gpu.applications_sm_mhz is None else f"set to {gpu.applications_sm_mhz:,} MHz"
    clock += "" if gpu.max_sm_mhz is None else f", {gpu.max_sm_mhz:,} MHz at most"
    clock += "" if driver.sm_mhz is None else f", now {driver.sm_mhz:,} MHz"
    if driver.throttled:
        cure = "let it cool down, or ask the administrator"
        yield Finding(GPU, "clock", PROBLEM, f"held down: {', '.join(driver.throttled)}; {clock}", cure)
    else:
        yield Finding(GPU, "clock", OK, clock)
    if gpu.power_limit_watts is not None:
        default = gpu.default_power_limit_watts
        usual = "" if default is None else ", the default" if default == gpu.power_limit_watts else f", {default:.0f} W by default"
        yield Finding(GPU, "power limit", OK, f"{gpu.power_limit_watts:.0f} W{usual}")
    yield _others(facts, driver)


def _others(facts: Facts, driver: Driver) -> Finding:
    if facts.measured_by is not None:
        return Finding(GPU, "other processes", PROBLEM, f"another evbench (process {facts.measured_by}) measures on it", "wait for its end")
    busy = f"busy for {driver.busy} % of the last second" if driver.busy else ""
    have = "process has" if driver.processes == 1 else "processes have"
    opened = f"{driver.processes} other {have} it open" if driver.processes else ""
    if not busy and not opened:
        return Finding(GPU, "other processes", OK, "none has it open")
    cure = "nvidia-smi names them; wait, or choose another GPU by CUDA_VISIBLE_DEVICES"
    return Finding(GPU, "other processes", PROBLEM, "; ".join(filter(None, (opened, busy))), cure)


def _install(major: int) -> str:
    return f"pip install --force-reinstall torch torchvision --index-url https://download.pytorch.org/whl/{WHEELS[major]}"


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
