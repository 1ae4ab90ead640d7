"""Mammograms as scalar volumes: pixels, window, spacing and facts as the core's reader gave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from slicer.i18n import tr as _
from vtk.util.numpy_support import get_vtk_array_type, numpy_to_vtk, vtk_to_numpy

from MolSubSlicerLib.Scene import Patients
from MolSubSlicerLib.Scene.Nodes import (
    KIND,
    MAMMOGRAM,
    SceneError,
    all_of_kind,
    belongings,
    hierarchy,
    in_scene,
    item_of,
    place_under,
    remove_node,
)

_MAMMOGRAM = "mammogram"
_TYPES = ("uint8", "int16", "uint16", "float32")  # the reader's; views cannot show 64-bit integers
_BELONGING = ("heatmap", "retired heatmap", "lesions", "roi", "label", "prediction")
_DICOM_UID, _INSTANCE_UID = "DICOM", "DICOMInstanceUID"


def add_mammogram(facts: dict[str, Any], *, source: str | None = None, study_item: int | None = None) -> Any:
    """Put a mammogram into the scene.

    Parameters
    ----------
    facts : dict
        Result of the worker's job `read-image`.
    source : str, optional
        The original file: predictions read it again by the core's one reader.
    study_item : int, optional
        Subject hierarchy item of the study; by default found by the study's UID, or made.

    Returns
    -------
    vtkMRMLScalarVolumeNode
        IJKToRAS is diag(-column spacing, -row spacing, 1); 1 mm where the spacing is unknown.

    Raises
    ------
    SceneError
        If the pixels cannot be read.
    """
    pixels = _load(facts)
    volume = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    volume.UnRegister(None)
    volume.SetName(free_name(facts["label"]))
    volume.SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)
    spacing = facts.get("spacing") or {}
    volume.SetSpacing(spacing.get("col_mm") or 1.0, spacing.get("row_mm") or 1.0, 1.0)
    _set_attributes(volume, facts, source)
    volume.SetAndObserveImageData(image_data(pixels))
    display = _display(facts, pixels)
    slicer.mrmlScene.AddNode(display)
    slicer.mrmlScene.AddNode(volume)
    volume.SetAndObserveDisplayNodeID(display.GetID())
    _place(volume, facts, study_item)
    return volume


def free_name(label: str) -> str:
    """A name for a mammogram that no other one of the scene has; Slicer's own would count on and never back."""
    taken, number, name = {volume.GetName() for volume in mammograms()}, 1, label
    while name in taken:
        number += 1
        name = f"{label} ({number})"
    return name


def image_data(pixels: NDArray[Any]) -> Any:
    """A vtkImageData of one slice; the pixels, shape (rows, columns), are copied once."""
    image = vtk.vtkImageData()
    image.SetDimensions(pixels.shape[1], pixels.shape[0], 1)
    flat = np.ascontiguousarray(pixels).ravel()
    image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=True, array_type=get_vtk_array_type(flat.dtype)))
    return image


def pixels_of(volume: Any) -> NDArray[Any]:
    """The pixels of a one-slice volume, shape (rows, columns): a view, not to be written to.

    Raises
    ------
    SceneError
        If the volume holds no picture or several slices.
    """
    image = volume.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        raise SceneError(_("{name} has no pixels. Load it again.").format(name=volume.GetName()))
    columns, rows, slices = image.GetDimensions()
    if slices != 1 or image.GetNumberOfScalarComponents() != 1:
        text = _("{name} has {slices} slices, expected one. Load one mammographic view.")
        raise SceneError(text.format(name=volume.GetName(), slices=slices))
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns)


def mammograms() -> list[Any]:
    """The scene's mammograms, in the order in which they came."""
    return all_of_kind(_MAMMOGRAM)


def facts_of(volume: Any) -> dict[str, Any]:
    """What the reader said of a mammogram, without the path of its pixels; empty for other volumes."""
    return json.loads(volume.GetAttribute("MolSub.Facts") or "{}")


def source_of(volume: Any, folder: str | Path | None = None) -> tuple[str, str | None]:
    """The file that a mammogram is read from again, and what must be told about it.

    Parameters
    ----------
    volume : vtkMRMLScalarVolumeNode
    folder : path, optional
        Where voxels are written when there is no file any more; by default the application's temporary folder.

    Returns
    -------
    path : str
        The original file: the one it was loaded from, else the one in the DICOM database; else the voxels.
    note : str or None
        For the panel, when voxels had to be used.
    """
    source = volume.GetAttribute("MolSub.SourceFile")
    if source and Path(source).is_file():
        return source, None
    database = getattr(slicer, "dicomDatabase", None)
    for uid in (volume.GetAttribute("DICOM.instanceUIDs") or "").split():
        found = database.fileForInstance(uid) if database else ""
        if found and Path(found).is_file():
            return found, None
    path = _write_voxels(volume, Path(folder or slicer.app.temporaryPath))
    note = _(
        "The original file of {name} is not there any more: the pixels in the scene were used, "
        "without what the file's header says of vendor and spacing."
    )
    return str(path), note.format(name=volume.GetName())


def remove_mammogram(volume: Any) -> None:
    """Remove a mammogram with its lesions, heatmaps, outlines, labels, and the predictions on it."""
    remove_belongings(volume)
    remove_node(volume)
    _remove_empty_folders()


