"""Which folder may import which, and what nothing is called."""

from __future__ import annotations

import ast
import functools
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

RANKS = (
    {"evbench"},  # the modules at its top, which all share
    {"machine", "kernels"},
    {"pipelines/compute", "pipelines/checkpoints"},
    {"pipelines/load", "pipelines/preprocess", "pipelines/vision", "pipelines/generate"},
    {"pipelines"},  # a file for each model, and their registry
    {"variants", "scenes", "traces"},
    {"plugins", "verdict"},
    {"report", "worker"},
    {"inputs", "session"},
    {"api"},
    {"doctor", "lint"},
    {"cli"},
    {"microbenchmarks", "training"},
)
"""From the ground up. A folder imports from those below it, and from itself."""
RANK = {folder: rank for rank, folders in enumerate(RANKS) for folder in folders}

LIGHT = {"evbench", "machine", "api", "variants", "plugins", "traces", "verdict", "report", "inputs", "session", "doctor", "lint", "cli"}
"""Folders that the parent process imports: no command waits for torch before it has work for it, and only workers hold a CUDA context."""
HEAVY = {"torch", "transformers", "torchvision"}

# evbench/kernels and evbench/pipelines are links to the folders at the top.
SOURCES = sorted(
    path
    for top in ("evbench", "kernels", "pipelines")
    for path in (ROOT / top).rglob("*.py")
    if not {"kernels", "pipelines"} & set(path.relative_to(ROOT).parts[1:])
)
MODULES = {
    path.relative_to(ROOT).with_suffix("").as_posix().removeprefix("evbench/"): path
    for path in SOURCES
    if path != ROOT / "evbench" / "__init__.py"  # names what users may import, each from where it is, and imports nothing by itself
}
"""Name, such as `worker/client` or `pipelines/load/video` -> file."""


def folder_of(module: str) -> str:
    folder, _, _ = module.rpartition("/")
    return folder or "evbench"


def imported(path: Path) -> set[str]:
    """Modules of ours that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        modules = (name.removeprefix("evbench.").replace(".", "/") for name in names if name.startswith("evbench."))
        found |= {module for module in modules if module in MODULES}
    return found


@functools.cache
def imports() -> dict[str, set[str]]:
    """Module -> modules that it imports."""
    return {module: imported(path) - {module} for module, path in MODULES.items()}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    own = folder_of(module)
    assert own in RANK, f"{own} has no rank: say in RANKS where it stands"
    up = {other for other in imports()[module] if folder_of(other) != own and RANK[folder_of(other)] >= RANK[own]}
    assert not up, f"{module} imports {', '.join(sorted(up))}, which does not stand below it"


def test_no_files_import_each_other_in_a_circle() -> None:
    left = imports()
    while free := {module for module, others in left.items() if not others & left.keys()}:
        left = {module: others for module, others in left.items() if module not in free}
    assert not left, f"in a circle, or above one: {', '.join(sorted(left))}"


def test_every_rank_is_of_a_folder_that_exists() -> None:
    assert set(RANK) == {folder_of(module) for module in MODULES}


def test_the_parent_process_imports_no_torch_at_module_level() -> None:
    """Nor does anything that it imports."""
    reached: set[str] = set()
    waiting = {module for module in MODULES if folder_of(module) in LIGHT}
    while waiting:
        module = waiting.pop()
        reached.add(module)
        waiting |= imported_at_module_level(MODULES[module]) - reached
    for module in reached:
        assert not HEAVY & packages_at_module_level(MODULES[module]), module


def imported_at_module_level(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name.removeprefix("evbench.").replace(".", "/") for name in names if name.startswith("evbench.")} & MODULES.keys()


def packages_at_module_level(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names |= {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
        names |= {str(node.module)} if isinstance(node, ast.ImportFrom) else set()
    return {name.split(".")[0] for name in names}


def test_no_file_has_a_name_that_says_nothing() -> None:
    for path in SOURCES:
        assert not {"utils", "util", "manager", "helpers", "helper", "common", "misc"} & set(path.stem.split("_")), path


def test_the_folders_at_the_top_are_packages_of_evbench() -> None:
    for name in ("kernels", "pipelines"):
        assert (ROOT / "evbench" / name).resolve() == ROOT / name
        assert not (ROOT / name / "__init__.py").exists(), "would shadow the package `kernels` that transformers imports"


TOP = {
    "evbench", "examples", "kernels", "pipelines", "tests", "profiles", "docs", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE",
    "mkdocs.yml",
    "Makefile", "MANIFEST.in", "pyproject.toml", "requirements.lock",
}  # fmt: skip


def test_nothing_else_stands_at_the_top() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode != 0:
        pytest.skip("no git checkout")
    assert {name.split("/")[0] for name in tracked.stdout.splitlines() if not name.startswith(".")} <= TOP


def test_examples_import_what_users_may_import() -> None:
    examples = sorted((ROOT / "examples").glob("*.py"))
    assert examples
    for path in examples:
        assert not imported(path), f"{path.name} imports from inside of evbench"
