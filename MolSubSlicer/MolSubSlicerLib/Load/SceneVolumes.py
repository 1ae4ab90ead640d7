"""Volumes of the scene that came without this module, and where their files are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer

from MolSubSlicerLib.Scene import Mammograms
from MolSubSlicerLib.Scene.Nodes import KIND

#: Attribute of a volume whose voxels were taken over, for lack of a file.
TAKEN_OVER = "MolSub.TakenOver"


def others() -> list[Any]:
    """Scalar volumes that may be mammograms but were not loaded by this module, nor taken over by it.

    By the DICOM database those of modality MG, however many images one holds; without an entry there, those of one
    slice.
    """
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [node for node in nodes if _may_be_mammogram(node) and not _is_taken_over(node)]


def database_files(volume: Any) -> list[str]:
    """The files of a volume in the DICOM database, those that exist."""
    database = getattr(slicer, "dicomDatabase", None)
    if not database:
        return []
    uids = (volume.GetAttribute("DICOM.instanceUIDs") or "").split()
    files = [database.fileForInstance(uid) for uid in uids]
    return [path for path in files if path and Path(path).is_file()]


def loaded_from(path: str) -> bool:
    """Whether a mammogram of the scene was read from this file."""
    return bool(path) and any(volume.GetAttribute("MolSub.SourceFile") == path for volume in Mammograms.mammograms())


def loaded_as(uid: str | None) -> bool:
    """Whether a mammogram of the scene has this SOP instance UID."""
    return bool(uid) and any(uid == volume.GetAttribute("DICOM.instanceUIDs") for volume in Mammograms.mammograms())


def file_of(volume: Any) -> str:
    """The file that Slicer read a volume from; empty where there is none."""
    storage = volume.GetStorageNode()
    return (storage.GetFileName() or "") if storage else ""


def _may_be_mammogram(volume: Any) -> bool:
    image = volume.GetImageData()
    if volume.GetAttribute(KIND) or volume.IsA("vtkMRMLLabelMapVolumeNode") or image is None:
        return False
    if image.GetNumberOfScalarComponents() != 1:
        return False
    files = database_files(volume)
    if files:
        return slicer.dicomDatabase.fileValue(files[0], "0008,0060") == "MG"
    return image.GetDimensions()[2] == 1


def _is_taken_over(volume: Any) -> bool:
    uids = (volume.GetAttribute("DICOM.instanceUIDs") or "").split()
    if uids:
        return all(loaded_as(uid) for uid in uids)
    return volume.GetAttribute(TAKEN_OVER) is not None or loaded_from(file_of(volume))