def remove_belongings(volume: Any) -> None:
    """Remove what belongs to a mammogram: for the moment before it is removed by someone else."""
    for node in belongings(volume):
        if not in_scene(node):  # a heatmap that went with its prediction
            continue
        if node.GetAttribute(KIND) == "prediction":
            _remove_heatmaps_of(node)
        remove_node(node)
    _remove_empty_folders()


def remove_orphans() -> int:
    """Remove what belonged to mammograms that are gone, and predictions that lack an image; the number of nodes."""
    count = slicer.mrmlScene.GetNumberOfNodes()
    for node in [node for kind in _BELONGING for node in all_of_kind(kind)]:
        expected = int(node.GetAttribute("MolSub.ImageCount") or 1)
        if in_scene(node) and node.GetNumberOfNodeReferences(MAMMOGRAM) < expected:
            if node.GetAttribute(KIND) == "prediction":
                _remove_heatmaps_of(node)
            remove_node(node)
    _remove_empty_folders()
    return count - slicer.mrmlScene.GetNumberOfNodes()


def _remove_heatmaps_of(prediction: Any) -> None:
    """A prediction is of all its images together: without one of them it is no result any more."""
    for node in all_of_kind("heatmap"):
        if node.GetAttribute("MolSub.PredictionId") == prediction.GetAttribute("MolSub.PredictionId"):
            remove_node(node)


def _remove_empty_folders() -> None:
    tree, items = hierarchy(), vtk.vtkIdList()
    tree.GetItemChildren(tree.GetSceneItemID(), items, True)
    for index in reversed(range(items.GetNumberOfIds())):  # folders after what is in them
        item = items.GetId(index)
        ours = tree.GetItemAttribute(item, KIND) in ("folder", "study")
        if ours and not tree.GetNumberOfItemChildren(item):
            tree.RemoveItem(item)


def _load(facts: dict[str, Any]) -> NDArray[Any]:
    try:
        pixels = np.load(facts["pixels"], mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SceneError(_("The pixels of {label} cannot be read: {error}.").format(**facts, error=error)) from error
    if pixels.ndim != 2 or not pixels.size or pixels.dtype.name not in _TYPES:
        raise SceneError(_("The pixels of {label} are not one image. Load it again.").format(**facts))
    return pixels


def _set_attributes(volume: Any, facts: dict[str, Any], source: str | None) -> None:
    kept = {key: value for key, value in facts.items() if key not in ("pixels", "patient")}
    values = {
        KIND: _MAMMOGRAM,
        "MolSub.Laterality": facts.get("laterality"),
        "MolSub.View": facts.get("view"),
        "MolSub.SpacingSource": (facts.get("spacing") or {}).get("source", "unknown"),
        "MolSub.ChestWall": facts.get("chest_wall", "unknown"),
        "MolSub.Manufacturer": facts.get("manufacturer"),
        "MolSub.Facts": json.dumps(kept),
        "MolSub.SourceFile": source,
        "DICOM.instanceUIDs": facts.get("sop_instance_uid"),
    }
    for name, value in values.items():
        if value:
            volume.SetAttribute(name, str(value))
    Patients.mark(volume, facts)


def _display(facts: dict[str, Any], pixels: NDArray[Any]) -> Any:
    display = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeDisplayNode")
    display.UnRegister(None)
    display.SetAutoWindowLevel(False)
    window = facts.get("window")
    if window:
        display.SetWindowLevel(window["width"], window["center"])
    else:
        display.SetWindowLevelMinMax(float(pixels.min()), float(pixels.max()))
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    return display


def _place(volume: Any, facts: dict[str, Any], study_item: int | None) -> None:
    place_under(volume, study_item or _study(facts.get("study_instance_uid")))
    if facts.get("sop_instance_uid"):
        hierarchy().SetItemUID(item_of(volume), _INSTANCE_UID, facts["sop_instance_uid"])


def _study(uid: str | None) -> int:
    """The study's item: found by UID, or made by us; pictures without UID share one."""
    tree = hierarchy()
    if uid:
        item = tree.GetItemByUID(_DICOM_UID, uid)
        if item:
            return item
    else:
        items = vtk.vtkIdList()
        tree.GetItemChildren(tree.GetSceneItemID(), items, False)
        for index in range(items.GetNumberOfIds()):
            item = items.GetId(index)
            if tree.GetItemAttribute(item, KIND) == "study" and not tree.GetItemUID(item, _DICOM_UID):
                return item
    item = tree.CreateStudyItem(tree.GetSceneItemID(), _("Mammograms"))
    tree.SetItemAttribute(item, KIND, "study")
    if uid:
        tree.SetItemUID(item, _DICOM_UID, uid)
    return item


def _write_voxels(volume: Any, folder: Path) -> Path:
    import SimpleITK as sitk

    from MolSubCore.files import atomic_path

    image = sitk.GetImageFromArray(pixels_of(volume)[None])
    image.SetSpacing(volume.GetSpacing())
    path = folder / f"voxels-{volume.GetID()}.nrrd"
    try:
        with atomic_path(path) as temporary:
            sitk.WriteImage(image, str(temporary))
    except (OSError, RuntimeError) as error:  # ITK's own where the disk is full
        reason = " ".join(str(error).split())[-160:]
        text = _("The pixels of {name} could not be written: {reason}. Free space on the disk, then try again.")
        raise SceneError(text.format(name=volume.GetName(), reason=reason)) from error
    return path
