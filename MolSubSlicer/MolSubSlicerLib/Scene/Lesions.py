"""Lesions: segments on a mammogram's own grid, label maps, and mask files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from MolSubSlicerLib.Scene.Hanging import restrict_to_views
from MolSubSlicerLib.Scene.Mammograms import image_data
from MolSubSlicerLib.Scene.Nodes import (
    KIND,
    MAMMOGRAM,
    SceneError,
    belongings,
    hierarchy,
    item_of,
    matrix_of,
    place_under,
    ras_of,
    shape_of,
)

if TYPE_CHECKING:
    from MolSubCore.lesions.lesion import Box


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


_MOST = 255
_SIDES = {"R": "SCT^24028007^Right", "L": "SCT^7771000^Left"}
#: Colours of outlines: apart from each other on grey, and none that the heatmap has.
_COLOURS = ((0.2, 0.9, 0.95), (0.45, 1.0, 0.35), (0.45, 0.6, 1.0), (0.95, 0.95, 0.95), (0.1, 0.75, 0.55))


def segmentation_for(volume: Any, create: bool = True) -> Any:
    """The segmentation with a mammogram's lesions.

    Parameters
    ----------
    volume : vtkMRMLScalarVolumeNode
    create : bool
        Make one where there is none.

    Returns
    -------
    vtkMRMLSegmentationNode or None
    """
    found = belongings(volume, "lesions")
    if found or not create:
        return found[0] if found else None
    node = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLSegmentationNode", _("{name} lesions").format(name=volume.GetName())
    )
    node.SetAttribute(KIND, "lesions")
    node.SetNodeReferenceID(MAMMOGRAM, volume.GetID())
    node.GetSegmentation().SetSourceRepresentationName("Binary labelmap")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetOpacity2DFill(0.0)
    display.SetSliceIntersectionThickness(2)
    place_under(node, hierarchy().GetItemParent(item_of(volume)))
    restrict_to_views(volume)
    return node


def add_lesion(segmentation: Any, name: str | None = None) -> str:
    """Add an empty lesion; the identifier of its segment."""
    segments = segmentation.GetSegmentation()
    number = segments.GetNumberOfSegments()
    taken = {segments.GetNthSegment(index).GetName() for index in range(number)}
    while name is None or name in taken:
        number += 1
        name = _("Lesion {number}").format(number=number)
    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.SetColor(*_COLOURS[segments.GetNumberOfSegments() % len(_COLOURS)])
    segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), _terminology(segmentation))
    empty = slicer.vtkOrientedImageData()
    empty.SetExtent(0, -1, 0, -1, 0, -1)
    empty.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    segment.AddRepresentation("Binary labelmap", empty)
    identifier = segments.GenerateUniqueSegmentID(name)
    segments.AddSegment(segment, identifier)
    return identifier


def _terminology(segmentation: Any) -> str:
    """Mass in the breast (SNOMED CT), with the side where it is known."""
    volume = segmentation.GetNodeReference(MAMMOGRAM)
    side = _SIDES.get(volume.GetAttribute("MolSub.Laterality") or "", "^^") if volume else "^^"
    return "~".join(
        (
            "Segmentation category and type - DICOM master list",
            "SCT^49755003^Morphologically Altered Structure",
            "SCT^4147007^Mass",
            "^^",
            "Anatomic codes - DICOM master list",
            "SCT^76752008^Breast",
            side,
        )
    )


def set_labels(segmentation: Any, labels: NDArray[Any]) -> list[str]:
    """Replace all lesions by those of a label map.

    Parameters
    ----------
    segmentation : vtkMRMLSegmentationNode
        Of `segmentation_for`.
    labels : ndarray of integers, shape (rows, columns) or (layers, rows, columns)
        0 outside; every other value of a layer is one lesion, from the smallest up. Layers may overlap.

    Returns
    -------
    list of str
        Identifiers of the segments.

    Raises
    ------
    SceneError
        If the shape is not the mammogram's.
    """
    volume = segmentation.GetNodeReference(MAMMOGRAM)
    layers = np.asarray(labels)[None] if np.ndim(labels) == 2 else np.asarray(labels)
    if layers.shape[1:] != shape_of(volume):
        raise other_grid(segmentation, volume, layers.shape[1:], None)
    parts = [part for layer in layers for part in divided(layer)]
    disabled = segmentation.StartModify()
    try:
        segmentation.GetSegmentation().RemoveAllSegments()
        identifiers = [add_lesion(segmentation) for _part in parts]
        for identifier, part in zip(identifiers, parts, strict=True):
            _set_part(segmentation, volume, identifier, part)
    finally:
        segmentation.EndModify(disabled)
    return identifiers


def _set_part(segmentation: Any, volume: Any, identifier: str, part: Part) -> None:
    """Replace a segment's pixels; only the part around the lesion is kept."""
    rows, columns = part.values.shape
    image = slicer.vtkOrientedImageData()
    image.ShallowCopy(image_data(part.values.astype(np.uint8)))
    image.SetExtent(part.column, part.column + columns - 1, part.row, part.row + rows - 1, 0, 0)
    image.SetImageToWorldMatrix(matrix_of(volume))
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetBinaryLabelmapToSegment(image, segmentation, identifier, logic.MODE_REPLACE, image.GetExtent())


