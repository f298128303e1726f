"""Facts -> findings about Python's packages and the compilers. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from evbench import __version__
from evbench.doctor.facts import Answer, Facts, Requirement
from evbench.doctor.faults import reinstall
from evbench.doctor.findings import MISSING, OK, PROBLEM, SOFTWARE, TRY_AGAIN, Finding
from evbench.pipelines.registry import MODELS, PARTS

DALI_PACKAGE = "nvidia-dali-cuda130"
TOLD_APART = ("torch", "transformers", "triton", "av", DALI_PACKAGE)
"""Packages with a finding of their own."""
LIBRARIES = {
    "NVIDIA DALI": ("DALI", "dali"),
    "flash-attn": ("FlashAttention 2", "flash2"),
    "FlashAttention 3": ("FlashAttention 3", "flash3"),
    "flash-attn-4": ("FlashAttention 4", "flash4"),
}
"""Need -> what it is called, and the question to it."""
HOPPER = (9, 0)
"""Its compute capability."""
MOST_NAMED = 3
"""Choices in one line."""


def about_software(facts: Facts) -> Iterator[Finding]:
    """The packages that every variant needs first."""
    yield Finding(SOFTWARE, "evbench", OK, f"{__version__}, Python {facts.machine.python}")
    yield from _models(facts)
    av = facts.answer("av")
    ffmpeg = f"{av.said.get('version')}, FFmpeg {av.said['ffmpeg']}" if "ffmpeg" in av.said else ""
    yield _package(facts, "av", ffmpeg, av, "PyAV")
    yield from _other_packages(facts)
    yield _compiler(facts)
    yield _triton(facts)
    for need in LIBRARIES:
        yield _library(facts, need)


def _models(facts: Facts) -> Iterator[Finding]:
    """What every variant imports, in order, up to the code of the models. What comes after a fault was not tried, and is not blamed."""
    answer = facts.answer("models")
    for package in ("torch", "transformers"):
        version = str(answer.said.get(package) or "")
        yield _package(facts, package, version, answer, package)
        if not version:
            return
    loaded = answer.said.get("loaded", [])
    if missing := [name for name in MODELS if name not in loaded]:
        cure = TRY_AGAIN if answer.late else "mend that; make setup makes a .venv with what evbench was tested with"
        yield Finding(SOFTWARE, "models", PROBLEM, f"importing {' and '.join(missing)} {answer.fault}", cure, stops=True)
    else:
        yield Finding(SOFTWARE, "models", OK, f"{' and '.join(loaded)} are imported without error")


def _package(facts: Facts, package: str, said: str, answer: Answer, title: str) -> Finding:
    """One that no variant can do without. `said`: its version, in its own words. Empty if it could not be imported."""
    required = next((one for one in facts.requirements if one.package == package), None)
    if required is not None and not required.met:
        return Finding(SOFTWARE, title, PROBLEM, _unmet(required), _install(required), stops=True)
    if not said:
        return Finding(SOFTWARE, title, PROBLEM, f"importing it {answer.fault}", _again(package, answer), stops=True)
    needed = "" if required is None or not required.versions else f" (evbench needs {required.versions})"
    return Finding(SOFTWARE, title, OK, said + needed)


def _other_packages(facts: Facts) -> Iterator[Finding]:
    others = [one for one in facts.requirements if one.package not in TOLD_APART]
    unmet = [one for one in others if not one.met]
    if unmet:
        cure = "pip install " + " ".join(map(_quoted, unmet))
        yield Finding(SOFTWARE, "other packages", PROBLEM, "; ".join(map(_unmet, unmet)), cure)
    elif others:
        yield Finding(SOFTWARE, "other packages", OK, f"all {len(others)} that evbench also requires are installed")
    else:
        text = "evbench is not installed as a package: what it requires is not known"
        yield Finding(SOFTWARE, "other packages", PROBLEM, text, "make setup")
    for one in facts.requirements:
        needed = f" (evbench needs {one.versions})" if one.versions else ""
        grade = OK if one.met else PROBLEM
        yield Finding(SOFTWARE, one.package, grade, f"{one.installed or 'not installed'}{needed}", detail=True)


def _compiler(facts: Facts) -> Finding:
    lack = facts.lacks.get("C++ compiler")
    if lack is not None:
        return Finding(SOFTWARE, "C++ compiler", MISSING, f"{_users('C++ compiler')} {lack.what}", lack.cure)
    return Finding(SOFTWARE, "C++ compiler", OK, f"{facts.compiler}, and Python's headers, for torch.compile")


def _triton(facts: Facts) -> Finding:
    lack, answer = facts.lacks.get("Triton"), facts.answer("triton")
    version = answer.said.get("version")
    if lack is not None:
        return Finding(SOFTWARE, "Triton", MISSING, f"{_users('Triton')} {lack.what}", lack.cure)
    if not version:
        return Finding(SOFTWARE, "Triton", PROBLEM, f"importing it {answer.fault}", _again("triton", answer))
    if facts.driver is None:
        how = "interpreted, as TRITON_INTERPRET says" if facts.interpreted else "not used"
        return Finding(SOFTWARE, "Triton", OK, f"{version}; without a GPU its kernels are {how}")
    if facts.interpreted:
        return Finding(SOFTWARE, "Triton", PROBLEM, f"{version}, interpreted: TRITON_INTERPRET is set", "unset TRITON_INTERPRET")
    if "compiled" not in answer.said:
        return Finding(SOFTWARE, "Triton", PROBLEM, f"{version}; compiling a kernel for this GPU {answer.fault or 'was not tried'}")
    if not answer.said.get("C compiler"):
        return Finding(SOFTWARE, "Triton", PROBLEM, f"{version}; no C compiler for its launchers", "Debian: apt install gcc; or set CC")
    return Finding(SOFTWARE, "Triton", OK, f"{version}; compiles kernels for this GPU")


def _library(facts: Facts, need: str) -> Finding:
    """One that is of use on a GPU only."""
    title, question = LIBRARIES[need]
    lack, answer = facts.lacks.get(need), facts.answer(question)
    without_gpu = facts.driver is None
    capability = None if facts.driver is None else facts.driver.capability
    unfit = need == "FlashAttention 3" and capability is not None and capability != HOPPER
    if lack is not None:
        if unfit:
            return Finding(SOFTWARE, title, MISSING, "not installed; it is for Hopper GPUs, and this is none")
        return Finding(SOFTWARE, title, MISSING, f"{_users(need)} {lack.what}", lack.cure, detail=without_gpu)
    if question in facts.answers and answer.fault:
        return Finding(
            SOFTWARE,
            title,
            PROBLEM,
            f"importing it {answer.fault}",
            TRY_AGAIN if answer.late else "install it anew, for this torch and this CUDA",
        )
    version = answer.said.get("version") or "installed"
    if unfit:
        return Finding(SOFTWARE, title, PROBLEM, f"{version}; it is for Hopper GPUs, and this is none", "choose another attention")
    return Finding(SOFTWARE, title, OK, f"{version}{'; of use on a GPU only' if without_gpu else ''}")


def _users(need: str) -> str:
    """The choices that need it, with their verb."""
    names = [f"{part}={choice}" for part, known in PARTS.items() for choice, entry in known.choices.items() if need in entry.needs]
    if len(names) > MOST_NAMED:
        return f"{len(names)} choices need"
    return f"{' and '.join(names)} {'needs' if len(names) == 1 else 'need'}"


def _unmet(required: Requirement) -> str:
    needed = f", and evbench needs {required.versions}" if required.versions else ""
    return f"{required.package} {'is not installed' if required.installed is None else required.installed}{needed}"


def _install(required: Requirement) -> str:
    return f"pip install {_quoted(required)}"


def _quoted(required: Requirement) -> str:
    """For a shell, in which < and > would name files."""
    return f"'{required.package}{required.versions}'" if required.versions else required.package


def _again(package: str, answer: Answer) -> str:
    return TRY_AGAIN if answer.late else reinstall(package)
