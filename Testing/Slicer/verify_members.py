"""Write members.csv anew: look every member up in the sources of Slicer, CTK, VTK and Qt at the two releases.

    python Testing/Slicer/verify_members.py --slicer CLONE --ctk CLONE --vtk CLONE --qt INCLUDE_FOLDER

The clones are git repositories that have the commits below; the Qt folder holds the headers of Qt 5.15, which both
releases are built with. A member that is not found stops it. Classes of members that hang on objects are kept from
the present table (column `class`), or given by `--classes FILE`, a JSON object of member to class.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import members

COLUMNS = ("member", "class", "project", "file", "line_5_10_0", "line_5_12_3")
#: Project -> commit at Slicer 5.10.0 and at 5.12.3, from Slicer's SuperBuild/External_*.cmake.
COMMITS = {
    "Slicer": ("v5.10.0", "v5.12.3"),
    "CTK": ("dd4caeae7e979cf441e44ee85d3b0780120d113d", "5056664a20a3d0a393bb6d91f040525581e0dcdf"),
    "VTK": ("v9.5.2", "v9.6.2"),  # upstream; Slicer builds these with a few patches of its own
    "Qt": ("5.15", "5.15"),
}
_PYTHON_FILES = {
    "slicer.util": "Base/Python/slicer/util.py",
    "slicer.i18n": "Base/Python/slicer/i18n.py",
    "slicer.packaging": "Base/Python/slicer/packaging.py",
    "slicer.ScriptedLoadableModule": "Base/Python/slicer/ScriptedLoadableModule.py",
    "slicer.parameterNodeWrapper": "Base/Python/slicer/parameterNodeWrapper/wrapper.py",
    "DICOMLib": "Modules/Scripted/DICOMLib/DICOMPlugin.py",
    "SampleData": "Modules/Scripted/SampleData/SampleData.py",
}
#: Attributes that Slicer gives to its Python module: (file, text).
_GIVEN = {
    "slicer.app": ("Base/QTGUI/qSlicerPythonManager.cxx", "app"),
    "slicer.mrmlScene": ("Base/Python/slicer/__init__.py", "attribute:: mrmlScene"),
    "slicer.modules": ("Base/Python/slicer/__init__.py", "modules"),
    "slicer.dicomDatabase": ("Modules/Scripted/DICOM/DICOM.py", "slicer.dicomDatabase"),
    "slicer.modules.dicomPlugins": ("Modules/Scripted/DICOM/DICOM.py", "slicer.modules.dicomPlugins"),
    "slicer.util": ("Base/Python/slicer/__init__.py", "util"),
}
_OBJECTS = {
    "slicer.app": "qSlicerApplication",
    "slicer.mrmlScene": "vtkMRMLScene",
    "slicer.dicomDatabase": "ctkDICOMDatabase",
}


#: Classes whose header has another name.
_ELSEWHERE = {"vtkVector3d": ("VTK", "Common/DataModel/vtkVector.h"), "Qt": ("Qt", "QtCore/qnamespace.h")}


class Sources:
    """Files of the projects at both releases."""

    def __init__(self, clones: dict[str, Path], qt: Path) -> None:
        self._clones, self._qt = clones, qt

    @functools.cache  # noqa: B019  one object for the whole run
    def paths(self, project: str, release: int) -> dict[str, str]:
        """Path by file name; headers of tests and of copies left out."""
        if project == "Qt":
            return {p.name: str(p.relative_to(self._qt)) for p in self._qt.rglob("*.h") if "private" not in p.parts}
        listing = self._git(project, "ls-tree", "-r", "--name-only", COMMITS[project][release])
        return {line.rsplit("/", 1)[-1]: line for line in listing.splitlines() if "Testing" not in line}

    def _git(self, project: str, *arguments: str) -> str:
        command = ["git", "-C", str(self._clones[project]), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, errors="replace").stdout

    @functools.cache  # noqa: B019
    def text(self, project: str, release: int, path: str) -> str:
        if project == "Qt":
            return (self._qt / path).read_text(encoding="utf-8", errors="replace")
        try:
            return self._git(project, "show", f"{COMMITS[project][release]}:{path}")
        except subprocess.CalledProcessError:
            return ""

    @functools.cache  # noqa: B019
    def header(self, kind: str, release: int) -> tuple[str, str] | None:
        """Project and path of the header that defines a class."""
        for project in ("Slicer", "CTK", "VTK", "Qt"):
            names = [f"{kind}.h"] if project != "Qt" else [f"{kind.lower()}.h", f"{kind.lower()[:-4]}.h"]
            for name in names:
                path = self.paths(project, release).get(name)
                if path is not None and line_in_class(self.text(project, release, path), kind, kind):
                    return project, path
        if kind in _ELSEWHERE:
            return _ELSEWHERE[kind]
        if kind.startswith("Q"):
            return self._by_definition(kind, release)
        return None

    def _by_definition(self, kind: str, release: int) -> tuple[str, str] | None:
        definition = re.compile(rf"^class Q_\w+_EXPORT {kind}\b(?!;)", re.MULTILINE)
        for path in self.paths("Qt", release).values():
            if definition.search(self.text("Qt", release, path)):
                return "Qt", path
        return None

    def lineage(self, kind: str, release: int) -> Iterator[tuple[str, str, str]]:
        """The class and its bases: name, project, path."""
        while kind and (found := self.header(kind, release)):
            yield kind, *found
            text = without_comments(self.text(found[0], release, found[1]))
            base = re.search(rf"\bclass\s+(?:\w+\s+)*{kind}\s*(?:final\s*)?:\s*public\s+(\w+)", text)
            kind = base.group(1) if base else ""


def without_comments(text: str) -> str:
    """The text of a header with blanks for comments and conditions; its lines stay where they are."""
    blank = re.compile(
        r"/\*.*?\*/|//[^\n]*|^[ \t]*#(?:if|ifdef|ifndef|else|elif|endif)\b[^\n]*", re.DOTALL | re.MULTILINE
    )
    return blank.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def patterns(name: str) -> list[str]:
    """How a header may declare a member of this name, the surest first."""
    stem = re.sub(r"^(Get|Set)", "", name)
    stem = re.sub(r"(On|Off|MinValue|MaxValue)$", "", stem)
    if match := re.match(r"Set(\w+?)To\w+$", name):
        stem = f"(?:{stem}|{match.group(1)})"
    return [
        rf"Q_PROPERTY\([^)]*\b{name}\s+READ",
        rf"vtk\w*Macro\w*\(\s*{stem}\b",
        rf"\b{name}\s*\(",
        rf"(?<![:.>])\b{name}\b\s*(?:=[^=;,]*)?(?:,|\s*$|\s*}})",
    ]


def line_of(text: str, tries: list[str], start: int = 0) -> int:
    """Number of the first line that fits the first pattern that fits at all; 0 for none."""
    for pattern in tries:
        if found := re.compile(pattern, re.MULTILINE).search(text, start):
            return text.count("\n", 0, found.start()) + 1
    return 0


def line_in_class(text: str, kind: str, name: str) -> int:
    """Line of a member in the definition of its class; of the definition itself for the class's own name."""
    text = without_comments(text)
    body = re.search(rf"\b(?:class|namespace)\s+(?:\w+\s+)*{kind}\b[^;{{]*\{{", text)
    if body is None:
        return 0
    if name == kind:
        return text.count("\n", 0, body.start()) + 1
    end = re.compile(r"^\}", re.MULTILINE).search(text, body.end())
    return line_of(text[: end.start() if end else len(text)], patterns(name), body.end())


