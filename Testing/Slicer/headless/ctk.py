"""Stand-ins for the ctk widgets a scripted module uses, with their properties, signals and enums."""

from __future__ import annotations

import sys
import types
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .ctkbuttons import BUTTONS
from .properties import passed_on, stored
from .qt import native
from .uiloader import CUSTOM_WIDGETS

Signal, Property = QtCore.Signal, QtCore.Property
_STEPS = 10000


class _SliderBase(QtWidgets.QWidget):
    """A slider of floating-point numbers: what ctkDoubleSlider and ctkSliderWidget have in common."""

    def _make(self, with_box: bool) -> None:
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._box = QtWidgets.QDoubleSpinBox()
        self._slider.setRange(0, _STEPS)
        self._box.setRange(0.0, 99.99 if not with_box else 100.0)
        layout.addWidget(self._slider)
        if with_box:
            layout.addWidget(self._box)
        else:
            self._box.setParent(self)
            self._box.hide()
            self._box.setDecimals(8)
        self._following = False
        self._slider.valueChanged.connect(self._slider_moved)
        self._slider.sliderPressed.connect(self._started)
        self._slider.sliderReleased.connect(self._finished)
        self._box.valueChanged.connect(self._box_changed)
        self._box.setKeyboardTracking(False)
        self._follow()

    def _follow(self) -> None:
        """Put the slider where the number is."""
        low, high = self._box.minimum, self._box.maximum
        self._following = True
        self._slider.setValue(round((self._box.value - low) / ((high - low) or 1.0) * _STEPS))
        self._following = False

    def _started(self) -> None:
        self._before = self._box.value

    def _finished(self) -> None:
        if not self.tracking and self._box.value != self._before:
            self.valueChanged.emit(self._box.value)

    def _slider_moved(self, step: int) -> None:
        if not self._following:
            low, high = self._box.minimum, self._box.maximum
            self._box.setValue(low + step / _STEPS * (high - low))

    def _box_changed(self, value: float) -> None:
        self._follow()
        self._moving(value)
        if self.tracking or not self._slider.isSliderDown():
            self.valueChanged.emit(value)

    def _moving(self, value: float) -> None:
        raise NotImplementedError

    def setRange(self, minimum: float, maximum: float) -> None:
        self._box.setRange(minimum, maximum)
        self._follow()


@native
class ctkSliderWidget(_SliderBase):
    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    decimalsChanged = Signal(int)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._make(with_box=True)

    def _moving(self, value: float) -> None:
        self.valueIsChanging.emit(value)

    def reset(self) -> None:
        self.value = 0.0

    value = passed_on(float, "_box", "value")
    minimum = passed_on(float, "_box", "minimum", _SliderBase._follow)
    maximum = passed_on(float, "_box", "maximum", _SliderBase._follow)
    singleStep = passed_on(float, "_box", "singleStep")
    decimals = passed_on(int, "_box", "decimals", _SliderBase._follow)
    prefix = passed_on(str, "_box", "prefix")
    suffix = passed_on(str, "_box", "suffix")
    pageStep = stored(float, "pageStep", 1.0)
    tickInterval = stored(float, "tickInterval", 0.1)
    tracking = stored(bool, "tracking", True)
    spinBoxVisible = stored(bool, "spinBoxVisible", True, lambda s: s._box.setVisible(s.spinBoxVisible))
    invertedAppearance = passed_on(bool, "_slider", "invertedAppearance")


@native
class ctkDoubleSlider(_SliderBase):
    valueChanged = Signal(float)
    sliderMoved = Signal(float)
    sliderPressed = Signal()
    sliderReleased = Signal()
    rangeChanged = Signal(float, float)

    def __init__(self, orientation: Any = None, parent: Any = None) -> None:
        if isinstance(orientation, QtWidgets.QWidget):
            orientation, parent = None, orientation
        super().__init__(parent)
        self._make(with_box=False)
        self._slider.sliderPressed.connect(self.sliderPressed)
        self._slider.sliderReleased.connect(self.sliderReleased)
        if orientation is not None:
            self._slider.setOrientation(orientation)

    def _moving(self, value: float) -> None:
        if self._slider.isSliderDown():
            self.sliderMoved.emit(value)

    value = passed_on(float, "_box", "value")
    minimum = passed_on(float, "_box", "minimum", _SliderBase._follow)
    maximum = passed_on(float, "_box", "maximum", _SliderBase._follow)
    singleStep = passed_on(float, "_box", "singleStep")
    pageStep = stored(float, "pageStep", 10.0)
    tracking = stored(bool, "tracking", True)
    orientation = passed_on(QtCore.Qt.Orientation, "_slider", "orientation")


