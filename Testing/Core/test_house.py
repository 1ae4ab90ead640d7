"""Rules of the house: what may import what."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "MolSubCore"

#: From the lowest room to the highest; a room may use those before it. Rooms in one entry may not use each other.
ROOMS = (
    *(("imaging",), ("lesions",), ("cohort",), ("annotation", "models"), ("statistics",), ("training",), ("explain",)),
    *(("report",), ("prediction",), ("evaluation",), ("study",), ("worker",), ("cli",)),
)


def modules() -> list[Path]:
    return sorted(CORE.rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_core_knows_no_slicer() -> None:
    found = {
        (path.name, name)
        for path in modules()
        for name in imported(ast.parse(path.read_text(encoding="utf-8")))
        if name.split(".")[0] in {"slicer", "qt", "vtk", "ctk", "PythonQt", "MolSubSlicer"}
    }
    assert not found


def test_a_lower_room_never_knows_an_upper_one() -> None:
    level = {room: number for number, rooms in enumerate(ROOMS) for room in rooms}
    found = set()
    for path in modules():
        room = path.relative_to(CORE).parts[0]
        for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
            other = [*name.split("."), ""][1] if name.startswith("MolSubCore.") else ""
            if room in level and other in level and other != room and level[other] >= level[room]:
                found.add((str(path.relative_to(CORE)), name))
    assert not found


def test_reading_and_outlining_need_only_what_a_fresh_slicer_has() -> None:
    """Nothing has to be installed there before a mammogram is shown and its lesion outlined."""
    shipped = {*sys.stdlib_module_names, "MolSubCore", "numpy", "scipy", "pydicom", "PIL", "SimpleITK", "highdicom"}
    needs = {
        # the patch (CLAHE) and the radiomics are made where the model is
        *(("lesions/roi.py", "cv2"), ("lesions/roi.py", "skimage")),
        *(("lesions/radiomics.py", "skimage"), ("lesions/radiomics.py", "mirp")),
        ("imaging/io/picture.py", "cv2"),  # 16-bit pictures of several channels: no other library reads all of them
        ("imaging/io/damage.py", "cv2"),  # progressive JPEG: no other library tells what it finds wrong
    }
    found = {
        (path.relative_to(CORE).as_posix(), name.split(".")[0])
        for path in modules()
        if path.relative_to(CORE).parts[0] in ("imaging", "lesions")
        for name in imported(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert {(path, name) for path, name in found if name not in shipped} == needs


def test_no_module_needs_itself() -> None:
    """Imports within functions count, too: what needs another to be made is above it."""
    slicer = ROOT / "MolSubSlicer"
    names = {
        ".".join(path.relative_to(top).with_suffix("").parts): path
        for top, paths in ((ROOT, modules()), (slicer, sorted(slicer.rglob("*.py"))))
        for path in paths
    }
    graph = {
        name: {other for other in imported(ast.parse(path.read_text(encoding="utf-8"))) if other in names}
        for name, path in names.items()
    }
    TopologicalSorter(graph).prepare()  # CycleError names the circle


def test_no_pickle_is_written_or_trusted() -> None:
    for path in modules():
        text = path.read_text(encoding="utf-8")
        assert "torch.save(" not in text, path.name
        assert "pickle.load" not in text, path.name
        assert len(re.findall(r"torch\.load\(", text)) == text.count("weights_only=True"), path.name
