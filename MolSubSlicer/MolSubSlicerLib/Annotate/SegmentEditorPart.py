"""Slicer's segment editor, embedded with what outlines a lesion in a single picture."""

from __future__ import annotations

from typing import Any

import slicer

from MolSubSlicerLib.Signal import Signal

#: In the order of the keys 1 to 7; the names are Slicer's and not translated.
EFFECTS = ("Paint", "Draw", "Erase", "Level tracing", "Scissors", "Threshold", "Islands")
UNDO_STATES = 20
_TAG = "MolSub"


class SegmentEditorPart:
    """The editor's widget, on a parameter node of its own: Slicer's Segment Editor module keeps its choices.

    Attributes
    ----------
    segment_changed : Signal
        (segment): another segment is edited. The widget's own signal does not tell of its keys.
    """

    def __init__(self) -> None:
        self.segment_changed = Signal()
        self.widget = slicer.qMRMLSegmentEditorWidget()
        self.widget.objectName = "segmentEditor"
        self._node: Any = None
        self._tag, self._segment = 0, ""
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
            self._observe(node)
            self.widget.setMRMLSegmentEditorNode(node)

    def _observe(self, node: Any) -> None:
        """Follow this parameter node from now on, or none."""
        if self._node is not None:
            self._node.RemoveObserver(self._tag)
        self._node = node
        if node is not None:
            self._tag = node.AddObserver("ModifiedEvent", self._follow)
            self._follow()

    def _follow(self, *_arguments: Any) -> None:
        """Undo what only hidden controls show, and tell of another segment."""
        node = self._node
        # The key I would cut strokes to a range of intensities.
        node.SetSourceVolumeIntensityMask(False)
        # Lesions may overlap: none takes pixels from another.
        node.SetOverwriteMode(node.OverwriteNone)
        segment = node.GetSelectedSegmentID() or ""
        if segment != self._segment:
            self._segment = segment
            self.segment_changed.emit(segment)

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
        self._observe(None)

    def cleanup(self) -> None:
        """Give everything back."""
        self.exit()
        self._observe(None)
        self.widget.setMRMLSegmentEditorNode(None)
