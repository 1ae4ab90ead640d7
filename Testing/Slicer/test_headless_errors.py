"""Errors that would reach nobody are seen, and dialogs are answered or refused."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import qt
import slicer
import vtk

from headless.dialogs import DIALOGS, UnexpectedDialog
from headless.errors import collected


def fail(*_: Any) -> None:
    raise ZeroDivisionError("on purpose")


def test_an_exception_in_a_slot() -> None:
    button = qt.QPushButton()
    button.connect("clicked()", fail)
    with collected() as found:
        button.click()
    assert len(found.found) == 1 and "on purpose" in found.found[0]


def test_an_exception_in_a_timer_and_in_a_virtual_method() -> None:
    class Painted(qt.QWidget):
        def paintEvent(self, event: Any) -> None:
            fail()

    widget = Painted()
    with collected() as found:
        qt.QTimer.singleShot(0, fail)
        slicer.app.processEvents()
        with pytest.raises(ZeroDivisionError):
            widget.grab()
    assert len(found.found) == 1 and "on purpose" in found.found[0]


def test_an_exception_in_an_observer() -> None:
    node = slicer.vtkMRMLTextNode()
    node.AddObserver("ModifiedEvent", fail)
    with collected() as found:
        node.SetText("a")
    assert found.found and "on purpose" in found.found[0]


def test_an_error_of_vtk() -> None:
    with collected() as found:
        reader = vtk.vtkXMLImageDataReader()
        reader.SetFileName("/no/such/file.vti")
        reader.Update()
    assert any("file.vti" in text for text in found.found)


def test_a_critical_message_of_qt_and_a_warning_of_a_wrong_program() -> None:
    with collected() as found:
        _critical("bad")
        widget = qt.QWidget()
        qt.QVBoxLayout(widget)
        qt.QVBoxLayout(widget)
    assert any("bad" in text for text in found.found) and any("QLayout: Attempting" in text for text in found.found)


def _critical(text: str) -> None:
    from PySide6 import QtCore

    QtCore.qCritical(text)


def test_the_hooks_are_put_back() -> None:
    former = sys.excepthook
    try:
        sys.excepthook = fail
        with collected():
            assert sys.excepthook is not fail
        assert sys.excepthook is fail
    finally:
        sys.excepthook = former


def test_an_expected_error_is_passed_over() -> None:
    with collected() as found:
        found.expect("on purpose")
        qt.QTimer.singleShot(0, fail)
        slicer.app.processEvents()
    assert found.found == [] and len(found.seen) == 1


def test_questions_are_answered(dialogs: Any) -> None:
    dialogs.answer("Delete", "No")
    dialogs.answer("Delete", "Yes")
    assert not slicer.util.confirmYesNoDisplay("Delete everything?")
    assert slicer.util.confirmYesNoDisplay("Delete everything?")
    dialogs.answer("careful", "Ok")
    slicer.util.warningDisplay("Be careful")
    dialogs.answer("Choose", "/tmp/a")
    assert qt.QFileDialog.getExistingDirectory(None, "Choose a folder", "") == "/tmp/a"
    assert len(dialogs.shown) == 4


def test_an_unexpected_dialog_fails(dialogs: Any) -> None:
    with pytest.raises(UnexpectedDialog, match="Delete everything"):
        slicer.util.confirmYesNoDisplay("Delete everything?")
    assert len(DIALOGS.unexpected) == 1
    DIALOGS.clear()
