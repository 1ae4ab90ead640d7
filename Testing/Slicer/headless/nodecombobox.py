"""Stand-in for qMRMLNodeComboBox: a box that lists the scene's nodes of given classes."""

from __future__ import annotations

import weakref
from typing import Any

import shiboken6
import slicer
from PySide6 import QtCore, QtWidgets

from .properties import stored
from .qt import native

Signal, Property = QtCore.Signal, QtCore.Property
_ADD, _REMOVE = "+", "-"
_EVENTS = ("NodeAddedEvent", "NodeRemovedEvent", "EndCloseEvent", "EndImportEvent", "EndBatchProcessEvent")


def _refill(self: Any) -> None:
    self._fill()


@native
class qMRMLNodeComboBox(QtWidgets.QWidget):
    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAboutToBeRemoved = Signal(object)
    SIGNATURES = (
        "currentNodeChanged(vtkMRMLNode*)",
        "nodeActivated(vtkMRMLNode*)",
        "nodeAdded(vtkMRMLNode*)",
        "nodeAddedByUser(vtkMRMLNode*)",
        "nodeAboutToBeRemoved(vtkMRMLNode*)",
    )

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._ids: list[str] = []
        self._observations: list[int] = []
        self._last = ""
        self._filling = False
        self._attributes: list[tuple[str, str, str | None]] = []
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._combo = QtWidgets.QComboBox()
        layout.addWidget(self._combo)
        self._combo.currentIndexChanged.connect(self._index_changed)
        self._combo.activated.connect(self._activated)
        self.setEnabled(False)

    # -- the list -----------------------------------------------------------------------------
    def _is_listed(self, node: Any) -> bool:
        classes = self.nodeTypes
        fits = any(node.IsA(c) if self.showChildNodeTypes else node.GetClassName() == c for c in classes)
        if (classes and not fits) or (node.GetHideFromEditors() and not self.showHidden):
            return False
        for node_class, name, value in self._attributes:
            if node.IsA(node_class):
                found = node.GetAttribute(name)
                if found is None or (value is not None and found != value):
                    return False
        return True

    def _fill(self) -> None:
        if self._scene is None or self._scene.IsBatchProcessing():
            return
        self._filling = True
        self._combo.clear()
        self._ids = []
        if self.noneEnabled:
            self._item(self.noneDisplay, "")
        for index in range(self._scene.GetNumberOfNodes()):
            node = self._scene.GetNthNode(index)
            if self._is_listed(node):
                self._item(node.GetName() or "", node.GetID())
        if self.addEnabled:
            kind = self.nodeTypes[0][len("vtkMRML") : -len("Node")] if self.nodeTypes else "node"
            self._item(f"Create new {kind}", _ADD)
        if self.removeEnabled:
            self._item("Delete current node", _REMOVE)
        self._choose_after_filling()
        self._filling = False
        self._notify()

    def _item(self, label: str, node_id: str) -> None:
        self._combo.addItem(label)
        self._ids.append(node_id)

    def _choose_after_filling(self) -> None:
        wanted: str | None = self._last
        if wanted not in self._ids:
            nodes = [i for i in self._ids if i not in ("", _ADD, _REMOVE)]
            wanted = "" if self.noneEnabled else (nodes[0] if nodes else None)
        self._combo.setCurrentIndex(self._ids.index(wanted) if wanted in self._ids else -1)

    def _notify(self) -> None:
        node = self.currentNode()
        node_id = node.GetID() if node else ""
        if node_id != self._last:
            self._last = node_id
            self.currentNodeChanged.emit(node)
            self.currentNodeIDChanged.emit(node_id)

    def _index_changed(self, index: int) -> None:
        if not self._filling and 0 <= index < len(self._ids) and self._ids[index] not in (_ADD, _REMOVE):
            self._notify()

    def _activated(self, index: int) -> None:
        if self._ids[index] == _ADD:
            self.nodeAddedByUser.emit(self.addNode())
        elif self._ids[index] == _REMOVE:
            node = self._scene.GetNodeByID(self._last)
            self._combo.setCurrentIndex(self._ids.index(self._last))
            if node is not None:
                self._scene.RemoveNode(node)
        else:
            self.nodeActivated.emit(self.currentNode())

    # -- what the widget offers ---------------------------------------------------------------
    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        for tag in self._observations:
            self._scene.RemoveObserver(tag)
        self._scene = scene
        self._observations = []
        self.setEnabled(scene is not None)
        if scene is None:
            return
        this = weakref.ref(self)

        def changed(*_: Any) -> None:
            widget = this()
            if widget is not None and shiboken6.isValid(widget):
                widget._fill()

        self._observations = [scene.AddObserver(getattr(slicer.vtkMRMLScene, event), changed) for event in _EVENTS]
        self._fill()

    def currentNode(self) -> Any:
        index = self._combo.currentIndex
        node_id = self._ids[index] if 0 <= index < len(self._ids) else ""
        return self._scene.GetNodeByID(node_id) if self._scene and node_id not in ("", _ADD, _REMOVE) else None

    def setCurrentNode(self, node: Any) -> None:
        self._choose(node if isinstance(node, str) else node.GetID() if node else "")

    def _choose(self, node_id: str | None) -> None:
        if (node_id or "") in self._ids:
            self._combo.setCurrentIndex(self._ids.index(node_id or ""))
        elif not node_id:
            self._combo.setCurrentIndex(-1)
            self._notify()

    def _current_id(self) -> str:
        node = self.currentNode()
        return node.GetID() if node else ""

    def nodeCount(self) -> int:
        return sum(node_id not in ("", _ADD, _REMOVE) for node_id in self._ids)

    def nodeFromIndex(self, index: int) -> Any:
        nodes = [node_id for node_id in self._ids if node_id not in ("", _ADD, _REMOVE)]
        return self._scene.GetNodeByID(nodes[index])

    def addNode(self, node_class: str | None = None) -> Any:
        name = self._scene.GenerateUniqueName(self.baseName) if self.baseName else ""
        node = self._scene.AddNewNodeByClass(node_class or self.nodeTypes[0], name)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAdded.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        if self.currentNode():
            self._scene.RemoveNode(self.currentNode())

    def addAttribute(self, node_class: str, name: str, value: Any = None) -> None:
        self._attributes.append((node_class, name, None if value is None else str(value)))
        self._fill()

    def removeAttribute(self, node_class: str, name: str) -> None:
        self._attributes = [a for a in self._attributes if a[:2] != (node_class, name)]
        self._fill()

    currentNodeID = Property(str, _current_id, _choose)
    nodeTypes = stored("QStringList", "nodeTypes", [], _refill)
    showChildNodeTypes = stored(bool, "showChildNodeTypes", True, _refill)
    showHidden = stored(bool, "showHidden", False, _refill)
    noneEnabled = stored(bool, "noneEnabled", False, _refill)
    noneDisplay = stored(str, "noneDisplay", "None", _refill)
    addEnabled = stored(bool, "addEnabled", True, _refill)
    removeEnabled = stored(bool, "removeEnabled", True, _refill)
    editEnabled = stored(bool, "editEnabled", False)
    renameEnabled = stored(bool, "renameEnabled", False)
    baseName = stored(str, "baseName", "")
    selectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)
    interactionNodeSingletonTag = stored(str, "interactionNodeSingletonTag", "")
