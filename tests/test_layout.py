"""Who may import whom, and what nothing is called."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("pipelines", "kernels", "scenes", "traces", "training")
"""Rooms of several files. The first two are links in evbench/ to the folders at the top."""
EVERYTHING = {path.stem for path in (ROOT / "evbench").glob("*.py")} | set(FOLDERS)

DATA = {"errors", "results", "variants", "stages"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "cores": set(),
    "files": set(),
    "encoding": set(),
    "statistics": set(),
    "units": set(),
    "event_window": {"errors", "results"},
    "render": set(),
    "sample": set(),
    "gpu": set(),
    "kernels": set(),
    "results": {"errors", "files", "encoding"},
    "variants": {"errors"},
    "stages": {"results"},
    "differences": {"results"},
    "schedule": {"results"},
    "lock": {"errors"},
    "floors": {"errors", "results", "files", "encoding"},
    "demands": {"errors", "results", "statistics"},
    "judge": {"results", "variants", "statistics", "demands", "differences", "equivalence"},
    "planted": {"results", "stages"},
    "selftest": {"results", "statistics", "judge", "planted", "render", "units"},
    "compile_counts": {"results"},
    "memory": {"results", "gpu"},
    "energy": {"results", "gpu"},
    "conditions": {"gpu"},
    "measure": {"results", "stages", "compile_counts"},
    "traces": {"errors", "files", "results", "stages", "measure", "gpu"},
    "trace_report": {"results", "render", "units"},
    "signs": set(),
    "feed": {"results", "stages"},
    "stream": {"results", "stages", "measure", "compile_counts", "feed"},
    "evidence": {"results", "variants", "signs", "stages", "measure", "traces", "feed", "stream"},
    "colours": set(),
    "diagnosis": {"colours"},
    "equivalence": {"results", "diagnosis", "capture_outputs"},
    "capture_outputs": {"results", "stages"},
    "references": {"errors"},
    "outputs": {"results", "statistics", "equivalence", "capture_outputs", "references", "scenes"},
    "mutation": {"errors", "results", "variants", "differences", "equivalence", "outputs", "render", "pipelines"},
    "machine": {"errors", "cores", "results", "variants", "gpu", "differences"},
    "report": {
        "results",
        "statistics",
        "variants",
        "judge",
        "demands",
        "differences",
        "equivalence",
        "event_window",
        "render",
        "units",
        "traces",
        "trace_report",
    },
    "pipelines": DATA | {"cores", "kernels", "colours", "diagnosis"},
    "scenes": {"errors", "files", "pipelines"},
    "training": DATA | {"script", "pipelines", "scenes", "machine", "workload"},
    "worker": DATA
    | {"measure", "stream", "evidence", "capture_outputs", "memory", "energy", "compile_counts", "planted", "gpu", "traces", "pipelines"},
    "torture": {"errors", "files", "encoding"},
    "frames": {"errors", "machine", "variants", "pipelines", "render", "torture"},
    "script": {"errors", "files", "encoding"},
    "rendering": {"script", "results", "machine", "units", "pipelines", "kernels"},
    "decoding": {"script", "errors", "results", "machine", "measure", "rendering", "units", "pipelines"},
    "workload": DATA | {"event_window", "machine", "sample", "pipelines", "scenes"},
    "journal": DATA | {"files", "encoding"},
    "session": DATA
    | {"machine", "schedule", "statistics", "judge", "conditions", "journal", "measure", "outputs", "worker", "traces", "pipelines"},
    "console": set(),
    "options": {"errors", "results", "workload", "session", "variants"},
    "ladder": {"errors", "results", "variants", "statistics", "judge", "signs"},
    "ladder_report": {"results", "judge", "ladder", "render", "report", "units"},
    "models": {"results", "statistics", "judge", "scenes"},
    "published": set(),
    "statements": {"results", "statistics", "models", "published", "units"},
    "models_report": {"results", "variants", "judge", "models", "published", "statements", "render", "units"},
    "compare": EVERYTHING
    - {
        "cli",
        "console",
        "options",
        "ladder",
        "ladder_report",
        "climb",
        "models",
        "published",
        "statements",
        "models_report",
        "side_by_side",
    },
    "climb": EVERYTHING - {"cli", "console", "options", "models", "published", "statements", "models_report", "side_by_side"},
    "side_by_side": EVERYTHING - {"cli", "console", "options", "ladder", "ladder_report", "climb"},
    "cli": EVERYTHING,
    "__init__": set(),
}


def room(path: Path) -> str:
    return path.parent.name if path.parent.name in FOLDERS else path.stem


def imported_rooms(path: Path) -> set[str]:
    """Rooms of ours that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("evbench.")}
        elif isinstance(node, ast.ImportFrom) and node.module == "evbench":
            found |= {alias.name for alias in node.names if alias.name in EVERYTHING}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("evbench."):
            found.add(str(node.module).split(".")[1])
    return found


SOURCES = sorted([*(ROOT / "evbench").glob("*.py"), *(path for name in FOLDERS for path in (ROOT / "evbench" / name).glob("*.py"))])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_imports_point_one_way(path: Path) -> None:
    own = room(path)
    assert own in MAY_IMPORT, f"{path.name} is not in the table: say what it may import"
    assert imported_rooms(path) - {own} <= MAY_IMPORT[own]


def test_the_table_lists_no_room_that_is_gone() -> None:
    assert set(MAY_IMPORT) == EVERYTHING


def test_the_parent_process_imports_no_torch_at_module_level() -> None:
    """`evbench --help` answers at once, and only workers hold a CUDA context."""
    light = [
        *(ROOT / "evbench").glob("*.py"),
        *(ROOT / "evbench" / "traces").glob("*.py"),
        *(ROOT / "pipelines" / name for name in ("video.py", "events.py", "presets.py", "folder.py", "restricted_pickle.py")),
        *(ROOT / "pipelines" / name for name in ("event_files.py", "event_images.py", "event_readers.py", "event_stream.py")),
    ]
    for path in light:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"torch", "transformers", "torchvision"}, path.name


def test_no_room_has_a_name_that_says_nothing() -> None:
    for path in SOURCES:
        assert not {"utils", "util", "manager", "helpers", "helper", "common", "misc"} & set(path.stem.split("_")), path


def test_the_folders_at_the_top_are_packages_of_evbench() -> None:
    for name in ("kernels", "pipelines"):
        assert (ROOT / "evbench" / name).resolve() == ROOT / name
        assert not (ROOT / name / "__init__.py").exists(), "would shadow the package `kernels` that transformers imports"