def lesion_segments(segmentation: Any) -> list[str]:
    """Identifiers of the segments that hold at least one pixel; label n is the n-th of them."""
    segments = segmentation.GetSegmentation()
    names = [segments.GetNthSegmentID(index) for index in range(segments.GetNumberOfSegments())]
    return [name for name in names if _labelmap(segmentation, name) is not None]


def layers_of(segmentation: Any, volume: Any) -> NDArray[np.bool_]:
    """The lesions on a mammogram's grid, one layer each, shape (lesions, rows, columns).

    Raises
    ------
    SceneError
        If there is none, or they lie on another grid (both grids are named).
    """
    parts = _parts(segmentation, volume)
    layers = np.zeros((len(parts), *shape_of(volume)), bool)
    for layer, part in zip(layers, parts, strict=True):
        layer[part.place] = part.values
    return layers


def labels_of(segmentation: Any, volume: Any) -> NDArray[np.uint8]:
    """The lesions as one label map, shape (rows, columns): 0 outside, 1 to n in the order of the segments.

    Where lesions overlap, the smaller one is on top: `write_lesions` loses nothing.

    Raises
    ------
    SceneError
        As `layers_of`; also for more than 255 lesions, and for a lesion that others cover whole.
    """
    parts = _parts(segmentation, volume)
    if len(parts) > _MOST:
        raise SceneError(_("{count} lesions are more than a mask can hold (255).").format(count=len(parts)))
    labels = np.zeros(shape_of(volume), np.uint8)
    for index in np.argsort([-np.count_nonzero(part.values) for part in parts], kind="stable"):
        labels[parts[index].place][parts[index].values] = index + 1
    for number, part in enumerate(parts, start=1):
        if not (labels[part.place] == number).any():
            name = _name(segmentation, lesion_segments(segmentation)[number - 1])
            raise SceneError(_("{name} is entirely covered by other lesions. Remove it, or move it.").format(name=name))
    return labels


def write_lesions(segmentation: Any, volume: Any, folder: str | Path, stem: str) -> Path:
    """Write the lesions as STEM.nrrd for the worker, in one layer each where they overlap.

    Raises
    ------
    SceneError
        As `labels_of` and `write_mask`.
    """
    parts = _parts(segmentation, volume)
    covered = np.zeros(shape_of(volume), bool)
    for part in parts:
        covered[part.place] |= part.values
    overlap = np.count_nonzero(covered) < sum(np.count_nonzero(part.values) for part in parts)
    labels = layers_of(segmentation, volume) if overlap else labels_of(segmentation, volume)
    path = Path(folder) / f"{stem}.nrrd"
    write_mask(labels, volume, path)
    return path


