"""Side and view, such as R MLO, as text in the picture itself."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from MolSubSlicerLib.Scene.HangingOrder import chest_wall_on_screen, is_turned_over
from MolSubSlicerLib.Scene.Nodes import KIND, MAMMOGRAM, belongings, ras_of, shape_of
from MolSubSlicerLib.Scene.Patients import letter_of

_COLOUR = (1.0, 0.86, 0.35)


def show_label(volume: Any) -> None:
    """Side and view as text in the picture, in the upper corner away from the chest wall, like a lead marker."""
    found = belongings(volume, "label")
    node = found[0] if found else _new_node()
    if not found:
        node.SetAttribute(KIND, "label")
        node.SetNodeReferenceID(MAMMOGRAM, volume.GetID())
        node.SetHideFromEditors(True)
        node.SetLocked(True)
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetSelectedColor(*_COLOUR)
        display.SetColor(*_COLOUR)
        display.SetTextScale(4.0)
        display.SetUseGlyphScale(False)
        display.SetGlyphSize(0.001)
        display.SetPropertiesLabelVisibility(False)
        display.SetPointLabelsVisibility(True)
        display.SetHandlesInteractive(False)
    rows, columns = shape_of(volume)
    place = 0.03 if chest_wall_on_screen(volume) == "right" else 0.76  # the text begins there
    column = columns * (1 - place if is_turned_over(volume) else place)
    node.RemoveAllControlPoints()
    node.AddControlPoint(vtk.vtkVector3d(*ras_of(volume, 0.07 * rows, column)), _text(volume))


def rename_label(volume: Any) -> None:
    """Write into the picture's text, where it has one, what is true now: other patients come and go."""
    for node in belongings(volume, "label"):
        if node.GetNumberOfControlPoints() and node.GetNthControlPointLabel(0) != _text(volume):
            node.SetNthControlPointLabel(0, _text(volume))


def _text(volume: Any) -> str:
    lines = [" ".join(volume.GetAttribute(f"MolSub.{key}") or "?" for key in ("Laterality", "View"))]
    if letter := letter_of(volume):
        lines.append(_("patient {letter}").format(letter=letter))
    if volume.GetAttribute("MolSub.SpacingSource") in (None, "unknown"):
        lines.append(_("no mm scale"))
    return "\n".join(lines)


def _new_node() -> Any:
    """A point list that does not become the one into which the user's next point goes, as new ones do."""
    selection = slicer.app.applicationLogic().GetSelectionNode()
    name, kind = selection.GetActivePlaceNodeID(), selection.GetActivePlaceNodeClassName()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "MolSub label")
    selection.SetReferenceActivePlaceNodeID(name)
    selection.SetReferenceActivePlaceNodeClassName(kind)
    return node
