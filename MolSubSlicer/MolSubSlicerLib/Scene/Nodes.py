"""Nodes that describe themselves: attributes, references and places in the subject hierarchy.

Everything is kept in node attributes and node references, so that a saved scene comes back whole.
"""

from __future__ import annotations

from typing import Any

import slicer
import vtk

#: Attribute: what a node is to this module.
KIND = "MolSub.Kind"
#: Node reference: the mammogram that a node belongs to.
MAMMOGRAM = "MolSub.Mammogram"


def all_of_kind(kind: str) -> list[Any]:
    """Nodes whose attribute MolSub.Kind is `kind`, in the order in which they came."""
    return [node for node in slicer.mrmlScene.GetNodes() if node.GetAttribute(KIND) == kind]


def belongings(volume: Any, kind: str | None = None) -> list[Any]:
    """Nodes that belong to a mammogram, all or those of one kind, in the order in which they came."""
    name, found = volume.GetID(), []
    for node in slicer.mrmlScene.GetNodes():
        own = node.GetAttribute(KIND)
        if own is None or (kind is not None and own != kind):
            continue
        count = node.GetNumberOfNodeReferences(MAMMOGRAM)
        if any(node.GetNthNodeReferenceID(MAMMOGRAM, index) == name for index in range(count)):
            found.append(node)
    return found


def in_scene(node: Any) -> bool:
    """Whether a node is still part of the scene."""
    return node is not None and node.GetScene() is not None


def remove_node(node: Any) -> None:
    """Remove a node with its display and storage nodes.

    Slicer removes these itself, but not the storage of a text, nor a display that a legend refers to.
    """
    helpers = []
    if node.IsA("vtkMRMLDisplayableNode"):
        helpers += [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    if node.IsA("vtkMRMLStorableNode"):
        helpers += [node.GetNthStorageNode(index) for index in range(node.GetNumberOfStorageNodes())]
    slicer.mrmlScene.RemoveNode(node)
    for helper in helpers:
        if in_scene(helper):
            slicer.mrmlScene.RemoveNode(helper)


def hierarchy() -> Any:
    """The scene's subject hierarchy."""
    return slicer.mrmlScene.GetSubjectHierarchyNode()


def item_of(node: Any) -> int:
    """A node's item in the subject hierarchy; made where the application has not."""
    tree = hierarchy()
    return tree.GetItemByDataNode(node) or tree.CreateItem(tree.GetSceneItemID(), node)


def place_under(node: Any, parent: int) -> None:
    """Put a node's item under another item of the subject hierarchy."""
    hierarchy().SetItemParent(item_of(node), parent)


def matrix_of(volume: Any) -> Any:
    """A volume's IJKToRAS as a vtkMatrix4x4."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


def ras_of(volume: Any, row: float, column: float) -> tuple[float, float, float]:
    """Place of an image point in the patient's space; a pixel's centre has whole numbers."""
    x, y, z, _ = matrix_of(volume).MultiplyPoint((column, row, 0.0, 1.0))
    return x, y, z


def shape_of(volume: Any) -> tuple[int, int]:
    """(rows, columns) of a one-slice volume."""
    columns, rows, _ = volume.GetImageData().GetDimensions()
    return rows, columns


class SceneError(ValueError):
    """Something in the scene cannot be used: one sentence for the panel, with the way out."""
