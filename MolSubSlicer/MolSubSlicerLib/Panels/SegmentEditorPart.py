"""Slicer's segment editor, embedded with what outlines a lesion in a single picture."""

from __future__ import annotations

from typing import Any

import slicer

#: In the order of the keys 1 to 7; the names are Slicer's and not translated.
EFFECTS = ("Paint", "Draw", "Erase", "Level tracing", "Scissors", "Threshold", "Islands")
UNDO_STATES = 20
_TAG = "MolSub"


class SegmentEditorPart:
    """The editor's widget, on a parameter node of its own: Slicer's Segment Editor module keeps its choices."""

    def __init__(self) -> None:
        self.widget = slicer.qMRMLSegmentEditorWidget()
        self.widget.objectName = "segmentEditor"
        self._node: Any = None
        self._dress()
        # The node first: what the widget chooses when it gets the scene is kept there.
        self._choose_node()
        self.widget.setMRMLScene(slicer.mrmlScene)

    def _dress(self) -> None:
        editor = self.widget
        editor.segmentationNodeSelectorVisible = False
        editor.sourceVolumeNodeSelectorVisible = False
        editor.switchToSegmentationsButtonVisible = False
        editor.addRemoveSegmentButtonsVisible = False
        editor.maskingSectionVisible = False
        editor.specifyGeometryButtonVisible = False
        editor.show3DButtonVisible = False
        # It would put the volume into every slice view, and the hanging would be gone.
        editor.autoShowSourceVolumeNode = False
        editor.unorderedEffectsVisible = False
        editor.effectColumnCount = 4
        editor.setEffectNameOrder(list(EFFECTS))
        editor.setMaximumNumberOfUndoStates(UNDO_STATES)
        # The panel has a table of lesions of its own, with their sizes.
        for name in ("SegmentsTableResizableFrame", "SegmentsTableView"):
            for child in slicer.util.findChildren(editor, name):
                child.visible = False

    def _choose_node(self) -> None:
        """The editor's parameter node; made anew where the scene has lost it."""
        scene = slicer.mrmlScene
        node = scene.GetSingletonNode(_TAG, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = scene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            node.UnRegister(None)
            node.SetSingletonTag(_TAG)
            node = scene.AddNode(node)
        if node is not self._node:
            self._node = node
            self.widget.setMRMLSegmentEditorNode(node)

    def edit(self, segmentation: Any, volume: Any) -> None:
        """Edit a segmentation on a volume, or nothing."""
        self._choose_node()
        if self.widget.segmentationNode() is segmentation and self.widget.sourceVolumeNode() is volume:
            return
        self.widget.setSegmentationNode(segmentation)
        if segmentation is not None:
            self.widget.setSourceVolumeNode(volume)
        self.widget.enabled = segmentation is not None

    def select(self, segment: str) -> None:
        """Edit a segment."""
        if self.widget.currentSegmentID() != segment:
            self.widget.setCurrentSegmentID(segment)

    def selected(self) -> str:
        """The segment that is edited; empty where there is none."""
        return self.widget.currentSegmentID()

    def save_state(self) -> None:
        """Let Undo come back to now."""
        self.widget.saveStateForUndo()

    def enter(self) -> None:
        """Keys and mouse are the editor's from now on."""
        self._choose_node()
        self.widget.installKeyboardShortcuts()
        self.widget.updateWidgetFromMRML()

    def exit(self) -> None:
        """Give keys and mouse back."""
        self.widget.setActiveEffect(None)
        self.widget.uninstallKeyboardShortcuts()
        self.widget.removeViewObservations()

    def forget(self) -> None:
        """Let go of what is edited: the scene is closed."""
        self.widget.setActiveEffect(None)
        self.widget.setSegmentationNode(None)
        self.widget.removeViewObservations()
        self._node = None

    def cleanup(self) -> None:
        """Give everything back."""
        self.exit()
        self.widget.setMRMLSegmentEditorNode(None)
        self._node = None
