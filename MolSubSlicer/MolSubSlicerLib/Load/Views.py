"""The mammograms that a prediction may be over, and their files for the worker."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from MolSubSlicerLib.Scene import Lesions, Mammograms, Patients
from MolSubSlicerLib.Scene.Nodes import SceneError, in_scene

if TYPE_CHECKING:
    from MolSubSlicerLib.Session import Session

#: Attributes, saved with the scene: of a mammogram that the user left out, and of one that the user took although
#: nothing tells that it is of the chosen one's patient, the identifier of that one.
_LEFT_OUT, _TAKEN_WITH = "MolSub.LeftOut", "MolSub.TakenWith"


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
        return f"{Patients.name_of(self.volume)}  –  {count}"


def views(chosen: Any = None) -> list[View]:
    """All mammograms of the scene; those of another patient than the chosen mammogram's are not taken."""
    found = []
    for volume in Mammograms.mammograms():
        segmentation = Lesions.segmentation_for(volume, create=False)
        lesions = len(Lesions.lesion_segments(segmentation)) if segmentation else 0
        ours = not in_scene(chosen) or Patients.are_together(chosen, volume)
        if not ours:
            with_it = slicer.mrmlScene.GetNodeByID(volume.GetAttribute(_TAKEN_WITH) or "")
            ours = with_it is not None and Patients.are_together(chosen, with_it)
        found.append(View(volume, lesions, lesions > 0 and ours and volume.GetAttribute(_LEFT_OUT) != "1"))
    return found


def take(volume: Any, taken: bool, chosen: Any = None) -> None:
    """Make a mammogram part of predictions of the chosen one's patient, or leave it out."""
    volume.SetAttribute(_LEFT_OUT, None if taken else "1")
    together = not in_scene(chosen) or Patients.are_together(chosen, volume)
    volume.SetAttribute(_TAKEN_WITH, chosen.GetID() if taken and not together else None)


def taken_views(chosen: Any = None) -> list[View]:
    """The mammograms that a prediction is over; all of one patient, as far as their headers tell.

    Raises
    ------
    SceneError
        If there is none; says what to do.
    """
    found = views(chosen)
    if not found:
        raise SceneError(_("There is no mammogram. Load one first."))
    if not any(view.lesions for view in found):
        raise SceneError(_("No mammogram has an outlined lesion. Outline one in Annotate first."))
    taken = [view for view in found if view.taken]
    if not taken:
        if in_scene(chosen) and not any(view.lesions for view in found if Patients.are_together(chosen, view.volume)):
            text = _("{name} has no outlined lesion. Outline one, or choose the patient whose lesion is outlined.")
            raise SceneError(text.format(name=Patients.name_of(chosen)))
        raise SceneError(_("Every mammogram with a lesion is left out. Tick at least one."))
    for view in taken[1:]:
        if Patients.are_known_apart(taken[0].volume, view.volume):
            text = _("{first} and {other} are of different patients by their headers. Tick the images of one.")
            names = {"first": Patients.name_of(taken[0].volume), "other": Patients.name_of(view.volume)}
            raise SceneError(text.format(**names))
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
        ``image`` and ``lesions``: paths; of bare voxels ``side`` and ``view``; in the order of `volumes`.
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
            images.append({"image": path, "lesions": str(mask), **(_known(volume) if note else {})})
            notes += [note] if note else []
    except OSError as error:
        raise SceneError(disk_text(error)) from error
    return images, notes + _mixed(volumes)


def same_patient(volumes: Sequence[Any], images: Sequence[dict[str, str]]) -> bool:
    """Whether bare voxels, which name nobody, are of one patient by the headers that the scene once read."""
    return any("side" in entry or "view" in entry for entry in images) and not Patients.unproven(volumes)


def _known(volume: Any) -> dict[str, str]:
    """What the scene knows of a mammogram whose file is gone."""
    found = {"side": volume.GetAttribute("MolSub.Laterality"), "view": volume.GetAttribute("MolSub.View")}
    return {key: text for key, text in found.items() if text}


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
    return found
