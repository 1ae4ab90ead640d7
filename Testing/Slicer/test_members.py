"""The module uses no member of Slicer, Qt, CTK or VTK but those verified in their sources."""

from __future__ import annotations

import members

#: Slicer 5.11 and newer alone; the module asks whether they are there.
_GUARDED = {"slicer.packaging.pip_install"}


def test_every_member_used_was_verified_in_the_sources() -> None:
    table = members.read_table()
    unknown = {member: sorted(files) for member, files in members.used().items() if member not in table}
    assert not unknown, f"look these up with verify_members.py: {unknown}"


def test_the_table_names_what_is_used_and_where_it_was_found() -> None:
    table = members.read_table()
    assert sorted(table) == sorted(members.used())
    for member, row in table.items():
        assert row["project"] in ("Slicer", "CTK", "VTK", "Qt") and row["file"], member
        assert int(row["line_5_12_3"]) > 0, member
        assert row["line_5_10_0"].isdigit() or member in _GUARDED, f"{member} is not in Slicer 5.10"


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
