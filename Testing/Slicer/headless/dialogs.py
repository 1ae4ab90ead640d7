"""Dialogs in tests: the answer is given beforehand; a dialog nobody expects fails the test."""

from __future__ import annotations

from typing import Any

from PySide6 import QtWidgets


class UnexpectedDialog(AssertionError):
    """A dialog was opened for which no answer was given."""


class Dialogs:
    """Answers for the dialogs to come, and a record of those that came.

    >>> dialogs.answer("Delete", "Yes")      # the next dialog whose text contains "Delete"
    >>> dialogs.answer("Choose", "/tmp/a")   # a file dialog: the path, or a list of paths
    """

    def __init__(self) -> None:
        self._answers: list[tuple[str, Any]] = []
        self.shown: list[str] = []
        self.unexpected: list[str] = []

    def answer(self, text: str, reply: Any) -> None:
        """Give the answer for the next dialog whose text contains `text`; "" fits any."""
        self._answers.append((text, reply))

    def clear(self) -> None:
        self._answers, self.shown, self.unexpected = [], [], []

    def reply_to(self, text: str) -> Any:
        """The answer for a dialog of this text.

        Raises
        ------
        UnexpectedDialog
            If there is none.
        """
        self.shown.append(text)
        for index, (part, reply) in enumerate(self._answers):
            if part in text:
                del self._answers[index]
                return reply
        self.unexpected.append(text)
        raise UnexpectedDialog(f"a dialog was opened that the test does not expect: {text!r}")


DIALOGS = Dialogs()


def _text_of(dialog: Any) -> str:
    parts = [dialog.windowTitle]
    if isinstance(dialog, QtWidgets.QMessageBox):
        parts += [dialog.text, dialog.informativeText, dialog.detailedText]
    else:
        parts += [label.text for label in dialog.findChildren(QtWidgets.QLabel)]
    return " ".join(part for part in parts if part)


def _button(name: str) -> Any:
    return getattr(QtWidgets.QMessageBox.StandardButton, name)


def _exec(self: Any) -> Any:
    reply = DIALOGS.reply_to(_text_of(self))
    if callable(reply):
        return reply(self)
    if isinstance(reply, str) and isinstance(self, QtWidgets.QMessageBox):
        return _button(reply)
    return reply


def _message(kind: str) -> Any:
    def show(parent: Any, title: str, text: str, *_: Any) -> Any:
        reply = DIALOGS.reply_to(f"{kind}: {title} {text}")
        return _button(reply) if isinstance(reply, str) else reply

    return staticmethod(show)


def _file_dialog(name: str) -> Any:
    def ask(parent: Any = None, caption: str = "", directory: str = "", *_: Any) -> Any:
        return DIALOGS.reply_to(f"{name}: {caption}")

    return staticmethod(ask)


def _input_dialog(name: str) -> Any:
    def ask(parent: Any, title: str, label: str, *_: Any) -> Any:
        return DIALOGS.reply_to(f"{name}: {title} {label}")

    return staticmethod(ask)


def install() -> None:
    """Have every dialog ask `DIALOGS`."""
    for cls in (QtWidgets.QDialog, QtWidgets.QMessageBox, QtWidgets.QFileDialog, QtWidgets.QInputDialog):
        cls.exec = cls.exec_ = _exec
    for kind in ("question", "information", "warning", "critical"):
        setattr(QtWidgets.QMessageBox, kind, _message(kind))
    for name in ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory"):
        setattr(QtWidgets.QFileDialog, name, _file_dialog(name))
    for name in ("getText", "getItem", "getInt", "getDouble", "getMultiLineText"):
        setattr(QtWidgets.QInputDialog, name, _input_dialog(name))
