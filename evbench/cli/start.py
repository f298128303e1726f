"""Where the command starts. Only Python's own modules are imported here: `evbench doctor` also speaks where others cannot be."""

from __future__ import annotations

import json
import subprocess
import sys

from evbench.doctor.faults import fault, reinstall

DOCTOR = "evbench.cli.main, evbench.cli.doctor"
"""Modules of `evbench doctor` itself."""
FIRST = {
    "numpy": "numpy",
    "av": "av",
    "PIL": "pillow",
    "packaging": "packaging",
    "pynvml": "nvidia-ml-py",
    "rich": "rich",
    "safetensors": "safetensors",
    "typer": "typer",
}
"""Module that they import, as those of the other commands do -> the package that it is of."""
SECONDS = 4.0
"""For each import. What only takes long is no fault."""
REFUSED = 2


def main() -> None:
    """`evbench`. Of `evbench doctor` it is tried first, in a process of its own, whether the command can be imported: that may crash."""
    if sys.argv[1:2] == ["doctor"] and (found := _fault(DOCTOR)):
        sys.exit(_tell(found, "--json" in sys.argv))
    from evbench.cli.main import main as command

    command()


def _tell(found: str, as_json: bool) -> int:
    """Say which package keeps the command from starting, with the keys of `evbench.doctor.findings`. Returns the exit code."""
    faults = {name: how for name in FIRST if (how := _fault(name))} or {"evbench": found}
    conclusion = f"exit {REFUSED}: evbench cannot start; mend first: {', '.join(faults)}"
    if as_json:
        told = {"area": "Software", "grade": "problem", "stops": True, "detail": False}
        findings = [told | {"subject": name, "text": f"importing it {text}", "cure": _cure(name)} for name, text in faults.items()]
        head = {"device": None, "baseline_runs": False, "exit_code": REFUSED, "conclusion": conclusion}
        print(json.dumps(head | {"findings": findings, "variants": []}, indent=1))
        return REFUSED
    for name, text in faults.items():
        print(f"problem  {name}  importing it {text} -> {_cure(name)}")
    print(conclusion)
    return REFUSED


def _cure(module: str) -> str:
    return reinstall(FIRST.get(module, module))


def _fault(modules: str) -> str:
    """How importing them ends in another process. Empty if without error."""
    command = [sys.executable, "-c", f"import {modules}"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return ""
    return fault(done.returncode, done.stderr)


if __name__ == "__main__":
    main()
