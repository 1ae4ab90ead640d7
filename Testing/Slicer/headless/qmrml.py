"""Stand-ins for the qMRML widgets a scripted module uses, put into the `slicer` module."""

from __future__ import annotations

import sys
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from .ctk import ctkSliderWidget
from .nodecombobox import qMRMLNodeComboBox
from .properties import stored
from .qt import native
from .uiloader import CUSTOM_WIDGETS

Signal, Property = QtCore.Signal, QtCore.Property


@native
class qMRMLWidget(QtWidgets.QWidget):
    mrmlSceneChanged = Signal(object)
    SIGNATURES = ("mrmlSceneChanged(vtkMRMLScene*)",)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


@native
class qMRMLSliderWidget(ctkSliderWidget):
    def setMRMLScene(self, scene: Any) -> None:
        """Units are taken from the scene in Slicer."""


@native
class qMRMLSegmentsTableView(qMRMLWidget):
    """A list of a segmentation's segments with what is selected."""

    selectionChanged = Signal(object, object)
    SIGNATURES = (
        *qMRMLWidget.SIGNATURES,
        "selectionChanged(QItemSelection,QItemSelection)",
    )
    MultipleSelection, SingleSelection = 2, 1

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._tag: int | None = None
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._list = QtWidgets.QTableWidget(0, 1)
        self._list.setHorizontalHeaderLabels(["Name"])
        self._list.horizontalHeader().setStretchLastSection(True)
        self._list.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectionBehavior.SelectRows)
        self._list.itemSelectionChanged.connect(self._selection_changed)
        layout.addWidget(self._list)

    def _selection_changed(self) -> None:
        self.selectionChanged.emit(None, None)

    def setSegmentationNode(self, node: Any) -> None:
        if self._node is not None and self._tag is not None:
            self._node.RemoveObserver(self._tag)
        self._node = node
        self._tag = None
        if node is not None:
            self._tag = node.AddObserver("AnyEvent", self._node_changed)
        self._fill()

    def segmentationNode(self) -> Any:
        return self._node

    def _node_changed(self, *_: Any) -> None:
        ids = self._segment_ids()
        shown = [self._list.item(row, 0).text() for row in range(self._list.rowCount)]
        if shown != [self._node.GetSegmentation().GetSegment(i).GetName() for i in ids]:
            self._fill()

    def _segment_ids(self) -> list[str]:
        return list(self._node.GetSegmentation().GetSegmentIDs()) if self._node is not None else []

    def _fill(self) -> None:
        chosen = self.selectedSegmentIDs()
        blocked = self._list.blockSignals(True)
        self._list.setRowCount(0)
        for row, segment_id in enumerate(self._segment_ids()):
            self._list.insertRow(row)
            item = QtWidgets.QTableWidgetItem(self._node.GetSegmentation().GetSegment(segment_id).GetName())
            item.setData(QtCore.Qt.ItemDataRole.UserRole, segment_id)
            self._list.setItem(row, 0, item)
        self._list.blockSignals(blocked)
        self.setSelectedSegmentIDs(chosen)

    def tableWidget(self) -> QtWidgets.QTableWidget:
        return self._list

    def selectedSegmentIDs(self) -> tuple[str, ...]:
        rows = sorted({index.row() for index in self._list.selectedIndexes()})
        return tuple(self._list.item(row, 0).data(QtCore.Qt.ItemDataRole.UserRole) for row in rows)

    def setSelectedSegmentIDs(self, segment_ids: Any) -> None:
        self._list.clearSelection()
        for row in range(self._list.rowCount):
            if self._list.item(row, 0).data(QtCore.Qt.ItemDataRole.UserRole) in segment_ids:
                self._list.selectRow(row)

    def clearSelection(self) -> None:
        self._list.clearSelection()

    segmentCount = Property(int, lambda self: self._list.rowCount)
    readOnly = stored(bool, "readOnly", False)
    headerVisible = stored(bool, "headerVisible", True)
    visibilityColumnVisible = stored(bool, "visibilityColumnVisible", True)
    colorColumnVisible = stored(bool, "colorColumnVisible", True)
    opacityColumnVisible = stored(bool, "opacityColumnVisible", True)
    statusColumnVisible = stored(bool, "statusColumnVisible", False)
    selectionMode = stored(int, "selectionMode", 3)


@native
class qSlicerWidget(qMRMLWidget):
    """Slicer's own base of module widgets' children."""


@native
class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """What holds a scripted module's widget."""

    isEntered = stored(bool, "isEntered", False)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._python: Any = None

    def self(self) -> Any:
        return self._python

    def reload(self) -> None:
        """Make the Python widget anew, of the class that the module has by now."""
        name = type(self._python).__name__
        self._python = getattr(sys.modules[name.removesuffix("Widget")], name)(self)
        setattr(slicer.modules, name, self._python)
        self._python.setup()


class qSlicerScriptedLoadableModule:
    """Named by slicer.util only, to tell scripted modules from others."""


def install() -> None:
    """Put the widgets into `slicer` and tell the .ui loader of them."""
    from .segmenteditor import qMRMLSegmentEditorWidget

    for widget in (
        qMRMLWidget,
        qMRMLSliderWidget,
        qMRMLNodeComboBox,
        qMRMLSegmentsTableView,
        qMRMLSegmentEditorWidget,
        qSlicerWidget,
        qSlicerScriptedLoadableModuleWidget,
    ):
        setattr(slicer, widget.__name__, widget)
        CUSTOM_WIDGETS[widget.__name__] = widget
    slicer.qSlicerScriptedLoadableModule = qSlicerScriptedLoadableModule
