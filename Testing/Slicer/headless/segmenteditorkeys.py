"""Keys of the segment editor: bound and released as qMRMLSegmentEditorWidget does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6 import QtGui

#: Key -> method of the widget.
_METHODS = {
    "Z": "undo",
    "Ctrl+Z": "undo",
    "Y": "redo",
    "Ctrl+Y": "redo",
    "Q": "selectPreviousSegment",
    "W": "selectNextSegment",
    ",": "selectPreviousSegment",
    ".": "selectNextSegment",
    "I": "toggleSourceVolumeIntensityMaskEnabled",
}


class Keys:
    """The shortcuts of one editor."""

    def __init__(self, editor: Any) -> None:
        self._editor = editor
        self._last = ""
        self._shortcuts: list[QtGui.QShortcut] = []

    def install(self, parent: Any, effects: list[str]) -> None:
        """Bind the keys 1 to 0 to the effects in this order, and the others to what they do."""
        self.uninstall()
        for index, name in enumerate(effects[:10], start=1):
            self._bind(str(index % 10), parent, lambda name=name: self._toggle(name))
        self._bind("Escape", parent, lambda: self._toggle(""))
        self._bind("Space", parent, lambda: self._toggle(self._last))
        for key, method in _METHODS.items():
            self._bind(key, parent, getattr(self._editor, method))

    def _bind(self, key: str, parent: Any, action: Callable[[], Any]) -> None:
        shortcut = QtGui.QShortcut(QtGui.QKeySequence(key), parent)
        shortcut.activated.connect(action)
        self._shortcuts.append(shortcut)

    def _toggle(self, name: str) -> None:
        active = self._editor.activeEffect()
        self._last = active.name if active is not None else self._last
        self._editor.setActiveEffectByName("" if active is not None and active.name == name else name)

    def uninstall(self) -> None:
        """Release all keys."""
        for shortcut in self._shortcuts:
            shortcut.deleteLater()
        self._shortcuts = []

    def names(self) -> list[str]:
        """The keys that are bound."""
        return [shortcut.key.toString() for shortcut in self._shortcuts]

    def press(self, key: str) -> None:
        """Do what a bound key does."""
        self._shortcuts[self.names().index(key)].activated.emit()
