"""The module uses Qt and CTK in ways that PythonQt takes, where PySide6, which runs the tests, takes more."""

from __future__ import annotations

import ast
from pathlib import Path

MODULE = Path(__file__).resolve().parents[2] / "MolSubSlicer"


def misuse(text: str) -> list[str]:
    """What PySide6 would take and PythonQt would not: keyword arguments, and enums by their scope."""
    found = []
    for node in ast.walk(ast.parse(text)):
        name = ast.unparse(node.func if isinstance(node, ast.Call) else node) if isinstance(node, ast.expr) else ""
        parts = name.split(".")
        if isinstance(node, ast.Call) and node.keywords and parts[0] in ("qt", "ctk"):
            found.append(f"{node.lineno}: keyword arguments to {name}")
        elif isinstance(node, ast.Attribute) and parts[0] == "qt" and len(parts) > 3 and "(" not in name:
            found.append(f"{node.lineno}: {name} is an enum by its scope")
        elif isinstance(node, ast.ImportFrom) and node.module in ("qt", "ctk"):
            found.append(f"{node.lineno}: names of {node.module} without it")
    return found


def test_nothing_that_pythonqt_would_refuse() -> None:
    wrong = {path.name: misuse(path.read_text(encoding="utf-8")) for path in MODULE.rglob("*.py")}
    assert {name: found for name, found in wrong.items() if found} == {}
    assert len(wrong) > 50


def test_the_reader_sees_each_kind_of_misuse() -> None:
    text = (
        "import qt, ctk\nqt.QLabel(text='')\nqt.QLabel().setAlignment(qt.Qt.AlignmentFlag.AlignLeft)\nqt.Qt.AlignLeft\n"
        "ctk.ctkSliderWidget()\nslicer.util.loadUI(a=1)\nfrom qt import QLabel\n"
        "qt.QFontMetrics(font).rect(name).width()\n"
    )
    assert sorted(misuse(text)) == [
        "2: keyword arguments to qt.QLabel",
        "3: qt.Qt.AlignmentFlag.AlignLeft is an enum by its scope",
        "7: names of qt without it",
    ]
