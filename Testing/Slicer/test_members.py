"""The module uses Slicer, Qt, CTK and VTK in ways that PythonQt takes."""

from __future__ import annotations

import members


def test_nothing_that_pythonqt_would_refuse() -> None:
    assert members.misuse() == []


def test_the_reader_sees_each_kind_of_use(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "Panel.ui").write_text(
        '<ui><widget class="QWidget" name="w"><widget class="QPushButton" name="goButton">'
        '<property name="flat"><bool>true</bool></property></widget></widget></ui>'
    )
    (tmp_path / "Panel.py").write_text(
        "import qt, slicer, json\nfrom slicer.util import loadUI as load\n"
        'class P:\n    def make(self):\n        self.ui = load("Panel")\n'
        '        self.ui.goButton.connect("clicked()", self.make)\n        self.ui.goButton.text.strip()\n'
        "        node = slicer.mrmlScene.GetNodeByID(qt.Qt.AlignLeft)\n        node.SetHidden(json.JSONDecoder)\n"
        "        qt.QLabel(text=qt.Qt.AlignmentFlag.AlignLeft)\n"
    )
    monkeypatch.setattr(members, "MODULE", tmp_path)
    monkeypatch.setattr(members, "ROOT", tmp_path)
    assert set(members.used()) == {
        "QWidget", "QPushButton", "QPushButton.flat", "QPushButton.connect", "QPushButton.text",
        "QPushButton::clicked()", "slicer.util.loadUI", "slicer.mrmlScene", "slicer.mrmlScene.GetNodeByID", "qt.Qt",
        "qt.Qt.AlignLeft", "qt.Qt.AlignmentFlag", "qt.Qt.AlignmentFlag.AlignLeft", "qt.QLabel", ".SetHidden",
    }  # fmt: skip
    assert members.misuse() == [
        "Panel.py:10: keyword arguments to qt.QLabel",
        "Panel.py:10: qt.Qt.AlignmentFlag.AlignLeft is an enum by its scope",
    ]
