"""The squares that the model sees, outlined in the slice views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from MolSubSlicerLib.Scene.Hanging import restrict_to_views
from MolSubSlicerLib.Scene.Nodes import KIND, MAMMOGRAM, belongings, ras_of

#: The blue of the report's sheets.
COLOUR = (80 / 255, 200 / 255, 255 / 255)
_SIDES = ("row_start", "row_stop", "col_start", "col_stop")


def show(volume: Any, geometries: Sequence[Any]) -> Any:
    """Outline squares on a mammogram; an earlier outline is replaced in place.

    Parameters
    ----------
    volume : vtkMRMLScalarVolumeNode
    geometries : sequence of RoiGeometry, Box, or dict with row_start, row_stop, col_start, col_stop
        Half-open pixel rectangles. An empty sequence shows nothing.

    Returns
    -------
    vtkMRMLModelNode
        Lines along the outer edges of the rectangles' pixels.
    """
    found = belongings(volume, "roi")
    node = found[0] if found else _new_node(volume)
    node.SetAndObservePolyData(_lines(volume, [_rectangle(geometry) for geometry in geometries]))
    restrict_to_views(volume)
    return node


def set_visible(volume: Any, visible: bool) -> None:
    """Show or hide the outlines of a mammogram."""
    for node in belongings(volume, "roi"):
        node.GetDisplayNode().SetVisibility(visible)


def _rectangle(geometry: Any) -> tuple[float, float, float, float]:
    if isinstance(geometry, Mapping):
        return tuple(float(geometry[side]) for side in _SIDES)  # type: ignore[return-value]
    return tuple(float(getattr(geometry, side)) for side in _SIDES)  # type: ignore[return-value]


def _lines(volume: Any, rectangles: list[tuple[float, float, float, float]]) -> Any:
    points, lines = vtk.vtkPoints(), vtk.vtkCellArray()
    for row_start, row_stop, col_start, col_stop in rectangles:
        top, bottom, left, right = row_start - 0.5, row_stop - 0.5, col_start - 0.5, col_stop - 0.5
        first = points.GetNumberOfPoints()
        for row, column in ((top, left), (top, right), (bottom, right), (bottom, left)):
            points.InsertNextPoint(ras_of(volume, row, column))
        lines.InsertNextCell(5)
        for corner in (0, 1, 2, 3, 0):
            lines.InsertCellPoint(first + corner)
    outline = vtk.vtkPolyData()
    outline.SetPoints(points)
    outline.SetLines(lines)
    return outline


def _new_node(volume: Any) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", _("{name} region").format(name=volume.GetName()))
    node.SetAttribute(KIND, "roi")
    node.SetNodeReferenceID(MAMMOGRAM, volume.GetID())
    node.SetHideFromEditors(True)
    node.SetSelectable(False)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetColor(*COLOUR)
    display.SetVisibility2D(True)
    display.SetVisibility3D(False)
    display.SetSliceIntersectionThickness(2)
    display.SetSliceDisplayModeToProjection()
    return node
