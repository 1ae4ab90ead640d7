"""Keeps the scene in order while the module is there: after an import, and when a mammogram is removed."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from MolSubSlicerLib.Scene import Hanging, HeatmapDisplay
from MolSubSlicerLib.Scene.Mammograms import remove_belongings, remove_orphans
from MolSubSlicerLib.Scene.Nodes import KIND
from MolSubSlicerLib.Scene.ViewKeeper import ViewKeeper

#: Priority of an observer that comes after the views have read the scene.
_LAST = -10.0


class SceneKeeper:
    """Observes the scene and its views: to be made once, before the panels, and closed with the module.

    An imported scene gets its layout, outlines and heatmaps back; whoever removes a mammogram removes
    what belongs to it.
    """

    def __init__(self) -> None:
        Hanging.prepare()
        self._is_imported = False
        self._views = ViewKeeper()
        scene = slicer.vtkMRMLScene
        self._tags = [
            slicer.mrmlScene.AddObserver(scene.EndImportEvent, self._imported),
            slicer.mrmlScene.AddObserver(scene.EndBatchProcessEvent, self._batch_ended, _LAST),
            slicer.mrmlScene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._about_to_be_removed),
            slicer.mrmlScene.AddObserver(scene.NodeRemovedEvent, self._removed),
        ]

    def close(self) -> None:
        """Observe no more."""
        for tag in self._tags:
            slicer.mrmlScene.RemoveObserver(tag)
        self._tags.clear()
        self._views.close()

    def _imported(self, scene: Any, event: str) -> None:
        self._is_imported = True

    def _batch_ended(self, scene: Any, event: str) -> None:
        """In a batch, as an import is one, the views do not listen: they are put in order after it."""
        if scene.IsBatchProcessing() or scene.IsClosing():
            return
        if not self._is_imported:
            self._views.look()
            return
        self._is_imported = False
        Hanging.restore()
        self._views.settle()
        self._views.restrict()
        HeatmapDisplay.renew_legends()
        HeatmapDisplay.refresh_all()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _about_to_be_removed(self, scene: Any, event: str, node: Any) -> None:
        if not scene.IsClosing() and node.GetAttribute(KIND) == "mammogram":
            remove_belongings(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _removed(self, scene: Any, event: str, node: Any) -> None:
        if not scene.IsClosing() and node.GetAttribute(KIND) == "mammogram":
            remove_orphans()
