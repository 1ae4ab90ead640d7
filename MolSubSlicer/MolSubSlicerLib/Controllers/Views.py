"""The mammograms that a prediction may be over, and their files for the worker."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from MolSubSlicerLib.Scene import Lesions, Mammograms
from MolSubSlicerLib.Scene.SceneError import SceneError

if TYPE_CHECKING:
    from MolSubSlicerLib.Session import Session

#: Attribute of a mammogram that the user left out; saved with the scene.
_LEFT_OUT = "MolSub.LeftOut"


@dataclass(frozen=True)
class View:
    """A mammogram of the scene as a prediction sees it.

    Attributes
    ----------
    volume : vtkMRMLScalarVolumeNode
    lesions : int
        Segments with at least one pixel.
    taken : bool
        Whether it is part of a prediction: it has a lesion and was not left out.
    """

    volume: Any
    lesions: int
    taken: bool

    @property
    def text(self) -> str:
        """Name and number of lesions."""
        words = {0: _("no lesion outlined"), 1: _("1 lesion")}
        count = words.get(self.lesions) or _("{count} lesions").format(count=self.lesions)
        return f"{self.volume.GetName()}  –  {count}"


def views() -> list[View]:
    """All mammograms of the scene."""
    found = []
    for volume in Mammograms.mammograms():
        segmentation = Lesions.segmentation_for(volume, create=False)
        lesions = len(Lesions.lesion_segments(segmentation)) if segmentation else 0
        found.append(View(volume, lesions, lesions > 0 and volume.GetAttribute(_LEFT_OUT) != "1"))
    return found


def take(volume: Any, taken: bool) -> None:
    """Make a mammogram part of predictions, or leave it out."""
    volume.SetAttribute(_LEFT_OUT, None if taken else "1")


def taken_views() -> list[View]:
    """The mammograms that a prediction is over.

    Raises
    ------
    SceneError
        If there is none; says what to do.
    """
    found = views()
    if not found:
        raise SceneError(_("There is no mammogram. Load one first."))
    if not any(view.lesions for view in found):
        raise SceneError(_("No mammogram has an outlined lesion. Outline one in Annotate first."))
    taken = [view for view in found if view.taken]
    if not taken:
        raise SceneError(_("Every mammogram with a lesion is left out. Tick at least one."))
    return taken


def write_images(session: Session, volumes: Sequence[Any], folder: Path) -> tuple[list[dict[str, str]], list[str]]:
    """Files of mammograms and their lesions for the worker.

    Parameters
    ----------
    volumes : sequence of vtkMRMLScalarVolumeNode
    folder : Path
        For the masks, and for voxels whose file is not there any more.

    Returns
    -------
    images : list of dict
        ``image`` and ``lesions``: paths, in the order of `volumes`.
    notes : list of str
        What the user must be told.

    Raises
    ------
    SceneError
        If a lesion lies on another grid, or the disk refuses.
    """
    images, notes = [], []
    try:
        for number, volume in enumerate(volumes):
            path, note = Mammograms.source_of(volume, folder)
            segmentation = Lesions.segmentation_for(volume, create=False)
            mask = Lesions.write_lesions(segmentation, volume, folder, f"lesions-{number}")
            images.append({"image": path, "lesions": str(mask)})
            notes += [note] if note else []
    except OSError as error:
        raise SceneError(disk_text(error)) from error
    return images, notes + _mixed(volumes)


def disk_text(error: OSError) -> str:
    """What to do about a disk that refuses."""
    text = _("A file could not be written: {reason}. Free space on the disk, then try again.")
    return text.format(reason=error.strerror or error)


def outline_mark(volume: Any) -> int:
    """A number that changes with the outlines of a mammogram's lesions; 0 where there are none."""
    try:
        layers = Lesions.layers_of(Lesions.segmentation_for(volume, create=False), volume)
    except SceneError:
        return 0
    mark = 1
    for layer in layers:
        (box,) = Lesions.boxes_of(layer[None])
        mark = zlib.crc32(repr(box).encode(), mark)
        mark = zlib.crc32(layer[box.rows, box.cols].tobytes(), mark)
    return mark or 1


def _mixed(volumes: Sequence[Any]) -> list[str]:
    """Views of which a mean may be meaningless."""
    found = []
    studies = {Mammograms.facts_of(volume).get("study_instance_uid") for volume in volumes} - {None}
    if len(studies) > 1:
        found.append(_("The images are of different studies: their mean means something for one patient only."))
    if {"R", "L"} <= {volume.GetAttribute("MolSub.Laterality") for volume in volumes}:
        found.append(_("Lesions of both breasts are averaged. Two tumours can differ: predict each side by itself."))
    return found