@native
class ctkDoubleSpinBox(QtWidgets.QDoubleSpinBox):
    """ctk's has more modes; the plain number box is what is used of it."""


@native
class ctkComboBox(QtWidgets.QComboBox):
    defaultText = stored(str, "defaultText", "")
    elideMode = stored(QtCore.Qt.TextElideMode, "elideMode", QtCore.Qt.TextElideMode.ElideNone)


@native
class ctkPathLineEdit(QtWidgets.QWidget):
    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    Dirs, Files, Drives, NoSymLinks, Readable, Writable, Executable = 1, 2, 4, 8, 16, 32, 64
    AllEntries = Dirs | Files | Drives
    ShowDirsOnly = 1

    def __init__(self, *arguments: Any) -> None:
        parents = [a for a in arguments if isinstance(a, QtWidgets.QWidget)]
        super().__init__(*parents)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._combo = QtWidgets.QComboBox()
        self._combo.setEditable(True)
        self._combo.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self._browse = QtWidgets.QToolButton()
        self._browse.setText("…")
        self._browse.clicked.connect(self.browse)
        layout.addWidget(self._combo)
        layout.addWidget(self._browse)
        self._combo.editTextChanged.connect(self.currentPathChanged)

    def _path(self) -> str:
        return self._combo.currentText

    def _set_path(self, path: str) -> None:
        self._combo.setEditText(path)

    def comboBox(self) -> QtWidgets.QComboBox:
        return self._combo

    def browse(self) -> None:
        """Ask for a path, as the button does."""
        if self.filters & self.Files:
            answer = QtWidgets.QFileDialog.getOpenFileName(self, "Select a file", self.currentPath)
        else:
            answer = QtWidgets.QFileDialog.getExistingDirectory(self, "Select a directory", self.currentPath)
        path = answer[0] if isinstance(answer, tuple) else answer
        if path:
            self.currentPath = path

    def addCurrentPathToHistory(self) -> None:
        if self.currentPath and self._combo.findText(self.currentPath) < 0:
            text = self.currentPath
            self._combo.addItem(text)
            self._combo.setEditText(text)

    def retrieveHistory(self) -> None:
        self._combo.clear()

    currentPath = Property(str, _path, _set_path)
    label = stored(str, "label", "")
    filters = stored(int, "filters", AllEntries | NoSymLinks | Readable | Writable | Executable)
    options = stored(int, "options", 0)
    nameFilters = stored("QStringList", "nameFilters", [])
    settingKey = stored(str, "settingKey", "")
    showBrowseButton = stored(bool, "showBrowseButton", True, lambda s: s._browse.setVisible(s.showBrowseButton))
    showHistoryButton = stored(bool, "showHistoryButton", True)


@native
class ctkMessageBox(QtWidgets.QMessageBox):
    dontShowAgain = stored(bool, "dontShowAgain", False)
    dontShowAgainVisible = stored(bool, "dontShowAgainVisible", False)
    dontShowAgainSettingsKey = stored(str, "dontShowAgainSettingsKey", "")


@native
class ctkColorPickerButton(QtWidgets.QPushButton):
    colorChanged = Signal(QtGui.QColor)
    color = stored(QtGui.QColor, "color", QtGui.QColor(), notify="colorChanged")


def install() -> types.ModuleType:
    """Make the module `ctk` and tell the .ui loader of its widgets."""
    if "ctk" in sys.modules:
        return sys.modules["ctk"]
    module = types.ModuleType("ctk", "Stand-ins for the ctk widgets.")
    own = [value for name, value in globals().items() if name.startswith("ctk") and isinstance(value, type)]
    for widget in (*own, *BUTTONS):
        setattr(module, widget.__name__, widget)
        CUSTOM_WIDGETS[widget.__name__] = widget
    sys.modules["ctk"] = module
    return module
