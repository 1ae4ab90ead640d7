"""Subject Hierarchy: data nodes get an item and lose it, as Slicer's Qt plugins see to it."""

from __future__ import annotations

from typing import Any

import slicer
import vtk


def _is_listed(node: Any) -> bool:
    return bool(node.IsA("vtkMRMLStorableNode") and not node.IsA("vtkMRMLColorNode") and not node.GetHideFromEditors())


def _add_item(scene: Any, node: Any) -> None:
    hierarchy = scene.GetSubjectHierarchyNode()
    if _is_listed(node) and hierarchy and not hierarchy.GetItemByDataNode(node):
        item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
        hierarchy.SetItemOwnerPluginName(item, "Default")


@vtk.calldata_type(vtk.VTK_OBJECT)
def _added(scene: Any, event: str, node: Any) -> None:
    if not scene.IsImporting():
        _add_item(scene, node)


@vtk.calldata_type(vtk.VTK_OBJECT)
def _about_to_be_removed(scene: Any, event: str, node: Any) -> None:
    if scene.IsClosing() or node.IsA("vtkMRMLSubjectHierarchyNode"):
        return
    hierarchy = scene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
    if item:
        hierarchy.RemoveItem(item, False, False)


def _imported(scene: Any, event: str) -> None:
    _resolve(scene)
    for index in range(scene.GetNumberOfNodes()):
        _add_item(scene, scene.GetNthNode(index))


def _closing(scene: Any, event: str) -> None:
    """Empty Slicer's static map from nodes to items, or it complains at a new node at an old address."""
    if hierarchy := scene.GetSubjectHierarchyNode():
        hierarchy.RemoveAllItems(False)


def _resolve(scene: Any, event: str = "") -> None:
    slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(scene)


def keep_subject_hierarchy(scene: Any) -> None:
    """Have a scene keep its hierarchy from now on."""
    _resolve(scene)
    events = slicer.vtkMRMLScene
    scene.AddObserver(events.StartCloseEvent, _closing)
    scene.AddObserver(events.NodeAddedEvent, _added)
    scene.AddObserver(events.NodeAboutToBeRemovedEvent, _about_to_be_removed)
    scene.AddObserver(events.EndImportEvent, _imported)
    scene.AddObserver(events.EndCloseEvent, _resolve)