def _parts(segmentation: Any, volume: Any) -> list[Part]:
    """The lesions on a mammogram's grid, each cut to its own pixels; errors as `layers_of`."""
    if segmentation is None:
        raise SceneError(_("{name} has no lesion yet. Outline one.").format(name=volume.GetName()))
    segments = segmentation.GetSegmentation()
    names = [segments.GetNthSegmentID(index) for index in range(segments.GetNumberOfSegments())]
    images = [image for image in (_labelmap(segmentation, name) for name in names) if image is not None]
    if not images:
        raise SceneError(_("{name} has no outlined pixel yet. Outline the lesion.").format(name=volume.GetName()))
    return [part_of(segmentation, volume, image) for image in images]


def write_mask(labels: NDArray[Any], volume: Any, path: str | Path) -> None:
    """Write a label map as ITK-SNAP and the core read it; the file appears whole or not at all.

    Parameters
    ----------
    labels : ndarray of uint8, shape (rows, columns), or (layers, rows, columns) for .nrrd
    volume : vtkMRMLScalarVolumeNode
        Gives the pixel spacing.
    path : path
        Ends in ``.nii.gz`` or ``.nrrd``.

    Raises
    ------
    SceneError
        If the shape is not the mammogram's, the suffix is another, or the disk refuses.
    """
    from MolSubCore.lesions import masks as mask_file

    target, labels = Path(path), np.asarray(labels, np.uint8)
    if labels.shape[-2:] != shape_of(volume):
        raise other_grid(None, volume, labels.shape[-2:], None)
    if not target.name.endswith((".nii.gz", ".nrrd") if labels.ndim == 2 else ".nrrd"):
        raise SceneError(_("{name} cannot be the name of a mask. Use .nii.gz or .nrrd.").format(name=target.name))
    col_mm, row_mm, _slice_mm = volume.GetSpacing()
    try:
        mask_file.write_mask(target, labels, row_mm=row_mm, col_mm=col_mm)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[-160:]
        text = _("{name} could not be written: {reason}. Free space, or choose another folder.")
        raise SceneError(text.format(name=target.name, reason=reason)) from error


def boxes_of(labels: NDArray[Any]) -> list[Box]:
    """Tight boxes of the labels of a label map, from the smallest label up, or of every layer of a stack."""
    from MolSubCore.lesions.lesion import Box

    labels = np.asarray(labels)
    if labels.ndim == 3:
        parts = [part for part in (tight(layer, 0, 0) for layer in labels) if part is not None]
    else:
        parts = divided(labels)
    return [Box(part.place[0].start, part.place[0].stop, part.place[1].start, part.place[1].stop) for part in parts]


def _name(segmentation: Any, identifier: str) -> str:
    return segmentation.GetSegmentation().GetSegment(identifier).GetName()


def _labelmap(segmentation: Any, identifier: str) -> Any:
    """A segment's own pixels, cut to them, as a vtkOrientedImageData; None where it has none."""
    image = slicer.vtkOrientedImageData()
    if not segmentation.GetBinaryLabelmapRepresentation(identifier, image):
        return None
    extent = [0] * 6
    if image.IsEmpty() or not slicer.vtkOrientedImageDataResample.CalculateEffectiveExtent(image, extent):
        return None
    return image


#: The blue of the report's sheets.
COLOUR = (80 / 255, 200 / 255, 255 / 255)
_BOX_SIDES = ("row_start", "row_stop", "col_start", "col_stop")


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
        return tuple(float(geometry[side]) for side in _BOX_SIDES)  # type: ignore[return-value]
    return tuple(float(getattr(geometry, side)) for side in _BOX_SIDES)  # type: ignore[return-value]


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
