"""Keeps views true, however they change: header, outlines and heatmap are the picture's, and pictures stay fitted."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from MolSubSlicerLib.Scene import Hanging, HeatmapDisplay
from MolSubSlicerLib.Scene.Mammograms import mammograms
from MolSubSlicerLib.Scene.Nodes import KIND, in_scene

_KINDS = ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode")


class ViewKeeper:
    """Observes the nodes of all slice views.

    A view gets its size only after it was hung, and another one with every change of the window. Whichever view shows
    a mammogram, also one of Slicer's own, shows its outlines and its heatmap, and never those of another.
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

    def look(self) -> None:
        """Look at all views: while much changes at once, they are not looked at one by one."""
        for node in list(self._observers):
            if node in self._observers and in_scene(node):
                self._follow(node)
        Hanging.name_views()

    def settle(self) -> None:
        """Take the views as they are, after a scene was read."""
        for node in self._observers:
            self._states[node] = _state(node)

    def _observe(self, node: Any) -> None:
        self._states[node] = _state(node)
        self._observers[node] = node.AddObserver("ModifiedEvent", self._modified)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _added(self, scene: Any, event: str, node: Any) -> None:
        if any(node.IsA(kind) for kind in _KINDS):
            self._observe(node)
        elif node.GetAttribute(KIND) == "mammogram" and not scene.IsBatchProcessing():
            Hanging.name_views()  # another patient may have come

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _removed(self, scene: Any, event: str, node: Any) -> None:
        if node in self._observers:
            node.RemoveObserver(self._observers.pop(node))
            del self._states[node]
        elif node.GetAttribute(KIND) == "mammogram" and not scene.IsClosing() and not scene.IsBatchProcessing():
            Hanging.name_views()

    def _modified(self, node: Any, event: str) -> None:
        if slicer.mrmlScene.IsBatchProcessing() or Hanging.is_hanging():
            return
        self._follow(node)
        if node.IsA("vtkMRMLSliceNode"):
            Hanging.follow_size(node)

    def _follow(self, node: Any) -> None:
        former, now = self._states[node], _state(node)
        self._states[node] = now
        if now == former:
            return
        if node.IsA("vtkMRMLSliceNode"):
            self.restrict()
            return
        if now[0] != former[0]:
            self.restrict()
            Hanging.name_views()
            Hanging.take_in(node)
        self._put_right(node)

    def _put_right(self, composite: Any) -> None:
        """The heatmap, and the legend with it, are those of the mammogram below."""
        HeatmapDisplay.correct(composite)
        volume = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
        if volume is not None and volume.GetAttribute(KIND) == "mammogram":
            HeatmapDisplay.refresh(volume)


def _state(node: Any) -> Any:
    """Whether a view is on the screen, or what it shows: most changes of views are zoom and pan."""
    if node.IsA("vtkMRMLSliceNode"):
        return bool(node.IsMappedInLayout())
    return node.GetBackgroundVolumeID(), node.GetForegroundVolumeID()
