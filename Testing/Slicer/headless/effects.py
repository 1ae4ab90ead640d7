"""Segment editor effects: parameters as Slicer stores them, and painting, erasing and drawing with the mouse.

The modifier labelmap goes through Slicer's own vtkSlicerSegmentEditorLogic, so masks, overwrite modes and undo are
the real ones; only the shape under the mouse is made here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtkmodules.util.numpy_support import vtk_to_numpy

from .sliceview import SliceWidget

#: Slicer's built-in effects, in its own order.
NAMES = (
    "Threshold", "Paint", "Draw", "Erase", "Level tracing", "Grow from seeds", "Fill between slices", "Margin",
    "Hollow", "Smoothing", "Scissors", "Islands", "Logical operators", "Mask volume",
)  # fmt: skip
_BRUSH_DEFAULTS = {
    "BrushMinimumAbsoluteDiameter": "0.01",
    "BrushMaximumAbsoluteDiameter": "100",
    "BrushAbsoluteDiameter": "5",
    "BrushRelativeDiameter": "3",
    "BrushDiameterIsRelative": "1",
    "BrushSphere": "0",
    "BrushPixelMode": "0",
}
_PRIORITY = 1.0


class Effect:
    """What qSlicerSegmentEditorAbstractEffect offers a module: its name and its parameters."""

    def __init__(self, name: str, editor: Any) -> None:
        self.name = self.title = name
        self._editor = editor

    def parameterSetNode(self) -> Any:
        return self._editor.mrmlSegmentEditorNode()

    def parameter(self, name: str) -> str:
        node = self.parameterSetNode()
        return node.GetAttribute(f"{self.name}.{name}") or node.GetAttribute(name) or _BRUSH_DEFAULTS.get(name, "")

    def doubleParameter(self, name: str) -> float:
        return float(self.parameter(name) or 0.0)

    def integerParameter(self, name: str) -> int:
        return int(float(self.parameter(name) or 0))

    def parameterDefined(self, name: str) -> bool:
        return self.parameter(name) != ""

    def setParameter(self, name: str, value: Any) -> None:
        self.parameterSetNode().SetAttribute(f"{self.name}.{name}", str(value))

    def setParameterDefault(self, name: str, value: Any) -> None:
        if not self.parameterDefined(name):
            self.setParameter(name, value)

    def setCommonParameter(self, name: str, value: Any) -> None:
        self.parameterSetNode().SetAttribute(name, str(value))

    def setCommonParameterDefault(self, name: str, value: Any) -> None:
        if not self.parameterDefined(name):
            self.setCommonParameter(name, value)

    def saveStateForUndo(self) -> None:
        self._editor.saveStateForUndo()


class Strokes:
    """Listens to a slice view's mouse while an effect is active, before the view's own interactor style does."""

    def __init__(self, editor: Any, logic: Any, effect: Effect, widget: SliceWidget) -> None:
        self._editor, self._logic, self._effect, self._widget = editor, logic, effect, widget
        self._interactor = widget.sliceView().interactor()
        self._points: list[tuple[int, int]] = []
        self._down = False
        handlers = {
            "LeftButtonPressEvent": self._press,
            "MouseMoveEvent": self._move,
            "LeftButtonReleaseEvent": self._release,
            "RightButtonPressEvent": self._close,
        }
        self._tags = [self._interactor.AddObserver(event, f, _PRIORITY) for event, f in handlers.items()]
        self._press_tag = self._tags[0]

    def remove(self) -> None:
        for tag in self._tags:
            self._interactor.RemoveObserver(tag)

    def _abort(self) -> None:
        """Keep the event from the view, which would drag the window and level with it."""
        for tag in self._tags:
            self._interactor.GetCommand(tag).SetAbortFlag(1)

    def _press(self, *_: Any) -> None:
        self._abort()
        self._down = True
        if self._effect.name != "Draw":
            self._points = []
        self._points.append(self._interactor.GetEventPosition())

    def _move(self, *_: Any) -> None:
        if self._down:
            self._abort()
            self._points.append(self._interactor.GetEventPosition())

    def _release(self, *_: Any) -> None:
        if not self._down:
            return
        self._abort()
        self._down = False
        if self._effect.name in ("Paint", "Erase"):
            self._apply(self._brush)
        self._points = self._points if self._effect.name == "Draw" else []

    def _close(self, *_: Any) -> None:
        if self._effect.name == "Draw" and len(self._points) > 2:
            self._abort()
            self._apply(self._polygon)
        self._points = []

    def _apply(self, shape: Any) -> None:
        node = self._editor.segmentationNode()
        segment = self._editor.currentSegmentID()
        if node is None or not segment or not self._logic.IsSegmentationDisplayableInView(self._widget.mrmlSliceNode()):
            return
        self._logic.SaveStateForUndo()
        self._logic.ResetModifierLabelmapToDefault()
        modifier = self._logic.GetModifierLabelmap()
        shape(modifier, node)
        modifier.GetPointData().GetScalars().Modified()
        modifier.Modified()
        remove = self._effect.name == "Erase"
        mode = self._logic.ModificationModeRemove if remove else self._logic.ModificationModeAdd
        self._logic.ModifySegmentByLabelmap(node, segment, modifier, mode, not remove, False)

    # -- shapes -------------------------------------------------------------------------------
    def _polygon(self, modifier: Any, node: Any) -> None:
        points, cells = vtk.vtkPoints(), vtk.vtkCellArray()
        cells.InsertNextCell(len(self._points))
        for x, y in self._points:
            cells.InsertCellPoint(points.InsertNextPoint(x, y, 0.0))
        polygon = vtk.vtkPolyData()
        polygon.SetPoints(points)
        polygon.SetPolys(cells)
        self._logic.AppendPolyMask(modifier, polygon, self._widget.mrmlSliceNode(), node)

    def _diameter(self) -> float:
        """Of the brush, in mm; a relative one is measured on a screen of 1080 rows."""
        if not self._effect.integerParameter("BrushDiameterIsRelative"):
            return self._effect.doubleParameter("BrushAbsoluteDiameter")
        node = self._widget.mrmlSliceNode()
        millimetres = node.GetFieldOfView()[1] / node.GetDimensions()[1]
        return 1080 * self._effect.doubleParameter("BrushRelativeDiameter") / 100 * millimetres

    def _brush(self, modifier: Any, node: Any) -> None:
        """Every pixel whose centre lies within the brush, along the whole stroke."""
        matrix = vtk.vtkMatrix4x4()
        modifier.GetImageToWorldMatrix(matrix)
        to_ijk = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(matrix, to_ijk)
        spacing = np.array(modifier.GetSpacing()[:2])
        first = np.array(modifier.GetExtent()[0:4:2])
        columns, rows, slices = modifier.GetDimensions()
        mask = vtk_to_numpy(modifier.GetPointData().GetScalars()).reshape(slices, rows, columns)[0]
        to_ras = self._widget.mrmlSliceNode().GetXYToRAS()
        path = []
        for x, y in self._points:
            path.append(to_ijk.MultiplyPoint(to_ras.MultiplyPoint((x, y, 0.0, 1.0)))[:2])
        _stroke(mask, np.array(path) - first, self._diameter() / 2, spacing)


def _stroke(mask: np.ndarray, path: np.ndarray, radius: float, spacing: np.ndarray) -> None:
    """Set the pixels of `mask` within `radius` (mm) of the line through the points (column, row)."""
    ends = path[1:] if len(path) > 1 else path
    for start, end in zip(path[: len(ends)], ends, strict=True):
        low = np.floor(np.minimum(start, end) - radius / spacing).astype(int)
        high = np.ceil(np.maximum(start, end) + radius / spacing).astype(int) + 1
        low, high = np.maximum(low, 0), np.minimum(high, mask.shape[::-1])
        if (low >= high).any():
            continue
        rows, columns = np.mgrid[low[1] : high[1], low[0] : high[0]]
        points = (np.stack([columns, rows], -1) - start) * spacing
        way = (end - start) * spacing
        along = np.clip(points @ way / max(float(way @ way), 1e-12), 0.0, 1.0)[..., None]
        near = np.linalg.norm(points - along * way, axis=-1) <= radius
        mask[low[1] : high[1], low[0] : high[0]][near] = 1


def views_of_layout() -> list[SliceWidget]:
    """The slice widgets one may draw in."""
    return slicer.app.layoutManager().visible_widgets()
