"""Which members of Slicer, Qt, CTK and VTK the module uses: read from its source and its .ui files.

`members.csv` lists each with the source file in which it was verified for Slicer 5.10.0 and 5.12.3. Found are:

* what hangs on an imported module: `slicer.util.loadUI`, `qt.QTimer.singleShot`, `slicer.vtkMRMLScene.EndCloseEvent`;
* what hangs on a widget of a panel, by its class in the .ui file: `QPushButton.text`;
* signals by their signature, with the class where it is known: `QPushButton::clicked()`;
* any other attribute written in Slicer's CamelCase: `.SetBackgroundVolumeID`.

Attributes of one lower-case word on an object of unknown class (`item.text`) cannot be told from the module's own;
those the strict stand-ins check when the tests run.
"""

from __future__ import annotations

import ast
import csv
import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODULE = ROOT / "MolSubSlicer"
TABLE = HERE / "members.csv"
ROOTS = ("slicer", "qt", "ctk", "vtk", "vtkmodules", "DICOMLib", "SampleData")
_CAMEL = re.compile(r"^[A-Za-z]*[a-z][A-Za-z0-9]*[A-Z][A-Za-z0-9]*$|^[A-Z][a-z]+[A-Za-z0-9]*$")
_SIGNATURE = re.compile(r"^\w+\(.*\)$")
#: Of Python itself.
_PYTHON = re.compile(r"^(assert[A-Z]\w*|setUp|tearDown|getLogger|findall|findtext|parseString|ElementTree|NamedTuple)$")


def sources() -> list[Path]:
    """The module's Python files."""
    return sorted(path for path in MODULE.rglob("*.py") if "__pycache__" not in path.parts)


def ui_files() -> list[Path]:
    """The module's .ui files."""
    return sorted(MODULE.rglob("*.ui"))


def read_table() -> dict[str, dict[str, str]]:
    """Rows of the table by member."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {row["member"]: row for row in csv.DictReader(file)}


def used() -> dict[str, set[str]]:
    """Members with the files that use them."""
    found: dict[str, set[str]] = defaultdict(set)
    own = own_names()
    for path in sources():
        walker = _Walker(path, own)
        walker.visit(ast.parse(path.read_text(encoding="utf-8")))
        for member in walker.members:
            found[member].add(path.name)
    for path in ui_files():
        for member in _members_of_ui(path):
            found[member].add(path.name)
    return dict(found)


def own_names() -> set[str]:
    """Every name that the project itself defines: functions, classes, attributes, parameters."""
    names: set[str] = set()
    for path in [*sources(), *(ROOT / "MolSubCore").rglob("*.py")]:
        names.add(path.stem)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
                names.add(node.attr)
    return names - {"logic"}


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def widget_classes(path: Path) -> dict[str, str]:
    """Class of each named widget (or layout, action) of a .ui file."""
    tree = ElementTree.parse(path)
    return {e.get("name", ""): e.get("class", e.tag) for e in tree.iter() if e.tag in ("widget", "layout", "action")}


def _members_of_ui(path: Path) -> set[str]:
    tree = ElementTree.parse(path)
    found: set[str] = set()
    for element in tree.iter("widget"):
        kind = element.get("class", "")
        found.add(kind)
        for entry in element.findall("property"):
            if entry.get("stdset") != "0":
                found.add(f"{kind}.{entry.get('name')}")
    classes = widget_classes(path)
    for connection in tree.iter("connection"):
        for role, part in (("sender", "signal"), ("receiver", "slot")):
            kind = classes[connection.findtext(role) or ""]
            found.add(f"{kind}::{connection.findtext(part)}")
    return found


class _Walker(ast.NodeVisitor):
    """Collects the members that one file uses."""

    def __init__(self, path: Path, own: set[str]) -> None:
        self.members: set[str] = set()
        self._own = own
        self._names: dict[str, str] = {}
        self._python: set[str] = set()
        text = path.read_text(encoding="utf-8")
        mentioned = [ui for ui in ui_files() if f'"{ui.stem}"' in text]
        self._widgets: dict[str, str] = {}
        for ui in mentioned or ui_files():
            self._widgets.update(widget_classes(ui))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.split(".")[0]
            if alias.name.split(".")[0] in ROOTS:
                self._names[name] = alias.name.split(".")[0]
            else:
                self._python.add(name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        if module.split(".")[0] in ROOTS:
            for alias in node.names:
                self._names[alias.asname or alias.name] = f"{module}.{alias.name}"
                self.members.add(f"{module}.{alias.name}")
        else:
            self._python.update(alias.asname or alias.name for alias in node.names)

    def _path(self, node: ast.expr) -> str | None:
        """`slicer.util.loadUI` of an expression that hangs on an imported module, or `CLASS.member` of a widget."""
        if isinstance(node, ast.Name):
            return self._names.get(node.id)
        if not isinstance(node, ast.Attribute):
            return None
        if self._is_ui(node.value):
            return self._widgets.get(node.attr)
        base = self._path(node.value)
        if not base or node.attr.startswith("__"):
            return base
        is_widget = base.split(".")[0] in self._widgets.values()
        return base if is_widget and "." in base else f"{base}.{node.attr}"  # a property's own members are Python's

    @staticmethod
    def _is_ui(node: ast.expr) -> bool:
        return (isinstance(node, ast.Attribute) and node.attr == "ui") or (
            isinstance(node, ast.Name) and node.id == "ui"
        )

    def visit_Attribute(self, node: ast.Attribute) -> None:
        path = self._path(node)
        if path is not None:
            if "." in path and not path.startswith("slicer.modules.MolSub"):
                self.members.add(path)
        elif not self._is_ui(node.value) and self._is_foreign(node):
            self.members.add(f".{node.attr}")
        self.generic_visit(node)

    def _is_foreign(self, node: ast.Attribute) -> bool:
        if not _CAMEL.match(node.attr) or _PYTHON.match(node.attr):
            return False
        return not (isinstance(node.value, ast.Name) and node.value.id in self._python) and node.attr not in self._own

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr in ("connect", "disconnect") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str) and _SIGNATURE.match(first.value):
                sender = self._path(function.value) or ""
                self.members.add(f"{sender}::{first.value}")
        self.generic_visit(node)


def misuse() -> list[str]:
    """What PySide6 would take and PythonQt would not: keyword arguments, and enums by their scope."""
    found = []
    for path in sources():
        walker = _Walker(path, set())
        tree = ast.parse(path.read_text(encoding="utf-8"))
        walker.visit(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.keywords:
                name = walker._path(node.func) or ""
                if name.split(".")[0] in ("qt", "ctk"):
                    found.append(f"{path.name}:{node.lineno}: keyword arguments to {name}")
            elif isinstance(node, ast.Attribute):
                parts = (walker._path(node) or "").split(".")
                if parts[0] == "qt" and len(parts) > 3:
                    found.append(f"{path.name}:{node.lineno}: {'.'.join(parts)} is an enum by its scope")
    return found
