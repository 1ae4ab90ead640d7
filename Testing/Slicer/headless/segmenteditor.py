"""Stand-in for qMRMLSegmentEditorWidget on Slicer's own segment editor logic."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from .effects import NAMES, Effect, Strokes, views_of_layout
from .properties import stored
from .qmrml import qMRMLSegmentsTableView, qMRMLWidget
from .qt import native
from .segmenteditorkeys import Keys

Signal, Property = QtCore.Signal, QtCore.Property


@native
class qMRMLSegmentEditorWidget(qMRMLWidget):
    currentSegmentIDChanged = Signal(str)
    sourceVolumeNodeChanged = Signal(object)
    segmentationNodeChanged = Signal(object)
    SIGNATURES = (
        *qMRMLWidget.SIGNATURES,
        "sourceVolumeNodeChanged(vtkMRMLVolumeNode*)",
        "segmentationNodeChanged(vtkMRMLSegmentationNode*)",
    )

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._node: Any = None
        self._tag = 0
        self._effects = {name: Effect(name, self) for name in NAMES}
        self._order: list[str] = list(NAMES)
        self._strokes: list[Strokes] = []
        self._keys = Keys(self)
        self._state: tuple[Any, ...] = (None, None, "", "")
        self._build()

    # -- its face -----------------------------------------------------------------------------
    def _build(self) -> None:
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        row = QtWidgets.QHBoxLayout()
        self._add = self._button("+ Add", "AddSegmentButton", self._add_segment)
        self._remove = self._button("− Remove", "RemoveSegmentButton", self._remove_segment)
        row.addWidget(self._add)
        row.addWidget(self._remove)
        layout.addLayout(row)
        self._table = qMRMLSegmentsTableView()
        self._table.setObjectName("SegmentsTableView")
        self._table.setMaximumHeight(110)
        self._table.selectionChanged.connect(self._row_chosen)
        layout.addWidget(self._table)
        self._grid = QtWidgets.QGridLayout()
        layout.addLayout(self._grid)
        row = QtWidgets.QHBoxLayout()
        self._undo = self._button("Undo", "UndoButton", self.undo)
        self._redo = self._button("Redo", "RedoButton", self.redo)
        row.addWidget(self._undo)
        row.addWidget(self._redo)
        layout.addLayout(row)
        self._buttons: dict[str, QtWidgets.QToolButton] = {}
        self.updateEffectList()

    def _button(self, text: str, name: str, clicked: Any) -> QtWidgets.QPushButton:
        button = QtWidgets.QPushButton(text)
        button.setObjectName(name)
        button.clicked.connect(lambda: clicked())
        return button

    def updateEffectList(self) -> None:
        for button in self._buttons.values():
            button.deleteLater()
        self._buttons = {}
        shown = [n for n in self._order if n in NAMES]
        if self.unorderedEffectsVisible:
            shown += [n for n in NAMES if n not in shown]
        for index, name in enumerate(shown):
            button = QtWidgets.QToolButton()
            button.setText(name)
            button.setObjectName(name)
            button.setCheckable(True)
            button.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
            button.clicked.connect(lambda on, name=name: self.setActiveEffectByName(name if on else ""))
            self._grid.addWidget(button, index // self.effectColumnCount, index % self.effectColumnCount)
            self._buttons[name] = button

    def _add_segment(self) -> None:
        if self._logic.CanAddSegments():
            self._logic.SetCurrentSegmentID(self._logic.AddEmptySegment())

    def _remove_segment(self) -> None:
        if self._logic.CanRemoveSegments():
            self._logic.RemoveSelectedSegment()

    def _row_chosen(self, *_: Any) -> None:
        """The only place that tells of another segment: silent where the node holds it already, as Slicer is."""
        chosen = self._table.selectedSegmentIDs()
        if chosen and self._node is not None and chosen[0] != self.currentSegmentID():
            self._node.SetSelectedSegmentID(chosen[0])
            self.currentSegmentIDChanged.emit(chosen[0])

    # -- nodes --------------------------------------------------------------------------------
    def setMRMLScene(self, scene: Any) -> None:
        self._logic.SetMRMLScene(scene)
        super().setMRMLScene(scene)

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        if self._node is not None:
            self._node.RemoveObserver(self._tag)
        self._node = node
        self._logic.SetSegmentEditorNode(node)
        if node is not None:
            self._tag = node.AddObserver("ModifiedEvent", self._node_changed)
        self._node_changed()

    def mrmlSegmentEditorNode(self) -> Any:
        return self._node

    def _node_changed(self, *_: Any) -> None:
        """Follow the segment editor node, and tell what has changed."""
        former = self._state
        self._state = (self.segmentationNode(), self.sourceVolumeNode(), self.currentSegmentID(), self._effect_name())
        segmentation, source, segment, effect = self._state
        if segmentation is not former[0]:
            self._table.setSegmentationNode(segmentation)
            self.segmentationNodeChanged.emit(segmentation)
            if segmentation is not None and not segment:
                self._table.setSelectedSegmentIDs(list(segmentation.GetSegmentation().GetSegmentIDs())[:1])
                segment = self.currentSegmentID()
        if source is not former[1]:
            self.sourceVolumeNodeChanged.emit(source)
        if segment != former[2]:
            self._table.setSelectedSegmentIDs([segment])
        if effect != former[3]:
            self._show_effect()

    def updateWidgetFromMRML(self) -> None:
        self._node_changed()

    def _need_node(self) -> Any:
        if self._node is None:
            QtCore.qCritical("qMRMLSegmentEditorWidget: Invalid segment editor parameter set node")
        return self._node

    def segmentationNode(self) -> Any:
        return self._node.GetSegmentationNode() if self._node is not None else None

    def setSegmentationNode(self, node: Any) -> None:
        if self._need_node() is not None:
            self._logic.SetSegmentationNode(node)

    def sourceVolumeNode(self) -> Any:
        return self._node.GetSourceVolumeNode() if self._node is not None else None

    def setSourceVolumeNode(self, node: Any) -> None:
        if self._need_node() is None:
            return
        if self.segmentationNode() is None and node is not None:
            QtCore.qCritical("qMRMLSegmentEditorWidget: a segmentation node must be set before the source volume")
        self._logic.SetSourceVolumeNode(node)

    def currentSegmentID(self) -> str:
        return (self._node.GetSelectedSegmentID() or "") if self._node is not None else ""

    def setCurrentSegmentID(self, segment_id: str) -> None:
        if self._need_node() is not None:
            self._node.SetSelectedSegmentID(segment_id)

    # -- effects ------------------------------------------------------------------------------
    def _effect_name(self) -> str:
        return (self._node.GetActiveEffectName() or "") if self._node is not None else ""

    def activeEffect(self) -> Effect | None:
        return self._effects.get(self._effect_name())

    def setActiveEffect(self, effect: Effect | None) -> None:
        self.setActiveEffectByName(effect.name if effect is not None else "")

    def setActiveEffectByName(self, name: str) -> None:
        if self._node is None:
            if name:
                self._need_node()
            return
        self._node.SetActiveEffectName(name)

    def effectByName(self, name: str) -> Effect | None:
        return self._effects.get(name)

    def availableEffectNames(self) -> tuple[str, ...]:
        return NAMES

    def effectNameOrder(self) -> tuple[str, ...]:
        return tuple(self._order)

    def setEffectNameOrder(self, names: Any) -> None:
        self._order = list(names)
        self.updateEffectList()

    def _show_effect(self) -> None:
        for name, button in self._buttons.items():
            button.setChecked(name == self._effect_name())
        # Slicer observes the views anew whenever an effect becomes active.
        if self.activeEffect() is not None:
            self.setupViewObservations()
        else:
            self.removeViewObservations()

    def _drop_strokes(self) -> None:
        for strokes in self._strokes:
            strokes.remove()
        self._strokes = []

    def setupViewObservations(self) -> None:
        self._drop_strokes()
        effect = self.activeEffect()
        if effect is not None:
            self._strokes = [Strokes(self, self._logic, effect, widget) for widget in views_of_layout()]

    def removeViewObservations(self) -> None:
        self._drop_strokes()

    def saveStateForUndo(self) -> None:
        self._logic.SaveStateForUndo()

    def undo(self) -> None:
        self._logic.Undo()

    def redo(self) -> None:
        self._logic.Redo()

    # -- keyboard -----------------------------------------------------------------------------
    def selectPreviousSegment(self) -> None:
        self._select_at(-1)

    def selectNextSegment(self) -> None:
        self._select_at(1)

    def _select_at(self, offset: int) -> None:
        ids = list(self.segmentationNode().GetSegmentation().GetSegmentIDs())
        row = max(0, (ids.index(self.currentSegmentID()) + offset) % len(ids))
        self.setCurrentSegmentID(ids[row])

    def toggleSourceVolumeIntensityMaskEnabled(self) -> None:
        """With the middle half of the picture's values where no range was set yet, as in Slicer."""
        self._logic.ToggleSourceVolumeIntensityMask()
        low, high = self._node.GetSourceVolumeIntensityMaskRange()
        if self._node.GetSourceVolumeIntensityMask() and low == high:
            low, high = self.sourceVolumeNode().GetImageData().GetScalarRange()
            quarter = (high - low) / 4
            self._node.SetSourceVolumeIntensityMaskRange(low + quarter, high - quarter)

    def installKeyboardShortcuts(self, parent: Any = None) -> None:
        self._keys.install(parent or slicer.util.mainWindow(), list(self._buttons))

    def uninstallKeyboardShortcuts(self) -> None:
        self._keys.uninstall()

    def shortcut_keys(self) -> list[str]:
        """For tests: the keys that are bound at present."""
        return self._keys.names()

    def press(self, key: str) -> None:
        """For tests: press a key that is bound."""
        self._keys.press(key)

    segmentationNodeSelectorVisible = stored(bool, "segmentationNodeSelectorVisible", True)
    sourceVolumeNodeSelectorVisible = stored(bool, "sourceVolumeNodeSelectorVisible", True)
    maskingSectionVisible = stored(bool, "maskingSectionVisible", True)
    specifyGeometryButtonVisible = stored(bool, "specifyGeometryButtonVisible", True)
    show3DButtonVisible = stored(bool, "show3DButtonVisible", True)
    switchToSegmentationsButtonVisible = stored(bool, "switchToSegmentationsButtonVisible", True)
    autoShowSourceVolumeNode = stored(bool, "autoShowSourceVolumeNode", True)
    jumpToSelectedSegmentEnabled = stored(bool, "jumpToSelectedSegmentEnabled", False)
    readOnly = stored(bool, "readOnly", False)
    undoEnabled = stored(bool, "undoEnabled", True)
    effectColumnCount = stored(int, "effectColumnCount", 2, lambda s: s.updateEffectList())
    unorderedEffectsVisible = stored(bool, "unorderedEffectsVisible", True, lambda s: s.updateEffectList())
    defaultTerminologyEntrySettingsKey = stored(str, "defaultTerminologyEntrySettingsKey", "")
    addRemoveSegmentButtonsVisible = stored(
        bool,
        "addRemoveSegmentButtonsVisible",
        True,
        lambda s: [b.setVisible(s.addRemoveSegmentButtonsVisible) for b in (s._add, s._remove)],
    )
    maximumNumberOfUndoStates = Property(
        int,
        lambda s: s._logic.GetMaximumNumberOfUndoStates(),
        lambda s, n: s._logic.SetMaximumNumberOfUndoStates(n),
    )
    defaultTerminologyEntry = Property(
        str,
        lambda s: s._logic.GetDefaultTerminologyEntry(),
        lambda s, entry: s._logic.SetDefaultTerminologyEntry(entry),
    )