def in_class(sources: Sources, kind: str, name: str) -> tuple[str, str, str, int, int]:
    """Where a member of a class is declared: class, project, file, and its line at each release."""
    owner, project, path, line = _declaration(sources, kind, name, 1)
    if not line:
        raise LookupError(f"{kind}.{name} is not found")
    return owner, project, path, _declaration(sources, kind, name, 0)[-1], line


def _declaration(sources: Sources, kind: str, name: str, release: int) -> tuple[str, str, str, int]:
    for owner, project, path in sources.lineage(kind, release):
        if line := line_in_class(sources.text(project, release, path), owner, name):
            return owner, project, path, line
    return "", "", "", 0


def in_file(sources: Sources, path: str, tries: list[str], kind: str = "") -> tuple[str, str, str, int, int]:
    """Where a text is in a file of Slicer."""
    before, after = (line_of(sources.text("Slicer", release, path), tries) for release in (0, 1))
    if not after:
        raise LookupError(f"{tries[0]} is not in {path}")
    return kind, "Slicer", path, before, after


def locate(sources: Sources, member: str, classes: dict[str, str]) -> tuple[str, str, str, int, int]:
    """Class, project, file and lines of a member.

    Raises
    ------
    LookupError
        If it is nowhere.
    """
    if member in _GIVEN:
        path, text = _GIVEN[member]
        return in_file(sources, path, [rf"{re.escape(text)}\b"])
    for prefix, path in _PYTHON_FILES.items():
        if member.startswith(f"{prefix}."):
            name = member.rsplit(".", 1)[-1]
            return in_file(sources, path, [rf"^\s*(?:def|class) {name}\b"])
    if "::" in member:
        kind, signature = member.split("::", 1)
        owner = _OBJECTS.get(kind, kind) or classes.get(member, "")
        return in_class(sources, owner, signature.partition("(")[0])
    if classes.get(member) in _PYTHON_FILES:
        owner = classes[member]
        return in_file(sources, _PYTHON_FILES[owner], [rf"^\s*def {member[1:]}\b"], owner)
    if member.startswith("."):
        if member not in classes:
            raise LookupError("its class is not known; give it by --classes")
        return in_class(sources, classes[member], member[1:])
    for prefix, kind in _OBJECTS.items():
        if member.startswith(f"{prefix}."):
            return in_class(sources, kind, member.removeprefix(f"{prefix}."))
    parts = member.split(".")
    if parts[0] in ("slicer", "qt", "ctk", "vtk"):
        parts = parts[1:]
    if parts[:2] == ["util", "numpy_support"] or parts == ["calldata_type"]:
        return _of_vtk_python(sources, parts)
    if parts[0].startswith("VTK_"):
        return _of_vtk_constant(sources, parts[0])
    if parts[0] == "Qt":
        return in_class(sources, "Qt", parts[-1])
    return in_class(sources, parts[0], parts[-1])


