"""Keeps hung pictures fitted, and outlines where their mammograms are, however the views change."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from MolSubSlicerLib.Scene import Hanging
from MolSubSlicerLib.Scene.Mammograms import mammograms

_KINDS = ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode")


class ViewKeeper:
    """Observes the nodes of all slice views.

    A view gets its size only after it was hung, and another one with every change of the window. Whichever view shows
    a mammogram, also one of Slicer's own, shows its outlines.
    """

    def __init__(self) -> None:
        self._observers: dict[Any, int] = {}
        self._states: dict[Any, Any] = {}
        scene = slicer.mrmlScene
        self._tags = [
            scene.AddObserver(scene.NodeAddedEvent, self._added),
            scene.AddObserver(scene.NodeRemovedEvent, self._removed),
        ]
        for kind in _KINDS:
            for index in range(scene.GetNumberOfNodesByClass(kind)):
                self._observe(scene.GetNthNodeByClass(index, kind))

    def close(self) -> None:
        """Observe no more."""
        for tag in self._tags:
            slicer.mrmlScene.RemoveObserver(tag)
        for node, tag in self._observers.items():
            node.RemoveObserver(tag)
        self._tags.clear()
        self._observers.clear()

    def restrict(self) -> None:
        """Show outlines where their mammograms are."""
        for volume in mammograms():
            Hanging.restrict_to_views(volume)

    def _observe(self, node: Any) -> None:
        self._states[node] = _state(node)
        self._observers[node] = node.AddObserver("ModifiedEvent", self._modified)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _added(self, scene: Any, event: str, node: Any) -> None:
        if any(node.IsA(kind) for kind in _KINDS):
            self._observe(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _removed(self, scene: Any, event: str, node: Any) -> None:
        if node in self._observers:
            node.RemoveObserver(self._observers.pop(node))
            del self._states[node]

    def _modified(self, node: Any, event: str) -> None:
        if slicer.mrmlScene.IsBatchProcessing():
            return
        former, now = self._states[node], _state(node)
        self._states[node] = now
        if now != former:
            self.restrict()
        if node.IsA("vtkMRMLSliceNode"):
            Hanging.follow_size(node)


def _state(node: Any) -> Any:
    """Whether a view is on the screen, or what it shows: most changes of views are zoom and pan."""
    if node.IsA("vtkMRMLSliceNode"):
        return bool(node.IsMappedInLayout())
    return node.GetBackgroundVolumeID()
