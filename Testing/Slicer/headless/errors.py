"""Errors that reach nobody: in slots, Qt virtuals, VTK observers, in Qt's messages and VTK's."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import vtk
from PySide6 import QtCore

#: Qt's warnings that tell of a mistake in the program rather than of the machine.
_PROGRAM_WARNINGS = (
    "QObject::",
    "QPainter::",
    "QLayout:",
    "QWidget::",
    "QProcess:",
    "QTimer",
    "QFormBuilder",
    "QMetaObject::",
    "QBackingStore",
)
_KINDS = QtCore.QtMsgType


class Errors:
    """What went wrong unseen, as texts: all in `seen`, those not expected in `found`."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.seen: list[str] = []
        self._expected: list[str] = []

    def expect(self, part: str) -> None:
        """For tests: an error with this text is what should happen."""
        self._expected.append(part)

    def add(self, text: str) -> None:
        self.seen.append(text)
        if not any(part in text for part in self._expected):
            self.found.append(text)


#: The collections going on, the innermost last: it alone gets what happens.
_active: list[Errors] = []


def _add(text: str) -> None:
    if _active:
        _active[-1].add(text)


def _raised(kind: Any, error: Any, trace: Any) -> None:
    _add("".join(traceback.format_exception(kind, error, trace)))


def _unraisable(problem: Any) -> None:
    _raised(problem.exc_type, problem.exc_value, problem.exc_traceback)


def _qt_message(kind: Any, context: Any, text: str) -> None:
    if kind in (_KINDS.QtCriticalMsg, _KINDS.QtFatalMsg) or (
        kind == _KINDS.QtWarningMsg and text.startswith(_PROGRAM_WARNINGS)
    ):
        _add(f"Qt: {text}")


@vtk.calldata_type(vtk.VTK_STRING)
def _vtk_error(window: Any, event: str, text: str) -> None:
    _add(f"VTK: {text.strip()}\n{_where()}")


@contextlib.contextmanager
def collected() -> Iterator[Errors]:
    """Collect every such error while the block runs."""
    errors = Errors()
    hooks = sys.excepthook, sys.unraisablehook
    sys.excepthook, sys.unraisablehook = _raised, _unraisable
    qt_handler = QtCore.qInstallMessageHandler(_qt_message)
    window = vtk.vtkOutputWindow.GetInstance()
    tag = None if _active else window.AddObserver("ErrorEvent", _vtk_error)
    _active.append(errors)
    try:
        yield errors
    finally:
        _active.pop()
        sys.excepthook, sys.unraisablehook = hooks
        QtCore.qInstallMessageHandler(qt_handler)
        if tag is not None:
            window.RemoveObserver(tag)


def _where() -> str:
    """The last places of the project's own that led here."""
    frames = [f for f in traceback.extract_stack()[:-2] if "MolSub" in f.filename or "Testing" in f.filename]
    return "".join(traceback.format_list(frames[-4:]))