def _of_vtk_python(sources: Sources, parts: list[str]) -> tuple[str, str, str, int, int]:
    path = "Wrapping/Python/vtkmodules/util/" + ("numpy_support.py" if len(parts) > 1 else "misc.py")
    lines = [line_of(sources.text("VTK", release, path), [rf"^def {parts[-1]}\b"]) for release in (0, 1)]
    if not lines[1]:
        raise LookupError(f"{parts[-1]} is not in {path}")
    return "", "VTK", path, lines[0], lines[1]


def _of_vtk_constant(sources: Sources, name: str) -> tuple[str, str, str, int, int]:
    path = "Common/Core/vtkType.h"
    lines = [line_of(sources.text("VTK", release, path), [rf"#define {name}\b"]) for release in (0, 1)]
    return "", "VTK", path, lines[0], lines[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("slicer", "ctk", "vtk", "qt"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--classes", type=Path)
    given = parser.parse_args()
    sources = Sources({"Slicer": given.slicer, "CTK": given.ctk, "VTK": given.vtk}, given.qt)
    classes = {m: row["class"] for m, row in members.read_table().items()} if members.TABLE.is_file() else {}
    if given.classes:
        classes |= json.loads(given.classes.read_text(encoding="utf-8"))
    rows, failed = [], []
    for member in sorted(members.used()):
        try:
            rows.append((member, *locate(sources, member, classes)))
        except LookupError as error:
            failed.append(f"{member}: {error}")
    with members.TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([(*row[:-2], row[-2] or "", row[-1]) for row in rows])
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
