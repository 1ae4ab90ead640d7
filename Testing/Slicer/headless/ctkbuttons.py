"""Stand-ins for ctk's buttons."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets

from .properties import stored
from .qt import native

Signal = QtCore.Signal
_HEADER = 26
_NO_LIMIT = 16777215


@native
class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A header one clicks to show or hide the contents below it."""

    contentsCollapsed = Signal(bool)

    def __init__(self, text: Any = "", parent: Any = None) -> None:
        if isinstance(text, QtWidgets.QWidget):
            text, parent = "", text
        super().__init__(parent)
        self._hidden: list[QtWidgets.QWidget] = []
        self.setText(text or "")
        self.setContentsMargins(4, _HEADER + 2, 4, 4)
        self.setCheckable(True)
        self.setChecked(True)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Preferred)
        self.setMinimumHeight(_HEADER)
        self.toggled.connect(self._toggled)

    def _toggled(self, opened: bool) -> None:
        self.collapsed = not opened

    def _apply(self) -> None:
        self.setChecked(not self.collapsed)
        if self.collapsed:
            option = QtCore.Qt.FindChildOption.FindDirectChildrenOnly
            children = self.findChildren(QtWidgets.QWidget, options=option)
            self._hidden = [child for child in children if not child.isHidden()]
            for child in self._hidden:
                child.hide()
        else:
            for child in self._hidden:
                child.show()
            self._hidden = []
        self.setMaximumHeight(_HEADER if self.collapsed else _NO_LIMIT)

    def childEvent(self, event: Any) -> None:
        child = event.child()
        if (
            self.collapsed
            and event.type() == QtCore.QEvent.Type.ChildPolished
            and isinstance(child, QtWidgets.QWidget)
            and child not in self._hidden
        ):
            self._hidden.append(child)
            child.hide()

    def sizeHint(self) -> QtCore.QSize:
        layout = self.layout()
        inner = layout.sizeHint() if layout is not None and not self.collapsed else QtCore.QSize(100, _HEADER)
        return inner.expandedTo(QtCore.QSize(100, _HEADER))

    def minimumSizeHint(self) -> QtCore.QSize:
        return self.sizeHint()

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return position.y() < _HEADER

    def paintEvent(self, event: Any) -> None:
        painter = QtWidgets.QStylePainter(self)
        button = QtWidgets.QStyleOptionButton()
        button.initFrom(self)
        button.rect = QtCore.QRect(0, 0, self.width, _HEADER)
        button.text = ""
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButton, button)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, 7, 12, 12)
        kinds = QtWidgets.QStyle.PrimitiveElement
        painter.drawPrimitive(kinds.PE_IndicatorArrowRight if self.collapsed else kinds.PE_IndicatorArrowDown, arrow)
        flags = QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.AlignmentFlag.AlignLeft
        painter.drawText(QtCore.QRect(24, 0, self.width - 24, _HEADER), int(flags), self.text)

    collapsed = stored(bool, "collapsed", False, _apply, "contentsCollapsed")
    flat = stored(bool, "flat", False)
    collapsedHeight = stored(int, "collapsedHeight", 10)
    contentsLineWidth = stored(int, "contentsLineWidth", 1)


@native
class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.setCheckable(True)
        self.toggled.connect(self._toggled)

    def _toggled(self, opened: bool) -> None:
        self.collapsed = not opened

    def _apply(self) -> None:
        self.setChecked(not self.collapsed)
        for child in self.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindChildOption.FindDirectChildrenOnly):
            child.setVisible(not self.collapsed)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        """What is put into a collapsed box is hidden, too."""
        child = event.child()
        if self.collapsed and event.type() == QtCore.QEvent.Type.ChildPolished and isinstance(child, QtWidgets.QWidget):
            child.setVisible(False)

    collapsed = stored(bool, "collapsed", False, _apply)


@native
class ctkDirectoryButton(QtWidgets.QWidget):
    directoryChanged = Signal(str)
    directorySelected = Signal(str)
    ShowDirsOnly = 1

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*[a for a in arguments if isinstance(a, QtWidgets.QWidget)])
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._button = QtWidgets.QPushButton()
        self._button.clicked.connect(self.browse)
        layout.addWidget(self._button)
        for argument in arguments:
            if isinstance(argument, str):
                self.directory = argument
        self._show()

    def _show(self) -> None:
        self._button.setText(self.text or self.directory or ".")

    def browse(self) -> str:
        path = QtWidgets.QFileDialog.getExistingDirectory(self, self.caption, self.directory)
        if path:
            self.directory = path
            self.directorySelected.emit(path)
        return path

    directory = stored(str, "directory", "", _show, "directoryChanged")
    text = stored(str, "text", "", _show)
    caption = stored(str, "caption", "")


@native
class ctkMenuButton(QtWidgets.QPushButton):
    """A push button with a menu arrow at its side."""


@native
class ctkPushButton(QtWidgets.QPushButton):
    """A push button that wraps its text."""


@native
class ctkCheckBox(QtWidgets.QCheckBox):
    """A check box with a third, indeterminate state."""


@native
class ctkCheckablePushButton(QtWidgets.QPushButton):
    checkBoxControlsButton = stored(bool, "checkBoxControlsButton", True)
    checkBoxControlsButtonToggleState = stored(bool, "checkBoxControlsButtonToggleState", True)


BUTTONS = (
    ctkCollapsibleButton,
    ctkCollapsibleGroupBox,
    ctkDirectoryButton,
    ctkMenuButton,
    ctkPushButton,
    ctkCheckBox,
    ctkCheckablePushButton,
)
