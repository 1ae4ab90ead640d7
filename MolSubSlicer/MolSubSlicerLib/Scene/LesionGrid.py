"""Lesions as parts of a mammogram's pixel grid, and the refusal of other grids."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import vtk
from numpy.typing import NDArray
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from MolSubSlicerLib.Scene.Nodes import matrix_of, shape_of
from MolSubSlicerLib.Scene.SceneError import SceneError


class Part(NamedTuple):
    """A lesion's own pixels, cut tightly, and the image's row and column where they begin."""

    row: int
    column: int
    values: NDArray[Any]

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns on the image as slices."""
        rows, columns = self.values.shape
        return slice(self.row, self.row + rows), slice(self.column, self.column + columns)


def divided(layer: NDArray[Any]) -> list[Part]:
    """Parts of a label map: one for every value but 0, from the smallest up."""
    whole = tight(layer, 0, 0)
    if whole is None:
        return []
    row, column, values = whole
    found = (tight(values == value, row, column) for value in np.unique(values) if value)
    return [part for part in found if part is not None]


def tight(array: NDArray[Any], row: int, column: int) -> Part | None:
    """Cut an array that begins at a row and column to its nonzero part; None where it has none."""
    rows = np.flatnonzero(array.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(array[rows[0] : rows[-1] + 1].any(axis=0))
    cut = array[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Part(row + int(rows[0]), column + int(columns[0]), cut)


def part_of(segmentation: Any, volume: Any, image: Any) -> Part:
    """A segment's pixels on the mammogram's grid; whole pixels of shift are allowed, another grid is not.

    Raises
    ------
    SceneError
        If it lies on another grid, or reaches outside the mammogram.
    """
    extent, (rows, columns) = image.GetExtent(), shape_of(volume)
    found = extent[3] - extent[2] + 1, extent[1] - extent[0] + 1
    shift = _shift(image, volume)
    if shift is None or extent[5] != extent[4]:
        raise other_grid(segmentation, volume, found, image.GetSpacing())
    values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(found) != 0
    part = tight(values, extent[2] + shift[0], extent[0] + shift[1])
    assert part is not None  # _labelmap gives none without a pixel
    height, width = part.values.shape
    if min(part.row, part.column) < 0 or part.row + height > rows or part.column + width > columns:
        raise other_grid(segmentation, volume, found, image.GetSpacing())
    return part


def _shift(image: Any, volume: Any) -> tuple[int, int] | None:
    """Rows and columns from an image's index to the mammogram's; None where the grids differ by more than that."""
    to_world, both, to_ijk = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4(), matrix_of(volume)
    image.GetImageToWorldMatrix(to_world)
    to_ijk.Invert()
    vtk.vtkMatrix4x4.Multiply4x4(to_ijk, to_world, both)
    matrix = np.array([[both.GetElement(row, column) for column in range(4)] for row in range(4)])
    shift = np.round(matrix[:3, 3])
    same_axes = np.allclose(matrix[:3, :3], np.eye(3), atol=0.1 / max(shape_of(volume)))
    if not same_axes or not np.allclose(matrix[:3, 3], shift, atol=0.01) or shift[2] != 0:
        return None
    return int(shift[1]), int(shift[0])


def other_grid(segmentation: Any, volume: Any, shape: tuple[int, ...], spacing: tuple[float, ...] | None) -> SceneError:
    """The error that names both grids, with spacings where the other one's is known."""
    name = segmentation.GetName() if segmentation else _("The mask")
    grids = []
    for (rows, columns), millimetres in ((shape, spacing), (shape_of(volume), volume.GetSpacing())):
        text = _("{rows} rows x {columns} columns").format(rows=rows, columns=columns)
        if spacing and millimetres:
            text += _(" of {row:.4g} x {column:.4g} mm").format(row=millimetres[1], column=millimetres[0])
        grids.append(text)
    sentence = _("{name} has {found}, {image} has {expected}. Outline the lesion on this very image.")
    return SceneError(sentence.format(name=name, found=grids[0], image=volume.GetName(), expected=grids[1]))
